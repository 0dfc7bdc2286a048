"""Real drivers through the gate as their proxy: each keeps the account's own host name, and only its proxy is set.

    python3 proxy.py TOOLS

Nothing in this namespace knows the account's host, nor would it lead anywhere: what works has come through the proxy. Large results
lie in a stage, which the gate tunnels unopened.
"""

import copy
import gzip
import http.server
import re
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import install
import world
from load import free_port
from programs import Client, clients, whole_session
from world import Certificates, Checks, Gate, StandIn, same

USER, PAT = "BI_SERVICE", "canary-pat-proxy"
ACCOUNT, OTHER = "myorg-prod.snowflakecomputing.com", "other-org.snowflakecomputing.com"
STAGE = "sfc-stage.s3.eu-central-1.amazonaws.com"
PARTS, ROWS = 4, 100_000
ARROW = f"""
import sys, pyarrow as pa
about = {{"logicalType": "TEXT", "charLength": "16777216", "byteLength": "16777216", "finalType": "T", "physicalType": "LOB"}}
schema = pa.schema([pa.field("C", pa.string(), metadata=about)])
with pa.ipc.new_stream(sys.stdout.buffer, schema) as out:
    out.write_batch(pa.record_batch([["x" * 100] * {ROWS // PARTS}], schema=schema))
"""
REFUSED = re.compile(rb"HTTP/1\.[01] (\d+) (PG-\d+) ")


class Stage:
    """The cloud's storage: parts of a result, over TLS of its own."""

    def __init__(self, certificates: Certificates, python: Path):
        pem, key = certificates.another("stage", names=f"DNS:{STAGE}")
        # ADBC takes what lies in a stage in Arrow's form alone.
        arrow = subprocess.run([python, "-c", ARROW], capture_output=True, check=True).stdout
        parts = {"json": b",".join([b'["' + b"x" * 100 + b'"]'] * (ROWS // PARTS)), "arrow": arrow}
        self.sizes = {form: len(part) for form, part in parts.items()}
        packed, stage = {form: gzip.compress(part, 1) for form, part in parts.items()}, self
        self.served = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                stage.served.append(self.path)
                self.send_response(200)
                part = packed["arrow" if "arrow" in self.path else "json"]
                self.send_header("content-type", "binary/octet-stream")
                self.send_header("content-encoding", "gzip")
                self.send_header("content-length", str(len(part)))
                self.end_headers()
                self.wfile.write(part)

            def log_message(self, *words):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def settings(client: Client, proxy: int, user: str | None, host: str) -> dict:
    """How this driver is told its proxy; its server is the account's own host."""
    env = {"GATE_HOST": host, "GATE_PORT": "443", "SF_OCSP_RESPONSE_CACHE_SERVER_ENABLED": "false"}
    if client.name == "snowflake-jdbc":
        own = f"useProxy=true&proxyHost=127.0.0.1&proxyPort={proxy}"
        if user:
            name, key = user.split(":")
            own += f"&proxyUser={name}&proxyPassword={key}"
        return {**env, "GATE_URL": f"jdbc:snowflake://{host}:443/?account=any&{own}"}
    return {**env, "HTTPS_PROXY": f"http://{user + '@' if user else ''}127.0.0.1:{proxy}", "NO_PROXY": ""}


def by_proxy(client: Client, proxy: int, user: str | None = None, host: str = ACCOUNT) -> Client:
    return Client(client.name, client.command, {**client.env, **settings(client, proxy, user, host)}, client.hows)


def connect(port: int, target: str, more: str = "", version: str = "1.1") -> tuple[socket.socket, bytes]:
    """A CONNECT by hand, and its answer."""
    stream = socket.create_connection(("127.0.0.1", port), world.PATIENCE)
    stream.sendall(f"CONNECT {target} HTTP/{version}\r\n{more}\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer and (piece := stream.recv(4096)):
        answer += piece
    return stream, answer


def refused(port: int, target: str, status: int, code: str) -> None:
    stream, answer = connect(port, target)
    stream.close()
    found = REFUSED.match(answer)
    assert found and found.groups() == (str(status).encode(), code.encode()), answer


def metric(gate: Gate, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{gate.admin}/metrics", timeout=world.PATIENCE) as answer:
        text = answer.read().decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def main() -> None:
    tools = Path(sys.argv[1])
    checks = Checks("proxy")
    with world.place() as name:
        place = Path(name)
        # The gate alone resolves it; a driver that asked would reach nothing but a refusal of the stage's certificate.
        hosts = place / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n127.0.0.1 {STAGE}\n")
        subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
        certificates = Certificates(place)
        of_account = copy.copy(certificates)
        of_account.pem, of_account.key = certificates.another("account", names=f"DNS:{ACCOUNT},DNS:localhost,IP:127.0.0.1")
        keys = {client: world.new_key(client) for client in ("bi", "excel")}
        key, other = keys["bi"][0], keys["excel"][0]
        wrong, _ = world.new_key("bi")
        (place / "pat").write_text(PAT + "\n")
        stage, standin = Stage(certificates, install.adbc(tools)), StandIn(place, of_account)
        standin.ask("pat", {"user": USER, "pat": PAT, "state": "active"})
        proxy, strict = free_port(), free_port()
        dead = free_port()
        way = {"kind": "connect", "ca": certificates.ca, "ca_key": place / "ca.key", "tunnel": [f"{STAGE}:{stage.port}", f"{STAGE}:{dead}"]}
        config = world.base(certificates, standin.port).but(
            accounts__prod={"host": ACCOUNT},
            stores__local__file={"path": "."},
            credentials__bi={"account": "prod", "user": USER, "pat": "local:pat"},
            clients__bi={"credential": "bi", "keys": [keys["bi"][1]]},
            clients__excel={"credential": "bi", "keys": [keys["excel"][1]]},
            listeners__proxy={**way, "address": f"127.0.0.1:{proxy}"},
            listeners__strict={**way, "address": f"127.0.0.1:{strict}", "auth": True},
        )
        gate = Gate(place, "gate", config)

        def through_stage(client: Client, dbt: bool) -> None:
            form = "arrow" if client.name.startswith("adbc") else "json"
            url = f"https://{STAGE}:{stage.port}/{form}-"
            standin.ask("stage", {"url": url, "parts": PARTS, "bytes": stage.sizes[form], "format": form})
            parts, bytes_before = len(stage.served), metric(gate, 'patgate_tunnel_bytes_total{direction="from_host"}')
            whole_session(by_proxy(client, proxy).run("session", client.hows[-1], key, 443, certificates), dbt)
            if not dbt:
                same(len(stage.served) - parts, PARTS)
                moved = metric(gate, 'patgate_tunnel_bytes_total{direction="from_host"}') - bytes_before
                assert moved > PARTS * 1000, moved

        def told(client: Client, shown: str, kind: str, says: str, proxy: int = proxy, user: str | None = None) -> None:
            answer = by_proxy(client, proxy, user).run("login", client.hows[-1], shown, 443, certificates)
            text = " ".join(answer["error"].split())
            assert not answer["ok"] and says in text, text
            traces = world.TRACE.findall(text)
            line = gate.logged(lambda line: line.get("trace") == traces[0] and "kind" in line)
            same(line["kind"], kind)

        def turned_away(client: Client, proxy: int, host: str, kind: str) -> None:
            """The driver gets no tunnel; what it shows of it is its own, and the gate counts why."""
            count = lambda: metric(gate, f'patgate_connections_refused_total{{reason="{kind}"}}')  # noqa: E731
            before = count()
            answer = by_proxy(client, proxy, host=host).run("login", client.hows[-1], key, 443, certificates)
            assert not answer["ok"], answer
            print(f"       {client.name} shows: {' '.join(answer['error'].split())[:150]}")
            assert count() > before, f"not counted as {kind}"

        def named(client: Client) -> None:
            run = by_proxy(client, strict, f"bi:{key}").run("login", client.hows[-1], key, 443, certificates)
            assert run["ok"], run

        for client in clients(tools):
            dbt = client.name.startswith("dbt")
            checks.check(f"{client.name}: session, stage and renewal through its proxy setting", lambda: through_stage(client, dbt))
            checks.check(
                f"{client.name} shows: wrong key",
                lambda: told(client, wrong, "key_wrong", "the client key is not known to this gate"),
            )
            checks.check(f"{client.name}: client name and key as the proxy's user", lambda: named(client))
            checks.check(
                f"{client.name} shows: the proxy's key and the login's are of two clients",
                lambda: told(client, other, "client_mixed", "two clients are named", strict, f"bi:{key}"),
            )
            checks.check(f"{client.name}: another account is refused", lambda: turned_away(client, proxy, OTHER, "host_unlisted"))
            checks.check(f"{client.name}: without its name where that is asked for", lambda: turned_away(client, strict, ACCOUNT, "proxy_key_missing"))

        for target, status, code in [
            ("169.254.169.254:80", 403, "PG-316"),
            (f"127.0.0.1:{gate.admin}", 403, "PG-316"),
            (f"localhost:{gate.port}", 403, "PG-316"),
            (f"{ACCOUNT}:8443", 403, "PG-316"),
            (f"x.{ACCOUNT}:443", 403, "PG-316"),
            (f"{STAGE}:22", 403, "PG-316"),
            (f"{STAGE}:{dead}", 502, "PG-208"),
            (ACCOUNT, 403, "PG-132"),
        ]:
            checks.check(f"CONNECT {target.rpartition(':')[0] or target}, {code}", lambda: refused(proxy, target, status, code))

        def old_client() -> None:
            stream, answer = connect(proxy, f"{ACCOUNT}:443", version="1.0")
            assert b" 200 " in answer, answer
            context = ssl.create_default_context(cafile=str(certificates.ca))
            with context.wrap_socket(stream, server_hostname=ACCOUNT) as tls:
                same(tls.getpeercert()["subjectAltName"], (("DNS", ACCOUNT),))
                tls.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
                assert tls.recv(4096).startswith(b"HTTP/1.1 404"), "the gate answers behind it"

        checks.check("HTTP/1.0 without Host is served, and the certificate is for the account alone", old_client)

        def pac() -> None:
            done = subprocess.run([world.BINARY, "proxy", "pac", "--config", gate.file_for_commands(), "--listener", "proxy"],
                                  capture_output=True, text=True, check=True)  # fmt: skip
            script = f"{done.stdout};console.log(JSON.stringify(['{ACCOUNT.upper()}','{STAGE}','x.test'].map(h => FindProxyForURL('https://'+h+'/', h))))"
            ran = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
            same(ran.stdout.strip(), f'["PROXY 127.0.0.1:{proxy}","DIRECT","DIRECT"]')

        checks.check("the PAC file sends the account to the gate and nothing else", pac)
        checks.check("no tunnel is left open", lambda: world.wait_for(lambda: metric(gate, "patgate_tunnels_open") == 0))
        checks.check("no client key reached Snowflake", lambda: same(standin.ask("seen")["leaks"], 0))
        checks.check("and ends with 0", lambda: same(gate.stop(), 0))
        standin.kill()
        world.hunt(checks, place, {"PAT": PAT, "key": key, "other key": other})
    checks.end()


if __name__ == "__main__":
    main()
