"""Several gates behind one balancer, as on several hosts: what they share is a ring in a store, and Redis.

    python3 replicas.py TOOLS
"""

import sys
import time
from pathlib import Path

import programs
import world
from load import Load, free_port
from world import Certificates, Checks, Gate, Process, StandIn

USER = "BI_SERVICE"
PAT = "canary-pat-replicas"
KILLS = 10
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

    def __init__(self, place: Path, number: int, config: str, port: int = 0, admin: int = 0):
        state = place / f"state-{number}"
        state.mkdir(exist_ok=True)
        listen = f'[listen]\nnotice = "300ms"\naddress = "127.0.0.1:{port}"'
        config = config.replace('[listen]\naddress = "127.0.0.1:0"', listen)
        config = config.replace('[admin]\naddress = "127.0.0.1:0"', f'[admin]\naddress = "127.0.0.1:{admin}"')
        super().__init__(place, f"gate-{number}-{time.monotonic_ns()}", f'{config}[state]\ndirectory = "{state}"\n')


def main() -> None:
    tools = Path(sys.argv[1])
    checks = Checks("replicas")
    with world.place() as name:
        place = Path(name)
        certificates = Certificates(place)
        key, key_hash = world.new_key("bi")
        (place / "pat").write_text(PAT + "\n")
        (place / "ring").write_text(RING + "\n")
        standin = StandIn(place, certificates)
        standin.ask("pat", {"user": USER, "pat": PAT, "state": "active"})
        config = world.base(certificates, standin.port) + f"""
[stores.local.file]
path = "."
[seal]
keys = "local:ring"
[credentials.bi]
account = "prod"
user = "{USER}"
pat = "local:pat"
[clients.bi]
credential = "bi"
keys = ["{key_hash}"]
"""
        balanced(checks, place, certificates, config, key, tools)
        checks.check("no client key reached Snowflake", lambda: world.same(standin.ask("seen")["leaks"], 0))
        standin.kill()
        world.hunt(checks, place, {"PAT": PAT, "key": key, "ring": RING, "session token": "ver:3-hint:1-session"})
    checks.end()


def balanced(checks: Checks, place: Path, certificates: Certificates, config: str, key: str, tools: Path) -> None:
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


if __name__ == "__main__":
    main()
