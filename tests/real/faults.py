"""The fault matrix: every kind of failure that can be made here, made for real, and told alike by everything that tells of it.

    python3 faults.py TOOLS

For each: the text that the client got, the line of the log, the span in a real OpenTelemetry Collector, the metric, and
`patgate explain` name the same kind, code, owner and next steps. Then the audit log is proven, a real Prometheus scrapes
the gate, promtool checks metrics and alert rules, and all secrets are searched for in everything that was written.
"""

import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import urllib.parse
import time
from pathlib import Path

import install
import world
from load import free_port
from matrix import drivers, proxied, rare
from matrix.place import LOGIN, Answer, Matrix, Place
from vault import Vault
from world import Checks, Collector, Config, Ground, Process, run, same, wait_for

USER = "BI_SERVICE"
PAT = "canary-pat-faults"
UUID = "7d0e6bd3-9c8c-4c44-8a4f-5d4b0f0a2b11"
# What Snowflake says to a login of a user: kind -> code and text (facts of the drivers' sources and of Snowflake's pages).
REFUSED = {
    "pat_refused": ("394400", f"Programmatic access token is invalid. [{UUID}]"),
    "pat_expired": ("394401", "Programmatic access token is expired."),
    "pat_policy": ("390422", "Incoming request with IP/Token 192.0.2.1 is not allowed to access Snowflake."),
    "policy_missing": ("390432", "Fail : Network policy is required."),
    "authentication_policy": ("390202", "Authentication attempt rejected by the current authentication policy."),
    "user_disabled": ("390101", "User access disabled. Contact your local system administrator."),
    "user_locked": ("390102", "Your user account has been temporarily locked due to too many failed attempts."),
    "account_unknown": ("290404", "HTTP 404: Not Found"),
    "login_refused": ("390999", "Something that nobody knows."),
    "key_pair_refused": ("390144", f"JWT token is invalid. [{UUID}]"),
}
# The same where what the client asks for is refused, by role.
ASKED = {
    "role_refused": ("390189", "Role 'R' specified in the connect string does not exist or not authorized."),
    "place_refused": ("390201", "The requested warehouse does not exist or not authorized."),
    "request_refused": ("390400", "Bad request"),
    "context_refused": ("394400", "Programmatic access token is invalid."),
}


def config(ground: Ground, server: Vault) -> tuple[Config, dict[str, str]]:
    """One gate with a client for each way to fail; their keys by name."""
    keys, tables = {}, {}

    def client(name: str, credential: str = "bi", **more) -> None:
        keys[name], hashed = world.new_key(name)
        tables[f"clients__{name}"] = {"credential": credential, "keys": [hashed], **more}

    for kind, (code, text) in REFUSED.items():
        user, name = f"U_{kind.upper()}", kind.replace("_", "-")
        ground.activate(user, PAT)
        ground.standin.ask("user", {"user": user, "code": code, "text": text})
        tables[f"credentials__{name}"] = {"account": "prod", "user": user, "pat": "local:pat"}
        client(name, name)
    for kind, (code, text) in ASKED.items():
        ground.standin.ask("role", {"role": kind.upper(), "code": code, "text": text})
    ground.standin.ask("role", {"role": "OWN", "code": "390189", "text": "Role 'OWN' specified in the connect string does not exist."})
    ground.activate("U_OWN", PAT)
    tables["credentials__own"] = {"account": "prod", "user": "U_OWN", "pat": "local:pat", "role": "OWN"}
    client("own", "own")
    (ground.place / "unusable").write_text("changeme\n")
    (ground.place / "token").write_text("canary-vault-token")
    tables["stores__gone__vault"] = {"address": "https://127.0.0.1:1", "token": "file:token"}
    ground.activate("U_PAT_REVOKED", PAT + "-revoked")
    (ground.place / "revoked").write_text(PAT + "-revoked\n")
    tables["credentials__pat-revoked"] = {"account": "prod", "user": "U_PAT_REVOKED", "pat": "local:revoked"}
    client("pat-revoked", "pat-revoked")
    for name, reference in {
        "secret-missing": "local:none",
        "secret-unusable": "local:unusable",
        "store-refused": "local:../outside",
        "store-unavailable": "gone:kv/x#y",
    }.items():
        ground.activate(f"U_{name}", PAT)
        tables[f"credentials__{name}"] = {"account": "prod", "user": f"U_{name}", "pat": reference}
        client(name, name)
    port = ground.standin.port
    proxy = Refusing()
    for name, account in {
        "name-unresolved": {"host": "no-such-host.test"},
        "connect-failed": {"host": "localhost", "address": "127.0.0.1:1"},
        "upstream-tls": {"host": "localhost", "address": f"127.0.0.1:{port}", "ca": str(ground.certificates.another("stranger")[0])},
        "forward-proxy": {"host": "localhost", "address": f"127.0.0.1:{port}", "proxy": {"address": f"127.0.0.1:{proxy.port}"}},
    }.items():
        tables[f"accounts__{name}"] = account
        tables[f"credentials__{name}"] = {"account": name, "user": USER, "pat": "local:pat"}
        client(name, name)
    client("elsewhere", networks=["192.0.2.0/24"])
    client("pinned", roles=["BI"], warehouses=["WH"])
    client("inside", listeners=["mutual"])
    client("few", limits={"logins": "1/h"})
    client("slow", limits={"requests": "1/h"})
    client("one", limits={"sessions": 1})
    client("bound", bind="address")
    client("ended")
    more = rare.tables(ground, server, client)
    crl = ground.place / "clients.crl"
    certificates = ground.certificates
    tables["listeners__mutual"] = {"address": f"127.0.0.1:{free_port()}", "client_ca": certificates.ca, "client_crl": crl}
    tables["listeners__balanced"] = {"address": f"127.0.0.1:{free_port()}", "proxy": ["127.0.0.0/8"]}
    tables.update({name.replace(".", "__"): table for name, table in more.items()})
    return ground.config.but(
        login={"hold": "300ms", "deadline": "1s"}, limits={"wait": "50ms", "delay": "50ms"}, log={"level": "debug"}, **tables
    ), keys


class Refusing:
    """A forward proxy that lets nobody through."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            stream, _ = self.socket.accept()
            with contextlib.suppress(OSError), stream:
                stream.settimeout(world.PATIENCE)
                stream.recv(4096)
                stream.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")


def revoked(ground: Ground) -> tuple[Path, Path]:
    """A client certificate on the list of our CA."""
    pem, key = ground.certificates.another("revoked", usage="clientAuth")
    place = ground.place
    (place / "index.txt").write_text("")
    (place / "crlnumber").write_text("01\n")
    (place / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=own\n[own]\ndatabase={place}/index.txt\ncrlnumber={place}/crlnumber\ndefault_md=sha256\ndefault_crl_days=2\n"
    )
    with_ca = ["-config", place / "ca.cnf", "-cert", ground.certificates.ca, "-keyfile", place / "ca.key"]
    run("openssl", "ca", *with_ca, "-revoke", pem)
    run("openssl", "ca", *with_ca, "-gencrl", "-out", place / "clients.crl")
    return pem, key


def shown(ground: Ground, pair: "tuple[Path, Path] | None" = None, **options) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ground.certificates.ca))
    if pair:
        context.load_cert_chain(*pair)
    for name, value in options.items():
        setattr(context, name, value)
    return context


def requests(matrix: Matrix, ground: Ground, place: Place, keys: dict[str, str]) -> None:
    """What is refused by the gate itself."""
    good = ground.key
    wrong, _ = world.new_key("bi")
    stranger, _ = world.new_key("stranger")
    row = lambda kind, make: matrix.row(kind, place, make)  # noqa: E731
    row("key_missing", lambda: place.login(None))
    row("key_foreign", lambda: place.login("canary-password"))
    row("key_damaged", lambda: place.login(good[:-1] + ("a" if good[-1] != "a" else "b")))
    row("client_unknown", lambda: place.login(stranger))
    row("key_wrong", lambda: place.login(wrong))
    row("login_malformed", lambda: place.ask("POST", LOGIN, b"no json"))
    row("request_too_large", lambda: place.ask("POST", LOGIN, b" " * 100_000))
    token = place.token(good)
    row("request_body_broken", lambda: place.raw(
        b"POST /queries/v1/query-request HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b'Authorization: Snowflake Token="' + token.encode() + b'"\r\n\r\n5\r\n{"sqlnothing\r\n'))  # fmt: skip
    row("request_slow", lambda: place.raw(b"POST " + LOGIN.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"))
    row("authenticator_foreign", lambda: place.login(good, AUTHENTICATOR="EXTERNALBROWSER"))
    row("flow_foreign", lambda: place.ask("POST", "/session/authenticator-request", {}))
    row("route_unknown", lambda: place.ask("GET", "/"))
    row("method_wrong", lambda: place.ask("GET", "/session/v1/login-request"))
    row("target_form", lambda: place.raw(b"POST /session/heartbeat HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n"))
    row("bearer_missing", lambda: place.ask("POST", "/api/v2/statements", {}, {"Authorization": "Basic eDp5"}))
    row("rest_malformed", lambda: place.ask("POST", "/api/v2/statements", b'{"role":"A","role":"B"', {"Authorization": f"Bearer {keys['pinned']}"}))
    row("network_denied", lambda: place.login(keys["elsewhere"]))
    row("peer_denied", lambda: place.login(keys["inside"]))
    row("role_denied", lambda: place.login(keys["pinned"], "&roleName=ADMIN"))
    row("context_denied", lambda: place.login(keys["pinned"], "&warehouse=OTHER"))
    row("session_unknown", lambda: place.session("POST", "/session/heartbeat", "junk"))
    row("renewal_malformed", lambda: place.session("POST", "/session/token-request", place.token(good, "masterToken"), {"requestType": "ISSUE"}))
    place.token(keys["few"])
    row("login_limit", lambda: place.login(keys["few"]))
    place.token(keys["one"])
    row("session_limit", lambda: place.login(keys["one"]))
    slow = place.token(keys["slow"])
    query = lambda token, sql="select 1", **more: place.session(  # noqa: E731
        "POST", "/queries/v1/query-request", token, {"sqlText": sql}, **more
    )
    query(slow)
    row("request_limit", lambda: query(slow))
    bound = place.token(keys["bound"])
    row("session_elsewhere", lambda: query(bound, source="127.0.0.2"))
    ended = place.token(keys["ended"])
    run(world.BINARY, "sessions", "kill", "client:ended", "--admin", f"127.0.0.1:{place.gate.admin}")
    row("session_ended", lambda: query(ended))


def snowflake(matrix: Matrix, ground: Ground, place: Place, keys: dict[str, str]) -> None:
    """What Snowflake, a store or the way there refuses."""
    for kind in [*REFUSED, "secret_missing", "secret_unusable", "store_refused", "store_unavailable", "name_unresolved",
                 "connect_failed", "upstream_tls", "forward_proxy"]:  # fmt: skip
        matrix.row(kind, place, lambda: place.login(keys[kind.replace("_", "-")]))
    revoke = [world.BINARY, "pat", "revoke", "pat-revoked", "--yes", "--admin", f"127.0.0.1:{place.gate.admin}"]
    subprocess.run([str(word) for word in revoke], capture_output=True, text=True)
    matrix.row("pat_revoked", place, lambda: place.login(keys["pat-revoked"]))
    for kind in ("role_refused", "place_refused", "request_refused"):
        matrix.row(kind, place, lambda: place.login(ground.key, f"&roleName={kind.upper()}"))

    def until(kind: str, make) -> Answer:
        """Snowflake's own trouble looks the same, so the gate judges at the second time."""
        return wait_for(lambda: next((answer for answer in [make()] if place.explain(kind)["message"][:20] in answer.text), None))

    matrix.row("context_refused", place, lambda: until("context_refused", lambda: place.login(ground.key, "&roleName=CONTEXT_REFUSED")))
    matrix.row("credential_context", place, lambda: until("credential_context", lambda: place.login(keys["own"])))
    canned = lambda **more: ground.standin.ask("knob", {"place": "login", "knob": "canned", **more})  # noqa: E731

    def answered(**more) -> Answer:
        canned(**more)
        return place.login(ground.key)

    matrix.row("snowflake_garbled", place, lambda: answered(n=200, body="<html>hello</html>"))
    matrix.row("redirect_away", place, lambda: answered(n=307, location="https://elsewhere.test/"))
    matrix.row("snowflake_busy", place, lambda: answered(n=503, times=2))
    wait_for(lambda: place.login(ground.key).json.get("success"))

    def cut() -> None:
        token = place.token(ground.key)
        ground.standin.ask("knob", {"place": "query", "knob": "cut", "n": 10})
        try:
            place.session("POST", "/queries/v1/query-request", token, {"sqlText": "select 1"})
        except (OSError, http.client.HTTPException):
            return
        raise AssertionError("the answer looks whole")

    matrix.row("answer_broken", place, cut)


def connections(matrix: Matrix, ground: Ground, place: Place, bad: tuple[Path, Path]) -> None:
    """Connections that come to no request."""
    tables = place.gate.config.tables
    mutual, balanced = (int(tables[f"listeners.{name}"]["address"].rpartition(":")[2]) for name in ("mutual", "balanced"))
    own = ground.certificates
    tls = lambda kind, context, port=0: matrix.row(kind, place, lambda: place.tls(context, port))  # noqa: E731
    tls("tls_distrusted", ssl.create_default_context())
    old = shown(ground)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    tls("tls_too_old", old)
    tls("client_certificate_unknown", shown(ground, own.another("selfmade", issuer=None, usage="clientAuth")), mutual)
    tls("client_certificate_expired", shown(ground, own.another("late", days=-1, usage="clientAuth")), mutual)
    tls("client_certificate_revoked", shown(ground, bad), mutual)

    def plain(port: int, text: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port)) as tcp:
            tcp.sendall(text)
            tcp.settimeout(world.PATIENCE)
            try:
                while tcp.recv(4096):
                    pass
            except ConnectionError:
                pass

    matrix.row("tls_absent", place, lambda: plain(place.gate.port, b"GET / HTTP/1.1\r\n\r\n"))
    matrix.row("proxy_header", place, lambda: plain(balanced, b"GET / HTTP/1.1\r\n\r\n"))


def few(matrix: Matrix, ground: Ground, place: Place) -> None:
    """A gate with short times, few places, a certificate that has ended, and clients from one address."""
    closed = lambda source="127.0.0.1": socket.create_connection(("127.0.0.1", place.gate.port), source_address=(source, 0))  # noqa: E731

    def until_closed(tcp: socket.socket, send: bytes = b"") -> None:
        with tcp:
            tcp.settimeout(world.PATIENCE)
            tcp.sendall(send)
            try:
                while tcp.recv(4096):
                    pass
            except ConnectionError:
                pass

    matrix.row("address_unexpected", place, lambda: until_closed(closed("127.0.0.9")))
    matrix.row("tls_slow", place, lambda: until_closed(closed(), b"\x16"))
    matrix.row("certificate_expired", place, lambda: place.tls(shown(ground)))

    def idle() -> None:
        context = shown(ground, check_hostname=False, verify_mode=ssl.CERT_NONE)
        with closed() as tcp, context.wrap_socket(tcp, server_hostname="localhost") as tls:
            tls.settimeout(world.PATIENCE)
            try:
                tls.recv(1)
            except (OSError, ssl.SSLError):
                pass

    matrix.row("unadmitted", place, idle)

    def crowd() -> None:
        many = [closed() for _ in range(12)]
        place.logged("address_crowd")
        for tcp in many:
            tcp.close()

    matrix.row("address_crowd", place, crowd)


def full_disk(checks: Checks, matrix: Matrix, ground: Ground, collector: Collector) -> None:
    """A state directory on a disk that is full: serving goes on, unless the audit log is required."""
    disk = ground.place / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk)
    filler = disk / "filler"

    def fill() -> None:
        descriptor = os.open(filler, os.O_CREAT | os.O_WRONLY)
        try:
            while os.write(descriptor, b"x" * 4096):
                pass
        except OSError:
            pass
        os.close(descriptor)

    def place(name: str, required: bool) -> Place:
        changed = ground.config.but(audit={"required": required})
        one = Place(ground, collector, name, changed)
        same(one.login(ground.key).json["success"], True)
        return one

    def goes_on() -> None:
        fill()
        for _ in range(100):
            same(open_.login(ground.key).json["success"], True)
        line = open_.gate.logged(lambda line: "cannot be written" in line["message"])
        assert line["level"] == "ERROR" and line["next_step"], line

    def refused() -> None:
        answer = wait_for(lambda: next((one for one in [strict.login(ground.key)] if not one.json["success"]), None))
        assert "cannot write its audit log" in answer.text, answer.text
        filler.unlink()
        wait_for(lambda: strict.login(ground.key).json["success"])
        # Written when there was room again.
        matrix.compare("audit_unwritable", strict, answer)

    for state in ("state-open", "state-strict"):
        (disk / state).mkdir()
        (ground.place / state).symlink_to(disk / state)
    open_ = place("open", False)
    strict = place("strict", True)
    checks.check("a full disk stops no login, and is said", goes_on)
    checks.check("a full disk stops logins where the audit log is required, and they go on when there is room", refused)
    for one in (open_, strict):
        one.gate.stop()
    run("umount", disk)


def unset(checks: Checks, matrix: Matrix, ground: Ground, place: Place) -> None:
    """A session that did not get the warehouse that was asked for."""

    def test() -> None:
        info = {"roleName": "PUBLIC", "warehouseName": None, "databaseName": None, "schemaName": None}
        data = {"token": "ver:3-hint:1-session-x", "masterToken": "ver:3-hint:1-master-x", "sessionId": 7, "masterValidityInSeconds": 14400, "sessionInfo": info}
        body = json.dumps({"data": data, "code": None, "message": None, "success": True})
        ground.standin.ask("knob", {"place": "login", "knob": "canned", "n": 200, "body": body})
        answer = place.login(ground.key, "&warehouse=BI_WH")
        assert answer.json["success"], answer.body
        line = place.gate.logged(lambda line: line.get("trace") == answer.trace and line.get("unset"))
        same((line["level"], line["code"], line["unset"]), ("WARN", "PG-130", "warehouse BI_WH (got none)"))
        story = wait_for(lambda: place.explain(answer.trace))["requests"][0]
        same(story["login"]["unset"], [line["unset"]])
        root = wait_for(lambda: next((span for span in ground.collector.trace(answer.trace) if span["name"] == "login"), None))
        same(root["attributes"]["patgate.login.unset"], line["unset"])
        matrix.told["context_unset"] = line["code"]

    checks.check("a session that did not get its warehouse says so in log, history and span", test)


def shown_to_operators(place: Place, matrix: Matrix) -> str:
    """Everything that the admin address shows, and a bundle."""
    texts = []
    for path in ("/metrics", "/status", "/pats", "/sessions", "/failures", "/console", "/log"):
        connection = http.client.HTTPConnection("127.0.0.1", place.gate.admin, timeout=world.PATIENCE)
        connection.request("GET", path)
        answer = connection.getresponse()
        same(answer.status, 200)
        texts.append(answer.read().decode())
    bundle = place.state / "bundle.json"
    trace = place.logged("pat_refused")["trace"]
    texts.append(run(world.BINARY, "explain", trace, "--state", place.state, "--config", place.gate.file, "--bundle", bundle))
    texts.append(run(world.BINARY, "audit", "verify", "--state", place.state))
    return "\n".join([*texts, bundle.read_text()])


def doctor(checks: Checks, matrix: Matrix, place: Place) -> None:
    """doctor, through the running gate, names the same codes where the same things are wrong."""
    kinds = ("pat_refused", "pat_expired", "pat_policy", "policy_missing", "secret_missing", "secret_unusable", "store_refused",
             "store_unavailable", "name_unresolved", "connect_failed", "upstream_tls", "forward_proxy")  # fmt: skip

    def test() -> None:
        command = [str(world.BINARY), "doctor", "--json", "--config", str(place.gate.file_for_commands())]
        begun = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, timeout=world.PATIENCE)
        took = time.monotonic() - begun
        steps = json.loads(done.stdout)["steps"]
        print(f"       doctor took {took:.1f} s for {len(steps)} steps")
        told = {step["code"]: step for step in steps if step["ok"] is False}
        missing = [kind for kind in kinds if matrix.told[kind] not in told]
        assert not missing, (missing, sorted(told))
        for kind in kinds:
            page = place.explain(kind)
            step = told[page["code"]]
            same((step["owner"], step["next_step"]), (page["owner"], page["next_step"]))
        assert done.returncode not in (0, 1, 2), done.returncode
        # The steps run side by side: the slowest store and the slowest account decide.
        assert took < 20, took

    checks.check("doctor names the same codes and owners", test)


def prometheus(checks: Checks, ground: Ground, place: Place) -> None:
    """A real Prometheus scrapes the gate; promtool checks what it reads, and the alert rules."""
    rules = world.ROOT / "deploy" / "alerts.yml"
    port = free_port()
    settings = ground.place / "prometheus.yml"
    settings.write_text(json.dumps({
        "global": {"scrape_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "patgate", "static_configs": [{"targets": [f"127.0.0.1:{place.gate.admin}"]}]}],
    }))  # fmt: skip
    server = Process(
        ground.place, "prometheus", "prometheus", f"--config.file={settings}", f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.tsdb.path={ground.place / 'tsdb'}",
    )  # fmt: skip

    def query(text: str) -> list:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=world.PATIENCE)
        connection.request("GET", f"/api/v1/query?query={urllib.parse.quote(text)}")
        answer = json.loads(connection.getresponse().read())
        assert answer["status"] == "success", (text, answer)
        return answer["data"]["result"]

    def scraped() -> None:
        wait_for(lambda: query("patgate_build_info"))
        for name in ("patgate_logins_total", "patgate_requests_total", "patgate_request_seconds_bucket", "patgate_connections",
                     "patgate_sessions", "patgate_tls_handshakes_failed_total", "patgate_upstream_up",
                     "patgate_certificate_expires_timestamp_seconds", "patgate_pat_refused", "patgate_log_dropped_total"):  # fmt: skip
            assert query(name), f"{name} is not there"
        same(query("patgate_replicas_up"), [])

    def linted() -> None:
        text = older_form(place.metrics())
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        same(done.stderr, "")

    def board() -> None:
        """Every query of the board is one that Prometheus answers, and all but those of what this gate has not got have an answer."""
        dashboard = json.loads((world.ROOT / "deploy" / "grafana.json").read_text())
        exprs = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
        ask = lambda text: query(text.replace("$__rate_interval", "1m").replace("$instance", ".*"))  # noqa: E731
        # No Redis, no rotation, no proxy way in; no PAT that says its end, and no span is lost.
        absent = ("patgate_replicas_up", "patgate_pat_rotations_total", "patgate_tunnels_open", "patgate_tunnel_bytes_total",
                  "patgate_pat_expires_timestamp_seconds", "patgate_pat_successor_ready", 'outcome!="exported"')  # fmt: skip
        wait_for(lambda: ask('sum(rate(patgate_requests_total{instance=~"$instance"}[$__rate_interval]))'))
        empty = [text for text in exprs if not ask(text)]
        same([text for text in empty if not any(name in text for name in absent)], [])
        assert len(exprs) > 20, exprs
        # What the alerts and the board are made of, the gate has.
        named = {name for text in [*exprs, rules.read_text()] for name in re.findall(r"patgate_\w+", text)}
        known = set(re.findall(r"^# TYPE (\S+)", place.metrics(), re.MULTILINE))
        ending = re.compile(r"_(total|bucket|info)$")
        same({name for name in named if ending.sub("", name) not in known and not name.startswith(absent)}, set())

    checks.check("a real Prometheus reads every metric of the design", scraped)
    checks.check("every query of the Grafana board is answered", board)
    checks.check("promtool finds no fault in the metrics", linted)
    checks.check("promtool finds no fault in the alert rules", lambda: run("promtool", "check", "rules", rules))
    server.stop()


def all_kinds() -> set[str]:
    """The kinds of the table, as its golden has them."""
    return set(re.findall(r"^PG-\d{3} (\w+) ", (world.ROOT / "tests" / "house" / "faults.golden").read_text(), re.MULTILINE))


def older_form(text: str) -> str:
    """OpenMetrics as promtool reads it: without the end mark and exemplars, and a family has the name of its lines."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    ending = {"counter": "_total", "info": "_info"}
    lines = []
    for line in text.splitlines():
        if line == "# EOF":
            continue
        if found := re.match(r"# (HELP|TYPE) (\S+) (.*)", line):
            what, name, rest = found.groups()
            rest = "gauge" if (what, rest) == ("TYPE", "info") else rest
            line = f"# {what} {name}{ending.get(kinds[name], '')} {rest}"
        lines.append(line.partition(" # {")[0])
    return "\n".join(lines) + "\n"


def main() -> None:
    tools = Path(sys.argv[1])
    checks = Checks("faults")
    with world.place() as name:
        ground = Ground(Path(name), USER, PAT)
        collector = Collector(ground.place, install.otel(tools), free_port())
        ground.collector = collector
        matrix = Matrix(checks, collector)
        bad = revoked(ground)
        server = rare.vault(ground, tools)
        settings, keys = config(ground, server)
        place = Place(ground, collector, "main", settings)
        ground.standin.ask("lock", {"lock": False})
        waiting = rare.Waiting(ground, place, keys["gate-busy"])
        requests(matrix, ground, place, keys)
        snowflake(matrix, ground, place, keys)
        connections(matrix, ground, place, bad)
        ended, key = ground.certificates.another("ended", days=-1)
        short = ground.config.but(
            listen={"certificate": ended, "key": key, "handshake": "300ms", "admission": "600ms", "connections": 20},
            clients__bi={"networks": ["127.0.0.1/32"]},
        )
        other = Place(ground, collector, "short", short)
        few(matrix, ground, other)
        rare.main_gate(matrix, ground, place, keys, waiting)
        tiny = Place(ground, collector, "small", rare.small(ground))
        rare.small_gate(matrix, ground, tiny, place)
        by_proxy = proxied.rows(matrix, ground, collector)
        rare.address(checks, ground, tiny)
        rare.late_store(checks, ground, collector, server)
        full_disk(checks, matrix, ground, collector)
        drivers.shown(checks, ground, place, tools, keys)
        unset(checks, matrix, ground, place)
        doctor(checks, matrix, place)
        prometheus(checks, ground, place)
        known = lambda: set(re.findall(r"^# TYPE (\S+)", place.metrics(), re.MULTILINE))  # noqa: E731
        checks.check("the collector gets each metric that Prometheus reads", lambda: wait_for(lambda: known() <= collector.metrics()))
        checks.check("every kind of the table was made", lambda: same(sorted(all_kinds() - matrix.told.keys()), []))
        seen = ground.place / "state-main" / "shown.txt"
        checks.check("the admin address and a bundle show what they show", lambda: seen.write_text(shown_to_operators(place, matrix)))
        for one in (place, other, tiny, by_proxy):
            checks.check(f"{one.gate.name} ends with 0", lambda: same(one.gate.stop(), 0))
            checks.check(f"the audit log of {one.gate.name} proves itself", lambda: run(world.BINARY, "audit", "verify", "--state", one.state))
        collector.stop()
        print("\n".join(f"       {code} {kind}" for kind, code in sorted(matrix.told.items(), key=lambda told: told[1])))
        searched(checks, ground, collector, keys)
        ground.end(checks, **keys)
    checks.end()


def searched(checks: Checks, ground: Ground, collector: Collector, keys: dict[str, str]) -> None:
    """No secret in history, audit log, bundle or spans."""
    own = {ground.place / "pat", ground.place / "token"}

    def test() -> None:
        files = [file for state in ground.place.glob("state-*") for file in state.rglob("*") if file.is_file()]
        assert any(file.name == "history.db" for file in files) and any(file.suffix == ".jsonl" for file in files), files
        world.leaks({*files, collector.file} - own, keys)

    checks.check("no secret stands in history, audit log, spans, metrics, the console's data or a bundle", test)


if __name__ == "__main__":
    main()
