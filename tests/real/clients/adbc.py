"""The ADBC driver (gosnowflake in a Python wheel) as a test client.

The contract is in ../README.md.
"""

import json
import os
import sys
import time

# The Go runtime copies the environment when the process starts and sees
# nothing that Python adds, so the process starts itself again.
WANTED = {
    "SSL_CERT_FILE": os.environ["GATE_CA"],
    # Else each TLS connection asks hosts the test network does not have.
    "SF_OCSP_RESPONSE_CACHE_SERVER_ENABLED": "false",
}
if any(os.environ.get(name) != value for name, value in WANTED.items()):
    os.environ.pop("SSL_CERT_DIR", None)  # would add the system's roots
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **WANTED})

import adbc_driver_snowflake.dbapi  # noqa: E402

ROWS = "select repeat('x', 100) as c from table(generator(rowcount => 100000))"
OPTION = "adbc.snowflake.sql.client_option."
step = "connect"


def connect():
    key = os.environ["GATE_KEY"]
    how = {
        "password": {"password": key},
        "pat": {"adbc.snowflake.sql.auth_type": "auth_pat", OPTION + "auth_token": key},
        "foreign": {"adbc.snowflake.sql.auth_type": "auth_oauth", OPTION + "auth_token": key},
    }[os.environ["GATE_HOW"]]
    options = {
        "adbc.snowflake.sql.account": "any",
        "adbc.snowflake.sql.uri.host": os.environ["GATE_HOST"],
        "adbc.snowflake.sql.uri.port": os.environ["GATE_PORT"],
        "adbc.snowflake.sql.uri.protocol": "https",
        "username": os.environ["GATE_USER"],
        OPTION + "disable_telemetry": "true",
        OPTION + "login_timeout": "10s",
        OPTION + "request_timeout": "60s",
        **how,
    }
    if "GATE_ROLE" in os.environ:
        options["adbc.snowflake.sql.role"] = os.environ["GATE_ROLE"]
    return adbc_driver_snowflake.dbapi.connect(db_kwargs=options, autocommit=True)


def session(connection, steps):
    global step

    def one(query):
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()[0][0]

    step = "select"
    steps["select"] = int(one("SELECT 1"))
    assert steps["select"] == 1, steps["select"]
    step = "rows"
    with connection.cursor() as cursor:
        cursor.execute(ROWS)
        texts = cursor.fetch_arrow_table().column(0).to_pylist()
    steps["rows"] = [len(texts), sum(map(len, texts))]
    step = "renewed"
    one("select 'standin:expire'")
    steps["renewed"] = int(one("SELECT 2"))
    assert steps["renewed"] == 2, steps["renewed"]
    # The first heartbeat comes after at least 15 minutes and cannot be forced.
    steps["heartbeat"] = None


def wait(connection, steps):
    global step
    step = "wait"
    print('{"ready":true}', flush=True)
    sys.stdin.readline()
    step = "select"
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        steps["select"] = int(cursor.fetchall()[0][0])


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
        return {"ok": False, "step": step, "error": str(error), "kind": kind}


if __name__ == "__main__":
    print(json.dumps(main(), separators=(",", ":")), flush=True)
    os._exit(0)
