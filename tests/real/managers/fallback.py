"""A credential with two references: which one wins, and what is shown of the other."""

import time

import world

from .backends import Backend
from .contract import Contract, fingerprint

DOWN = {"status": 503, "body": b"{}"}


class Fallback:
    """Two backends, the first of a contract and another behind it."""

    def __init__(self, contract: Contract, second: Backend):
        self.contract, self.first, self.second = contract, contract.backend, second
        self.first.env = {**self.first.env, **second.env}
        self.pats = iter(f"canary-fallback-{n}" for n in range(1000))
        self.references = [self.first.reference("pair"), second.reference("pair", "t")]
        self.table = self.first.table() + second.table(store="t")

    def gate(self, name: str, pat: str = 'refresh = "1s"'):
        config = self.contract.config({"one": self.references}, self.table, f"[pat]\n{pat}\n")
        return world.Gate(self.contract.place, f"gate-fallback-{name}", config, env=self.contract.environment())

    def both(self, first: str, second: str) -> None:
        self.first.put("pair", first)
        self.second.put("pair", second)

    def run(self) -> None:
        contract, first, second, pats = self.contract, self.first, self.second, self.pats
        contract.new_pat(one := next(pats), overlap=False)
        contract.new_pat(two := next(pats))
        self.both(one, two)

        def id_is(gate, pat):
            assert contract.held(gate)["held"]["id"] == fingerprint(pat), contract.held(gate)

        def wins():
            gate = self.gate("wins")
            gate.wait_ready()
            contract.login(gate)
            id_is(gate, one)
            assert not contract.held(gate)["losers"]
            first.front.set(DOWN)
            try:
                world.wait_for(lambda: contract.held(gate)["failure"])
                contract.login(gate)
                id_is(gate, one)  # what the fallback says counts for nothing while the other is good
            finally:
                first.front.set("pass")
            world.wait_for(lambda: not contract.held(gate)["failure"])
            world.same(gate.stop(), 0)

        def stands_in():
            first.front.set(DOWN)
            gate = self.gate("stands-in")
            try:
                gate.wait_ready()
                contract.login(gate)
                told = contract.held(gate)
                id_is(gate, two)
                assert told["losers"][0]["reference"] == self.references[0] and told["losers"][0]["kind"] == "unavailable", told
                gate.logged(lambda line: line["message"].startswith("a reference gives nothing"))
            finally:
                first.front.set("pass")
            world.wait_for(lambda: contract.held(gate)["held"]["id"] == fingerprint(one))
            assert not contract.held(gate)["losers"]
            world.same(gate.stop(), 0)

        def after_a_refusal():
            gate = self.gate("refusal", 'refresh = "1h"')
            gate.wait_ready()
            contract.login(gate)
            first.front.set(DOWN)
            try:
                contract.new_pat(pat := next(pats), overlap=False)
                second.put("pair", pat)
                contract.login(gate)
                id_is(gate, pat)
            finally:
                first.front.set("pass")
            world.same(gate.stop(), 0)

        def behind():
            """The first still holds what Snowflake has refused; the second has the new one."""
            contract.new_pat(old := next(pats), overlap=False)
            self.both(old, old)
            gate = self.gate("behind")
            gate.wait_ready()
            contract.login(gate)
            contract.new_pat(pat := next(pats), overlap=False)
            second.put("pair", pat)
            contract.login(gate)
            id_is(gate, pat)
            until = time.monotonic() + 2.5
            while time.monotonic() < until:
                contract.login(gate)
            id_is(gate, pat)
            first.put("pair", pat)
            world.wait_for(lambda: contract.held(gate)["held"]["from"] == self.references[0])
            contract.login(gate)
            world.same(gate.stop(), 0)

        def neither():
            first.front.set(DOWN)
            second.front.set(DOWN)
            gate = self.gate("neither")
            try:
                assert gate.ready() == 503
                answer = world.login(gate, contract.certificates.ca, contract.key)
                assert not answer["success"] and "cannot reach the secrets manager" in answer["message"], answer
                cause = contract.held(gate)["failure"]["cause"]
                assert all(reference in cause for reference in self.references), cause
            finally:
                first.front.set("pass")
                second.front.set("pass")
            world.wait_for(lambda: gate.ready() == 200)
            world.same(gate.stop(), 0)

        for name, test in [
            ("the first reference wins, and a held PAT of it outlives its outage", wins),
            ("a fallback stands in, the loser is shown, and gives way again", stands_in),
            ("after a refusal the fallback's version is taken within the login", after_a_refusal),
            ("a fallback that is ahead of the first reference", behind),
            ("with neither there, both are named", neither),
        ]:
            contract.checks.check(f"{first.name}, then {second.name}: {name}", test)
