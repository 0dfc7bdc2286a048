"""The fault matrix's ground: a gate and how to talk to it, and the comparison of all that tells of a failure."""

import http.client
import json
import re
import socket
import ssl
import subprocess
from contextlib import closing

import world
from world import TRACE, Checks, Collector, Config, Gate, Ground, same, wait_for

LOGIN = "/session/v1/login-request?requestId=0ce9eb56-821d-4ca9-a774-04ae89a0cf5a"


class Answer:
    """What a client got."""

    def __init__(self, status: int, headers, body: bytes):
        self.status, self.headers, self.body = status, headers, body
        self.json = json.loads(body) if body[:1] == b"{" else {}

    @property
    def text(self) -> str:
        return self.json.get("message") or ""

    @property
    def trace(self) -> str:
        return self.headers["x-patgate-trace"]


class Place:
    """A gate, and how to talk to it."""

    def __init__(self, ground: Ground, collector: Collector, name: str, config: Config):
        self.ground = ground
        config = config.but(traces={"otlp": f"http://127.0.0.1:{collector.port}"},
                            metrics={"otlp": f"http://127.0.0.1:{collector.port}", "every": "1s"}, state={"directory": f"state-{name}"})
        self.gate = Gate(ground.place, f"gate-{name}", config)
        self.state = ground.place / f"state-{name}"
        self.context = ssl.create_default_context(cafile=str(ground.certificates.ca))

    def ask(self, method: str, path: str, body: "bytes | dict | None" = None, headers: dict | None = None, source: str = "127.0.0.1",
            port: int = 0, context: ssl.SSLContext | None = None) -> Answer:  # fmt: skip
        connection = http.client.HTTPSConnection(
            "localhost", port or self.gate.port, timeout=world.PATIENCE + 30, context=context or self.context, source_address=(source, 0)
        )
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        found = Answer(answer.status, answer.headers, answer.read())
        connection.close()
        return found

    def login(self, key: str | None, query: str = "", source: str = "127.0.0.1", **more) -> Answer:
        data = {"LOGIN_NAME": "typed", "CLIENT_APP_ID": "test", **({"PASSWORD": key} if key else {}), **more}
        return self.ask("POST", LOGIN + query, {"data": data}, source=source)

    def token(self, key: str, part: str = "token") -> str:
        answer = self.login(key)
        assert answer.json.get("success"), answer.body
        return answer.json["data"][part]

    def session(self, method: str, path: str, token: str, body: dict | None = None, source: str = "127.0.0.1") -> Answer:
        return self.ask(method, path, body, {"Authorization": f'Snowflake Token="{token}"'}, source)

    def raw(self, bytes_: bytes) -> Answer:
        """A request that no HTTP library writes."""
        with socket.create_connection(("127.0.0.1", self.gate.port)) as tcp, self.context.wrap_socket(tcp, server_hostname="localhost") as tls:
            tls.sendall(bytes_)
            answer = http.client.HTTPResponse(tls)
            answer.begin()
            return Answer(answer.status, answer.headers, answer.read())

    def tls(self, context: ssl.SSLContext, port: int = 0, source: str = "127.0.0.1") -> None:
        """A handshake that one of the two refuses; TLS 1.3 tells the client only when it reads."""
        try:
            with socket.create_connection(("127.0.0.1", port or self.gate.port), source_address=(source, 0)) as tcp:
                with context.wrap_socket(tcp, server_hostname="localhost") as tls:
                    tls.recv(1)
        except (OSError, ssl.SSLError):
            pass

    def kept(self) -> http.client.HTTPSConnection:
        """A connection for several requests; `with` closes it."""
        return closing(http.client.HTTPSConnection("localhost", self.gate.port, timeout=world.PATIENCE, context=self.context, source_address=("127.0.0.1", 0)))

    def over(self, connection: http.client.HTTPSConnection, method: str, path: str, token: str) -> Answer:
        connection.request(method, path, b"", {"Content-Type": "application/json", "Authorization": f'Snowflake Token="{token}"'})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())

    def mark(self) -> int:
        """How many lines the log has."""
        return len(self.gate.lines())

    def logged(self, kind: str, trace: str | None = None, since: int = 0) -> dict:
        """The line of a failure, written after the mark `since`."""
        return self.gate.logged(lambda line: line.get("kind") == kind and "code" in line and trace in (None, line["trace"]), since)

    def explain(self, *words: str) -> dict:
        command = [str(world.BINARY), "explain", *words, "--json", "--state", str(self.state)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise LookupError(done.stderr)
        return json.loads(done.stdout)

    def metrics(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.gate.admin, timeout=world.PATIENCE)
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


class Matrix:
    """Makes failures, and holds what is told of each against the others."""

    def __init__(self, checks: Checks, collector: Collector):
        self.checks, self.collector, self.told = checks, collector, {}

    def row(self, kind: str, place: Place, make) -> None:
        """`make` makes the failure and returns what the client got; None where it got nothing but a closed connection."""

        def test() -> None:
            since = place.mark()
            got = make()
            # An answer names its trace; it may be older than this.
            self.compare(kind, place, got, 0 if got else since)

        self.checks.check(f"{kind} is told alike everywhere", test)

    def compare(self, kind: str, place: Place, got: Answer | None, since: int = 0) -> None:
        line = place.logged(kind, got.trace if got else None, since)
        page = place.explain(kind)
        trace = line["trace"]
        if got is not None:
            same(got.trace, trace)
            parts = [part.strip() for part in page["message"].split("{}")]
            # Where Snowflake's own refusal is passed on, its text stands there, with our trace id.
            passed = line.get("snowflake_text") if kind in ("role_refused", "place_refused", "request_refused", "renewal_refused") else None
            assert (passed in got.text) if passed else all(part in got.text for part in parts), (got.text, page["message"])
            assert TRACE.findall(got.text) == [trace], got.text
        story = wait_for(lambda: place.explain(trace))
        fault = story["fault"]
        told = {
            "log": (line["kind"], line["code"], line["owner"], line["next_step"]),
            "page": (page["kind"], page["code"], page["owner"], page["next_step"]),
            "explain": (fault["kind"], fault["code"], fault["owner"], fault["next_step"]),
        }
        assert len(set(told.values())) == 1, told
        same(fault["client_step"], page["client_step"])
        same(fault["cause"], line.get("cause", ""))
        same(fault.get("likely"), line.get("likely"))
        span = wait_for(lambda: self.root(trace, kind))
        attributes = span["attributes"]
        said = [attributes["patgate.fault." + name] for name in ("code", "owner", "next_step")]
        same(said, [line["code"], line["owner"], line["next_step"]])
        same((span["status"]["code"], span["status"].get("message", "")), (2, line.get("cause", "")))
        metrics = place.metrics()
        counted = re.search(rf'patgate_requests_failed_total\{{kind="{kind}",owner="{line["owner"]}"\}} [1-9]', metrics)
        refused = re.search(rf'patgate_connections_refused_total\{{reason="{kind}"\}} [1-9]', metrics)
        assert counted or refused, "no metric"
        self.told[kind] = line["code"]

    def root(self, trace: str, kind: str) -> dict | None:
        for span in self.collector.trace(trace):
            if span["attributes"].get("error.type") == kind and span.get("kind") == 2:
                return span
        return None
