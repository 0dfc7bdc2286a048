"""The console in a headless Chromium: every element is used, and pictures are taken at two widths, light and dark.

    python3 console.py TOOLS

The pictures stay in target/console/.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import install
import world
from world import Checks, Gate, Ground, run, same, wait_for

USER = "BI_SERVICE"
PAT = "canary-pat-console"


def main() -> None:
    tools = Path(sys.argv[1])
    checks = Checks("console")
    with world.place() as name:
        place = Path(name)
        ground = Ground(place, USER, PAT)
        gate = Gate(place, "gate-console", ground.config)
        for _ in range(3):
            same(ground.login(gate)["success"], True)
        wrong, _ = world.new_key("bi")
        same(ground.login(gate, wrong)["success"], False)
        wait_for(lambda: "key_wrong" in run(world.BINARY, "explain", "PG-105", "--json"))
        address = json.loads(run(world.BINARY, "console", "--json", "--admin", f"127.0.0.1:{gate.admin}"))
        pictures = world.TARGET / "console"
        pictures.mkdir(exist_ok=True)
        environment = {**os.environ, "NODE_PATH": str(install.console(tools)), "CHROMIUM": shutil.which("chromium"), "HOME": str(place)}
        page = f"http://{address['address']}/console#{address['token']}"
        told: dict = {}

        def used() -> None:
            told.update(json.loads(run("node", world.HERE / "console" / "page.js", page, pictures, env=environment)))
            # The page that shows the locked form was answered 401, which the browser tells of that page alone.
            same(told["problems"], [])

        checks.check("every element of the console is used, and nothing is loaded or run beyond its own files", used)
        seen = told.get("seen", {})
        checks.check("the token is gone from the address", lambda: same(seen["hash"], ""))
        checks.check("the failure stands there with code, owner, next step and trace", lambda: complete(seen["failures"]))
        checks.check("sessions, clients, credentials, stores, accounts and certificates are there", lambda: all_there(seen))
        checks.check("the charts say in words what they draw", lambda: same([bool(one) for one in seen["charts"]], [True] * 3))
        checks.check("by keyboard the first stop leads past the head", lambda: same(seen["first"], "To the content"))
        checks.check("a question comes before an act that hurts", lambda: same("bad logins" in seen["retry"], True))
        checks.check("a used token opens nothing, and the page says how to get another", lambda: same(seen["locked"], True))
        checks.check("four pictures were taken", lambda: same(len(list(pictures.glob("console-*.png"))), 4))
        checks.check("the drain ended the gate with 0", lambda: same(gate.process.wait(world.PATIENCE), 0))
        ground.end(checks, token=address["token"])
    checks.end()


def complete(failures: list[str]) -> None:
    row = next(row for row in failures if "PG-105 key_wrong" in row)
    assert " client " in row and "patgate client new" in row and world.TRACE.search(row), row


def all_there(seen: dict) -> None:
    same((len(seen["sessions"]), len(seen["clients"]), len(seen["credentials"])), (3, 1, 1))
    text = " ".join(seen["parts"] + seen["listeners"] + seen["credentials"])
    for word in ("local", "prod", "main", "localhost", "BI_SERVICE", "active", "up"):
        assert word in text, (word, text)
    assert seen["state"].startswith("Serves logins"), seen["state"]


if __name__ == "__main__":
    main()
