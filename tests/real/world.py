"""What the real tests stand on: certificates, servers, gates, and the count of checks.

Every server takes a free loopback port by itself and says which; it is waited for by what it prints or answers, and ended
by its pid.
"""

import atexit
import http.client
import json
import os
import re
import select
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
BINARY = TARGET / "debug" / "patgate"
STANDIN = TARGET / "debug" / "examples" / "standin"
PATIENCE = 60  # seconds until a server that does not come up counts as failed
TRACE = re.compile(r"\b[0-9a-f]{32}\b")


class Checks:
    """Runs checks one by one, tells each, and goes on after a failure."""

    def __init__(self, suite: str):
        self.suite, self.passed, self.failed = suite, 0, 0

    def check(self, name: str, test) -> None:
        start = time.monotonic()
        try:
            test()
        except Exception as error:  # a failure of any kind is this check's, not the suite's
            self.failed += 1
            print(f"FAILED {self.suite}: {name}: {type(error).__name__}: {error}", flush=True)
            return
        self.passed += 1
        print(f"ok     {self.suite}: {name} ({time.monotonic() - start:.1f} s)", flush=True)

    def end(self) -> None:
        """The suite's last line, which tests/run adds up."""
        print(f"{self.suite}: {self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed else 0)


# What all secrets of the tests begin with (PATs, passwords, secrets of stores, key rings), and those that servers make.
SECRETS = {
    "a canary": "canary-", "a session token": "ver:3-hint:1-session", "a master token": "ver:3-hint:1-master", "a token of Vault": "hvs.",
}  # fmt: skip


def run(*command, **options) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def wait_for(what, patience: float = PATIENCE):
    """What `what` gives as soon as that is true; a failure of its own counts as not yet."""
    end = time.monotonic() + patience
    while True:
        try:
            if found := what():
                return found
            why = ""
        except (OSError, AssertionError, LookupError, ValueError) as error:
            why = f": {error}"
        if time.monotonic() > end:
            raise RuntimeError(f"not within {patience} s{why}")
        time.sleep(0.02)


class Certificates:
    """A private CA, a certificate for loopback, and the CA as Java wants it."""

    def __init__(self, place: Path):
        self.ca, self.pem, self.key = place / "ca.pem", place / "server.pem", place / "server.key"
        self.trust, self.trust_password, self.place = place / "trust.p12", "changeit", place
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        extensions = place / "server.ext"
        extensions.write_text(
            "subjectAltName=DNS:localhost,DNS:store.test,IP:127.0.0.1\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n"
        )
        run("openssl", "req", "-x509", *new, "-days", "2", "-subj", "/CN=Test CA",
            "-keyout", place / "ca.key", "-out", self.ca)  # fmt: skip
        run("openssl", "req", *new, "-subj", "/CN=localhost", "-keyout", self.key, "-out", place / "server.csr")
        run("openssl", "x509", "-req", "-in", place / "server.csr", "-CA", self.ca, "-CAkey", place / "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", self.pem)  # fmt: skip
        run("keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", self.ca, "-keystore", self.trust,
            "-storetype", "PKCS12", "-storepass", self.trust_password)  # fmt: skip

    def another(self, name: str, names: str = "DNS:localhost,IP:127.0.0.1", days: int = 2, issuer: str | None = "ca",
                usage: str = "serverAuth") -> tuple[Path, Path]:  # fmt: skip
        """One more certificate and its key, of our CA or of its own making."""
        pem, key, request, extensions = (self.place / f"{name}.{end}" for end in ("pem", "key", "csr", "ext"))
        extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage={usage}\nbasicConstraints=CA:FALSE\n")
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-keyout", key, "-out", request)  # fmt: skip
        signer = ["-CA", self.ca, "-CAkey", self.place / "ca.key", "-CAcreateserial"] if issuer else ["-signkey", key]
        run("openssl", "x509", "-req", "-in", request, *signer, "-days", days, "-extfile", extensions, "-out", pem)
        return pem, key

    def self_signed(self, name: str, names: str = "DNS:localhost,IP:127.0.0.1") -> tuple[Path, Path]:
        """What `openssl req -x509` makes by default: a certificate that signed itself, and is marked as a CA."""
        pem, key = self.place / f"{name}.pem", self.place / f"{name}.key"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}", "-keyout", key, "-out", pem)  # fmt: skip
        return pem, key


class Process:
    """A server of ours, with its output in a file. What a failed check leaves running is ended with the suite."""

    before: list = []  # what starts the command
    options: dict = {}  # more for Popen

    def __init__(self, place: Path, name: str, *command, env: dict | None = None):
        self.log = place / f"{name}.log"
        self.name = name
        self.process = subprocess.Popen(
            [str(word) for word in [*self.before, *command]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("a"),
            env={**os.environ, **(env or {})},
            **self.options,
        )
        atexit.register(self.process.kill)  # of no effect where it has ended and been waited for

    def line(self, start: str) -> str:
        """The first line on stdout that begins so."""
        end = time.monotonic() + PATIENCE
        text = b""
        while time.monotonic() < end:
            ready, _, _ = select.select([self.process.stdout], [], [], 0.2)
            if ready:
                text += os.read(self.process.stdout.fileno(), 65536)
                # The last line may not be whole yet.
                for line in text.decode().split("\n")[:-1]:
                    if line.startswith(start):
                        return line
            if self.process.poll() is not None:
                break
        raise RuntimeError(f"{self.name} did not come up: {text.decode()}{self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Asks it to end; its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class StandIn(Process):
    """The built-in stand-in for Snowflake, as a program."""

    def __init__(self, place: Path, certificates: Certificates):
        super().__init__(place, "standin", STANDIN, certificates.pem, certificates.key)
        self.port = int(self.line("ready ").split()[1])
        self.certificates = certificates

    def ask(self, path: str, body: dict | None = None) -> dict:
        method = "GET" if body is None else "POST"
        _, answer = request(self.port, self.certificates.ca, method, f"/standin/{path}", body)
        return answer


class Gate(Process):
    """`patgate run` with a configuration of the test's."""

    program: list = [BINARY]

    def __init__(self, place: Path, name: str, config: "Config | str", env: dict | None = None):
        self.config = config
        self.file = place / f"{name}.toml"
        self.file.write_text(str(config))
        super().__init__(place, name, *self.program, "run", "--config", self.file, env=env)
        listening = self.logged(lambda line: line.get("message") == "listening")
        self.port = int(listening["address"].rpartition(":")[2])
        self.admin = int(listening["admin"].rpartition(":")[2])

    def lines(self) -> list[dict]:
        """The log so far; a line that is not JSON is a failure of the gate's."""
        text = self.log.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def logged(self, wanted, since: int = 0) -> dict:
        """Waits for a line of the log, after so many others."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for line in self.lines()[since:]:
                if wanted(line):
                    return line
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"{self.name}: not in the log: {self.log.read_text()[-3000:]}")

    def change(self, config: "Config | str") -> None:
        """Writes another configuration into its file."""
        self.file.write_text(str(config))

    def file_for_commands(self) -> Path:
        """Its file with the admin port that it chose."""
        file = self.file.with_suffix(".command.toml")
        file.write_text(str(self.config.but(admin={"address": f"127.0.0.1:{self.admin}"})))
        return file

    def ready(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=PATIENCE)
        connection.request("GET", "/readyz")
        return connection.getresponse().status

    def wait_ready(self) -> None:
        end = time.monotonic() + PATIENCE
        while self.ready() != 200:
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name} is not ready: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)


class Collector(Process):
    """A real OpenTelemetry Collector that writes what it gets into a file."""

    def __init__(self, place: Path, program: Path, port: int):
        self.port, self.file = port, place / "spans.jsonl"
        config = {
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
            "exporters": {"file": {"path": str(self.file), "flush_interval": "50ms"}},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {name: {"receivers": ["otlp"], "exporters": ["file"]} for name in ("traces", "metrics")},
            },
        }
        # JSON is YAML.
        (place / "collector.yaml").write_text(json.dumps(config))
        super().__init__(place, "collector", program, "--config", place / "collector.yaml")
        wait_for(self.answers)

    def answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("POST", "/v1/traces", "{}", {"Content-Type": "application/json"})
        return connection.getresponse().status == 200

    def spans(self) -> list[dict]:
        """All spans so far, each with its attributes as a dictionary and the resource's."""
        found = []
        text = self.file.read_text() if self.file.exists() else ""
        for line in text[: text.rfind("\n") + 1].splitlines():
            for of_resource in json.loads(line).get("resourceSpans", []):
                resource = attributes(of_resource["resource"])
                for scope in of_resource["scopeSpans"]:
                    found += [{**span, "attributes": attributes(span), "resource": resource} for span in scope["spans"]]
        return found

    def metrics(self) -> set[str]:
        """The names of all metrics so far."""
        text = self.file.read_text()
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        scopes = [scope for line in lines for of_resource in line.get("resourceMetrics", []) for scope in of_resource["scopeMetrics"]]
        return {metric["name"] for scope in scopes for metric in scope["metrics"]}

    def trace(self, trace: str) -> list[dict]:
        return [span for span in self.spans() if span["traceId"] == trace]


def attributes(of: dict) -> dict:
    """OTLP's attributes as a dictionary; numbers are texts in its JSON."""
    return {one["key"]: next(iter(one["value"].values())) for one in of.get("attributes", [])}


def new_key(client: str) -> tuple[str, str]:
    """A client key and its hash, from the program itself."""
    issued = json.loads(run(BINARY, "client", "new", client, "--json"))
    return issued["key"], issued["hash"]


def request(port: int, ca: Path, method: str, path: str, body: dict | None = None, token: str = "") -> tuple[int, dict]:
    context = ssl.create_default_context(cafile=str(ca))
    connection = http.client.HTTPSConnection("localhost", port, timeout=PATIENCE, context=context)
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f'Snowflake Token="{token}"'
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read() or b"null")


def login(gate: Gate, ca: Path, key: str) -> dict:
    """A login as a driver sends it."""
    data = {"LOGIN_NAME": "u", "PASSWORD": key, "SESSION_PARAMETERS": {}, "CLIENT_APP_ID": "test"}
    status, answer = request(gate.port, ca, "POST", "/session/v1/login-request?requestId=1", {"data": data})
    assert status == 200, (status, answer)
    return answer


class Config:
    """A gate's configuration as values: tables by their dotted names. It becomes TOML only when a gate is given it."""

    def __init__(self, tables: dict[str, dict]):
        self.tables = tables

    def but(self, **changes: dict | None) -> "Config":
        """The same with other values; `None` takes a key or a table out. A dot in a table's name is written as two underscores."""
        tables = {name: dict(table) for name, table in self.tables.items()}
        for name, changed in changes.items():
            name = name.replace("__", ".")
            if changed is None:
                tables.pop(name, None)
                continue
            table = tables.setdefault(name, {})
            for key, value in changed.items():
                table[key] = value
                if value is None:
                    del table[key]
        return Config(tables)

    def __str__(self) -> str:
        return "".join(
            f"[{name}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in table.items()) for name, table in self.tables.items()
        )


def toml(value) -> str:
    """A value as TOML writes it."""
    match value:
        case bool() | int() | float() | str():
            return json.dumps(value, ensure_ascii=False)
        case Path():
            return toml(str(value))
        case dict():
            return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(toml(inner) for inner in value) + "]"
        case _:
            raise TypeError(f"no TOML for {type(value).__name__}")


def base(certificates: Certificates, upstream: int, level: str = "trace") -> Config:
    """What all configurations share."""
    return Config({
        "listen": {"address": "127.0.0.1:0", "certificate": certificates.pem, "key": certificates.key},
        "admin": {"address": "127.0.0.1:0"},
        "log": {"level": level},
        "accounts.prod": {"host": "localhost", "address": f"127.0.0.1:{upstream}", "ca": certificates.ca},
    })  # fmt: skip


class Ground:
    """What most suites begin with: certificates, a stand-in with one active PAT, a file store that holds it, a client's key."""

    def __init__(self, place: Path, user: str, pat: str):
        self.place, self.user, self.pat = place, user, pat
        self.certificates = Certificates(place)
        self.key, key_hash = new_key("bi")
        (place / "pat").write_text(pat + "\n")
        self.standin = StandIn(place, self.certificates)
        self.activate(user, pat)
        self.config = base(self.certificates, self.standin.port).but(
            stores__local__file={"path": "."},
            credentials__bi={"account": "prod", "user": user, "pat": "local:pat"},
            clients__bi={"credential": "bi", "keys": [key_hash]},
        )

    def activate(self, user: str, pat: str, state: str = "active") -> None:
        self.standin.ask("pat", {"user": user, "pat": pat, "state": state})

    def login(self, gate: "Gate", key: str | None = None) -> dict:
        return login(gate, self.certificates.ca, key or self.key)

    def end(self, checks: Checks, **secrets: str) -> None:
        """No key has reached Snowflake, and no secret stands in a log."""
        checks.check("no client key reached Snowflake", lambda: same(self.standin.ask("seen")["leaks"], 0))
        self.standin.kill()
        hunt(checks, self.place, {"PAT": self.pat, "key": self.key, **{name.replace("_", " "): secret for name, secret in secrets.items()}})


def same(got, wanted) -> None:
    assert got == wanted, f"{got}, not {wanted}"


def leaks(files, secrets: dict[str, str]) -> None:
    """No secret in these files: neither those of this run, nor one of a kind that every run has."""
    for file in files:
        content = file.read_bytes()
        for name, secret in {**SECRETS, **secrets}.items():
            assert secret and secret.encode() not in content, f"{name} stands in {file.name}"


def hunt(checks: Checks, place: Path, secrets: dict[str, str]) -> None:
    """No secret in anything that a gate wrote."""

    def test():
        files = [file for file in place.glob("gate*.log")]
        assert files and all(file.stat().st_size for file in files), "no log to search"
        leaks(files, secrets)

    checks.check("no secret stands in a log at trace level", test)


def place() -> tempfile.TemporaryDirectory:
    directory = TARGET / "tests"
    directory.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=directory)
