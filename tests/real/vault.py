"""The Vault store against a real Vault server: AppRole, KV v1 and v2, expiry, sealing, restart.

    python3 vault.py TOOLS
"""

import http.client
import json
import socket
import sys
import time
from pathlib import Path

import install
import world
from world import Certificates, Checks, Gate, Process, StandIn

USER = "BI_SERVICE"
ROOT_TOKEN = "canary-root-token"


class Vault(Process):
    """Vault 1.14.1's own core, in memory, on a plain and a TLS port."""

    def __init__(self, place: Path, tools: Path, certificates: Certificates, ports: tuple[int, int]):
        self.address, self.tls = (f"127.0.0.1:{port}" for port in ports)
        super().__init__(
            place, "vault", install.vault(tools), "-addr", self.address, "-tls-addr", self.tls,
            "-tls-cert", certificates.pem, "-tls-key", certificates.key, "-root-token", ROOT_TOKEN,
        )  # fmt: skip
        self.unseal_key = self.line("Unseal Key: ").split()[-1]
        # The plain port comes last.
        world.wait_for(lambda: self.ask("GET", "sys/health"))

    def ask(self, method: str, path: str, body: dict | None = None) -> dict:
        connection = http.client.HTTPConnection(self.address, timeout=world.PATIENCE)
        headers = {"X-Vault-Token": ROOT_TOKEN}
        connection.request(method, f"/v1/{path}", json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status < 300, (method, path, answer.status, text)
        return json.loads(text) if text else {}

    def set_up(self, place: Path, ttl: str, max_ttl: str) -> None:
        """A role that may read, and the gate's own login as files."""
        self.ask("POST", "sys/auth/approle", {"type": "approle"})
        self.ask("POST", "sys/mounts/kv1", {"type": "kv", "options": {"version": "1"}})
        policy = 'path "secret/data/snowflake/*" { capabilities = ["read"] }\npath "kv1/snowflake/*" { capabilities = ["read"] }'
        self.ask("PUT", "sys/policies/acl/patgate", {"policy": policy})
        role = {"token_policies": "patgate", "token_ttl": ttl, "token_max_ttl": max_ttl}
        self.ask("POST", "auth/approle/role/patgate", role)
        role_id = self.ask("GET", "auth/approle/role/patgate/role-id")["data"]["role_id"]
        secret_id = self.ask("POST", "auth/approle/role/patgate/secret-id", {})["data"]["secret_id"]
        (place / "role-id").write_text(role_id)
        (place / "secret-id").write_text(secret_id + "\n")

    def put(self, pat: str) -> None:
        self.ask("POST", "secret/data/snowflake/powerbi", {"data": {"token": pat, "note": "canary-note"}})


def free_ports() -> tuple[int, int]:
    """Vault wants to be told its ports, and comes back on the same after a restart."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = tuple(s.getsockname()[1] for s in sockets)
    for s in sockets:
        s.close()
    return ports


def main() -> None:
    tools = Path(sys.argv[1])
    checks = Checks("vault")
    with world.place() as name:
        place = Path(name)
        certificates = Certificates(place)
        standin = StandIn(place, certificates)
        ports = free_ports()
        vault = Vault(place, tools, certificates, ports)
        vault.set_up(place, "3s", "7s")
        vault.put("canary-pat-1")
        vault.ask("POST", "kv1/snowflake/old", {"token": "canary-pat-v1"})
        for pat in ("canary-pat-1", "canary-pat-v1"):
            standin.ask("pat", {"user": USER, "pat": pat, "state": "active"})
        two, one = world.new_key("two"), world.new_key("one")
        config = world.base(certificates, standin.port).but(
            login={"hold": "2s"},
            pat={"refresh": "1s"},
            stores__vault__vault={
                "address": f"https://localhost:{ports[1]}",
                "ca": certificates.ca,
                "namespace": "team/bi",
                "approle": {"role_id": "file:role-id", "secret_id": "file:secret-id"},
            },
            stores__token__vault={"address": f"http://127.0.0.1:{ports[0]}", "kv": "v1", "token": "env:VAULT_TEST_TOKEN"},
            credentials__two={"account": "prod", "user": USER, "pat": "vault:secret/snowflake/powerbi#token"},
            credentials__one={"account": "prod", "user": USER, "pat": "token:kv1/snowflake/old#token"},
            clients__two={"credential": "two", "keys": [two[1]]},
            clients__one={"credential": "one", "keys": [one[1]]},
        )
        gate = Gate(place, "gate", config, env={"VAULT_TEST_TOKEN": ROOT_TOKEN})
        gate.wait_ready()

        def ok(key=two[0]):
            answer = world.login(gate, certificates.ca, key)
            assert answer["success"], answer["message"]

        def rotated(pat: str):
            """Snowflake has rotated with no overlap, then the store was written."""
            standin.ask("rotate", {"user": USER, "pat": pat})
            vault.put(pat)
            ok()

        def many_logins_to_vault():
            """The token lives three seconds, seven when renewed: it is renewed, then replaced, and no login notices."""
            end = time.monotonic() + 10
            while time.monotonic() < end:
                ok()
            logins = [line for line in gate.lines() if line.get("message") == "logged in to Vault"]
            assert len(logins) >= 2, logins
            renewals = [line for line in gate.lines() if line.get("message") == "renewed the Vault token"]
            assert renewals, "no renewal succeeded"

        def away_and_back(away, back):
            away()
            end = time.monotonic() + 3  # longer than the refresh interval
            while time.monotonic() < end:
                ok()
            back()
            ok()

        def restarted():
            nonlocal vault
            vault = Vault(place, tools, certificates, ports)
            vault.set_up(place, "1h", "1h")
            vault.put("canary-pat-3")
            standin.ask("rotate", {"user": USER, "pat": "canary-pat-3"})

        def refused(says: str):
            """What a gate says that starts with this Vault and finds nothing to use."""
            fresh = Gate(place, f"gate-{len(list(place.glob('gate*.toml')))}", config.but(pat={"refresh": "1h"}),
                         env={"VAULT_TEST_TOKEN": ROOT_TOKEN})  # fmt: skip
            try:
                assert fresh.ready() == 503
                answer = world.login(fresh, certificates.ca, two[0])
                assert not answer["success"] and says in answer["message"], answer
                trace = world.TRACE.findall(answer["message"])[0]
                return fresh.logged(lambda line: line.get("trace") == trace and "kind" in line)["cause"]
            finally:
                fresh.stop()

        def caused(says: str, cause: str):
            told = refused(says)
            assert cause in told, told

        checks.check("AppRole over TLS with a private CA reads KV v2", ok)
        checks.check("a token from the environment reads KV v1", lambda: ok(one[0]))
        checks.check("a rotation in the store is followed within a login", lambda: rotated("canary-pat-2"))
        checks.check("a token is renewed, and replaced when it expires", many_logins_to_vault)
        checks.check("a sealed Vault goes unnoticed",
                     lambda: away_and_back(lambda: vault.ask("PUT", "sys/seal"),
                                           lambda: vault.ask("PUT", "sys/unseal", {"key": vault.unseal_key})))  # fmt: skip
        checks.check("a killed and restarted Vault goes unnoticed", lambda: away_and_back(vault.kill, restarted))
        vault.ask("DELETE", "secret/data/snowflake/powerbi")
        checks.check("a deleted version is the store's refusal", lambda: caused("has no secret at the place", "deleted"))
        vault.ask("POST", "secret/data/snowflake/powerbi", {"data": {"other": "canary-pat-x"}})
        checks.check("a missing field is an unusable secret", lambda: caused("not a usable", "no member"))
        standin.ask("pat", {"user": USER, "pat": "canary-pat-4", "state": "active"})
        vault.put("canary-pat-4")
        role_id, secret_id = ((place / name).read_text().strip() for name in ("role-id", "secret-id"))
        (place / "secret-id").write_text("wrong")
        checks.check("a wrong secret_id is the store's refusal", lambda: caused("does not accept the gate", "invalid"))
        vault.ask("PUT", "sys/seal")
        checks.check("a sealed Vault at start is told as unreachable", lambda: caused("cannot reach the secrets manager", "sealed"))
        vault.kill()
        checks.check("a dead Vault at start is told as unreachable", lambda: caused("cannot reach the secrets manager", "does not answer"))
        checks.check("the running gate still serves what it holds", ok)
        checks.check("the gate drains and ends with 0", lambda: world.same(gate.stop(), 0))
        standin.kill()
        world.hunt(checks, place, {"client key": two[0], "role id": role_id, "secret id": secret_id})
    checks.end()


if __name__ == "__main__":
    main()
