"""What a restart must not forget, and what an operator does from the command line."""

import json
import subprocess

import world
from vault import free_ports
from world import BINARY, Gate

from .contract import USER, Contract, fingerprint


class Restarts:
    """A gate over a file store whose process is killed, again and again."""

    def __init__(self, contract: Contract):
        self.contract, self.backend, self.standin = contract, contract.backend, contract.standin
        self.admin = free_ports()[0]
        changes = {"admin": {"address": f"127.0.0.1:{self.admin}"}, "login": {"hold": "300ms"}}
        self.config = contract.config({"one": self.backend.reference("restarts")}, **changes)
        self.number = 0

    def gate(self, ready: bool = True) -> Gate:
        """One whose only PAT is refused serves, and is not ready."""
        self.number += 1
        gate = Gate(self.contract.place, f"gate-restarts-{self.number}", self.config)
        if ready:
            gate.wait_ready()
        return gate

    def bad(self, pat: str) -> int:
        return self.standin.ask("seen")["bad_logins"].get(fingerprint(pat), 0)

    def refused(self, gate: Gate) -> None:
        answer = world.login(gate, self.contract.certificates.ca, self.contract.key)
        assert not answer["success"] and "refuses the token that the gate holds" in answer["message"], answer

    def command(self, gate: Gate, *words: str, code: int = 0):
        done = subprocess.run([str(BINARY), "pat", *words, "--config", str(gate.file)], capture_output=True, text=True, timeout=60)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        self.contract.output.append(done.stdout + done.stderr)
        return done.stdout

    def run(self) -> None:
        pat = "canary-restarts"

        def loop():
            self.backend.put("restarts", pat)
            self.standin.ask("pat", {"user": USER, "pat": pat, "state": "disabled"})
            for _ in range(6):
                gate = self.gate(ready=False)
                self.refused(gate)
                gate.kill()
            # A login that asks for nothing of its own decides by itself; else the gate's own follows.
            assert 1 <= self.bad(pat) <= 2, self.bad(pat)

        def retry():
            """Somebody has enabled the very same PAT again."""
            self.standin.ask("pat", {"user": USER, "pat": pat, "state": "active"})
            before, gate = self.bad(pat), self.gate(ready=False)
            self.refused(gate)
            assert self.bad(pat) == before
            told = json.loads(self.command(gate, "retry", "one", "--json"))
            assert told["pats"][0]["held"]["id"] == fingerprint(pat), told
            self.contract.login(gate)
            world.same(gate.stop(), 0)

        def commands():
            gate = self.gate()
            self.contract.login(gate)
            assert fingerprint(pat) in self.command(gate, "status")
            self.contract.new_pat("canary-restarts-next")
            self.backend.put("restarts", "canary-restarts-next")
            assert fingerprint("canary-restarts-next") in self.command(gate, "refresh", "one")
            self.contract.login(gate)
            self.backend.remove("restarts")
            assert "cannot be read since" in self.command(gate, "refresh", code=5)
            self.contract.login(gate)
            self.backend.put("restarts", "canary-restarts-next")
            self.command(gate, "refresh", "nobody", code=8)
            world.same(gate.stop(), 0)
            self.command(gate, "status", code=4)

        self.contract.check("six kills with a disabled PAT cost two bad logins at most", loop)
        self.contract.check("`pat retry` opens the way again, and nothing else does", retry)
        self.contract.check("`pat status` and `pat refresh`", commands)
