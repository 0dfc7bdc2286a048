"""Installs the real drivers and the stand-in's tools at pinned versions.

Each function takes the cache directory, installs one tool set there and
returns the path a test starts.  A stamp file holds a hash of the pins, so
a second call costs nothing and a changed pin installs afresh.

The pins are those of Python 3.11.

    python3 install.py DIR [py4 py5 adbc dbt fakesnow node console jdbc go otel vault stores fuzz debian helm kubernetes powershell wine windows]
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
JDBC = "4.4.1"
# A slow registry is no fault, a registry that hangs is.
LIMIT_SECONDS = 1800

# Program -> Debian package.
APT = {
    "java": "openjdk-17-jre-headless",
    "javac": "openjdk-17-jdk-headless",
    "keytool": "openjdk-17-jre-headless",
    "mvn": "maven",
    "node": "nodejs",
    "npm": "npm",
    "openssl": "openssl",
    "unshare": "util-linux",
    "ip": "iproute2",
    "go": "golang-go",
    "c++": "g++",
    "haproxy": "haproxy",
    "redis-server": "redis-server",
    "prometheus": "prometheus",
    "chromium": "chromium",
    "promtool": "prometheus",
    "debootstrap": "debootstrap",
    "strip": "binutils",
    "fakeroot": "fakeroot",
    # The compiler of these packages comes with the sources of std, which no toolchain of ours has for Windows.
    "/usr/bin/cargo": "cargo-web",
    "/usr/bin/rustc": "rustc-web",
    "/usr/lib/rustlib/src/rust/library/std": "rust-web-src",
    "x86_64-w64-mingw32-gcc": "gcc-mingw-w64-x86-64",
    "/usr/lib/wine/wine64": "wine64",
}
WINE = "/usr/lib/wine/wine64"
WINDOWS = "x86_64-pc-windows-gnu"


class InstallError(Exception):
    """Says which command failed and how, or which program is missing."""


def need(*programs: str) -> None:
    """Root on a Debian gets what is missing; everybody else is told which command installs it."""
    missing = [name for name in programs if not there(name)]
    packages = sorted({APT[name] for name in missing if name in APT and name != "go"})
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"apt: installing {' '.join(packages)}", flush=True)
        run("apt-get", "update")
        run("apt-get", "install", "-y", "--no-install-recommends", *packages)
    for name in missing:
        if not there(name):
            hint = f"apt-get install -y {APT.get(name, name)}"
            if name == "go":  # Debian 12 has an older one
                hint += " (1.24 or newer, so perhaps from backports)"
            raise InstallError(f"the program {name!r} is missing: {hint}")


def there(name: str) -> bool:
    """A program on the path, or a file."""
    return Path(name).exists() if name.startswith("/") else shutil.which(name) is not None


def run(*command: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    argv = [str(word) for word in command]
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"no end after {LIMIT_SECONDS} s: {' '.join(argv)}") from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-30:])
        raise InstallError(f"exit code {done.returncode}: {' '.join(argv)}\n{tail}")


def once(root: Path, name: str, pins: str, build) -> Path:
    """Calls build(directory) unless the directory has the stamp of these pins."""
    place = root.resolve() / name
    stamp = place / ".pins"
    # A virtual environment holds absolute paths, so a moved cache is stale too.
    mark = hashlib.sha256(f"{place}\n{pins}".encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == mark:
        print(f"{name}: present", flush=True)
        return place
    print(f"{name}: installing", flush=True)
    start = time.monotonic()
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(parents=True)
    build(place)
    stamp.write_text(mark)  # last, so that an interrupted install counts as none
    print(f"{name}: installed in {time.monotonic() - start:.0f} s", flush=True)
    return place


def venv(root: Path, name: str) -> Path:
    """pins/NAME.txt is a whole `pip freeze`: nothing is left to the day's registry."""
    file = HERE / "pins" / f"{name}.txt"

    def build(place: Path) -> None:
        run(sys.executable, "-m", "venv", place)
        run(place / "bin/pip", "install", "-q", "--no-deps", "-r", file)
        run(place / "bin/pip", "check")

    version = "{}.{}".format(*sys.version_info)
    return once(root, name, version + file.read_text(), build) / "bin/python"


def py4(root: Path) -> Path:
    return venv(root, "py4")


def py5(root: Path) -> Path:
    return venv(root, "py5")


def adbc(root: Path) -> Path:
    return venv(root, "adbc")


def dbt(root: Path) -> Path:
    return venv(root, "dbt")


def stores(root: Path) -> Path:
    """moto, and the official Python clients of Azure and GCP."""
    return venv(root, "stores")


def fakesnow(root: Path) -> Path:
    return venv(root, "fakesnow")


def npm(root: Path, name: str, source: Path) -> Path:
    """The node_modules directory of a package.json and its lock, for NODE_PATH."""
    need("node", "npm")
    files = [source / name for name in ("package.json", "package-lock.json")]

    def build(place: Path) -> None:
        for file in files:
            shutil.copy(file, place)
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=place)

    return once(root, name, "".join(f.read_text() for f in files), build) / "node_modules"


def node(root: Path) -> Path:
    return npm(root, "node", HERE / "clients")


def console(root: Path) -> Path:
    """What drives a browser."""
    need("chromium")
    return npm(root, "console", HERE / "console")


def jdbc(root: Path) -> Path:
    """Returns the jar, which holds all it depends on."""
    # Jdbc.java is started from its source, which takes the compiler.
    need("mvn", "java", "javac")

    def build(place: Path) -> None:
        run(
            "mvn", "-q", "-B",
            "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy",
            f"-Dartifact=net.snowflake:snowflake-jdbc:{JDBC}",
            f"-DoutputDirectory={place}",
            cwd=place,
        )  # fmt: skip

    return once(root, "jdbc", JDBC, build) / f"snowflake-jdbc-{JDBC}.jar"


def go_program(root: Path, name: str, source: Path) -> Path:
    need("go")
    files = sorted(p for p in source.iterdir() if p.suffix in (".go", ".mod", ".sum"))

    def build(place: Path) -> None:
        # No C compiler, no paths and no symbols: the same program everywhere.
        run(
            "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", place / name, ".",
            cwd=source,
            env={"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
        )  # fmt: skip

    return once(root, name, "".join(f.read_text() for f in files), build) / name


def go(root: Path) -> Path:
    return go_program(root, "go-client", HERE / "clients" / "go")


def otel(root: Path) -> Path:
    """An OpenTelemetry Collector: OTLP in, a file out."""
    return go_program(root, "otel-collector", HERE / "otel-collector")


def vault(root: Path) -> Path:
    return go_program(root, "vault-server", HERE / "vault-server")


# What cargo-fuzz passes to a compiler without sanitizers, which need a nightly one.
COVERAGE = (
    "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
    " -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1 --cfg fuzzing"
)


def fuzz(root: Path) -> Path:
    """The fuzz targets, built anew where the source has changed; cargo knows."""
    need("c++")
    triple = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    triple = next(line.split()[1] for line in triple.splitlines() if line.startswith("host:"))
    place = root / "fuzz"
    print("fuzz: building, which takes minutes the first time", flush=True)
    # A target of its own, so that build scripts are not instrumented.
    run(
        "cargo", "build", "--release", "--locked", "--target", triple, "--target-dir", place,
        cwd=HERE.parent / "fuzz",
        env={"RUSTFLAGS": COVERAGE},
    )  # fmt: skip
    return place / triple / "release"


def debian(root: Path) -> Path:
    """A fresh Debian with systemd, as its installer makes it, from the mirror that this machine uses; only root can."""
    need("debootstrap")
    if os.geteuid() != 0:
        raise InstallError("a fresh Debian can be made by root alone")
    release, packages = "bookworm", "ca-certificates,systemd"

    def build(place: Path) -> None:
        sites = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)"], capture_output=True, text=True, check=True).stdout.split()
        if not sites:
            raise InstallError("apt has no mirror: apt-get update")
        run("debootstrap", "--variant=minbase", f"--include={packages}", release, place / "root", sites[0])

    return once(root, "debian", f"{release} {packages}", build) / "root"


def helm(root: Path) -> Path:
    """A directory with helm and kube-score."""
    need("go")
    source = HERE / "helm"
    files = [source / name for name in ("go.mod", "go.sum")]

    def build(place: Path) -> None:
        env = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
        run("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", f"{place}/", "tool", cwd=source, env=env)

    return once(root, "helm", "".join(file.read_text() for file in files), build)


def kubernetes(root: Path) -> Path:
    """The schemas of Kubernetes, and what validates by them."""
    return venv(root, "kubernetes")


def powershell(root: Path) -> Path:
    """What reads scripts of PowerShell; nothing here runs them."""
    return venv(root, "powershell")


def wine(root: Path) -> Path:
    """A prefix for Wine, which lacks a library that Rust's std asks for random numbers."""
    need(WINE, "x86_64-w64-mingw32-gcc")
    source = HERE / "wine-bcryptprimitives.c"

    def build(place: Path) -> None:
        env = wine_env(place)
        run(WINE, "wineboot", "--init", env=env)
        system = place / "drive_c" / "windows" / "system32"
        run("x86_64-w64-mingw32-gcc", "-shared", "-O2", "-s", "-o", system / "bcryptprimitives.dll", source, "-ladvapi32")
        run(WINE, "wineboot", "--shutdown", env=env)

    return once(root, "wine", source.read_text(), build)


def wine_env(prefix: Path) -> dict[str, str]:
    """Where Wine keeps its machine, without windows and without downloads."""
    return {
        "WINEPREFIX": str(prefix.resolve()), "WINEDEBUG": "-all", "WINEARCH": "win64", "DISPLAY": "",
        "WINEDLLOVERRIDES": "mscoree,mshtml=;winemenubuilder.exe=d",
    }  # fmt: skip


def windows(root: Path) -> Path:
    """The program for Windows and its unit tests, built anew where the source has changed; cargo knows."""
    need("/usr/bin/cargo", "/usr/bin/rustc", "/usr/lib/rustlib/src/rust/library/std", "x86_64-w64-mingw32-gcc")
    print("windows: building, which takes minutes the first time", flush=True)
    place = root / "windows"
    # std is compiled too, which a released compiler does only so; the machine's own toolchain stays as it is.
    env = {name: value for name, value in os.environ.items() if name not in ("RUSTUP_TOOLCHAIN", "RUSTFLAGS")}
    env |= {
        "RUSTC": "/usr/bin/rustc", "RUSTDOC": "/usr/bin/rustdoc", "RUSTC_BOOTSTRAP": "1",
        "CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER": "x86_64-w64-mingw32-gcc", "RUSTFLAGS": "-D warnings",
    }  # fmt: skip
    common = ["--locked", "-Z", "build-std", "--target", WINDOWS, "--target-dir", place, "--config", "profile.dev.debug=0"]
    # The example takes what the tests take: both commands then compile the crates once.
    for command in (["build", "--bin", "patgate", "--example", "standin"], ["test", "--no-run", "--lib", "--message-format", "json"]):
        argv = ["/usr/bin/cargo", *command, *map(str, common)]
        done = subprocess.run(argv, cwd=HERE.parent.parent, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_SECONDS)
        if done.returncode != 0:
            messages = [json.loads(line).get("message") or {} for line in done.stdout.splitlines() if line.startswith("{")]
            told = "".join(one.get("rendered") or "" for one in messages if isinstance(one, dict))
            raise InstallError(f"exit code {done.returncode}: {' '.join(argv)}\n{done.stderr[-3000:]}{told[-3000:]}")
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    shutil.copy(next(one["executable"] for one in told if one.get("executable")), place / "unit.exe")
    shutil.copy(place / WINDOWS / "debug" / "patgate.exe", place / "patgate.exe")
    return place


ALL = {f.__name__: f for f in (py4, py5, adbc, dbt, fakesnow, node, console, jdbc, go, otel, vault, stores, fuzz, debian, helm, kubernetes, powershell, wine, windows)}

if __name__ == "__main__":
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= ALL.keys():
        sys.exit(__doc__)
    try:
        for wanted in sys.argv[2:] or ALL:
            print(ALL[wanted](Path(sys.argv[1])), flush=True)
    except InstallError as error:
        sys.exit(f"install: {error}")
