"""Real drivers through the real gate: whole sessions, and every refusal as the driver's user reads it.

    python3 drivers.py TOOLS
"""

import sys
from pathlib import Path

import install
import world
from programs import clients, whole_session
from load import free_port
from world import HERE, TRACE, Certificates, Checks, Collector, Config, Gate, Process, StandIn

USER = "BI_SERVICE"
PAT = "canary-pat-drivers"
SHOWN = {
    "wrong key": ("good_wrong", "key_wrong", "the client key is not known to this gate"),
    "unknown client": ("stranger", "client_unknown", "the client key is not known to this gate"),
    "network not allowed": ("elsewhere", "network_denied", "your address 127.0.0.1 is not in a network"),
    "PAT expired with no successor": ("late", "pat_expired", "token that the gate holds has expired"),
}


def sentence(gate: Gate, answer: dict, kind: str, says: str) -> None:
    """The driver's own exception holds our sentence and a trace id, and under that id the log holds the kind."""
    assert not answer["ok"], answer
    # dbt breaks lines at the width of a terminal that is not there.
    text = " ".join(answer["error"].split())
    assert says in text, text
    traces = [trace for trace in TRACE.findall(text)]
    assert len(set(traces)) == 1, text
    line = gate.logged(lambda line: line.get("trace") == traces[0] and "kind" in line and line["message"] == "request failed")
    assert line["kind"] == kind and line["owner"] and "cause" in line, line


def by_user_name(gate: Gate, client, certificates: Certificates) -> None:
    """Without a key the user name, in any spelling, says which client it is; another name is refused."""
    since = len(gate.lines())
    answer = client.run("login", client.hows[0], "no-key-at-all", gate.port, certificates)
    assert answer["ok"], answer
    line = gate.logged(lambda line: line.get("message") == "login", since)
    world.same((line["client"], line["typed_user"].lower()), ("reports", "whoever"))
    client.env["GATE_USER"] = "stranger"
    try:
        answer = client.run("login", client.hows[0], "no-key-at-all", gate.port, certificates)
    finally:
        del client.env["GATE_USER"]
    sentence(gate, answer, "key_foreign", "the password is not a client key of this gate")


# What each driver calls itself in its login.
CALLED = {
    "snowflake-connector-python 4": "PythonConnector", "snowflake-connector-python 5": "PythonConnector",
    "adbc-driver-snowflake": "Go", "gosnowflake": "Go", "snowflake-sdk": "JavaScript", "snowflake-jdbc": "JDBC",
    "dbt-snowflake": "PythonConnector",
}  # fmt: skip


def tree(collector: Collector, name: str) -> None:
    """A login of this driver: one server span over admission, lease and attempt; its session's queries link to the session."""
    called = CALLED[name].lower()

    def logins() -> list[dict]:
        found = [span for span in collector.spans() if span["name"] == "login" and span["status"].get("code") != 2]
        return [span for span in found if called in span["attributes"].get("user_agent.name", "").lower()]

    login = world.wait_for(logins)[-1]
    below = [span for span in collector.trace(login["traceId"]) if span.get("parentSpanId") == login["spanId"]]
    names = [span["name"] for span in below]
    assert names[:2] == ["admit", "lease"] and "snowflake" in names, names
    for span in below:
        assert login["startTimeUnixNano"] <= span["startTimeUnixNano"] <= span["endTimeUnixNano"] <= login["endTimeUnixNano"], span
    attributes, resource = login["attributes"], login["resource"]
    for known in ("patgate.client", "patgate.credential", "patgate.pat.version", "session.id", "snowflake.session.id", "client.address"):
        assert attributes.get(known), (known, attributes)

    def linked() -> list[str]:
        return [span["name"] for link in login["links"] for span in collector.trace(link["traceId"]) if span["spanId"] == link["spanId"]]

    world.wait_for(lambda: "connection" in linked())
    world.same((attributes["patgate.typed_user"].lower(), resource["service.name"]), ("whoever", "patgate"))
    session = [span for span in collector.spans() if span["name"] == "query" and span["attributes"].get("session.id") == attributes["session.id"]]
    assert session and all(span["links"] for span in session), f"{len(session)} queries"
    assert any(span["attributes"].get("snowflake.query_id") for span in session), "no query has its id"


def main() -> None:
    tools = Path(sys.argv[1])
    checks = Checks("drivers")
    with world.place() as name:
        place = Path(name)
        certificates = Certificates(place)
        keys = {client: world.new_key(client) for client in ("good", "elsewhere", "late")}
        wrong, _ = world.new_key("good")
        stranger, _ = world.new_key("stranger")
        (place / "pat").write_text(PAT + "\n")
        (place / "pat-late").write_text("canary-pat-expired\n")

        collector_port = free_port()

        def config(port: int) -> Config:
            client = lambda name, credential: {"credential": credential, "keys": [keys[name][1]]}  # noqa: E731
            return world.base(certificates, port).but(
                login={"hold": "2s"},
                stores__local__file={"path": "."},
                credentials__good={"account": "prod", "user": USER, "pat": "local:pat"},
                credentials__late={"account": "prod", "user": "LATE_SERVICE", "pat": "local:pat-late"},
                clients__good=client("good", "good"),
                clients__elsewhere={**client("elsewhere", "good"), "networks": ["192.0.2.0/24"]},
                clients__late=client("late", "late"),
                traces={"otlp": f"http://127.0.0.1:{collector_port}"},
            )

        standin = StandIn(place, certificates)
        standin.ask("pat", {"user": USER, "pat": PAT, "state": "active"})
        standin.ask("pat", {"user": "LATE_SERVICE", "pat": "canary-pat-expired", "state": "expired"})
        fakesnow = Process(
            place, "fakesnow", install.fakesnow(tools), HERE / "fakesnow_front.py",
            "--cert", certificates.pem, "--key", certificates.key, "--user", USER, "--pat-file", place / "pat",
        )  # fmt: skip
        upstreams = {"stand-in": standin.port, "fakesnow": int(fakesnow.line("ready ").split()[1])}
        collector = Collector(place, install.otel(tools), collector_port)
        gates = {upstream: Gate(place, f"gate-{upstream}", config(port)) for upstream, port in upstreams.items()}
        # Two clients without a key on this machine: the user name that a tool types says which.
        by_name = lambda pattern: {"credential": "good", "trust": "loopback", "login_names": [pattern]}  # noqa: E731
        named = Gate(place, "gate-named", config(standin.port).but(clients__reports=by_name("WHO*"), clients__others=by_name("ETL_*"), traces=None))
        # Nothing listens on port 1 of a loopback that is the test's own.
        down = Gate(place, "gate-down", config(1))
        shown = {"good_wrong": wrong, "stranger": stranger, **{client: key for client, (key, _) in keys.items()}}
        for client in clients(tools):
            dbt = client.name.startswith("dbt")
            for upstream, gate in gates.items():
                for how in client.hows:
                    checks.check(
                        f"{client.name}, key as {how}, whole session, {upstream}",
                        lambda: whole_session(client.run("session", how, keys["good"][0], gate.port, certificates), dbt),
                    )
            gate = gates["stand-in"]
            for what, (key, kind, says) in SHOWN.items():
                checks.check(
                    f"{client.name} shows: {what}",
                    lambda: sentence(gate, client.run("login", client.hows[-1], shown[key], gate.port, certificates), kind, says),
                )
            checks.check(
                f"{client.name} shows: foreign authenticator",
                lambda: sentence(gate, client.run("login", "foreign", "token", gate.port, certificates),
                                 "authenticator_foreign", "does not log in with authenticator OAUTH"),
            )  # fmt: skip
            checks.check(f"{client.name} is known by its user name alone", lambda: by_user_name(named, client, certificates))
            checks.check(
                f"{client.name} shows: upstream down for good",
                lambda: sentence(down, client.run("login", client.hows[-1], keys["good"][0], down.port, certificates),
                                 "connect_failed", "the gate cannot connect to Snowflake"),
            )  # fmt: skip
            if dbt:
                checks.check(
                    f"{client.name} shows: its PAT authenticator sends no key",
                    lambda: sentence(gate, client.run("login", "pat", keys["good"][0], gate.port, certificates),
                                     "key_missing", "the login holds no client key"),
                )  # fmt: skip

            checks.check(f"{client.name}: a login, its waits, its sending and its queries are one tree of spans each", lambda: tree(collector, client.name))

        def no_leak():
            assert standin.ask("seen")["leaks"] == 0
            assert "LEAK" not in fakesnow.log.read_text()

        checks.check("no client key reached either upstream", no_leak)

        def spent():
            bad = standin.ask("seen")["bad_logins"]
            assert 1 <= sum(bad.values()) <= 2, bad

        checks.check("the expired PAT cost two bad logins, over all drivers", spent)
        for upstream, gate in [*gates.items(), ("nothing", down)]:
            checks.check(f"the gate before {upstream} drains and ends with 0", lambda: world.same(gate.stop(), 0))
        fakesnow.stop()
        standin.kill()
        world.hunt(checks, place, {f"key of {client}": key for client, key in shown.items()})
    checks.end()


if __name__ == "__main__":
    main()
