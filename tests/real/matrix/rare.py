"""Kinds that need something of their own: a real Vault that refuses, a server that hangs up, a gate that is very small."""

import contextlib
import http.client
import json
import resource
import signal
import socket
import ssl
import subprocess
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import world
from vault import ROOT_TOKEN, Vault, free_ports
from world import Checks, Collector, Config, Ground, run, same, wait_for

from matrix.place import LOGIN, Answer, Matrix, Place


class HangingUp:
    """A TLS server that closes each connection after the handshake."""

    def __init__(self, ground: Ground):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(ground.certificates.pem, ground.certificates.key)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            stream, _ = self.socket.accept()
            try:
                self.context.wrap_socket(stream, server_side=True).close()
            except OSError:
                stream.close()


def vault(ground: Ground, tools: Path) -> Vault:
    """A Vault that knows no such login, and one secret that may be read once in a long time."""
    ports = free_ports()
    one = Vault(ground.place, tools, ground.certificates, ports)
    one.set_up(ground.place, "1h", "1h")
    (ground.place / "wrong-secret-id").write_text("canary-secret-id\n")
    one.ask("POST", "kv1/snowflake/rare", {"token": ground.pat})
    one.ask("POST", "sys/quotas/rate-limit/rare", {"path": "kv1/", "rate": 1, "interval": "1h", "block_interval": "1h"})
    one.ask("GET", "kv1/snowflake/rare")
    return one


def tables(ground: Ground, server: Vault, client) -> dict[str, dict]:
    """What the main gate needs for them; `client` adds a client with its key."""
    localhost = {"host": "localhost", "address": f"127.0.0.1:{ground.standin.port}", "ca": ground.certificates.ca}
    at = {"address": f"https://{server.tls}".replace("127.0.0.1", "localhost"), "ca": ground.certificates.ca}
    found = {
        "stores.noentry.vault": {**at, "approle": {"role_id": "file:role-id", "secret_id": "file:wrong-secret-id"}},
        "stores.slowed.vault": {**at, "kv": "v1", "token": "file:vault-token"},
        "accounts.hanging": {**localhost, "address": f"127.0.0.1:{HangingUp(ground).port}"},
        "accounts.narrow": {**localhost, "in_flight": 1},
    }
    (ground.place / "vault-token").write_text(ROOT_TOKEN)
    for name, user, account, pat in (
        ("store-login", "U_A", "prod", "noentry:secret/snowflake/powerbi#token"),
        ("store-throttled", "U_B", "prod", "slowed:kv1/snowflake/rare#token"),
        ("snowflake-unreachable", "U_C", "hanging", "local:pat"),
        ("account-busy", "U_D", "narrow", "local:pat"),
        ("gate-busy", "U_E", "prod", "local:pat"),
    ):
        ground.activate(user, ground.pat)
        found[f"credentials.{name}"] = {"account": account, "user": user, "pat": pat}
        client(name, name)
    return found


class Waiting:
    """Two logins of a user of whom Snowflake has accepted none yet: the first gets no answer, the other waits for its turn in vain."""

    def __init__(self, ground: Ground, place: Place, key: str):
        before = logins(ground)
        ground.standin.ask("knob", {"place": "login", "knob": "stall"})
        pool = ThreadPoolExecutor(2)
        self.first: Future[Answer] = pool.submit(place.login, key)
        wait_for(lambda: logins(ground) > before)
        self.second: Future[Answer] = pool.submit(place.login, key)


def logins(ground: Ground) -> int:
    return ground.standin.ask("seen")["counts"].get("login", 0)


def main_gate(matrix: Matrix, ground: Ground, place: Place, keys: dict[str, str], waiting: Waiting) -> None:
    """The rows of the main gate."""
    for kind in ("store_login", "store_throttled", "snowflake_unreachable"):
        matrix.row(kind, place, lambda: place.login(keys[kind.replace("_", "-")]))

    def narrow() -> Answer:
        token = place.token(keys["account-busy"])
        ask = lambda sql: place.session("POST", "/queries/v1/query-request", token, {"sqlText": sql})  # noqa: E731
        before = ground.standin.ask("seen")["counts"].get("query", 0)
        first = threading.Thread(target=ask, args=("select system$wait(2)",))
        first.start()
        wait_for(lambda: ground.standin.ask("seen")["counts"].get("query", 0) > before)
        found = ask("select 1")
        first.join()
        return found

    matrix.row("account_busy", place, narrow)

    def not_renewed() -> Answer:
        data = place.login(ground.key).json["data"]
        ground.standin.ask("knob", {"place": "renew", "knob": "canned", "n": 200, "body": json.dumps(
            {"data": None, "code": "390114", "message": "Authentication token has expired.  The user must authenticate again.", "success": False}
        )})  # fmt: skip
        body = {"oldSessionToken": data["token"], "requestType": "RENEW"}
        return place.session("POST", "/session/token-request", data["masterToken"], body)

    matrix.row("renewal_refused", place, not_renewed)

    def unfit() -> Answer:
        """A session token that fits into no header."""
        info = {"roleName": "PUBLIC", "warehouseName": None, "databaseName": None, "schemaName": None}
        data = {"token": "ver:3-hint:1-session\u0001x", "masterToken": "ver:3-hint:1-master-x", "sessionId": 8, "masterValidityInSeconds": 14400, "sessionInfo": info}
        body = json.dumps({"data": data, "code": None, "message": None, "success": True})
        ground.standin.ask("knob", {"place": "login", "knob": "canned", "n": 200, "body": body})
        return place.session("POST", "/session/heartbeat", place.token(ground.key))

    matrix.row("gate_broken", place, unfit)

    def wordless() -> None:
        """A client that reads the gate's certificate and goes without a word."""
        to_gate, from_gate = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = place.context.wrap_bio(from_gate, to_gate, server_hostname="localhost")
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        with socket.create_connection(("127.0.0.1", place.gate.port), timeout=world.PATIENCE) as tcp:
            tcp.sendall(to_gate.read())
            assert tcp.recv(65536)

    matrix.row("tls_failed", place, wordless)

    def left() -> None:
        before = logins(ground)
        ground.standin.ask("delay", {"place": "login", "ms": 1000})
        body = json.dumps({"data": {"LOGIN_NAME": "typed", "CLIENT_APP_ID": "test", "PASSWORD": ground.key}}).encode()
        head = f"POST {LOGIN} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            with socket.create_connection(("127.0.0.1", place.gate.port)) as tcp, place.context.wrap_socket(tcp, server_hostname="localhost") as tls:
                tls.sendall(head.encode() + body)
                wait_for(lambda: logins(ground) > before)
        finally:
            ground.standin.ask("delay", {"place": "login", "ms": 0})

    matrix.row("client_left", place, left)
    matrix.row("gate_busy", place, waiting.second.result)
    matrix.row("snowflake_silent", place, waiting.first.result)


def small(ground: Ground) -> Config:
    """A gate with few places, short times, and a key ring in a file."""
    (ground.place / "ring").write_text("canary-ring-0123456789-0123456789-0123456789\n")
    return ground.config.but(
        listen={"admission": "600ms", "connections": 60, "workers": 1},
        limits={"unadmitted": 8},
        login={"hold": "300ms"},
        seal={"keys": "local:ring"},
    )


def small_gate(matrix: Matrix, ground: Ground, place: Place, other: Place) -> None:
    """The rows of the small gate; `other` is a gate with another ring."""

    def crowd() -> bool:
        """More connections at once than the few places can serve in their time, each held until the gate closes it. Who gets a
        place in the last millisecond is told of its handshake instead."""
        many = [socket.create_connection(("127.0.0.1", place.gate.port), source_address=(f"127.0.0.{n}", 0)) for n in range(2, 9) for _ in range(8)]
        for tcp in many:
            with tcp, contextlib.suppress(ConnectionError):
                tcp.recv(1)
        return any(line.get("kind") == "no_place" for line in place.gate.lines())

    matrix.row("no_place", place, lambda: wait_for(crowd) and None)

    def no_ring() -> Answer:
        (ground.place / "ring").unlink()
        return place.session("POST", "/session/heartbeat", other.token(ground.key))

    matrix.row("ring_away", place, no_ring)
    (ground.place / "ring").write_text("canary-ring-0123456789-0123456789-0123456789\n")

    def exhausted() -> Answer:
        """On an open connection, so that only the way to Snowflake needs a descriptor."""
        token = place.token(ground.key)
        with place.kept() as connection:
            place.over(connection, "POST", "/session/heartbeat", token)
            disconnect(ground, place, token)
            pid = place.gate.process.pid
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, before[1]))
            try:
                return place.over(connection, "POST", "/session/heartbeat", token)
            finally:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    matrix.row("machine_exhausted", place, exhausted)


def disconnect(ground: Ground, place: Place, token: str) -> None:
    """An answer that breaks off takes the one connection to Snowflake with it."""
    ground.standin.ask("knob", {"place": "query", "knob": "cut", "n": 10})
    with contextlib.suppress(OSError, http.client.HTTPException):
        place.session("POST", "/queries/v1/query-request", token, {"sqlText": "select 1"})


def unless_success(answer: Answer) -> Answer | None:
    return None if answer.json.get("success") else answer


def address(checks: Checks, ground: Ground, place: Place) -> None:
    """The gate's own address towards Snowflake changes, and Snowflake's network policy does not know the new one."""

    def refused() -> Answer:
        ground.standin.ask("policy", {"refuse": True})
        return wait_for(lambda: unless_success(place.login(ground.key)))

    def again() -> None:
        ground.standin.ask("policy", {"refuse": False})
        retry = [str(world.BINARY), "pat", "retry", "bi", "--admin", f"127.0.0.1:{place.gate.admin}"]
        # One retry is soon after the other; the gate takes its time.
        wait_for(lambda: subprocess.run(retry, capture_output=True).returncode == 0)
        wait_for(lambda: place.login(ground.key).json["success"])

    def in_words(answer: Answer) -> str:
        return run(world.BINARY, "explain", answer.trace, "--state", place.state)

    def test() -> None:
        assert place.login(ground.key).json["success"]
        assert "the gate's own address was" not in in_words(refused()), "it has not changed"
        again()
        disconnect(ground, place, place.token(ground.key))
        run("ip", "route", "replace", "local", "127.0.0.1", "dev", "lo", "table", "local", "src", "127.0.0.44")
        try:
            answer = refused()
            told = place.explain(answer.trace)
        finally:
            run("ip", "route", "replace", "local", "127.0.0.1", "dev", "lo", "table", "local", "src", "127.0.0.1")
        assert "network policy" in answer.text, answer.text
        addresses = [told["last_success"]["gate_address"], told["requests"][-1]["gate_address"]]
        assert addresses == ["127.0.0.1", "127.0.0.44"], addresses
        words = in_words(answer)
        assert "the gate's own address was 127.0.0.1, and is 127.0.0.44" in words, words
        assert "certain: Snowflake sees this gate at 192.0.2.1" in words, words
        again()

    checks.check("explain says that the gate's own address has changed", test)


def late_store(checks: Checks, ground: Ground, collector: Collector, server: Vault) -> None:
    """A login waits for a Vault that stands still, and says so."""

    def test() -> None:
        server.ask("POST", "secret/data/snowflake/late", {"data": {"token": ground.pat}})
        at = {"address": f"https://{server.tls}".replace("127.0.0.1", "localhost"), "ca": ground.certificates.ca}
        late = {"account": "prod", "user": ground.user, "pat": "late:secret/snowflake/late#token"}
        config = ground.config.but(stores__late__vault={**at, "token": "file:vault-token"}, credentials__bi=late, login={"hold": "40s"})
        server.process.send_signal(signal.SIGSTOP)
        try:
            place = Place(ground, collector, "late", config)
            with ThreadPoolExecutor(1) as pool:
                login = pool.submit(place.login, ground.key)
                place.gate.logged(lambda line: line["message"] == "a request waits for the store")
                server.process.send_signal(signal.SIGCONT)
                answer = login.result()
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert answer.json["success"], answer.body
        line = place.gate.logged(lambda line: line.get("trace") == answer.trace and line["message"] == "slow login")
        assert line["longest"].startswith("the secrets manager") and line["store_ms"] > 1_000, line
        reads = place.explain(answer.trace)["requests"][0]["store"]
        same([read.get("failed") for read in (reads[0], reads[-1])], ["store_unavailable", None])
        same(reads[0]["references"], late["pat"])
        words = run(world.BINARY, "explain", answer.trace, "--state", place.state)
        assert f"for {late['pat']} from" in words and "which ended with store_unavailable" in words, words
        spans = wait_for(lambda: [span for span in collector.trace(answer.trace) if len(collector.trace(answer.trace)) >= 4 + len(reads)])
        leases = {span["spanId"] for span in spans if span["name"] == "lease"}
        stores = [span for span in spans if span["name"] == "store"]
        assert len(stores) == len(reads) and all(span["parentSpanId"] in leases for span in stores), spans
        same(stores[0]["attributes"]["error.type"], "store_unavailable")
        same(place.gate.stop(), 0)

    checks.check("a login that waits for its store says so in log, history and spans", test)
