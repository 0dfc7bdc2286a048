"""A forward proxy that makes tunnels with CONNECT for those who have its user and password (RFC 9110, section 9.3.6)."""

import base64
import contextlib
import select
import socket
import threading

import world


class Tunnels:
    """Counts the tunnels that it made, and the names that they led to."""

    def __init__(self, login: str):
        self.wanted = b"basic " + base64.b64encode(login.encode())
        self.made, self.names = 0, set()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.socket.close()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self.socket.accept()
                threading.Thread(target=self.tunnel, args=(stream,), daemon=True).start()

    def tunnel(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.settimeout(world.PATIENCE)
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            first, *lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")
            headers = dict(line.lower().split(b": ", 1)[:1] + line.split(b": ", 1)[1:] for line in lines)
            given = headers.get(b"proxy-authorization", b"").strip()
            if given[:6].lower() + given[6:] != self.wanted:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n")
                return
            host, _, port = first.split()[1].decode().rpartition(":")
            self.made += 1
            self.names.add(host)
            with socket.create_connection((host, int(port)), world.PATIENCE) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self.copy(client, server)

    @staticmethod
    def copy(client: socket.socket, server: socket.socket) -> None:
        while True:
            ready, _, _ = select.select([client, server], [], [], world.PATIENCE)
            for one in ready:
                piece = one.recv(65536)
                if not piece:
                    return
                (server if one is client else client).sendall(piece)
