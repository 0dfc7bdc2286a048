"""The program for Windows, under Wine: its unit tests, the demo, real drivers of this machine, rotation, reload, its service.

    python3 windows.py TOOLS

Wine is not Windows: it keeps Unix modes in place of access lists, has one account, a DPAPI that hides nothing and a service manager
without recovery. What is checked here is the gate's side of each.
"""

import concurrent.futures
import http.client
import json
import re
import signal
import ssl
import sys
from pathlib import Path
from types import SimpleNamespace

import install
import programs
import world
from load import Load, free_port
from rotate import Files, Rotated
from wine import Wine
from world import Checks, Config, Gate, Ground, same

SERVICE = "patgate-test"
ROTATIONS = 30
DRIVERS = ("snowflake-connector-python 4", "snowflake-connector-python 5", "gosnowflake", "snowflake-sdk", "snowflake-jdbc")
EVENT_LOG = r"HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application"


class Windows:
    """The program, as Wine starts it."""

    def __init__(self, tools: Path):
        self.wine, self.place = Wine(tools), tools / "windows"
        self.program = self.place / "patgate.exe"

    def run(self, *words: object, code: int = 0, stdin: str = "") -> str:
        return "".join(self.wine.run(self.program, *words, code=code, stdin=stdin))

    def json(self, *words: object, code: int = 0) -> dict:
        return json.loads(self.run(*words, "--json", code=code).splitlines()[0])

    def gate(self, place: Path, name: str, config: Config) -> Gate:
        of_windows = type("WindowsGate", (Gate,), {"program": [install.WINE, self.program]})
        gate = of_windows(place, name, config, env=self.wine.env)
        gate.wait_ready()
        return gate


def main() -> None:
    tools = Path(sys.argv[1]).resolve()
    checks = Checks("windows")
    windows = Windows(tools)
    with world.place() as name:
        place = Path(name)
        unit_tests(checks, windows)
        checks.check("the demo: a session, the trace, rotations under load", lambda: demo(windows))
        ground = Ground(place, "BI_SERVICE", "canary-pat-windows")
        foreground(checks, windows, ground, tools)
        secrets(checks, windows, ground)
        service(checks, windows, ground)
        rotation(checks, windows, ground)
        ground.end(checks)
        windows.wine.end()
    checks.end()


def unit_tests(checks: Checks, windows: Windows) -> None:
    """All of the library's, those of Windows alone among them."""

    def test():
        words = (windows.place / "unit.exe", "--test-threads", "2")
        out, errors = windows.wine.run(*words, code=None, cwd=world.ROOT, patience=1200)
        failed = re.findall(r"^    (\S+)$", out, re.MULTILINE)
        result = re.search(r"test result: \w+\. (\d+) passed; (\d+) failed", out)
        assert result, out[-2000:] + errors[-2000:]
        print(f"       {result[1]} unit tests passed, {result[2]} failed")
        assert result[2] == "0", sorted(set(failed))
        ours = ("access_list::", "account::", "peer_user::", "dpapi::", "event_log::", "operator_key::")
        missing = [name for name in ours if not re.search(rf"^test .*{name}.* ok$", out, re.MULTILINE)]
        assert not missing, f"no test of {missing} has run"

    checks.check("the unit tests", test)


def demo(windows: Windows) -> None:
    told = windows.run("demo", "--once")
    assert "0 failed" in told, told[-2000:]


def foreground(checks: Checks, windows: Windows, ground: Ground, tools: Path) -> None:
    config = ground.config.but(state={"directory": "state-windows"}, reload={"watch": "200ms"})
    gate = windows.gate(ground.place, "gate-windows", config)
    file = gate.file_for_commands()
    for client in programs.clients(tools, DRIVERS):

        def session(client=client):
            programs.whole_session(client.run("session", client.hows[0], ground.key, gate.port, ground.certificates), False)

        checks.check(f"{client.name} on Linux: login, 10 MB, renewal, logout", session)

    def refused():
        answer = ground.login(gate, world.new_key("bi")[0])
        trace = world.TRACE.search(answer["message"])[0]
        assert not answer["success"] and "PG-" in windows.run("explain", trace, "--config", file), answer

    def commands():
        states = [one["state"] for one in windows.json("pat", "status", "--config", file)["credentials"]]
        assert states == ["active"] or states == ["unknown"], states
        assert windows.json("sessions", "list", "--config", file)["sessions"] == []
        assert "http://127.0.0.1" in windows.run("console", "--config", file)
        windows.run("audit", "verify", "--config", file)

    def reloaded():
        late, late_hash = world.new_key("late")
        assert not ground.login(gate, late)["success"]
        gate.change(config.but(clients__late={"credential": "bi", "keys": [late_hash]}))
        world.wait_for(lambda: ground.login(gate, late)["success"])
        gate.change("junk")
        gate.logged(lambda line: line["message"] == "the configuration was not reloaded")
        assert ground.login(gate, late)["success"]
        gate.change(config)
        world.wait_for(lambda: not ground.login(gate, late)["success"])

    def checked():
        """Wine gives everybody what it gives the administrators, and says so: what the gate makes of it is the remedy."""
        told = windows.run("check", "--config", gate.file)
        assert "Everyone may" in told and "(OI)(CI)F" in told and rf'NT SERVICE\patgate:(OI)(CI)M' in told, told

    checks.check("a refusal, and its story from the state directory", refused)
    checks.check("commands of the gate's own account: status, sessions, console, audit", commands)
    checks.check("a changed file is applied, a broken one is not", reloaded)

    def interrupted():
        """Ctrl-C: Wine makes it of the signal."""
        gate.process.send_signal(signal.SIGINT)
        world.wait_for(lambda: gate.process.poll() is not None)
        line = gate.logged(lambda line: line["message"] == "stopped")
        assert line["clean"] and gate.logged(lambda line: line.get("signal") == "Ctrl-C"), line

    checks.check("check reads the access lists of what the file names", checked)
    checks.check("Ctrl-C drains", interrupted)
    gate.kill()


def secrets(checks: Checks, windows: Windows, ground: Ground) -> None:
    """One of the gate's own secrets, as DPAPI keeps it."""
    secret = "canary-warm-key-of-more-than-32-characters"

    def protected():
        file = ground.place / "warm-key.dpapi"
        windows.run("service", "protect", "--out", file, stdin="a wrong one of more than 32 characters\n")
        wrong = file.read_bytes()
        again = windows.run("service", "protect", "--out", file, stdin=secret + "\n", code=2)
        assert "--replace" in again and file.read_bytes() == wrong, again
        told = windows.run("service", "protect", "--out", file, "--replace", stdin=secret + "\n")
        assert "'dpapi:Z:" in told and file.stat().st_size > len(secret), told
        config = ground.config.but(state={"directory": "state-warm", "warm_key": "dpapi:warm-key.dpapi"})
        gate = windows.gate(ground.place, "gate-warm", config)
        assert ground.login(gate)["success"]
        gate.kill()
        text = (ground.place / "gate-warm.log").read_text()
        assert secret not in text and "DPAPI" not in text, text[-2000:]

    checks.check("a secret that Windows encrypts is read from its file", protected)


def service(checks: Checks, windows: Windows, ground: Ground) -> None:
    port, admin, state = free_port(), free_port(), ground.place / "state-service"
    late, late_hash = world.new_key("late")
    config = ground.config.but(
        listen={"address": f"127.0.0.1:{port}", "drain": "5s"}, admin={"address": f"127.0.0.1:{admin}"},
        state={"directory": state}, reload={"watch": "0s"},
    )  # fmt: skip
    file = ground.place / "service.toml"
    file.write_text(str(config))
    verb = lambda word, *words, **options: windows.run("service", word, "--name", SERVICE, *words, **options)  # noqa: E731
    told = lambda: windows.json("service", "status", "--name", SERVICE)  # noqa: E731

    serving = SimpleNamespace(port=port)  # what a login needs to know of a gate

    def installed():
        assert "no service" in verb("status", code=8)
        assert "service start" in verb("install", "--config", file)
        assert "already" in verb("install", "--config", file, code=2)
        assert "EventCreate.exe" in windows.wine.run("reg", "query", rf"{EVENT_LOG}\{SERVICE}", "/v", "EventMessageFile")[0]
        command = windows.wine.run("reg", "query", rf"HKLM\SYSTEM\CurrentControlSet\Services\{SERVICE}")[0]
        assert rf"NT SERVICE\{SERVICE}" in command and "service run" in command and "0x2" in command, command

    def lines() -> list[dict]:
        return [json.loads(line) for log in (state / "log").glob("patgate.*.log") for line in log.read_text().splitlines()]

    def started():
        assert "running" in verb("start")
        same(told()["state"], "running")
        world.wait_for(lambda: ground.login(serving)["success"])
        assert any(line["message"] == "listening" for line in lines())
        assert "running" in verb("start"), "what runs already is no failure"
        windows.run("health", "--ready", "--config", file)
        assert windows.run("pat", "status", "--config", file)

    def reloaded():
        file.write_text(str(config.but(clients__late={"credential": "bi", "keys": [late_hash]})))
        assert not ground.login(serving, late)["success"]
        assert "late" in windows.run("reload", "--config", file)
        assert ground.login(serving, late)["success"]

    def stopped():
        """While 10 MB are on their way to a client that reads slowly."""
        token = ground.login(serving)["data"]["token"]
        context = ssl.create_default_context(cafile=str(ground.certificates.ca))
        connection = http.client.HTTPSConnection("localhost", port, timeout=world.PATIENCE, context=context)
        statement = "select repeat('x', 100) as c from table(generator(rowcount => 100000))"
        connection.request("POST", "/queries/v1/query-request", json.dumps({"sqlText": statement}), {
            "Content-Type": "application/json", "Authorization": f'Snowflake Token="{token}"',
        })  # fmt: skip
        answer = connection.getresponse()
        begun = answer.read(65536)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            stop = pool.submit(verb, "stop")
            world.wait_for(lambda: same(windows.json("service", "status", "--name", SERVICE, code=8)["state"], "stopping") or True)
            rows = json.loads(begun + answer.read())["data"]["rowset"]
            same((len(rows), {len(row[0]) for row in rows}), (100_000, {100}))
            connection.close()
            assert "stopped" in stop.result()
        ends = [line for line in lines() if line["message"] == "stopped"]
        same([line["clean"] for line in ends], [True])
        assert windows.json("service", "status", "--name", SERVICE, code=8)["state"] == "stopped"

    def broken():
        file.write_text("junk")
        said = verb("start", code=4)
        assert "exit code 4" in said and "Event Log" in said, said
        file.write_text(str(config))
        assert "running" in verb("start")
        world.wait_for(lambda: ground.login(serving)["success"])

    def removed():
        assert "is gone" in verb("uninstall")
        assert "no service" in verb("status", code=8)
        windows.wine.run("reg", "query", rf"{EVENT_LOG}\{SERVICE}", code=1)  # it is not there
        assert file.exists() and (state / "history.db").exists(), "configuration and state stay"

    checks.check("a service is installed, with an account of its own and a source in the Event Log", installed)
    checks.check("it starts, serves, and writes its log to a file", started)
    checks.check("a command makes it read its configuration again", reloaded)
    checks.check("it stops when the answer that is under way has ended", stopped)
    checks.check("one with a broken file ends with its exit code, and starts when it is mended", broken)
    checks.check("it is removed; configuration and state stay", removed)
    checks.check("no secret stands in the service's log", lambda: world.leaks([*(state / "log").iterdir()], {"PAT": ground.pat, "key": ground.key}))


def rotation(checks: Checks, windows: Windows, ground: Ground) -> None:
    rotated = Rotated(ground.place, ground.certificates, ground.standin, Files(ground.place))
    config = rotated.rotating(overlap="0h").but(state={"directory": "state-rotation"})
    gate = windows.gate(ground.place, "gate-rotation", config)
    file = gate.file_for_commands()

    def rotations():
        load = Load(gate.port, rotated.certificates, rotated.key, threads=2)
        for _ in range(ROTATIONS):
            old, rounds = rotated.stored()["fingerprint"], load.done
            windows.run("pat", "rotate", "bi", "--config", file)
            assert rotated.stored()["fingerprint"] != old and len(rotated.living()) == 1
            world.wait_for(lambda: load.done > rounds)
        print(f"       {load.end(ROTATIONS)}")

    checks.check(f"{ROTATIONS} rotations without overlap, by command, under load fail no request", rotations)
    gate.kill()
    checks.check("no token stands in a log", lambda: world.leaks([gate.log], {str(n): secret for n, secret in enumerate(rotated.secrets)}))


if __name__ == "__main__":
    main()
