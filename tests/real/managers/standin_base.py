"""What azure_standin.py and gcp_standin.py have in common: JSON over HTTP, the test's own controls, and the start."""

import argparse
import json
import ssl
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa


def new_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


PROVIDER, STRANGER = new_key(), new_key()  # the platform that issues workload identities, and somebody else


class Answer(Exception):
    """An answer; raised where it ends the request early."""

    def __init__(self, status, body=None, headers=None):
        self.status, self.body, self.headers = status, body, headers or {}


class State:
    """What every stand-in knows besides its secrets. A subclass adds its own to `reset`."""

    def __init__(self):
        self.lock = threading.Lock()
        self.reset()

    def reset(self):
        self.lifetime = 3600  # seconds, of access tokens from now on
        self.forbidden = set()  # names of secrets; "*" is all
        self.fails = {}  # where: what the test has ordered
        self.counters = Counter()

    def control(self, what, body):
        """The controls that both stand-ins have."""
        match what:
            case "counters":
                return dict(self.counters)
            case "reset":
                self.reset()
            case "lifetime":
                self.lifetime = body["seconds"]
            case "permission":
                (self.forbidden.discard if body["allowed"] else self.forbidden.add)(body.get("name", "*"))
            case "fail":
                self.fails[body["at"]] = {"next": 1, "status": 429, **body}
            case _:
                raise Answer(404, {"standin": f"no control {what}"})
        return {}


def workload_token(body, issuer, subject, audience):
    """The JWT that the test's platform gives a workload, sound or with the fault that the test asks for."""
    now = int(time.time())
    claims = {"iss": body.get("issuer", issuer), "sub": body.get("subject", subject)}
    claims |= {"aud": body.get("audience", audience), "iat": now - 60, "nbf": now - 60}
    claims |= {"exp": now + body.get("expires_in", 3600)}
    return jwt.encode(claims, STRANGER if body.get("bad_signature") else PROVIDER, "RS256", {"kid": "provider"})


class Handler(BaseHTTPRequestHandler):
    """A subclass has `state`, `route`, `control` and `error(status, text)` in its service's own form."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm, wbufsize, timeout = True, -1, 60

    def log_message(self, *_):
        pass

    def handle_any(self):
        url = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        self.parts = unquote(url.path).strip("/").split("/")
        self.raw = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        try:
            with self.state.lock:
                if self.parts[0] == "standin":
                    answer = Answer(200, self.control(self.parts[-1], self.json()))
                else:
                    answer = self.route()
        except Answer as early:
            answer = early
        except Exception as error:  # a fault of the stand-in's own must not look like the service's
            answer = Answer(599, {"standin": repr(error)})
        time.sleep(answer.headers.pop("delay", 0))
        body = answer.body if isinstance(answer.body, str) else "" if answer.body is None else json.dumps(answer.body)
        self.send_response(answer.status)
        kind = "text/plain" if isinstance(answer.body, str) else "application/json; charset=utf-8"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body.encode())), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def json(self):
        try:
            body = json.loads(self.raw or "{}")
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise self.error(400, "The body is not a JSON object.")
        return body

    def form(self):
        return {name: values[-1] for name, values in parse_qs(self.raw).items()}

    def arrived(self, where):
        """Counts a request; a failure that the test has ordered comes before anything is looked at."""
        self.state.counters[where] += 1
        fail = self.state.fails.get(where)
        if fail and fail["next"] > 0:
            fail["next"] -= 1
            answer = self.error(fail["status"], "ordered by the test")
            if "retry_after" in fail:
                answer.headers["Retry-After"] = str(fail["retry_after"])
            answer.headers["delay"] = fail.get("delay", 0)
            raise answer


def serve(service, metadata, option):
    """Prints `ready PORT PLAINPORT` and serves until it is killed."""
    options = argparse.ArgumentParser()
    options.add_argument("--cert", required=True)
    options.add_argument("--key", required=True)
    options.add_argument(option, dest="plain", default="127.0.0.1:0", metavar="HOST:PORT")
    options = options.parse_args()
    host, _, port = options.plain.rpartition(":")
    plain = ThreadingHTTPServer((host, int(port)), metadata)
    tls = ThreadingHTTPServer(("127.0.0.1", 0), service)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.cert, options.key)
    # The handshake belongs to the connection's own thread, or one silent client would hold up all.
    tls.socket = context.wrap_socket(tls.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=plain.serve_forever, daemon=True).start()
    print("ready", tls.server_port, plain.server_port, flush=True)
    tls.serve_forever()
