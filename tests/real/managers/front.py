"""A proxy before a secrets manager, which lets everything through or fails in the way that a test asks for.

Every store is reached through one, with TLS and a certificate of the tests' own CA, so that each failure is the same for all
of them: real servers cannot be made to hang, to talk nonsense or to show an expired certificate.
"""

import http.client
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Front:
    """Listens on a port of its own before the plain or TLS server on `port`; `mode` says what happens to a request.

    A mode is a name, or a dictionary {status, body, headers, times} for an answer of the front's own. `needs` is a header, with its
    value, without which a request is refused: for what a real server ignores.
    """

    def __init__(self, certificates, port: int, tls: bool = False, needs: tuple | None = None, pair: tuple | None = None):
        self.backend, self.backend_tls, self.needs = port, tls, needs
        self.certificate, self.key = pair or (certificates.pem, certificates.key)
        self.mode, self.requests, self.port, self.last = "pass", 0, 0, {}
        self.changed, self.held = threading.Event(), threading.Event()
        self.connections = set()
        self.start()

    def start(self) -> None:
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize, disable_nagle_algorithm = -1, True

            def log_message(self, *_):
                pass

            def setup(self):
                super().setup()
                front.connections.add(self.connection)

            def finish(self):
                front.connections.discard(self.connection)
                super().finish()

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                front.requests += 1
                front.last = self.headers
                front.answer(self, body)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.handle_error = lambda *_: None
        self.port = self.server.server_port
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, self.key)
            # The handshake belongs to the connection's own thread, or one silent client would hold up all.
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=lambda: self.server.serve_forever(0.02), daemon=True).start()

    def stop(self) -> None:
        """As if the server were killed: nothing listens, and what was open is reset."""
        self.server.shutdown()
        self.server.server_close()
        self.drop()

    def drop(self) -> None:
        """Closes what is open, so that the next request needs a new connection."""
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def set(self, mode) -> None:
        over, self.changed = self.changed, threading.Event()
        self.mode = mode
        self.held.clear()
        over.set()

    def answer(self, handler, body: bytes) -> None:
        mode, changed = self.mode, self.changed
        if self.needs and handler.headers.get(self.needs[0]) != self.needs[1]:
            mode = {"status": 403, "body": b'{"errors":["permission denied"]}'}
        match mode:
            case "pass":
                status, headers, answer = self.forward(handler, body)
            case {"status": status, **rest}:
                headers, answer = rest.get("headers", {}), rest.get("body", b"{}")
                if rest.get("times") == 1:
                    self.mode = "pass"
            case "hang":
                changed.wait(60)
                return self.end(handler)
            case "hold":
                # What the server says now is told when the mode changes.
                status, headers, answer = self.forward(handler, body)
                self.held.set()
                changed.wait(60)
            case "cut":
                _, _, answer = self.forward(handler, body)
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
                handler.wfile.write(head.encode() + answer[: len(answer) // 2])
                return self.end(handler)
            case "drip":
                handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(600):
                    handler.wfile.write(b" ")
                    handler.wfile.flush()
                    if changed.wait(0.1):
                        break
                return self.end(handler)
            case "garbage":
                handler.wfile.write(b"\x00\x01\xfe\xff no HTTP at all \r\n\r\n")
                return self.end(handler)
            case _:
                raise AssertionError(f"no mode {mode}")
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)

    @staticmethod
    def end(handler) -> None:
        handler.close_connection = True

    def forward(self, handler, body: bytes) -> tuple[int, dict, bytes]:
        if self.backend_tls:
            context = ssl._create_unverified_context()  # the test's own server, a moment ago
            connection = http.client.HTTPSConnection("localhost", self.backend, timeout=30, context=context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.backend, timeout=30)
        try:
            headers = {name: value for name, value in handler.headers.items() if name.lower() not in HOP}
            connection.request(handler.command, handler.path, body or None, headers)
            answer = connection.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in HOP | {"date", "server"}}
            return answer.status, kept, answer.read()
        except OSError as error:
            return 502, {}, str(error).encode()
        finally:
            connection.close()
