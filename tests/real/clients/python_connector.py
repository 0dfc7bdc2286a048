"""The Python connector as a test client; serves 4.x and 5.x.

The contract is in ../README.md.
"""

import json
import os
import sys
import time
from importlib.metadata import version

# 5.x is a Rust core and takes its roots as a parameter; 4.x asks the
# environment through `requests`, and reads it while it is imported.
RUST_CORE = int(version("snowflake-connector-python").split(".")[0]) >= 5
if not RUST_CORE:
    os.environ["REQUESTS_CA_BUNDLE"] = os.environ["GATE_CA"]
    os.environ["CURL_CA_BUNDLE"] = os.environ["GATE_CA"]

import snowflake.connector  # noqa: E402

ROWS = "select repeat('x', 100) as c from table(generator(rowcount => 100000))"
step = "connect"


def connect():
    key = os.environ["GATE_KEY"]
    how = {
        "password": {"password": key},
        "pat": {"authenticator": "PROGRAMMATIC_ACCESS_TOKEN", "token": key},
        "foreign": {"authenticator": "oauth", "token": key},
    }[os.environ["GATE_HOW"]]
    if RUST_CORE:
        own = {
            "custom_root_store_path": os.environ["GATE_CA"],
            "retry_max_attempts": 2,  # else a failed connection is tried six times
            "enable_server_session_keep_alive_auto_detection": False,  # always log out
        }
    else:
        own = {"disable_ocsp_checks": True, "network_timeout": 60}
    return snowflake.connector.connect(
        account="any",
        host=os.environ["GATE_HOST"],
        port=int(os.environ["GATE_PORT"]),
        protocol="https",
        user=os.environ["GATE_USER"],
        client_session_keep_alive=True,
        **({"role": os.environ["GATE_ROLE"]} if "GATE_ROLE" in os.environ else {}),
        **how,
        **own,
    )


def session(connection, steps):
    global step
    cursor = connection.cursor()
    step = "select"
    (steps["select"],) = cursor.execute("SELECT 1").fetchone()
    assert steps["select"] == 1, steps["select"]
    step = "rows"
    texts = [row[0] for row in cursor.execute(ROWS)]
    steps["rows"] = [len(texts), sum(map(len, texts))]
    step = "renewed"
    cursor.execute("select 'standin:expire'").fetchall()
    (steps["renewed"],) = cursor.execute("SELECT 2").fetchone()
    assert steps["renewed"] == 2, steps["renewed"]
    step = "heartbeat"
    # The driver's own first one comes after 15 minutes; this sends one now.
    steps["heartbeat"] = connection.is_valid()
    assert steps["heartbeat"], "the heartbeat was refused"


def chain(error):
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(dict.fromkeys(texts))


def wait(connection, steps):
    global step
    step = "wait"
    print('{"ready":true}', flush=True)
    sys.stdin.readline()
    step = "select"
    (steps["select"],) = connection.cursor().execute("SELECT 1").fetchone()


def main():
    global step
    steps = {}
    try:
        start = time.monotonic()
        connection = connect()
        steps["connect"] = round((time.monotonic() - start) * 1000)
        if sys.argv[1] == "session":
            session(connection, steps)
        if sys.argv[1] == "wait":
            wait(connection, steps)
        step = "close"
        connection.close()
        steps["close"] = True
        return {"ok": True, "steps": steps}
    except Exception as error:
        kind = f"{type(error).__module__}.{type(error).__qualname__}"
        return {"ok": False, "step": step, "error": chain(error), "kind": kind}


if __name__ == "__main__":
    print(json.dumps(main(), separators=(",", ":")), flush=True)
    # An open connection's threads must not hold a failed test back.
    os._exit(0)
