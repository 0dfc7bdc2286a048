"""The gate rotates PATs by itself: under load, killed at every step, without overlap, beside other gates.

    python3 rotate.py TOOLS
"""

import hashlib
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import world
from load import Load, free_port
from replicas import Redis
from vault import Vault, free_ports
from world import BINARY, Certificates, Checks, Config, Gate, StandIn

USER, TOKEN, ROTATOR = "BI_SERVICE", "BI_PAT", "PATGATE_ROTATOR"
ROTATIONS = 100
STEPS = ("making", "made", "proving", "proven", "writing", "written", "using")
RANDOM_KILLS = 20
ROUNDS = 5
MOST = 15


def fingerprint(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()[:12]


class Files:
    """A file, which the gate replaces."""

    name, reference = "file", "local:pat"

    def __init__(self, place: Path):
        self.file = place / "pat"
        self.tables = {"stores__local__file": {"path": "."}}

    def put(self, secret: str) -> None:
        self.file.write_text(secret + "\n")

    def get(self) -> str:
        return self.file.read_text().strip()


class RealVault:
    """KV v2 of a real server, which the gate writes with check-and-set."""

    name, reference = "vault", "vault:secret/snowflake/powerbi#token"

    def __init__(self, place: Path, tools: Path, certificates: Certificates):
        ports = free_ports()
        self.server = Vault(place, tools, certificates, ports)
        self.server.set_up(place, "1h", "2h")
        policy = 'path "secret/data/snowflake/*" { capabilities = ["read", "create", "update"] }'
        self.server.ask("PUT", "sys/policies/acl/patgate", {"policy": policy})
        login = {"role_id": "file:role-id", "secret_id": "file:secret-id"}
        address = f"https://localhost:{ports[1]}"
        table = {"address": address, "ca": certificates.ca, "namespace": "team/bi", "approle": login}
        self.tables = {"stores__vault__vault": table, "stores__local__file": {"path": "."}}

    def put(self, secret: str) -> None:
        self.server.put(secret)

    def get(self) -> str:
        return self.server.ask("GET", "secret/data/snowflake/powerbi")["data"]["data"]["token"]


class Rotated:
    """A service user with a token in a store, a rotator, and the configuration of a gate that rotates it."""

    def __init__(self, place: Path, certificates: Certificates, standin: StandIn, store):
        self.place, self.certificates, self.standin, self.store = place, certificates, standin, store
        self.key, key_hash = world.new_key("bi")
        self.secrets: set[str] = set()
        private = place / "rotator.pem"
        world.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private)
        public = world.run("openssl", "pkey", "-in", private, "-pubout")
        for path, body in (
            ("users", {"user": USER}), ("users", {"user": ROTATOR}), ("key", {"user": ROTATOR, "public_key": public}),
            ("privilege", {"user": ROTATOR, "of": USER}), ("account", {"account": "myorg-prod"}),
        ):  # fmt: skip
            assert standin.ask(path, body)["ok"], path
        self.renew(90)
        rotation = {"rotator": "admin", "token": TOKEN, "every": "30d", "overlap": "24h"}
        self.config = world.base(certificates, standin.port).but(
            accounts__prod={"name": "myorg-prod"},
            rotators__admin={"account": "prod", "user": ROTATOR, "key_pair": "local:rotator.pem"},
            credentials__bi={"account": "prod", "user": USER, "pat": store.reference, "rotation": rotation},
            clients__bi={"credential": "bi", "keys": [key_hash]},
            **store.tables,
        )

    def rotating(self, **terms) -> Config:
        rotation = self.config.tables["credentials.bi"]["rotation"] | terms
        return self.config.but(credentials__bi={"rotation": rotation})

    def renew(self, days: int) -> None:
        """All tokens go, and the store gets a new one."""
        for token in self.tokens():
            self.sql(f'ALTER USER "{USER}" REMOVE PROGRAMMATIC ACCESS TOKEN "{token["name"]}"')
        made = self.standin.ask("token", {"user": USER, "name": TOKEN, "role": "R", "days": days})
        assert made["ok"], made
        self.store.put(made["secret"])

    def sql(self, statement: str) -> None:
        assert self.standin.ask("run", {"user": ROTATOR, "sql": statement})["ok"], statement

    def tokens(self) -> list[dict]:
        return self.standin.ask(f"pats?user={USER}")["pats"]

    def living(self) -> list[dict]:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return [token for token in self.tokens() if token["expires_at"] > now]

    def stored(self) -> dict:
        """The token that the store has: one that Snowflake accepts, at any moment."""
        secret = self.store.get()
        self.secrets.add(secret)
        known = fingerprint(secret)
        found = [token for token in self.tokens() if token["fingerprint"] == known]
        assert found and found[0]["state"] == "ACTIVE", f"the store has a token that does not work: {known}, {self.tokens()}"
        return found[0]


class Life(Gate):
    """A gate on a port and a state directory that it keeps over kills."""

    def __init__(self, rotated: Rotated, name: str, config: Config, port: int, admin: int, state: Path):
        state.mkdir(exist_ok=True)
        self.state = state
        config = config.but(
            listen={"address": f"127.0.0.1:{port}"}, admin={"address": f"127.0.0.1:{admin}"}, state={"directory": state}
        )
        super().__init__(rotated.place, f"gate-{name}-{time.monotonic_ns()}", config)

    def order(self, what: str = "rotate") -> tuple[int, dict]:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=world.PATIENCE * 2)
        connection.request("POST", f"/pats/{what}?credential=bi")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def journal(self) -> dict:
        for file in self.state.glob("rotation-*"):
            if file.suffix == "":
                return json.loads(file.read_text())
        return {}

    def settled(self) -> bool:
        entry = self.journal()
        return bool(entry) and entry["open"] is None and not [one for one in entry["removals"] if one["at"] <= time.time() * 1000]


def main() -> None:
    tools = Path(sys.argv[1])
    checks = Checks("rotate")
    with world.place() as name:
        place = Path(name)
        certificates = Certificates(place)
        standin = StandIn(place, certificates)
        secrets = {}
        for store in (Files(place), RealVault(place, tools, certificates)):
            rotated = Rotated(place, certificates, standin, store)
            under_load(checks, rotated, "24h", 0)
            under_load(checks, rotated, "0h", 0)
            killed(checks, rotated)
            secrets[f"key of {store.name}"] = rotated.key
            secrets |= {f"token {number} of {store.name}": secret for number, secret in enumerate(rotated.secrets)}
        by_command(checks, rotated)
        replicas(checks, rotated)
        checks.check("no client key reached Snowflake", lambda: world.same(standin.ask("seen")["leaks"], 0))
        standin.kill()
        private = (place / "rotator.pem").read_text().splitlines()[1]
        world.hunt(checks, place, {**secrets, "rotator's key": private})
        checks.check("no token stands in a journal", lambda: no_secret_on_disk(place, [*secrets.values(), private]))
    checks.end()


def no_secret_on_disk(place: Path, secrets: list[str]) -> None:
    files = [file for state in place.glob("state-*") for file in state.iterdir() if file.is_file()]
    assert [file for file in files if file.name.startswith("rotation-")], files
    for file in files:
        text = file.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in text], file


def under_load(checks: Checks, rotated: Rotated, overlap: str, most_bad: int) -> None:
    """A hundred rotations while clients log in, query and log out."""
    rotated.renew(90)
    state = rotated.place / f"state-load-{rotated.store.name}-{overlap}"
    gate = Life(rotated, f"load-{rotated.store.name}-{overlap}", rotated.rotating(overlap=overlap), 0, 0, state)
    gate.wait_ready()
    world.wait_for(lambda: gate.journal().get("seen"))
    before = sum(rotated.standin.ask("seen")["bad_logins"].values())

    def rotations():
        load, took = Load(gate.port, rotated.certificates, rotated.key, threads=4), {}
        for number in range(ROTATIONS):
            old, rounds = rotated.stored()["fingerprint"], load.done
            status, report = gate.order()
            assert status == 200 and report["old"] == old, (number, status, report)
            assert rotated.stored()["name"] == TOKEN and rotated.stored()["fingerprint"] == report["new"]
            assert len(rotated.living()) <= (13 if overlap != "0h" else 1), (number, rotated.living())
            for part, ms in report["took_ms"]:
                took.setdefault(part, []).append(ms)
            world.wait_for(lambda: load.done > rounds)
        said = load.end(ROTATIONS)
        bad = sum(rotated.standin.ask("seen")["bad_logins"].values()) - before
        assert bad <= most_bad, f"{bad} bad logins"
        parts = ", ".join(f"{part} {statistics.median(ms):.0f} ms (most {max(ms)})" for part, ms in took.items())
        print(f"       {said}; {bad} bad logins; medians: {parts}")

    checks.check(f"{rotated.store.name}: {ROTATIONS} rotations with an overlap of {overlap} under load fail no request", rotations)
    checks.check("and the gate ends with 0", lambda: world.same(gate.stop(), 0))


def killed(checks: Checks, rotated: Rotated) -> None:
    """SIGKILL at every step of the journal and at random moments, under load; the next gate takes it up."""
    rotated.renew(90)
    port, admin, state = free_port(), free_port(), rotated.place / f"state-killed-{rotated.store.name}"
    name, config = f"killed-{rotated.store.name}", rotated.rotating()
    gates = [Life(rotated, name, config, port, admin, state)]
    gates[0].wait_ready()
    world.wait_for(lambda: gates[0].journal().get("seen"))
    chance = random.Random(13)
    deaths: dict[str, int] = {}

    def one(reached) -> None:
        gate = gates[-1]
        child = os.fork()
        if child == 0:
            # It waits for an answer that may never come.
            try:
                gate.order()
            except (OSError, http.client.HTTPException):
                pass
            os._exit(0)
        reached(gate)
        gate.kill()
        os.waitpid(child, 0)
        entry = gate.journal()
        step = entry["open"]["step"] if entry["open"] else "between"
        deaths[step] = deaths.get(step, 0) + 1
        rotated.stored()
        gates.append(Life(rotated, name, config, port, admin, state))
        gates[-1].wait_ready()
        # A login that was lost twice with a token is sent again after 15 s; after a failure the gate waits for a minute.
        world.wait_for(lambda: gates[-1].settled() and rotated.stored()["name"] == TOKEN, 3 * world.PATIENCE)
        assert len(rotated.living()) <= MOST, rotated.living()

    def at(step: str):
        def wait(gate: Life) -> None:
            end = time.monotonic() + 20
            while time.monotonic() < end:
                try:
                    entry = gate.journal()
                except ValueError:
                    continue
                if entry["open"] and STEPS.index(entry["open"]["step"]) >= STEPS.index(step):
                    return
                if entry["open"] is None and (entry["last"] or 0) > began:
                    return  # it was over before it was seen

        began = time.time() * 1000
        return wait

    def kills():
        load = Load(port, rotated.certificates, rotated.key, threads=3, patient=True)
        for step in STEPS * 3:
            one(at(step))
        for _ in range(RANDOM_KILLS):
            moment = chance.uniform(0, 0.06)
            one(lambda _gate, moment=moment: time.sleep(moment))
        said = load.end(100)
        print(f"       {len(STEPS) * 3 + RANDOM_KILLS} kills, at {deaths}: {said}, {load.broken} broken connections; "
              f"{len(rotated.living())} tokens live")  # fmt: skip

    def tidy():
        """What is left over is the token, and rotated ones that end with their overlap of a day."""
        day = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86_400 + 60))
        late = [token for token in rotated.living() if token["name"] != TOKEN and token["expires_at"] > day]
        assert not late, late

    checks.check(f"{rotated.store.name}: SIGKILL at every step and at random moments fails no request", kills)
    checks.check("no orphan lives beyond the overlap", tidy)
    checks.check("and the last gate ends with 0", lambda: world.same(gates[-1].stop(), 0))


def by_command(checks: Checks, rotated: Rotated) -> None:
    rotated.renew(90)
    state = rotated.place / "state-command"
    gate = Life(rotated, "command", rotated.rotating(), 0, 0, state)
    gate.wait_ready()
    world.wait_for(lambda: gate.journal().get("seen"))
    file = gate.file_for_commands()
    patgate = lambda *words: world.run(BINARY, "pat", *words, "--config", file)  # noqa: E731

    def running():
        before = rotated.stored()["fingerprint"]
        said = patgate("rotate", "bi", "--dry-run")
        assert "ROTATE PROGRAMMATIC ACCESS TOKEN" in said and rotated.stored()["fingerprint"] == before, said
        said = patgate("rotate", "bi")
        new = rotated.stored()["fingerprint"]
        assert new in said and before in said and new != before, said
        assert rotated.standin.ask("seen") and world.login(gate, rotated.certificates.ca, rotated.key)["success"]
        status = world.wait_for(lambda: came(json.loads(patgate("status", "--json"))["credentials"][0]))
        assert (status["state"], status["expires_from"], status["days_left"]) == ("active", "token", 89), status
        assert status["token"]["name"] == TOKEN and status["rotation"]["last"], status
        said = patgate("forecast", "--ics")
        assert said.startswith("BEGIN:VCALENDAR") and "SUMMARY:The PAT of bi ends" in said, said

    def came(status: dict) -> dict | None:
        return status if status["clients"] and status["clients"][0]["current"] else None

    def revoked():
        said = patgate("revoke", "bi", "--dry-run")
        assert "bi: 0 sessions" in said or "bi: 1 sessions" in said, said
        assert "SET DISABLED = TRUE" in said and "login_history" in said, said
        undone = subprocess.run([BINARY, "pat", "revoke", "bi", "--config", file], capture_output=True, text=True)
        assert undone.returncode == 8 and "--yes" in undone.stderr and rotated.stored()["state"] == "ACTIVE", undone
        patgate("revoke", "bi", "--yes")
        assert all(token["state"] == "DISABLED" for token in rotated.living()), rotated.living()
        assert not world.login(gate, rotated.certificates.ca, rotated.key)["success"]
        status = subprocess.run([BINARY, "pat", "status", "--config", file], capture_output=True, text=True)
        assert status.returncode == 8 and "an operator has revoked its PAT" in status.stderr, status
        patgate("replace", "bi", "--now")
        assert world.login(gate, rotated.certificates.ca, rotated.key)["success"]

    def by_hand():
        """A credential without a rotator: the SQL is printed, and its end is forecast."""
        rotated.renew(2)
        hand = rotated.config.but(rotators__admin=None, credentials__bi={"rotation": None})
        other = Life(rotated, "hand", hand, 0, 0, rotated.place / "state-hand")
        other.wait_ready()
        at = ["--admin", f"127.0.0.1:{other.admin}"]
        said = world.run(BINARY, "pat", "revoke", "bi", "--dry-run", *at)
        assert "has no rotator" in said and "SET DISABLED = TRUE" in said, said
        forecast = subprocess.run([BINARY, "pat", "forecast", *at], capture_output=True, text=True)
        assert forecast.returncode == 8 and "its PAT ends at" in forecast.stderr, forecast
        warned = other.logged(lambda line: line["message"] == "a PAT ends soon, and no successor stands ready")
        assert warned["days_left"] in (1, 2) and warned["next_step"], warned
        refused = subprocess.run([BINARY, "pat", "rotate", "bi", *at], capture_output=True, text=True)
        assert refused.returncode == 8 and "has no `rotation`" in refused.stderr, refused
        assert other.stop() == 0
        rotated.renew(90)
        gate_reads()

    def gate_reads():
        world.run(BINARY, "pat", "refresh", "--config", file)

    def alone():
        assert gate.stop() == 0
        before = rotated.stored()["fingerprint"]
        said = patgate("rotate", "bi", "--json")
        assert json.loads(said)["old"] == before and rotated.stored()["fingerprint"] == json.loads(said)["new"], said
        said = patgate("replace", "bi", "--now")
        assert rotated.stored()["name"] == TOKEN, said
        # The commands' acts are in the gate's own audit log.
        lines = [line for day in sorted((state / "audit").glob("*.jsonl")) for line in day.read_text().splitlines()]
        acts = [line for line in lines if json.loads(line)["event"] == "pat_rotated"]
        assert rotated.stored()["fingerprint"] in acts[-1], acts[-2:]
        world.run(BINARY, "audit", "verify", "--config", file)

    def doctor():
        steps = lambda: json.loads(subprocess.run([BINARY, "doctor", "--config", file, "--json"], capture_output=True, text=True).stdout)["steps"]  # noqa: E731
        step = lambda: next(step for step in steps() if step["name"] == "rotator")  # noqa: E731
        assert step()["ok"] and TOKEN in step()["what"], step()
        checked = json.loads(subprocess.run([BINARY, "check", "--config", file, "--online", "--login", "--json"], capture_output=True, text=True).stdout)
        (look,) = [one for one in checked["findings"] if one["key"].endswith(".rotation")]
        assert TOKEN in look["what"], look
        rotated.standin.ask("privilege", {"user": ROTATOR, "of": USER, "allow": False})
        told = step()
        assert told["ok"] is False and told["owner"] == "policy" and "MODIFY PROGRAMMATIC" in told["next_step"], told
        rotated.standin.ask("privilege", {"user": ROTATOR, "of": USER})

    checks.check("`pat rotate`, `status` and `forecast` ask the running gate", running)
    checks.check("`doctor` and `check --login` say what the rotator sees, and what it lacks", doctor)
    checks.check("`pat revoke` says who feels it, and ends the token and its sessions", revoked)
    checks.check("without a rotator the SQL is printed, and the end is forecast", by_hand)
    checks.check("where no gate runs, `pat rotate` and `pat replace --now` do it themselves", alone)


def replicas(checks: Checks, rotated: Rotated) -> None:
    """Gates that all find a token due rotate it once."""
    redis = Redis(rotated.place, free_port())
    due = rotated.rotating(every="1d")

    def once(number: int, states: list[str], config: Config) -> None:
        rotated.renew(2)
        # It ends in 18 hours, and is to be rotated a day before its end.
        rotated.standin.ask("age", {"user": USER, "hours": 30})
        old = rotated.stored()["fingerprint"]
        gates = [Life(rotated, f"replica-{number}-{n}", config, 0, 0, rotated.place / state) for n, state in enumerate(states)]
        world.wait_for(lambda: rotated.stored()["fingerprint"] != old)
        world.wait_for(lambda: all(gate.settled() for gate in gates))
        # Another look of each of them changes nothing.
        time.sleep(2.5)
        names = [token["name"] for token in rotated.living()]
        assert len(names) == 2 and TOKEN in names, names
        assert rotated.stored()["name"] == TOKEN
        for gate in gates:
            assert gate.stop() == 0

    def by_redis():
        config = due.but(replicas={"redis": f"redis://127.0.0.1:{redis.port}"})
        for number in range(ROUNDS):
            once(number, [f"state-redis-{number}-{n}" for n in range(3)], config)

    def without_overlap():
        """The other gate has time to read the new token before the old one is removed."""
        config = rotated.rotating(overlap="0h").but(
            replicas={"redis": f"redis://127.0.0.1:{redis.port}"}, pat={"refresh": "1s", "read": "500ms"}
        )
        rotated.renew(90)
        gates = [Life(rotated, f"overlap-{n}", config, 0, 0, rotated.place / f"state-overlap-{n}") for n in range(2)]
        for gate in gates:
            gate.wait_ready()
        loads = [Load(gate.port, rotated.certificates, rotated.key, threads=2) for gate in gates]
        try:
            for _ in range(ROUNDS):
                status, told = gates[0].order()
                assert status == 200 and "is removed after" in told["old_end"], (status, told)
                world.wait_for(lambda: len(rotated.living()) == 1)
        finally:
            for load in loads:
                load.stop.set()
        for load in loads:
            load.end(20)
        for gate in gates:
            assert gate.stop() == 0

    def without_redis():
        redis.kill()
        config = rotated.rotating().but(replicas={"redis": f"redis://127.0.0.1:{redis.port}"})
        rotated.renew(90)
        gate = Life(rotated, "redis-away", config, 0, 0, rotated.place / "state-redis-away")
        gate.wait_ready()
        before = rotated.stored()["fingerprint"]
        status, told = gate.order()
        assert status == 500 and "Redis does not answer" in told["error"], (status, told)
        assert rotated.stored()["fingerprint"] == before and len(rotated.living()) == 1
        assert world.login(gate, rotated.certificates.ca, rotated.key)["success"]
        assert gate.stop() == 0

    def by_directory():
        for number in range(ROUNDS):
            once(100 + number, [f"state-shared-{number}"] * 3, due)

    checks.check(f"three gates with Redis rotate once, {ROUNDS} times", by_redis)
    checks.check("without overlap the old token is removed when all gates have the new one", without_overlap)
    checks.check("without Redis they do not rotate, say so, and serve", without_redis)
    checks.check(f"three gates with one state directory rotate once, {ROUNDS} times", by_directory)


if __name__ == "__main__":
    main()
