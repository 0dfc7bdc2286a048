"""The life of a gate as its operator leads it: changes, service managers, restarts, upgrades.

    python3 life.py TOOLS
"""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import programs
import world
from world import BINARY, Certificates, Checks, Gate, StandIn

USER = "BI_SERVICE"
PAT = "canary-pat-life"
RESTARTS = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Managed(Gate):
    """A gate under a service manager: it is given its sockets (`sd_listen_fds(3)`) and tells its phases (`sd_notify(3)`)."""

    def __init__(self, place: Path, name: str, config: str, sockets: list[socket.socket], phases: "Phases"):
        fds = [listening.fileno() for listening in sockets]

        def arrange():
            # First out of the way, then where they belong.
            spare = [os.dup2(fd, 100 + number) for number, fd in enumerate(fds)]
            for number, fd in enumerate(spare):
                os.dup2(fd, 3 + number, inheritable=True)
                os.close(fd)

        # LISTEN_PID has to name the process itself, which the shell becomes.
        self.before = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"]
        self.options = {"preexec_fn": arrange, "close_fds": False}
        super().__init__(place, name, config, env={"LISTEN_FDS": str(len(fds)), "NOTIFY_SOCKET": str(phases.path)})


class Phases:
    """What a service manager is told."""

    def __init__(self, path: Path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(world.PATIENCE)

    def next(self) -> str:
        return self.socket.recv(4096).decode().split("\n")[0]


class Load:
    """Logins and queries, each on a connection of its own, until told to stop. It counts, keeps what failed, and the longest."""

    def __init__(self, port: int, certificates: Certificates, key: str, threads: int = 3):
        self.port, self.key, self.done, self.failures, self.longest = port, key, 0, [], 0.0
        self.context = ssl.create_default_context(cafile=str(certificates.ca))
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def ask(self, path: str, body: dict, token: str = "") -> dict:
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=world.PATIENCE, context=self.context)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f'Snowflake Token="{token}"'} if token else {})
        connection.request("POST", path, json.dumps(body), headers)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert answer["success"], answer
        return answer["data"]

    def run(self) -> None:
        login = {"data": {"LOGIN_NAME": "u", "PASSWORD": self.key, "CLIENT_APP_ID": "test"}}
        while not self.stop.is_set():
            start = time.monotonic()
            try:
                token = self.ask("/session/v1/login-request?requestId=1", login)["token"]
                for _ in range(5):
                    assert self.ask("/queries/v1/query-request", {"sqlText": "select 7"}, token)["rowset"] == [["7"]]
                self.ask("/session?delete=true", {}, token)
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


def main() -> None:
    tools = Path(sys.argv[1])
    checks = Checks("life")
    with world.place() as name:
        place = Path(name)
        certificates = Certificates(place)
        key, key_hash = world.new_key("bi")
        late, late_hash = world.new_key("late")
        (place / "pat").write_text(PAT + "\n")
        standin = StandIn(place, certificates)
        standin.ask("pat", {"user": USER, "pat": PAT, "state": "active"})
        config = world.base(certificates, standin.port) + f"""
[reload]
watch = "200ms"
[stores.local.file]
path = "."
[credentials.bi]
account = "prod"
user = "{USER}"
pat = "local:pat"
[clients.bi]
credential = "bi"
keys = ["{key_hash}"]
"""
        more = f'[clients.late]\ncredential = "bi"\nkeys = ["{late_hash}"]\n'
        changes(checks, place, certificates, config, more, key, late)
        managed(checks, place, certificates, config, more, key, late, tools)
        upgrade(checks, place, certificates, config, key)
        checks.check("no client key reached Snowflake", lambda: world.same(standin.ask("seen")["leaks"], 0))
        standin.kill()
        world.hunt(checks, place, {"PAT": PAT, "key": key, "late key": late, "session token": "ver:3-hint:1-session"})
    checks.end()


def changes(checks: Checks, place: Path, certificates: Certificates, config: str, more: str, key: str, late: str) -> None:
    admin = free_port()
    config = config.replace('[admin]\naddress = "127.0.0.1:0"', f'[admin]\naddress = "127.0.0.1:{admin}"')
    gate = Gate(place, "gate-changes", config)
    gate.wait_ready()
    admitted = lambda which: world.login(gate, certificates.ca, which)["success"]  # noqa: E731

    def by_file():
        assert admitted(key) and not admitted(late)
        gate.file.write_text(config + more)
        world.wait_for(lambda: admitted(late))
        line = gate.logged(lambda line: line.get("change") == "clients.late added")
        assert line["audit"] is True, line

    def broken():
        gate.file.write_text(config.replace("[clients.bi]", "[clients.bi]\nnonsense = 1"))
        line = gate.logged(lambda line: line["message"] == "the configuration was not reloaded")
        assert "this key is not known" in line["cause"] and line["level"] == "ERROR" and line["next_step"], line
        assert admitted(key) and admitted(late), "the old configuration serves"
        (place / "half.pem").write_text("-----BEGIN CERTIFICATE-----\n")
        gate.file.write_text(config.replace(str(certificates.pem), str(place / "half.pem")))
        gate.logged(lambda line: "half.pem" in line.get("cause", ""))
        assert admitted(key) and admitted(late)
        gate.file.write_text(config)
        world.wait_for(lambda: not admitted(late))
        metrics = http.client.HTTPConnection("127.0.0.1", admin, timeout=world.PATIENCE)
        metrics.request("GET", "/metrics")
        assert 'patgate_config_reloads_total{outcome="refused"} 2' in metrics.getresponse().read().decode()

    def by_signal_and_by_word():
        gate.file.write_text(config.replace('watch = "200ms"', 'watch = "0s"'))
        gate.logged(lambda line: line.get("change") == "reload changed")
        quiet = config.replace('watch = "200ms"', 'watch = "0s"')
        gate.file.write_text(quiet + more)
        assert not admitted(late)
        gate.process.send_signal(signal.SIGHUP)
        world.wait_for(lambda: admitted(late))
        gate.file.write_text(quiet)
        said = world.run(BINARY, "reload", "--config", gate.file)
        assert said.strip() == "clients.late removed" and not admitted(late), said
        gate.file.write_text("junk")
        done = subprocess.run([BINARY, "reload", "--config", gate.file], capture_output=True, text=True)
        assert done.returncode == 4 and "this is not valid TOML" in done.stderr, done

    checks.check("a changed file is taken up by itself", by_file)
    checks.check("a broken one leaves the old in use, says so, and is taken up when it is mended", broken)
    checks.check("SIGHUP and `patgate reload` take it up at once", by_signal_and_by_word)
    checks.check("SIGTERM ends it with 0", lambda: world.same(gate.stop(), 0))


def managed(checks: Checks, place: Path, certificates: Certificates, config: str, more: str, key: str, late: str, tools: Path) -> None:
    sockets = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(2)]
    port, admin = (listening.getsockname()[1] for listening in sockets)
    phases = Phases(place / "notify")
    gates = [Managed(place, "gate-managed", config, sockets, phases)]

    def told():
        assert (gates[0].port, gates[0].admin) == (port, admin)
        assert phases.next() == "READY=1" and gates[0].ready() == 200
        gates[0].file.write_text(config + more)
        gates[0].process.send_signal(signal.SIGHUP)
        assert [phases.next(), phases.next()] == ["RELOADING=1", "READY=1"]
        assert world.login(gates[0], certificates.ca, late)["success"]
        # The files are also looked at: what that does is told to nobody.
        gates[0].file.write_text(config)

    checks.check("systemd's sockets are taken, and it is told when the gate is ready, reloads and stops", told)

    def restarted():
        load = Load(port, certificates, key)
        runs = [(client, client.start("session", client.hows[0], key, port, certificates)) for client in drivers(tools)]
        for number in range(RESTARTS):
            assert gates[-1].stop() == 0
            world.wait_for(lambda: phases.next() == "STOPPING=1")
            gates.append(Managed(place, f"gate-managed-{number}", config, sockets, phases))
            assert phases.next() == "READY=1"
        for client, running in runs:
            programs.whole_session(client.answer(running), dbt=False)
        print(f"       {RESTARTS} restarts: {load.end(100)}")

    checks.check(f"{RESTARTS} restarts on systemd's sockets: no request fails, nor JDBC's or Python's whole session", restarted)
    checks.check("and the last ends with 0", lambda: world.same(gates[-1].stop(), 0))


def drivers(tools: Path) -> list:
    wanted = ("snowflake-connector-python 5", "snowflake-jdbc")
    return [client for client in programs.clients(tools, wanted)]


def upgrade(checks: Checks, place: Path, certificates: Certificates, config: str, key: str) -> None:
    port = free_port()
    config = config.replace('[listen]\naddress = "127.0.0.1:0"', f'[listen]\nreuse_port = true\nnotice = "100ms"\naddress = "127.0.0.1:{port}"')
    gates = [Gate(place, "gate-upgrade", config)]

    def upgraded():
        load = Load(port, certificates, key)
        for number in range(RESTARTS):
            new = Gate(place, f"gate-upgrade-{number}", config)
            new.wait_ready()
            old = gates[-1]
            old.process.send_signal(signal.SIGTERM)
            world.wait_for(lambda: old.process.poll() is not None or old.ready() == 503)
            assert old.process.wait(world.PATIENCE) == 0
            gates.append(new)
        print(f"       {RESTARTS} upgrades: {load.end(100)}")

    checks.check(f"{RESTARTS} upgrades by a second process on the same port: no request fails", upgraded)
    checks.check("and the last one ends with 0", lambda: world.same(gates[-1].stop(), 0))


if __name__ == "__main__":
    main()
