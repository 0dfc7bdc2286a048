"""Load on a gate, as many small clients make it."""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time

import world
from world import Certificates


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Load:
    """Logins and queries, each on a connection of its own, until told to stop. It counts, keeps what failed, and the longest.

    One that is patient sends again what broke with its connection, as drivers do; the gate's own answers are final.
    """

    def __init__(self, port: int, certificates: Certificates, key: str, threads: int = 3, patient: bool = False):
        self.port, self.key, self.done, self.failures, self.longest = port, key, 0, [], 0.0
        self.patient, self.broken = patient, 0
        self.context = ssl.create_default_context(cafile=str(certificates.ca))
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def ask(self, path: str, body: dict, token: str = "") -> dict:
        end = time.monotonic() + world.PATIENCE
        while True:
            try:
                status, answer = self.send(path, body, token)
                if status != 429:
                    break
                time.sleep(0.2)  # a limit: drivers wait and send it again
            except (OSError, http.client.HTTPException, ValueError):
                if not self.patient or time.monotonic() > end:
                    raise
                self.broken += 1
                time.sleep(0.05)  # a killed process takes a moment to come back
        assert answer["success"], answer
        return answer["data"]

    def send(self, path: str, body: dict, token: str) -> tuple[int, dict]:
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=world.PATIENCE, context=self.context)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f'Snowflake Token="{token}"'} if token else {})
        connection.request("POST", path, json.dumps(body), headers)
        with contextlib.closing(connection):
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def log_out(self, token: str) -> None:
        """Where it was sent again it may find the session gone."""
        before = self.broken
        try:
            self.ask("/session?delete=true", {}, token)
        except AssertionError as error:
            if self.broken == before or "390104" not in str(error):
                raise

    def run(self) -> None:
        login = {"data": {"LOGIN_NAME": "u", "PASSWORD": self.key, "CLIENT_APP_ID": "test"}}
        while not self.stop.is_set():
            start = time.monotonic()
            try:
                token = self.ask("/session/v1/login-request?requestId=1", login)["token"]
                for _ in range(5):
                    assert self.ask("/queries/v1/query-request", {"sqlText": "select 7"}, token)["rowset"] == [["7"]]
                self.log_out(token)
            except (OSError, http.client.HTTPException, AssertionError, ValueError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            self.done += 7
            self.longest = max(self.longest, time.monotonic() - start)

    def end(self, least: int) -> str:
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, f"{len(self.failures)} failed of {self.done}, such as {self.failures[:3]}"
        assert self.done >= least, self.done
        return f"{self.done} requests, the longest round of 7 took {self.longest:.1f} s"
