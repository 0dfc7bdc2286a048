"""Several gates behind one balancer, as on several hosts: what they share is a ring in a store, and Redis.

    python3 replicas.py TOOLS
"""

import http.client
import re
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

import programs
import world
from load import Load, free_port
from world import BINARY, Certificates, Checks, Config, Gate, Ground, Process

USER = "BI_SERVICE"
PAT = "canary-pat-replicas"
KILLS = 10
RATE, SECONDS = 60, 10
RING = "canary-ring-key-0123456789-0123456789-0123456789"


class Balancer(Process):
    """haproxy, which hands connections out in turn and looks at /readyz."""

    def __init__(self, place: Path, gates: list[Gate]):
        lines = [f"  server gate{number} 127.0.0.1:{gate.port} check port {gate.admin} inter 100ms fall 1 rise 1"
                 for number, gate in enumerate(gates)]  # fmt: skip
        self.config = place / "haproxy.cfg"
        self.port = free_port()
        self.config.write_text(
            "global\n  maxconn 1000\ndefaults\n  mode tcp\n  timeout connect 1s\n  timeout client 120s\n  timeout server 120s\n"
            "  retries 3\n  option redispatch 1\n"
            f"listen gates\n  bind 127.0.0.1:{self.port}\n  balance roundrobin\n  option httpchk GET /readyz\n"
            "  http-check send hdr host localhost\n" + "\n".join(lines) + "\n"
        )
        super().__init__(place, "haproxy", "haproxy", "-db", "-f", self.config)


class Replica(Gate):
    """One of several gates with the same configuration and a state directory of its own."""

    def __init__(self, place: Path, number: int, config: Config, port: int = 0, admin: int = 0):
        state = place / f"state-{number}"
        state.mkdir(exist_ok=True)
        config = config.but(
            listen={"notice": "300ms", "address": f"127.0.0.1:{port}"},
            admin={"address": f"127.0.0.1:{admin}"},
            state={"directory": state},
        )
        super().__init__(place, f"gate-{number}-{time.monotonic_ns()}", config)


class Redis(Process):
    """A real server on a port that it keeps over restarts."""

    def __init__(self, place: Path, port: int, more: tuple = ()):
        super().__init__(
            place, "redis", "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", place,
            *more,
        )  # fmt: skip
        self.port = port
        world.wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None)

    def ask(self, *words: str) -> str:
        return world.run("redis-cli", "-p", self.port, *words)

    def questions(self) -> int:
        """How many scripts were run here."""
        stats = re.findall(r"cmdstat_evalsha:calls=(\d+)", self.ask("INFO", "commandstats"))
        return int(stats[0]) if stats else 0


def main() -> None:
    tools = Path(sys.argv[1])
    checks = Checks("replicas")
    with world.place() as name:
        place = Path(name)
        ground = Ground(place, USER, PAT)
        (place / "ring").write_text(RING + "\n")
        config = ground.config.but(seal={"keys": "local:ring"})
        balanced(checks, ground, config, tools)
        shared(checks, ground, config)
        ground.end(checks, ring=RING, dead_PAT="canary-pat-dead", password_of_Redis="canary-redis-password",
                   wrong_password="canary-wrong-password")  # fmt: skip
    checks.end()


def balanced(checks: Checks, ground: Ground, config: Config, tools: Path) -> None:
    place, certificates, key = ground.place, ground.certificates, ground.key
    gates = [Replica(place, number, config) for number in range(2)]
    for gate in gates:
        gate.wait_ready()
    balancer = Balancer(place, gates)
    world.wait_for(lambda: world.login(balancer, certificates.ca, key)["success"])
    clients = programs.clients(tools)

    def whole(client: programs.Client):
        answer = client.run("session", client.hows[0], key, balancer.port, certificates)
        programs.whole_session(answer, client.name.startswith("dbt"))

    for client in clients:
        checks.check(f"{client.name}: whole session over two replicas in turn", lambda: whole(client))

    def again(victim: int) -> None:
        gates[victim] = Replica(place, victim, config, gates[victim].port, gates[victim].admin)
        gates[victim].wait_ready()
        time.sleep(0.5)  # the balancer has to see it before the other one goes

    def ended():
        """Each of the two is ended and comes back, again and again, while every driver works."""
        running = [(client, client.start("session", client.hows[0], key, balancer.port, certificates)) for client in clients]
        times = 0
        while any(program.poll() is None for _, program in running):
            assert gates[times % 2].stop() == 0
            again(times % 2)
            times += 1
        for client, program in running:
            programs.whole_session(client.answer(program), client.name.startswith("dbt"))
        print(f"       {times} times")
        assert times >= 2, times

    def killed():
        """The same with kill -9: what is under way breaks, as it must, and is sent again with the same tokens."""
        load = Load(balancer.port, certificates, key, patient=True)
        for number in range(KILLS):
            gates[number % 2].kill()
            again(number % 2)
        print(f"       {KILLS} kills: {load.end(100)}, {load.broken} sent again")

    checks.check("replicas are ended in turn under all drivers at once: no request breaks", ended)
    checks.check("replicas are killed in turn under load: no session is lost", killed)
    for gate in gates:
        checks.check(f"{gate.name} ends with 0", lambda: world.same(gate.stop(), 0))
    balancer.kill()


def shared(checks: Checks, ground: Ground, config: Config) -> None:
    """Three replicas and Redis."""
    place, certificates, key, standin = ground.place, ground.certificates, ground.key, ground.standin
    port = free_port()
    redis = Redis(place, port)
    limited, limited_hash = world.new_key("limited")
    late, late_hash = world.new_key("late")
    (place / "pat-late").write_text("canary-pat-dead\n")
    ground.activate("LATE", "canary-pat-dead", "expired")
    config = config.but(
        clients__bi={"limits": {"requests": "100000/s", "logins": "100000/s"}},
        limits={"delay": "0s"},
        login={"hold": "200ms"},
        replicas={"redis": f"redis://127.0.0.1:{port}"},
        clients__limited={"credential": "bi", "keys": [limited_hash], "limits": {"requests": f"{RATE}/s"}},
        credentials__late={"account": "prod", "user": "LATE", "pat": "local:pat-late"},
        clients__late={"credential": "late", "keys": [late_hash]},
    )
    gates = [Replica(place, 10 + number, config) for number in range(3)]
    for gate in gates:
        world.wait_for(lambda: gate.logged(lambda line: line["message"] == "listening"))

    def one_limit():
        """A gate that Redis does not answer in time counts for itself, as it says: a moment of that on a busy machine is no measure."""
        errors = lambda: sum(metric(gate, "patgate_replicas_errors_total") for gate in gates)  # noqa: E731
        for _ in range(5):
            before = errors()
            allowed, offered, wanted = measured()
            alone = errors() - before
            print(f"       {sum(allowed)} of {sum(offered)} let through by three, {allowed}; the limit is {wanted}; Redis was late {alone:.0f} times")
            if alone == 0:
                break
            time.sleep(2)  # The bucket fills again, in a second.
        assert alone == 0, f"Redis was late {alone:.0f} times, five times in a row"
        assert sum(offered) > 1.3 * wanted, offered
        assert abs(sum(allowed) - wanted) <= 0.02 * wanted, allowed

    def measured() -> tuple[list[int], list[int], int]:
        allowed, offered = [0] * len(gates), [0] * len(gates)
        token = world.login(gates[0], certificates.ca, limited)["data"]["token"]
        start = threading.Barrier(len(gates) + 1)

        def offer(number: int) -> None:
            steady = Steady(gates[number].port, certificates, token)
            start.wait()
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                status = steady.query()
                assert status in (200, 429), status
                offered[number] += 1
                allowed[number] += status == 200

        threads = [threading.Thread(target=offer, args=(number,)) for number in range(len(gates))]
        for thread in threads:
            thread.start()
        start.wait()
        for thread in threads:
            thread.join()
        # A full bucket at the beginning, and what runs in while it is emptied.
        return allowed, offered, RATE + RATE * SECONDS

    def dead_pat():
        for gate in gates * 3:
            assert not world.login(gate, certificates.ca, late)["success"]
        bad = list(standin.ask("seen")["bad_logins"].values())
        assert sum(bad) <= 2, bad

    def politely():
        """All places are taken at other gates: a login here asks Redis again at a steady pace, and not for ever."""
        condemned = redis.ask("--scan", "--pattern", "*condemned:*/LATE").strip()
        assert world.login(gates[1], certificates.ca, key)["success"]
        pat = gates[1].logged(lambda line: line["message"] == "login" and line.get("client") == "bi")["pat"]
        leases = condemned.replace("condemned:", "leases:").replace("/LATE", f"/{USER}") + f":{pat}"
        until, before, began = (time.time() + 2) * 1000, redis.questions(), time.monotonic()
        redis.ask("ZADD", leases, *(word for n in range(40) for word in (str(int(until)), f"elsewhere-{n}")))
        assert world.login(gates[1], certificates.ca, key)["success"]
        waited, asked = time.monotonic() - began, redis.questions() - before
        print(f"       a login waited {waited:.1f} s for a place and asked Redis {asked} times")
        # After a second the gate finds out by an own login that the places are those of a gate that is gone.
        assert waited > 0.9 and 10 < asked < 100 * waited, (waited, asked)

    def storm():
        """The places grow with each success, for all gates together: no login of a storm fails."""
        standin.ask("delay", {"place": "login", "ms": 300})
        done = []

        def log_in(number):
            done.append(world.login(gates[number % 3], certificates.ca, key)["success"])

        threads = [threading.Thread(target=log_in, args=(number,)) for number in range(90)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        standin.ask("delay", {"place": "login", "ms": 0})
        print(f"       90 logins of 0.3 s over three gates took {time.monotonic() - began:.1f} s")
        assert done == [True] * 90, done

    def ended_everywhere():
        tokens = [world.login(gates[0], certificates.ca, key)["data"]["token"] for _ in gates]
        alive = lambda gate, token: world.request(gate.port, certificates.ca, "POST", "/session/heartbeat", {}, token)[1]  # noqa: E731
        for gate, token in zip(gates, tokens):
            assert alive(gate, token)["success"]
        world.run(BINARY, "sessions", "kill", "client:bi", "--config", gates[0].file_for_commands())
        for gate, token in zip(gates, tokens):
            world.wait_for(lambda: alive(gate, token)["code"] == "390111")

    def away():
        load = Load(gates[1].port, certificates, key)
        time.sleep(1)
        redis.kill()
        world.wait_for(lambda: metric(gates[1], "patgate_replicas_up") == 0)
        time.sleep(2)
        again = Redis(place, port)
        world.wait_for(lambda: metric(gates[1], "patgate_replicas_up") == 1)
        time.sleep(1)
        print(f"       Redis away for 2 s: {load.end(50)}")
        assert metric(gates[1], "patgate_replicas_errors_total") >= 1
        return again

    def over_tls():
        secret = "canary-redis-password"
        (place / "redis-password").write_text(secret + "\n")
        tls = free_port()
        server = Redis(place, free_port(), (
            "--tls-port", tls, "--tls-cert-file", certificates.pem, "--tls-key-file", certificates.key,
            "--tls-ca-cert-file", certificates.ca, "--tls-auth-clients", "no", "--requirepass", secret,
        ))  # fmt: skip
        (place / "wrong-password").write_text("canary-wrong-password\n")
        for number, (password, up) in enumerate([("redis-password", 1), ("wrong-password", 0)]):
            there = {"redis": f"rediss://localhost:{tls}", "ca": certificates.ca, "password": f"file:{place / password}"}
            gate = Replica(place, 20 + number, config.but(replicas=there))
            gate.wait_ready()
            assert world.login(gate, certificates.ca, key)["success"]
            world.wait_for(lambda: metric(gate, "patgate_replicas_up") == up)
            assert up == 1 or metric(gate, "patgate_replicas_errors_total") >= 1
            assert gate.stop() == 0
        server.kill()

    checks.check("Redis is reached over TLS, with a password", over_tls)
    checks.check("three replicas hold one limit within 2 %", one_limit)
    checks.check("a dead PAT costs two bad logins over all three", dead_pat)
    checks.check("a login that waits for a place at the other gates asks at a steady pace", politely)
    checks.check("a storm of logins over three gates fails none", storm)
    checks.check("sessions that are ended at one are ended at all", ended_everywhere)
    checks.check("Redis is killed and comes back under load: no request fails, and metrics say it", away)
    for gate in gates:
        checks.check(f"{gate.name} ends with 0", lambda: world.same(gate.stop(), 0))


class Steady:
    """Queries on one connection."""

    def __init__(self, port: int, certificates: Certificates, token: str):
        context = ssl.create_default_context(cafile=str(certificates.ca))
        self.connection = http.client.HTTPSConnection("localhost", port, timeout=world.PATIENCE, context=context)
        self.headers = {"Content-Type": "application/json", "Authorization": f'Snowflake Token="{token}"'}

    def query(self) -> int:
        self.connection.request("POST", "/queries/v1/query-request", '{"sqlText":"select 1"}', self.headers)
        answer = self.connection.getresponse()
        answer.read()
        return answer.status


def metric(gate: Gate, name: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", gate.admin, timeout=world.PATIENCE)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(name + " ")))


if __name__ == "__main__":
    main()
