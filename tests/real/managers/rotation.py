"""The gate writes what it rotates: through each secrets manager's own way, and read back by a gate that knows nothing of it."""

import hashlib
import json

import world
from world import Gate

from .backends import Aws, VaultBackend
from .contract import Contract, ask_admin, fingerprint

USER, TOKEN, ROTATOR = "BI_SERVICE", "BI_PAT", "PATGATE_ROTATOR"
ROTATIONS = 5


class Rotation:
    """The cases, for one backend that can be written."""

    def __init__(self, contract: Contract):
        self.contract, self.backend, self.standin = contract, contract.backend, contract.standin

    def run(self) -> None:
        self.private = self.contract.place / "rotator.pem"
        world.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.private)
        public = world.run("openssl", "pkey", "-in", self.private, "-pubout")
        for path, body in (
            ("users", {"user": USER}), ("users", {"user": ROTATOR}), ("key", {"user": ROTATOR, "public_key": public}),
            ("privilege", {"user": ROTATOR, "of": USER}),
        ):  # fmt: skip
            assert self.standin.ask(path, body)["ok"], path
        self.may_write(True)
        self.contract.check(f"{ROTATIONS} rotations of a plain value are written and read back", lambda: self.rotated("rotated", "", "{}"))
        self.contract.check("a rotation leaves the other members of an object as they are", lambda: self.rotated(
            "rotated-object", "#token", '{"user":"canary","token":"{}","other":12345678901234567890}'))
        if isinstance(self.backend, VaultBackend):
            self.contract.check("without the right to write the old token goes on, and the right is named", self.forbidden)

        if isinstance(self.backend, Aws):
            self.contract.check("what a write of the gate's own left under way is no obstacle, what another left is named", self.left)

    def may_write(self, allowed: bool) -> None:
        """Where reading and writing are told apart."""
        if isinstance(self.backend, VaultBackend):
            rights = '"read", "create", "update"' if allowed else '"read"'
            policy = "\n".join(f'path "{path}" {{ capabilities = [{rights}] }}' for path in ("secret/data/*", "kv1/*"))
            self.backend.server.ask("PUT", "sys/policies/acl/gate", {"policy": policy})

    def renewed(self, name: str, form: str) -> str:
        """A first token, in the store."""
        for token in self.standin.ask(f"pats?user={USER}")["pats"]:
            remove = f'ALTER USER "{USER}" REMOVE PROGRAMMATIC ACCESS TOKEN "{token["name"]}"'
            assert self.standin.ask("run", {"user": ROTATOR, "sql": remove})["ok"]
        made = self.standin.ask("token", {"user": USER, "name": TOKEN, "role": "R", "days": 90})
        self.backend.put(name, form.replace("{}", made["secret"], 1) if form != "{}" else made["secret"])
        return fingerprint(made["secret"])

    def gate(self, name: str, reference: str, state: str) -> Gate:
        rotation = f'rotation = {{ rotator = "admin", token = "{TOKEN}", every = "30d", overlap = "24h" }}\n'
        directory = self.contract.place / state
        directory.mkdir(exist_ok=True)
        extra = f'[rotators.admin]\naccount = "prod"\nuser = "{ROTATOR}"\nkey_pair = "key:rotator.pem"\n[stores.key.file]\npath = "."\n'
        text = self.contract.config({"one": reference}, extra=extra, state={"directory": directory},
                                    accounts__prod={"name": "myorg-prod"})  # fmt: skip
        pat = f"pat = {json.dumps(reference)}\n"
        text = text.replace(pat, pat + rotation)
        gate = Gate(self.contract.place, f"gate-{name}", text, env=self.contract.environment())
        gate.wait_ready()
        return gate

    def rotated(self, name: str, field: str, form: str) -> None:
        reference = self.reference(name, field)
        old = self.renewed(name, form)
        gate = self.gate(name, reference, f"state-{name}")
        for _ in range(ROTATIONS):
            report = ask_admin(gate, "POST", "/pats/rotate?credential=one", expect=200)
            assert report["old"] == old, (report, old)
            old = report["new"]
            self.contract.login(gate)
        living = self.standin.ask(f"pats?user={USER}")["pats"]
        assert len(living) == ROTATIONS + 1 and living[-1]["fingerprint"] == old, living
        world.same(gate.stop(), 0)
        # One that knows nothing of it reads the same.
        fresh = self.gate(f"{name}-fresh", reference, f"state-{name}-fresh")
        assert self.contract.held(fresh)["held"]["id"] == old, self.contract.held(fresh)
        self.contract.login(fresh)
        world.same(fresh.stop(), 0)

    def left(self) -> None:
        """AWSPENDING on a version that never became the current one: of a gate that died between its two calls, and of another."""
        old, name = self.renewed("left", "{}"), self.backend.path("left")
        gate = self.gate("left", self.reference("left", ""), "state-left")
        value = "canary-of-a-gate-that-died"
        word = hashlib.sha256(value.encode()).hexdigest()[:32]
        token = "-".join((word[:8], word[8:12], word[12:16], word[16:20], word[20:]))
        put = {"SecretId": name, "SecretString": value, "ClientRequestToken": token, "VersionStages": ["AWSPENDING"]}
        world.same(self.backend.call("put_secret_value", put)["VersionId"], token)
        report = ask_admin(gate, "POST", "/pats/rotate?credential=one", expect=200)
        world.same(report["old"], old)
        foreign = self.backend.put(name, "canary-of-another", stages=["AWSPENDING"])
        told = ask_admin(gate, "POST", "/pats/rotate?credential=one", expect=502)
        assert told["owner"] == "store" and f"--remove-from-version-id {foreign}" in told["error"], told
        self.contract.login(gate)
        self.backend.call("update_secret_version_stage", {"SecretId": name, "VersionStage": "AWSPENDING", "RemoveFromVersionId": foreign})
        world.same(ask_admin(gate, "POST", "/pats/rotate?credential=one", expect=200)["old"], report["new"])
        world.same(gate.stop(), 0)

    def reference(self, name: str, field: str) -> str:
        return f"s:{self.backend.path(name)}{field or self.backend.field}"

    def forbidden(self) -> None:
        old = self.renewed("forbidden", "{}")
        gate = self.gate("forbidden", self.reference("forbidden", ""), "state-forbidden")
        self.may_write(False)
        told = ask_admin(gate, "POST", "/pats/rotate?credential=one", expect=502)
        assert told["owner"] == "store" and "`create` and `update`" in told["error"], told
        assert self.contract.held(gate)["held"]["id"] == old
        self.contract.login(gate)
        self.may_write(True)
        report = ask_admin(gate, "POST", "/pats/rotate?credential=one", expect=200)
        assert report["old"] == old, report
        world.same(gate.stop(), 0)

