"""The packages: made twice alike, installed in a fresh Debian, run there, and removed.

    python3 packages.py TOOLS

The program in them is the one of the other suites, without its symbols: how it is built matters not here. A Debian without systemd as
its first process starts no service; the unit is read by systemd's own verifier, and the program is run as the unit's user.
"""

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import install
import world
from wine import Wine
from world import Checks, run, same

ROOT = world.ROOT
UNIT = "/usr/lib/systemd/system/patgate.service"


def made(place: Path, name: str, program: Path, windows: Path, tools: Path) -> Path:
    out = place / name
    env = {**os.environ, "CARGO_TARGET_DIR": str(tools.parent)}
    done = subprocess.run([ROOT / "deploy" / "package", "--binary", program, "--windows", windows, "--out", out], env=env, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def linked(top: Path) -> None:
    """Each link of a page leads to something in the same package, but for those into the sources."""
    pages = list(top.rglob("*.md"))
    assert len(pages) > 20, pages
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)", page.read_text())]
    lost = [f"{page.relative_to(top)}: {link}" for page, link in links if not re.match(r"https?:|src/", link) and not (page.parent / link).exists()]
    same(lost, [])


class Debian:
    """A copy of the fresh Debian; what runs in it has no network but loopback."""

    def __init__(self, fresh: Path, place: Path):
        self.root = place / "debian"
        run("cp", "-a", fresh, self.root)

    def do(self, *command: object, user: str = "root", check: bool = True) -> subprocess.CompletedProcess:
        inside = 'ip link set lo up; mount -t proc proc "$1/proc"; root=$1 user=$2; shift 2; exec chroot --userspec="$user" "$root" "$@"'
        words = ["unshare", "--net", "--mount", "--pid", "--fork", "sh", "-c", inside, "sh", self.root, f"{user}:{user}", *command]
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run([str(word) for word in words], env=env, capture_output=True, text=True)
        assert done.returncode == 0 or not check, (command, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def mode(self, path: str) -> tuple[str, str, str]:
        return tuple(self.do("stat", "-c", "%a %U %G", path).stdout.split())


def main() -> None:
    tools = Path(sys.argv[1]).resolve()
    checks = Checks("packages")
    with world.place() as name:
        place = Path(name)
        program = place / "patgate"
        run("strip", "-o", program, world.BINARY)
        windows = place / "patgate.exe"
        run("x86_64-w64-mingw32-strip", "-o", windows, tools / "windows" / "patgate.exe")
        out = made(place, "first", program, windows, tools)
        version = run(program, "--version").split()[1]
        deb = next(out.glob("*.deb"))
        debian = Debian(install.debian(tools), place)
        config, state = "/etc/patgate", "/var/lib/patgate"

        def sums() -> None:
            lines = (out / "SHA256SUMS").read_text().splitlines()
            named = {name.strip(): digest for digest, name in (line.split(None, 1) for line in lines)}
            same(sorted(named), sorted(file.name for file in out.iterdir() if file.name != "SHA256SUMS"))
            for name, digest in named.items():
                same(hashlib.sha256((out / name).read_bytes()).hexdigest(), digest)

        checks.check("each file has its checksum", sums)
        checks.check(
            "made again they are the same, byte for byte",
            lambda: same((made(place, "second", program, windows, tools) / "SHA256SUMS").read_text(), (out / "SHA256SUMS").read_text()),
        )

        def bill() -> None:
            text = (out / f"patgate-{version}.cdx.json").read_text()
            told = json.loads(text)
            same((told["bomFormat"], told["metadata"]["component"]["version"]), ("CycloneDX", version))
            locked = set(re.findall(r'^name = "(.+)"$', (ROOT / "Cargo.lock").read_text(), re.MULTILINE))
            named = {part["name"] for part in told["components"]}
            assert {"rustls", "tokio", "hyper", "vaultrs"} <= named <= locked, named - locked
            assert all(part.get("purl") for part in told["components"])
            assert str(ROOT) not in text, "it names the directory of the sources"

        checks.check("the SBOM names what is linked, and no place of this machine", bill)

        def ball() -> None:
            with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
                names = {member.name.split("/", 1)[1]: member for member in archive.getmembers() if "/" in member.name}
                archive.extractall(place / "ball", filter="data")
            needed = {"patgate", "deploy/patgate.service", "config/patgate.toml", "README.md", "man/patgate.1", "completions/bash", "deploy/guides/proxy.md"}
            assert needed <= names.keys(), needed - names.keys()
            assert names["patgate"].mode & stat.S_IXUSR and all(member.uid == 0 for member in names.values())
            linked(place / "ball" / next(out.glob("*.tar.gz")).name.removesuffix(".tar.gz"))

        checks.check("the tar ball has all that a Linux without packages needs", ball)

        def zipped() -> None:
            with zipfile.ZipFile(next(out.glob("*.zip"))) as archive:
                archive.extractall(place / "unpacked")
            unpacked = place / "unpacked"
            for path in ("gateway-host.ps1", "config/patgate.toml", "LICENSE", "deploy/guides/gateway-host.md", f"patgate-{version}.cdx.json"):
                assert (unpacked / path).is_file(), path
            linked(unpacked)
            wine = Wine(tools)
            same(wine.run(unpacked / "patgate.exe", "--version")[0].split()[1], version)
            wine.end()

        def script() -> None:
            run(install.powershell(tools), world.HERE / "powershell.py", ROOT / "deploy" / "gateway-host.ps1")

        checks.check("PowerShell would read the script for gateway hosts; nothing here runs it", script)
        checks.check("the zip for Windows has the program, which runs under Wine, the script and the guides", zipped)

        def installed() -> None:
            run("cp", deb, debian.at("/tmp/patgate.deb"))
            debian.do("dpkg", "-i", "/tmp/patgate.deb")
            same(debian.do("patgate", "--version").stdout.split()[1], version)
            same(debian.mode(config), ("750", "root", "patgate"))
            entry = debian.do("getent", "passwd", "patgate").stdout.strip().split(":")
            same((entry[5], entry[6].rpartition("/")[2]), (state, "nologin"))
            for path in ("/usr/share/man/man1/patgate.1.gz", "/usr/share/doc/patgate/examples/patgate.toml", "/usr/share/doc/patgate/copyright"):
                assert debian.at(path).is_file(), path
            linked(debian.at("/usr/share/doc/patgate"))
            debian.do("bash", "-n", "/usr/share/bash-completion/completions/patgate")

        checks.check("it installs in a fresh Debian: program, user, directories, man page, completions", installed)

        def unit() -> None:
            told = debian.do("systemd-analyze", "verify", "--man=no", UNIT, check=False)
            # This systemd is older than Type=notify-reload, and the package has said so to it.
            known = [line for line in told.stderr.splitlines() if "notify-reload" not in line]
            same(known, [])
            older = debian.at("/etc/systemd/system/patgate.service.d/older-systemd.conf").read_text()
            assert "Type=notify\n" in older and "ExecReload=" in older, older
            text = debian.at(UNIT).read_text()
            for line in ("Type=notify-reload", "WatchdogSec=60", "StartLimitIntervalSec=0", "User=patgate", "StateDirectory=patgate"):
                assert f"\n{line}\n" in text, line

        checks.check("systemd reads the unit", unit)

        def demo() -> None:
            told = debian.do("patgate", "demo", "--once", user="patgate").stdout
            assert "0 failed" in told, told[-2000:]

        checks.check("its demo runs there as the unit's user: logins, a session, rotations", demo)

        def served() -> None:
            """A gate with the packaged layout, checked and run as the unit does. Snowflake is away, which keeps no gate from starting."""
            debian.do("patgate", "cert", "init", "--dir", f"{config}/tls", "--name", "gate.example.com")
            debian.do("install", "-d", f"{config}/secrets")
            debian.at(f"{config}/secrets/powerbi").write_text("canary-pat-of-a-package\n")
            _, key_hash = world.new_key("bi")
            debian.at(f"{config}/patgate.toml").write_text(str(world.Config({
                "listen": {"address": "127.0.0.1:8443", "certificate": "tls/server.pem", "key": "tls/server.key"},
                "accounts.prod": {"host": "myorg-prod.snowflakecomputing.com"},
                "stores.local.file": {"path": "secrets"},
                "credentials.bi": {"account": "prod", "user": "POWERBI_SERVICE", "pat": "local:powerbi"},
                "clients.bi": {"credential": "bi", "keys": [key_hash]},
            })))  # fmt: skip
            # The gate's key is its user's to read as it was made; the PAT is what the operator brings.
            same(debian.mode(f"{config}/tls/server.key"), ("640", "root", "patgate"))
            same(debian.mode(f"{config}/tls/ca.key"), ("600", "root", "root"))
            debian.do("chgrp", "patgate", f"{config}/secrets/powerbi")
            debian.do("chmod", "640", f"{config}/secrets/powerbi")
            debian.do("install", "-d", "-m", "0700", "-o", "patgate", "-g", "patgate", state)
            debian.do("patgate", "check", user="patgate")
            script = "STATE_DIRECTORY=/var/lib/patgate patgate run & pid=$!; for i in $(seq 300); do patgate health && break; sleep 0.1; done; patgate health; code=$?; kill $pid; wait $pid; echo $? $code"
            told = debian.do("sh", "-c", script, user="patgate")
            same(told.stdout.split()[-2:], ["0", "0"])
            assert (debian.at(state) / "history.db").is_file(), list(debian.at(state).iterdir())

        checks.check("a gate of the usual file runs as the unit's user, and keeps its state", served)

        def upgraded() -> None:
            before = (debian.at(config) / "patgate.toml").read_text()
            debian.do("dpkg", "-i", "/tmp/patgate.deb")
            same((debian.at(config) / "patgate.toml").read_text(), before)
            same(debian.mode(config), ("750", "root", "patgate"))

        checks.check("an upgrade leaves configuration and state", upgraded)

        def removed() -> None:
            debian.do("dpkg", "-r", "patgate")
            assert not debian.at("/usr/bin/patgate").exists() and not debian.at(UNIT).exists()
            assert (debian.at(config) / "patgate.toml").is_file() and (debian.at(state) / "history.db").is_file()
            debian.do("dpkg", "-P", "patgate")
            assert not debian.at(state).exists() and not debian.at("/etc/systemd/system/patgate.service.d").exists()
            assert (debian.at(config) / "patgate.toml").is_file(), "the operator's own files stay"
            same(debian.do("dpkg", "-l", "patgate", check=False).returncode, 1)

        checks.check("it is removed, and purged with its state; what the operator wrote stays", removed)
    checks.end()


if __name__ == "__main__":
    main()
