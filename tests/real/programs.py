"""The drivers' programs: one a driver, each started for one action; README.md has the contract."""

import json
import os
import subprocess
import threading
from pathlib import Path

import install
from world import HERE, Certificates


class Client:
    """One driver's program; README.md has the contract."""

    def __init__(self, name: str, command: list, env: dict | None = None, hows=("password", "pat")):
        self.name, self.command, self.env, self.hows = name, command, env or {}, hows

    def start(self, action: str, how: str, key: str, port: int, certificates: Certificates, role: str | None = None) -> subprocess.Popen:
        env = {
            **os.environ,
            "GATE_HOST": "localhost",
            "GATE_PORT": str(port),
            "GATE_CA": str(certificates.ca),
            "GATE_TRUST": str(certificates.trust),
            "GATE_TRUST_PASSWORD": certificates.trust_password,
            "GATE_USER": "whoever",
            "GATE_KEY": key,
            "GATE_HOW": how,
            **({"GATE_ROLE": role} if role else {}),
            **{name: value.format(ca=certificates.ca) for name, value in self.env.items()},
        }
        # What the machine presets would be trusted in place of the tests' own CA.
        for preset in ("SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
            if preset not in self.env:
                env.pop(preset, None)
        command = [str(word) for word in [*self.command, action]]
        return subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def answer(self, running: subprocess.Popen, line: str | None = None) -> dict:
        """What a started program came to; `line` goes to its stdin first."""
        try:
            out, errors = running.communicate(line, timeout=180)
        except subprocess.TimeoutExpired:
            running.kill()
            raise
        try:
            return json.loads(out.strip().splitlines()[-1])
        except (IndexError, ValueError) as error:
            raise RuntimeError(f"no answer: {out[-500:]} {errors[-1500:]}") from error

    def run(self, action: str, how: str, key: str, port: int, certificates: Certificates, role: str | None = None) -> dict:
        return self.answer(self.start(action, how, key, port, certificates, role))

    def ready(self, running: subprocess.Popen) -> None:
        """Waits until a program that was started to wait has its session; one that takes too long is ended."""
        late = threading.Timer(180, running.kill)
        late.start()
        line = running.stdout.readline().strip()
        late.cancel()
        if line != '{"ready":true}':
            raise RuntimeError(f"no session: {line} {self.answer(running)}")


def clients(tools: Path, wanted: tuple = ()) -> list[Client]:
    """All of them, or those of these names. What is not wanted need not be installed."""
    python = HERE / "clients" / "python_connector.py"
    makers = {
        "snowflake-connector-python 4": lambda name: Client(name, [install.py4(tools), python]),
        "snowflake-connector-python 5": lambda name: Client(name, [install.py5(tools), python]),
        "adbc-driver-snowflake": lambda name: Client(name, [install.adbc(tools), HERE / "clients" / "adbc.py"]),
        "gosnowflake": lambda name: Client(name, [install.go(tools)], {"SSL_CERT_FILE": "{ca}"}),
        "snowflake-sdk": lambda name: Client(name, ["node", HERE / "clients" / "node.js"], {"NODE_PATH": str(install.node(tools))}),
        "snowflake-jdbc": lambda name: Client(
            name,
            ["java", "-cp", install.jdbc(tools), "--add-opens=java.base/java.nio=ALL-UNNAMED", HERE / "clients" / "Jdbc.java"],
        ),
        # With the PAT authenticator dbt sends no credential at all.
        "dbt-snowflake": lambda name: Client(name, [install.dbt(tools), HERE / "clients" / "dbt.py"], hows=("password",)),
    }
    return [make(name) for name, make in makers.items() if not wanted or name in wanted]


def whole_session(answer: dict, dbt: bool) -> None:
    assert answer["ok"], answer
    steps = answer["steps"]
    assert steps["select"] == 1 and steps["close"] is True, steps
    if not dbt:
        assert steps["rows"] == [100_000, 10_000_000] and steps["renewed"] == 2, steps
        assert steps["heartbeat"] in (True, None), steps
