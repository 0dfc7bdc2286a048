"""Kinds of the proxy way in: a CONNECT that leads nowhere, and logins behind one that fit it not."""

import base64
import http.client
import json
import re
import socket

import world
from load import free_port
from world import Collector, Ground

from matrix.place import LOGIN, Answer, Matrix, Place

ACCOUNT = "localhost:443"


class Told(Answer):
    """A refused CONNECT: plain text, its trace in the sentence."""

    @property
    def text(self) -> str:
        return self.body.decode().strip()

    @property
    def trace(self) -> str:
        return world.TRACE.findall(self.text)[0]


class Silent:
    """A port whose queue is full: it answers nobody."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port = self.socket.getsockname()[1]
        self.waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", self.port))
            self.waiting.append(one)


def rows(matrix: Matrix, ground: Ground, collector: Collector) -> Place:
    ports = {"proxy": free_port(), "strict": free_port()}
    silent, open_ = Silent(), socket.create_server(("127.0.0.1", 0))
    held, away = open_.getsockname()[1], free_port()
    key, key_hash = world.new_key("excel")
    dev_key, dev_hash = world.new_key("dev")
    way = {
        "kind": "connect", "ca": ground.certificates.ca, "ca_key": ground.place / "ca.key", "tunnels": 1,
        "tunnel": [f"127.0.0.1:{port}" for port in (held, away, silent.port)],
    }  # fmt: skip
    place = Place(ground, collector, "proxied", ground.config.but(
        listeners__proxy={**way, "address": f"127.0.0.1:{ports['proxy']}"},
        listeners__strict={**way, "address": f"127.0.0.1:{ports['strict']}", "auth": True},
        accounts__dev={"host": "localhost:8443", "address": f"127.0.0.1:{ground.standin.port}", "ca": ground.certificates.ca},
        credentials__dev={"account": "dev", "user": ground.user, "pat": "local:pat"},
        clients__excel={"credential": "bi", "keys": [key_hash]},
        clients__dev={"credential": "dev", "keys": [dev_hash]},
    ))  # fmt: skip
    basic = lambda user, key: "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()  # noqa: E731

    def ask(target: str, method: str = "CONNECT", listener: str = "proxy") -> Told:
        with socket.create_connection(("127.0.0.1", ports[listener]), world.PATIENCE) as tcp:
            tcp.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            # As a GET: of a refused CONNECT the library reads no body.
            answer = http.client.HTTPResponse(tcp, method="GET")
            answer.begin()
            code = re.match(r"PG-\d{3} ", answer.reason)
            assert code, answer.reason
            return Told(answer.status, answer.headers, answer.read())

    def login(key: str, proxy_user: tuple[str, str]) -> Answer:
        """A login behind a CONNECT that says whose it is."""
        connection = http.client.HTTPSConnection("127.0.0.1", ports["strict"], timeout=world.PATIENCE, context=place.context)
        connection.set_tunnel("localhost", 443, {"Proxy-Authorization": basic(*proxy_user)})
        data = {"LOGIN_NAME": "typed", "CLIENT_APP_ID": "test", "PASSWORD": key}
        connection.request("POST", LOGIN, json.dumps({"data": data}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = Answer(answer.status, answer.headers, answer.read())
        connection.close()
        return found

    matrix.row("proxy_request", place, lambda: ask("http://169.254.169.254/latest", "GET"))
    matrix.row("proxy_key_missing", place, lambda: ask(ACCOUNT, listener="strict"))
    matrix.row("host_unlisted", place, lambda: ask("elsewhere.test:443"))
    matrix.row("host_away", place, lambda: ask(f"127.0.0.1:{away}"))
    matrix.row("host_silent", place, lambda: ask(f"127.0.0.1:{silent.port}"))
    matrix.row("client_mixed", place, lambda: login(key, ("bi", ground.key)))
    matrix.row("account_other", place, lambda: login(dev_key, ("dev", dev_key)))

    def full() -> Told:
        with socket.create_connection(("127.0.0.1", ports["proxy"]), world.PATIENCE) as first:
            first.sendall(f"CONNECT 127.0.0.1:{held} HTTP/1.1\r\n\r\n".encode())
            assert b" 200 " in first.recv(4096)
            return ask(f"127.0.0.1:{held}")

    matrix.row("tunnels_full", place, full)

    def named() -> None:
        line = place.logged("host_unlisted")
        world.same(line["host"], "elsewhere.test:443")
        assert "no way to elsewhere.test:443" in line["message"], line
        told = world.run(world.BINARY, "explain", line["trace"], "--state", place.state)
        assert "CONNECT to elsewhere.test:443" in told, told

    matrix.checks.check("a refused CONNECT is told with its host, in the log and in explain", named)
    return place
