"""What real drivers show of the matrix's kinds: each driver's own exception holds the sentence of the kind, once with the
trace id, and under that id the log has the kind.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import world
from programs import Client, clients
from world import TRACE, Checks, Ground, run

from matrix.place import Place

# What the key alone brings about, by the name of its client.
LOGINS = (
    "pat_refused", "pat_expired", "pat_policy", "policy_missing", "authentication_policy", "user_disabled", "user_locked", "account_unknown",
    "login_refused", "key_pair_refused", "secret_missing", "secret_unusable", "store_refused", "store_unavailable", "store_login",
    "store_throttled", "name_unresolved", "connect_failed", "upstream_tls", "forward_proxy",
)  # fmt: skip
# The same by clients that the gate refuses.
REFUSED = {"network_denied": "elsewhere", "peer_denied": "inside", "login_limit": "few", "session_limit": "one"}

# The same by the role that the tool asks for: what Snowflake refuses, or the client may not.
ROLES = {"role_refused": "ROLE_REFUSED", "place_refused": "PLACE_REFUSED", "request_refused": "REQUEST_REFUSED", "role_denied": "ADMIN"}
# What Snowflake answers to each login, one driver after the other.
ANSWERED = {
    "snowflake_garbled": {"n": 200, "body": "<html>hello</html>"},
    "redirect_away": {"n": 307, "location": "https://elsewhere.test/"},
    "snowflake_busy": {"n": 503},
}
# Of these the client gets Snowflake's own text, with the trace id of the gate.
PASSED_ON = ("role_refused", "place_refused", "request_refused")

# Node closes its connection at this code, and tells the next statement so.
OWN_WORDS = {"snowflake-sdk": "407002: Unable to perform operation using terminated connection."}


def shown(checks: Checks, ground: Ground, place: Place, tools: Path, keys: dict[str, str]) -> None:
    """Every kind that a login can end with, by every driver; dbt logs in by one of them."""
    good = ground.key
    wrong, _ = world.new_key("bi")
    stranger, _ = world.new_key("stranger")
    by_kind = {kind: keys[kind.replace("_", "-")] for kind in LOGINS} | {kind: keys[client] for kind, client in REFUSED.items()}
    by_kind |= {"key_wrong": wrong, "client_unknown": stranger, "key_foreign": "canary-password"}
    by_kind["key_damaged"] = good[:-1] + ("a" if good[-1] != "a" else "b")
    drivers = [client for client in clients(tools) if not client.name.startswith("dbt")]
    # Programs that wait for the gate and for each other; more than two at once make none of them faster.
    with ThreadPoolExecutor(3) as pool:
        runs = {
            (client.name, kind): pool.submit(client.run, "login", client.hows[0], key, place.gate.port, ground.certificates)
            for client in drivers
            for kind, key in by_kind.items()
        } | {
            (client.name, kind): pool.submit(
                client.run, "login", client.hows[0], keys["pinned"] if kind == "role_denied" else good, place.gate.port, ground.certificates, role
            )
            for client in drivers
            for kind, role in ROLES.items()
        }
        for (driver, kind), answer in runs.items():
            checks.check(f"{driver} shows {kind}", lambda: told(place, kind, answer.result()))
    for kind, answer in ANSWERED.items():
        for client in drivers:
            checks.check(f"{client.name} shows {kind}", lambda: told(place, kind, answered(client, ground, place, answer)))
    for client in drivers:
        answer = lambda: ended(client, ground, place, keys["ended"])  # noqa: E731
        if own := OWN_WORDS.get(client.name):
            checks.check(f"{client.name} shows a session that was ended in its own words", lambda: in_own_words(place, own, answer))
        else:
            checks.check(f"{client.name} shows session_ended", lambda: told(place, "session_ended", answer()))


def answered(client: Client, ground: Ground, place: Place, answer: dict) -> dict:
    """A login to which Snowflake answers like this, as often as it is asked."""
    ground.standin.ask("knob", {"place": "login", "knob": "canned", "times": 1_000, **answer})
    try:
        return client.run("login", client.hows[0], ground.key, place.gate.port, ground.certificates)
    finally:
        ground.standin.ask("knob", {"place": "login", "knob": "none"})


def told(place: Place, kind: str, answer: dict) -> None:
    assert not answer["ok"], answer
    text = " ".join(answer["error"].split())
    traces = set(TRACE.findall(text))
    assert len(traces) == 1, text
    line = place.logged(kind, traces.pop())
    if kind in PASSED_ON:
        assert line["snowflake_text"] in text, (text, line)
        return
    parts = [part.strip() for part in place.explain(kind)["message"].split("{}")]
    assert all(part in text for part in parts), (text, parts)
    assert place.explain(kind)["client_step"] in text, text


def in_own_words(place: Place, own: str, make) -> None:
    before = place.mark()
    answer = make()
    assert not answer["ok"] and own in answer["error"], answer
    place.logged("session_ended", since=before)


def ended(client: Client, ground: Ground, place: Place, key: str) -> dict:
    """A session that the operator ends while the driver holds it."""
    running = client.start("wait", client.hows[0], key, place.gate.port, ground.certificates)
    client.ready(running)
    run(world.BINARY, "sessions", "kill", "client:ended", "--admin", f"127.0.0.1:{place.gate.admin}")
    return client.answer(running, "go\n")
