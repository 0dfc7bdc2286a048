"""A quiet client beside hostile ones: nothing that they do reaches it.

    HOSTILE_SECONDS=600 python3 hostile.py TOOLS

The hostile ones come from other addresses of this machine: junk and slow heads, floods of idle connections, logins with wrong keys
in many gzip members, logins and statements that break off, refused contexts. The gate has a soft limit of 60 descriptors, and nobody
reads its log. The quiet client's p99 is printed beside its p99 before; it is a figure, not a check.
"""

import base64
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


ACCOUNT = "localhost"


class Way:
    """How clients reach the gate: straight, or by a CONNECT to its proxy way in."""

    def __init__(self, port: int, proxy: int = 0):
        self.port, self.proxy = port, proxy

    def https(self, context: ssl.SSLContext) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection("localhost", self.proxy or self.port, timeout=world.PATIENCE, context=context)
        if self.proxy:
            connection.set_tunnel(ACCOUNT, 443)
        return connection

    def socket(self, address: str) -> socket.socket:
        raw = socket.create_connection(("127.0.0.1", self.proxy or self.port), 5, source_address=(address, 0))
        if self.proxy:
            raw.sendall(f"CONNECT {ACCOUNT}:443 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = b""
            while b"\r\n\r\n" not in answer and (piece := raw.recv(4096)):
                answer += piece
            if b" 200 " not in answer:
                raise ConnectionError(answer)
        return raw


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

    def __init__(self, way: Way, certificates: Certificates, key: str):
        self.way, self.key, self.failures = way, key, []
        self.context = ssl.create_default_context(cafile=str(certificates.ca))
        self.connection = None

    def query(self) -> float:
        if self.connection is None:
            token = self.login()["data"]["token"]
            self.headers = {"Content-Type": "application/json", "Authorization": f'Snowflake Token="{token}"'}
            self.connection = self.way.https(self.context)
        begun = time.monotonic()
        self.connection.request("POST", "/queries/v1/query-request", '{"sqlText":"select 1"}', self.headers)
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status == 200 and json.loads(text)["success"], text
        return time.monotonic() - begun

    def login(self) -> dict:
        connection = self.way.https(self.context)
        data = {"LOGIN_NAME": "u", "PASSWORD": self.key, "SESSION_PARAMETERS": {}, "CLIENT_APP_ID": "test"}
        connection.request("POST", "/session/v1/login-request?requestId=1", json.dumps({"data": data}), {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def p99(self, seconds: float) -> float:
        took, end, logins = [], time.monotonic() + seconds, 0
        while time.monotonic() < end:
            try:
                took.append(self.query())
                if len(took) % 100 == 0:
                    assert self.login()["success"]
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

    def __init__(self, way: Way, certificates: Certificates, keys: dict[str, str]):
        self.way, self.keys, self.stop, self.done = way, keys, threading.Event(), 0
        self.wrong: list[str] = []
        self.context = ssl.create_default_context(cafile=str(certificates.ca))
        body = json.dumps({"data": {"PASSWORD": world.new_key("stranger")[0], "LOGIN_NAME": "u"}}).encode()
        self.members = gzip.compress(body) + gzip.compress(b" ") * 2000
        kinds = [self.junk, self.slow, self.idle, self.many_members, self.breaks_off, self.broken_statement, self.odd_role]
        if way.proxy:
            kinds += [self.open_relay, self.slow_connect, self.wrong_proxy_key, self.smuggled]
        self.threads = [threading.Thread(target=self.run, args=(kind, f"127.0.1.{number + 1}")) for number, kind in enumerate(kinds)]
        for thread in self.threads:
            thread.start()

    def run(self, kind, address: str) -> None:
        while not self.stop.is_set():
            try:
                kind(address)
            except AssertionError as error:
                self.wrong.append(f"{kind.__name__}: {error}")
            except (OSError, ssl.SSLError, http.client.HTTPException):
                pass
            self.done += 1
            time.sleep(0.005)

    def connect(self, address: str, tls: bool = True):
        return self.context.wrap_socket(self.way.socket(address), server_hostname="localhost") if tls else self.bare(address)

    def bare(self, address: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.way.proxy or self.way.port), 5, source_address=(address, 0))

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

    def open_relay(self, address: str) -> None:
        with self.bare(address) as stream:
            stream.sendall(b"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 403 " in stream.recv(4096)

    def slow_connect(self, address: str) -> None:
        with self.bare(address) as stream:
            for byte in b"CONNECT localhost:443 HTTP/1.1\r\nx-a: ":
                stream.sendall(bytes([byte]))
                if self.stop.wait(0.1):
                    return

    def wrong_proxy_key(self, address: str) -> None:
        with self.bare(address) as stream:
            basic = base64.b64encode(b"bi:" + world.new_key("bi")[0].encode())
            stream.sendall(b"CONNECT localhost:443 HTTP/1.1\r\nProxy-Authorization: Basic " + basic + b"\r\n\r\n")
            assert b" 403 " in stream.recv(4096)

    def smuggled(self, address: str) -> None:
        """A second request hidden behind a CONNECT: in its body, and behind a head that two would read differently."""
        for head in (b"Content-Length: 60\r\n\r\n", b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n", b"Transfer-Encoding : chunked\r\n\r\n"):
            with self.bare(address) as stream:
                stream.sendall(b"CONNECT localhost:443 HTTP/1.1\r\n" + head + b"0\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b""
                while piece := stream.recv(4096):
                    answer += piece
                assert answer.count(b"HTTP/1.1 ") == 1 and b" 200 " not in answer, answer

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def main() -> None:
    checks = Checks("hostile")
    beside(checks, "the drivers' door", SECONDS, proxied=False)
    beside(checks, "the proxy way in", SECONDS / 2, proxied=True)
    checks.end()


def beside(checks: Checks, door: str, seconds: float, proxied: bool) -> None:
    """A quiet client and hostile ones at one door of a gate."""
    check = lambda what, test: checks.check(f"{door}: {what}", test)  # noqa: E731
    with world.place() as name:
        ground = Ground(Path(name), USER, PAT)
        keys = {client: world.new_key(client) for client in ("breaks", "odd")}
        port, admin, proxy = free_port(), free_port(), free_port()
        clients = {f"clients__{client}": {"credential": "bi", "keys": [key_hash]} for client, (_, key_hash) in keys.items()}
        config = ground.config.but(
            listen={"address": f"127.0.0.1:{port}"}, admin={"address": f"127.0.0.1:{admin}"}, log={"level": "trace"}, **clients
        )
        if proxied:
            ca = {"ca": ground.certificates.ca, "ca_key": ground.place / "ca.key"}
            config = config.but(listeners__proxy={"kind": "connect", "address": f"127.0.0.1:{proxy}", **ca})
        ground.standin.ask("role", {"role": "ODD", "code": "394400", "text": "Programmatic access token is invalid."})
        gate = DeafGate(ground.place, config, port, admin)
        way = Way(port, proxy if proxied else 0)
        quiet = Quiet(way, ground.certificates, ground.key)
        before = quiet.p99(QUIET_SECONDS)
        hostile = Hostile(way, ground.certificates, {client: key for client, (key, _) in keys.items()})
        quiet.p99(seconds / 3)
        early = gate.resident()
        during = quiet.p99(seconds * 2 / 3)
        late = gate.resident()
        hostile.end()
        bad = sum(ground.standin.ask("seen")["bad_logins"].values())
        ratio = during / before
        print(f"       {hostile.done} hostile acts, {bad} bad logins; the quiet client's p99 is {ratio:.2f} times that before; memory {early} KiB, later {late} KiB")
        check("a quiet client beside hostile ones has no failure", lambda: world.same(quiet.failures, []))
        check("the hostile ones got what they should", lambda: world.same(hostile.wrong[:5], []))
        check("its memory is flat", lambda: world.same(late < early * 1.25 + 4096, True))
        check("the gate answers its operator", lambda: world.same(gate.ready(), 200))
        if not proxied:  # In its time the other one's log does not fill a pipe.
            check("lines of its log were dropped and counted", lambda: world.same(dropped(gate) > 0, True))
        # A refused context costs one bad login, and one more each time that its memory of it ends: 60 s, 2, 4, 8, 15 minutes.
        check("it costs few bad logins", lambda: world.same(1 <= bad <= 8, True))
        check("and ends with 0", lambda: world.same(gate.stop(), 0))
        ground.end(checks)


def dropped(gate: Gate) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", gate.admin, timeout=world.PATIENCE)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith("patgate_log_dropped_total")))


if __name__ == "__main__":
    main()
