"""A strict stand-in for Snowflake: fakesnow answers SQL, this adds the rest.

fakesnow takes any login and knows no renewal, heartbeat or telemetry.  Here a
login needs a current PAT, every other request a token that was issued here,
and no request may carry a client key of the gate.

    select 'standin:expire'    makes the session token that asked expire

Prints `ready PORT` once it listens.  Runs in the fakesnow environment.
"""

import argparse
import base64
import gzip
import json
import secrets
import socket
import sys
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow
import uvicorn
from fakesnow.server import app as fakesnow
from starlette.requests import Request
from starlette.responses import Response

KEY_MARK = b"pgk_"  # how the gate's own client keys begin
SESSION_SECONDS, MASTER_SECONDS = 3600, 14400


@dataclass
class Session:
    inner: str  # fakesnow's token: it stays when ours are renewed
    token: str = ""
    master: str = ""
    expired: bool = False
    id: int = field(default_factory=lambda: secrets.randbits(53))

    def renew(self) -> None:
        self.token = f"session-{secrets.token_urlsafe(90)}"
        self.master = f"master-{secrets.token_urlsafe(90)}"
        self.expired = False


def success(data=None) -> tuple[int, bytes]:
    answer = {"data": data, "code": None, "message": None, "success": True}
    return 200, json.dumps(answer).encode()


def failure(code: str, message: str, data=None) -> tuple[int, bytes]:
    answer = {"data": data, "code": code, "message": message, "success": False, "headers": None}
    return 200, json.dumps(answer).encode()


def plain(value) -> str | None:
    """One value as a JSON row set holds it: always text."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, date):
        return str((value - date(1970, 1, 1)).days)
    if isinstance(value, (dict, list, bytes)):
        raise TypeError(f"no JSON form for {type(value)} here")
    return str(value)


def as_json(body: bytes) -> bytes:
    """Turns an Arrow answer into rows of text."""
    answer = json.loads(body)
    data = answer.get("data") or {}
    arrow = data.pop("rowsetBase64", None)
    if arrow is None:
        return body
    columns = []
    if arrow:
        table = pyarrow.ipc.open_stream(base64.b64decode(arrow)).read_all()
        columns = [[plain(value) for value in column.to_pylist()] for column in table.columns]
    data["queryResultFormat"] = "json"
    data["rowset"] = [list(row) for row in zip(*columns, strict=True)]
    data["returned"] = data["total"]
    return json.dumps(answer).encode()


class Front:
    def __init__(self, flags: argparse.Namespace):
        self.flags = flags
        self.sessions: dict[str, Session] = {}  # by every token ever issued
        self.masters: dict[str, Session] = {}

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return await fakesnow(scope, receive, send)
        request = Request(scope, receive)
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        heads = [part for pair in scope["headers"] for part in pair]
        if any(KEY_MARK in part for part in (body, scope["query_string"], *heads)):
            print(f"LEAK {request.method} {request.url.path}", file=sys.stderr, flush=True)
            status, answer = 500, b'{"success":false,"message":"client key at the upstream"}'
        else:
            status, answer = await self.answer(request, body)
        if self.flags.verbose:
            print(request.method, request.url.path, status, answer[:300], file=sys.stderr)
        await Response(answer, status, media_type="application/json")(scope, receive, send)

    async def answer(self, request: Request, body: bytes) -> tuple[int, bytes]:
        path = request.url.path
        if path == "/session/v1/login-request":
            return await self.login(request, json.loads(body))
        head = request.headers.get("authorization", "")
        token = head.removeprefix('Snowflake Token="').removesuffix('"')
        if head != f'Snowflake Token="{token}"':
            return failure("390104", "User must login again to access the service.")
        if path == "/session/token-request":
            return self.renew(token, json.loads(body))
        session = self.sessions.get(token)
        if session is None:
            return failure("390104", "User must login again to access the service.")
        if session.token != token or session.expired:
            return failure("390112", "Your session has expired. Please login again.")
        if path in ("/session/heartbeat", "/telemetry/send"):
            return success()
        if path == "/session" and request.query_params.get("delete"):
            self.forget(session)
        status, answer = await self.inner(request, body, session.inner)
        if path == "/queries/v1/query-request":
            query = json.loads(body)
            if "standin:expire" in query["sqlText"] and not query.get("describeOnly"):
                session.expired = True
            # The Node driver reads no Arrow.
            if self.flags.json or "JavaScript" in request.headers.get("user-agent", ""):
                answer = as_json(answer)
        return status, answer

    def accepts(self, data: dict) -> bool:
        # Read at each login, so that a test can rotate the PAT under way.
        accepted = Path(self.flags.pat_file).read_text().split()
        method = (data.get("AUTHENTICATOR") or "SNOWFLAKE").upper()
        if data.get("LOGIN_NAME") != self.flags.user:
            return False
        if self.flags.accept_password and method == "SNOWFLAKE":
            return data.get("PASSWORD") in accepted
        return method == "PROGRAMMATIC_ACCESS_TOKEN" and data.get("TOKEN") in accepted

    async def login(self, request: Request, body: dict) -> tuple[int, bytes]:
        if not self.accepts(body["data"]):
            data = {"nextAction": "RETRY_LOGIN", "authnMethod": "PAT", "signInOptions": {}}
            return failure("394400", "Programmatic access token is invalid.", data)
        wanted = body["data"].setdefault("SESSION_PARAMETERS", {})
        status, answer = await self.inner(request, json.dumps(body).encode())
        if status != 200:
            return status, answer
        data = json.loads(answer)["data"]
        session = Session(inner=data["token"])
        session.renew()
        self.remember(session)
        # Snowflake repeats what the client asked for, and JDBC begins its
        # heartbeat only then.
        alive = str(wanted.get("CLIENT_SESSION_KEEP_ALIVE", "")).lower() == "true"
        data["parameters"].append({"name": "CLIENT_SESSION_KEEP_ALIVE", "value": alive})
        data |= {
            "token": session.token,
            "masterToken": session.master,
            "validityInSeconds": SESSION_SECONDS,
            "masterValidityInSeconds": MASTER_SECONDS,
            "sessionId": session.id,
            "displayUserName": self.flags.user,
        }
        return success(data)

    def renew(self, master: str, body: dict) -> tuple[int, bytes]:
        session = self.masters.get(master)
        if session is None or self.sessions.get(body.get("oldSessionToken", "")) is not session:
            return failure("390104", "User must login again to access the service.")
        session.renew()
        self.remember(session)
        return success(
            {
                "sessionToken": session.token,
                "masterToken": session.master,
                "validityInSecondsST": SESSION_SECONDS,
                "validityInSecondsMT": MASTER_SECONDS,
                "sessionId": session.id,
            }
        )

    def remember(self, session: Session) -> None:
        self.sessions[session.token] = self.masters[session.master] = session

    def forget(self, session: Session) -> None:
        for table in (self.sessions, self.masters):
            for token in [t for t, s in table.items() if s is session]:
                del table[token]

    async def inner(self, request: Request, body: bytes, token: str = "") -> tuple[int, bytes]:
        """Asks fakesnow, under its own token and with the body not compressed."""
        dropped = (b"authorization", b"content-encoding", b"content-length")
        headers = [pair for pair in request.scope["headers"] if pair[0] not in dropped]
        if token:
            headers.append((b"authorization", f'Snowflake Token="{token}"'.encode()))
        status, parts = 500, []

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            nonlocal status
            status = message.get("status", status)
            parts.append(message.get("body", b""))

        await fakesnow({**request.scope, "headers": headers}, receive, send)
        return status, b"".join(parts)


class Server(uvicorn.Server):
    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        print("ready", sockets[0].getsockname()[1], flush=True)


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--port", type=int, default=0, help="0 takes a free one")
    flags.add_argument("--cert", required=True)
    flags.add_argument("--key", required=True)
    flags.add_argument("--user", required=True, help="the only LOGIN_NAME")
    flags.add_argument("--pat-file", required=True, help="one accepted PAT a line")
    flags.add_argument("--accept-password", action="store_true", help="for tests without a gate")
    flags.add_argument("--json", action="store_true", help="no Arrow for any driver")
    flags.add_argument("--verbose", action="store_true", help="requests and answers to stderr")
    flags = flags.parse_args()
    listener = socket.create_server(("127.0.0.1", flags.port))
    Server(
        uvicorn.Config(
            Front(flags),
            log_level="warning",
            ssl_certfile=flags.cert,
            ssl_keyfile=flags.key,
        )
    ).run(sockets=[listener])


if __name__ == "__main__":
    main()
