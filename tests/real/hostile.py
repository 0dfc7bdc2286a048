"""A quiet client beside hostile ones: nothing that they do reaches it.

    HOSTILE_SECONDS=600 python3 hostile.py TOOLS

The hostile ones come from other addresses of this machine: junk and slow heads, floods of idle connections, logins with wrong keys
in many gzip members, logins and statements that break off, refused contexts. The gate has a soft limit of 60 descriptors, and nobody
reads its log. The quiet client's p99 is printed beside its p99 before; it is a figure, not a check.
"""

import gzip
import http.client
import json
import os
import resource
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import world
from load import free_port
from world import Certificates, Checks, Gate, Ground

USER = "BI_SERVICE"
PAT = "canary-pat-hostile"
SECONDS = float(os.environ.get("HOSTILE_SECONDS", "40"))
QUIET_SECONDS = 8.0
STATEMENT = b"POST /api/v2/statements HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"sta\r\n"


class DeafGate(Gate):
    """A gate with few descriptors, whose log is a pipe that nobody reads; it says its ports on the admin address alone."""

    def __init__(self, place: Path, config, port: int, admin: int):
        self.file = place / "gate-hostile.toml"
        self.file.write_text(str(config))
        self.name, self.port, self.admin, self.config = "gate-hostile", port, admin, config
        read, write = os.pipe()
        self.pipe = read

        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (60, 4096))

        self.process = subprocess.Popen(
            [world.BINARY, "run", "--config", self.file], stderr=write, stdout=subprocess.DEVNULL, preexec_fn=few
        )
        os.close(write)
        world.wait_for(lambda: self.ready() == 200)

    def stop(self) -> int:
        """Its exit code; what stands in the pipe then is its log."""
        code = super().stop()
        with os.fdopen(self.pipe, "rb") as pipe:
            self.file.with_suffix(".log").write_bytes(pipe.read())
        return code

    def resident(self) -> int:
        """Memory in KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


class Quiet:
    """One query after the other on one connection, and now and then a login."""

    def __init__(self, gate: Gate, certificates: Certificates, key: str):
        self.gate, self.certificates, self.key, self.failures = gate, certificates, key, []
        self.context = ssl.create_default_context(cafile=str(certificates.ca))
        self.connection = None

    def query(self) -> float:
        if self.connection is None:
            token = world.login(self.gate, self.certificates.ca, self.key)["data"]["token"]
            self.headers = {"Content-Type": "application/json", "Authorization": f'Snowflake Token="{token}"'}
            self.connection = http.client.HTTPSConnection("localhost", self.gate.port, timeout=world.PATIENCE, context=self.context)
        begun = time.monotonic()
        self.connection.request("POST", "/queries/v1/query-request", '{"sqlText":"select 1"}', self.headers)
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status == 200 and json.loads(text)["success"], text
        return time.monotonic() - begun

    def p99(self, seconds: float) -> float:
        took, end, logins = [], time.monotonic() + seconds, 0
        while time.monotonic() < end:
            try:
                took.append(self.query())
                if len(took) % 100 == 0:
                    assert world.login(self.gate, self.certificates.ca, self.key)["success"]
                    logins += 1
            except (OSError, AssertionError, http.client.HTTPException, KeyError, TypeError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                self.connection = None
            time.sleep(0.01)
        took.sort()
        print(f"       {len(took)} queries and {logins} logins, p99 {took[len(took) * 99 // 100] * 1000:.1f} ms")
        return took[len(took) * 99 // 100]


class Hostile:
    """Threads that misbehave until told to stop."""

    def __init__(self, gate: Gate, certificates: Certificates, keys: dict[str, str]):
        self.gate, self.keys, self.stop, self.done = gate, keys, threading.Event(), 0
        self.context = ssl.create_default_context(cafile=str(certificates.ca))
        body = json.dumps({"data": {"PASSWORD": world.new_key("stranger")[0], "LOGIN_NAME": "u"}}).encode()
        self.members = gzip.compress(body) + gzip.compress(b" ") * 2000
        kinds = [self.junk, self.slow, self.idle, self.many_members, self.breaks_off, self.broken_statement, self.odd_role]
        self.threads = [threading.Thread(target=self.run, args=(kind, f"127.0.1.{number + 1}")) for number, kind in enumerate(kinds)]
        for thread in self.threads:
            thread.start()

    def run(self, kind, address: str) -> None:
        while not self.stop.is_set():
            try:
                kind(address)
            except (OSError, ssl.SSLError, http.client.HTTPException):
                pass
            self.done += 1
            time.sleep(0.005)

    def connect(self, address: str, tls: bool = True):
        raw = socket.create_connection(("127.0.0.1", self.gate.port), 5, source_address=(address, 0))
        return self.context.wrap_socket(raw, server_hostname="localhost") if tls else raw

    def post(self, address: str, body: bytes, more: str = "", query: str = "") -> bytes:
        with self.connect(address) as stream:
            head = f"POST /session/v1/login-request?requestId=1{query} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{more}\r\n"
            stream.sendall(head.encode() + body)
            return stream.recv(4096)

    def junk(self, address: str) -> None:
        with self.connect(address) as stream:
            stream.sendall(b"\x00\xff junk\r\n\r\n" * 50)
            stream.recv(4096)

    def slow(self, address: str) -> None:
        with self.connect(address) as stream:
            for byte in b"GET /session HTTP/1.1\r\n":
                stream.sendall(bytes([byte]))
                if self.stop.wait(0.1):
                    return

    def idle(self, address: str) -> None:
        silent = [self.connect(address, tls=False) for _ in range(40)]
        self.stop.wait(3)
        for one in silent:
            one.close()

    def many_members(self, address: str) -> None:
        self.post(address, self.members, "content-encoding: gzip\r\n")

    def breaks_off(self, address: str) -> None:
        body = json.dumps({"data": {"PASSWORD": self.keys["breaks"], "LOGIN_NAME": "u", "CLIENT_APP_ID": "test"}}).encode()
        with self.connect(address) as stream:
            stream.sendall(b"POST /session/v1/login-request?requestId=1 HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            time.sleep(0.005)

    def broken_statement(self, address: str) -> None:
        with self.connect(address) as stream:
            stream.sendall(STATEMENT % self.keys["breaks"].encode())

    def odd_role(self, address: str) -> None:
        body = json.dumps({"data": {"PASSWORD": self.keys["odd"], "LOGIN_NAME": "u", "CLIENT_APP_ID": "test"}}).encode()
        self.post(address, body, query="&roleName=ODD")

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def main() -> None:
    checks = Checks("hostile")
    with world.place() as name:
        ground = Ground(Path(name), USER, PAT)
        keys = {client: world.new_key(client) for client in ("breaks", "odd")}
        port, admin = free_port(), free_port()
        clients = {f"clients__{client}": {"credential": "bi", "keys": [key_hash]} for client, (_, key_hash) in keys.items()}
        config = ground.config.but(
            listen={"address": f"127.0.0.1:{port}"}, admin={"address": f"127.0.0.1:{admin}"}, log={"level": "trace"}, **clients
        )
        ground.standin.ask("role", {"role": "ODD", "code": "394400", "text": "Programmatic access token is invalid."})
        gate = DeafGate(ground.place, config, port, admin)
        quiet = Quiet(gate, ground.certificates, ground.key)
        before = quiet.p99(QUIET_SECONDS)
        hostile = Hostile(gate, ground.certificates, {client: key for client, (key, _) in keys.items()})
        quiet.p99(SECONDS / 3)
        early = gate.resident()
        during = quiet.p99(SECONDS * 2 / 3)
        late = gate.resident()
        hostile.end()
        bad = sum(ground.standin.ask("seen")["bad_logins"].values())
        ratio = during / before
        print(f"       {hostile.done} hostile acts, {bad} bad logins; the quiet client's p99 is {ratio:.2f} times that before; memory {early} KiB, later {late} KiB")
        checks.check("a quiet client beside hostile ones has no failure", lambda: world.same(quiet.failures, []))
        checks.check("its memory is flat", lambda: world.same(late < early * 1.25 + 4096, True))
        checks.check("the gate answers its operator", lambda: world.same(gate.ready(), 200))
        checks.check("lines of its log were dropped and counted", lambda: world.same(dropped(gate) > 0, True))
        # A refused context costs one bad login, and one more each time that its memory of it ends: 60 s, 2, 4, 8, 15 minutes.
        checks.check("it costs few bad logins", lambda: world.same(1 <= bad <= 8, True))
        checks.check("and ends with 0", lambda: world.same(gate.stop(), 0))
        ground.end(checks)
    checks.end()


def dropped(gate: Gate) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", gate.admin, timeout=world.PATIENCE)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith("patgate_log_dropped_total")))


if __name__ == "__main__":
    main()
