"""The life of a gate as its operator leads it: changes, service managers, restarts, upgrades.

    python3 life.py TOOLS
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import programs
import world
from load import Load, free_port
from world import BINARY, Checks, Config, Gate, Ground

USER = "BI_SERVICE"
PAT = "canary-pat-life"
RESTARTS = 20


class Managed(Gate):
    """A gate under a service manager: it is given its sockets (`sd_listen_fds(3)`) and tells its phases (`sd_notify(3)`)."""

    def __init__(self, place: Path, name: str, config: Config, sockets: list[socket.socket], phases: "Phases"):
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


def main() -> None:
    tools = Path(sys.argv[1])
    checks = Checks("life")
    with world.place() as name:
        place = Path(name)
        ground = Ground(place, USER, PAT)
        late, late_hash = world.new_key("late")
        config = ground.config.but(reload={"watch": "200ms"})
        more = config.but(clients__late={"credential": "bi", "keys": [late_hash]})
        changes(checks, ground, config, more, late)
        managed(checks, ground, config, more, late, tools)
        upgrade(checks, ground, config)
        ground.end(checks, late_key=late)
    checks.end()


def changes(checks: Checks, ground: Ground, config: Config, more: Config, late: str) -> None:
    admin = free_port()
    at = {"address": f"127.0.0.1:{admin}"}
    config, more = config.but(admin=at), more.but(admin=at)
    gate = Gate(ground.place, "gate-changes", config)
    gate.wait_ready()
    admitted = lambda which=None: ground.login(gate, which)["success"]  # noqa: E731

    def by_file():
        assert admitted() and not admitted(late)
        gate.change(more)
        world.wait_for(lambda: admitted(late))
        line = gate.logged(lambda line: line.get("change") == "clients.late added")
        assert line["why"] == "a file has changed", line

    def broken():
        gate.change(config.but(clients__bi={"nonsense": 1}))
        line = gate.logged(lambda line: line["message"] == "the configuration was not reloaded")
        assert "this key is not known" in line["cause"] and line["level"] == "ERROR" and line["next_step"], line
        assert admitted() and admitted(late), "the old configuration serves"
        half = ground.place / "half.pem"
        half.write_text("-----BEGIN CERTIFICATE-----\n")
        gate.change(config.but(listen={"certificate": half}))
        gate.logged(lambda line: "half.pem" in line.get("cause", ""))
        assert admitted() and admitted(late)
        gate.change(config)
        world.wait_for(lambda: not admitted(late))
        metrics = http.client.HTTPConnection("127.0.0.1", admin, timeout=world.PATIENCE)
        metrics.request("GET", "/metrics")
        assert 'patgate_config_reloads_total{outcome="refused"} 2' in metrics.getresponse().read().decode()

    def by_signal_and_by_word():
        quiet = {"watch": "0s"}
        gate.change(config.but(reload=quiet))
        gate.logged(lambda line: line.get("change") == "[reload] changed")
        gate.change(more.but(reload=quiet))
        assert not admitted(late)
        gate.process.send_signal(signal.SIGHUP)
        world.wait_for(lambda: admitted(late))
        gate.change(config.but(reload=quiet))
        said = world.run(BINARY, "reload", "--config", gate.file)
        assert said.strip() == "clients.late removed" and not admitted(late), said
        gate.change("junk")
        done = subprocess.run([BINARY, "reload", "--config", gate.file], capture_output=True, text=True)
        assert done.returncode == 4 and "a key has no value" in done.stderr, done

    checks.check("a changed file is applied without a command", by_file)
    checks.check("a broken one leaves the old in use, says so, and is applied when it is mended", broken)
    checks.check("SIGHUP and `patgate reload` apply it at once", by_signal_and_by_word)
    checks.check("SIGTERM ends it with 0", lambda: world.same(gate.stop(), 0))


def managed(checks: Checks, ground: Ground, config: Config, more: Config, late: str, tools: Path) -> None:
    place, certificates, key = ground.place, ground.certificates, ground.key
    sockets = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(2)]
    port, admin = (listening.getsockname()[1] for listening in sockets)
    phases = Phases(place / "notify")
    gates = [Managed(place, "gate-managed", config, sockets, phases)]

    def told():
        assert (gates[0].port, gates[0].admin) == (port, admin)
        assert phases.next() == "READY=1" and gates[0].ready() == 200
        gates[0].change(more)
        gates[0].process.send_signal(signal.SIGHUP)
        assert [phases.next(), phases.next()] == ["RELOADING=1", "READY=1"]
        assert ground.login(gates[0], late)["success"]
        # The files are also looked at: what that does is told to nobody.
        gates[0].change(config)

    checks.check("systemd's sockets are used, and it is told when the gate is ready, reloads and stops", told)

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


def upgrade(checks: Checks, ground: Ground, config: Config) -> None:
    # Without it Linux resets what comes between the last accept and the close; an operator sets it too.
    Path("/proc/sys/net/ipv4/tcp_migrate_req").write_text("1")
    port = free_port()
    config = config.but(listen={"reuse_port": True, "notice": "100ms", "address": f"127.0.0.1:{port}"})
    gates = [Gate(ground.place, "gate-upgrade", config)]

    def upgraded():
        load = Load(port, ground.certificates, ground.key)
        for number in range(RESTARTS):
            new = Gate(ground.place, f"gate-upgrade-{number}", config)
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
