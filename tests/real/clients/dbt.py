"""dbt as a test client: `dbt debug`, which logs in and runs `select 1`.

The contract is in ../README.md; dbt cannot do the other steps, they are null.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# dbt hands no token to its driver with the PAT authenticator: GATE_HOW=pat
# logs in with TOKEN null, and what works is the key as the password.
HOW = {
    "password": {"password": os.environ["GATE_KEY"]},
    "pat": {
        "authenticator": "programmatic_access_token",
        "password": os.environ["GATE_KEY"],
    },
    "foreign": {"authenticator": "oauth", "token": os.environ["GATE_KEY"]},
}
PROFILE = {
    "gate": {
        "target": "gate",
        "outputs": {
            "gate": {
                "type": "snowflake",
                "account": "any",
                "host": os.environ["GATE_HOST"],
                "port": int(os.environ["GATE_PORT"]),
                "protocol": "https",
                "user": os.environ["GATE_USER"],
                "database": "DB",
                "schema": "PUBLIC",
                "connect_retries": 0,
                **HOW[os.environ["GATE_HOW"]],
            }
        },
    }
}
PROJECT = {"name": "gate", "profile": "gate"}
MARK = "The database returned the following error:"


def main():
    with tempfile.TemporaryDirectory() as place:
        for name, content in (("profiles", PROFILE), ("dbt_project", PROJECT)):
            Path(place, name + ".yml").write_text(json.dumps(content))  # JSON is YAML
        start = time.monotonic()
        done = subprocess.run(
            [
                Path(sys.executable).with_name("dbt"),
                "--no-use-colors",
                "--no-send-anonymous-usage-stats",
                "debug",
                "--connection",  # not the rest of the machine, such as git
                f"--profiles-dir={place}",
                f"--project-dir={place}",
            ],
            cwd=place,
            env={
                **os.environ,
                "REQUESTS_CA_BUNDLE": os.environ["GATE_CA"],
                "CURL_CA_BUNDLE": os.environ["GATE_CA"],
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
    took = round((time.monotonic() - start) * 1000)
    if done.returncode != 0:
        error = done.stdout.partition(MARK)[2] or done.stdout
        return {"ok": False, "step": "connect", "error": error.strip(), "kind": "dbt debug"}
    steps = {"connect": took, "select": 1, "rows": None, "renewed": None}
    return {"ok": True, "steps": {**steps, "heartbeat": None, "close": True}}


if __name__ == "__main__":
    print(json.dumps(main(), separators=(",", ":")), flush=True)
