"""The contract that every secrets manager keeps, case by case, through the real binary.

First what a store holds and how it fails, by `patgate check --online`, which reads as a gate does; then a running gate: how a
rotation arrives and what an outage does to logins. A case names what it needs of a backend; one that a backend cannot do at
all is not run for it and not counted.
"""

import hashlib
import http.client
import json
import os
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import world
from world import BINARY, Certificates, Checks, Gate, StandIn

from .backends import Backend
from .front import Front
from .tunnels import Tunnels

USER = "BI_SERVICE"
LONG = "x" * 20_000


def fingerprint(pat: str) -> str:
    """How the gate names a PAT."""
    return hashlib.sha256(pat.encode()).hexdigest()[:12]


def managed(pat: str) -> str:
    """A managed secret of AWS's type SnowflakePat; the key in it is poison."""
    key = "-----BEGIN PRIVATE KEY-----\ncanary-private-key\n-----END PRIVATE KEY-----\n"
    return json.dumps({"account": "a", "user": USER, "privateKey": key, "passphrase": "canary-passphrase",
                       "patTokenName": "BI", "patTokenValue": pat})  # fmt: skip


# name, value, field, the PAT in it or the part of a sentence that refuses it
VALUES = [
    ("a plain value", "canary-plain", "", "=canary-plain"),
    ("a trailing newline is trimmed", "canary-newline\n", "", "=canary-newline"),
    ("a trailing CR LF is trimmed", "canary-crlf\r\n", "", "=canary-crlf"),
    ("a member of a JSON object", '{"pat":"canary-member","other":1}', "#pat", "=canary-member"),
    ("a member with escapes", '{"pat":"canary-\\u0065scaped"}', "#pat", "=canary-escaped"),
    ("a member after a nested object", '{"a":{"pat":"canary-inner"},"pat":"canary-outer"}', "#pat", "=canary-outer"),
    ("JSON with white space around it", '\n {"pat":"canary-spaced"} \n', "#pat", "=canary-spaced"),
    ("SnowflakePat without a field", managed("canary-managed"), "", "=canary-managed"),
    ("SnowflakePat by its field", managed("canary-named"), "#patTokenValue", "=canary-named"),
    ("SnowflakePat's private key is refused", managed("canary-x"), "#privateKey", "no token but a key"),
    ("SnowflakePat's passphrase is refused", managed("canary-x"), "#passphrase", "no token but a key"),
    ("a long token", f"canary-{LONG}", "", f"=canary-{LONG}"),
    ("a missing member is refused", '{"other":"canary"}', "#pat", "no member of the name"),
    ("a member that is no string is refused", '{"pat":7}', "#pat", "is no string"),
    ("an empty member is refused", '{"pat":""}', "#pat", "the value is empty"),
    ("an object without a field is refused", '{"x":"canary"}', "", "name its member"),
    ("a field of what is no object is refused", "canary-bare", "#pat", "no JSON object"),
    ("an empty value is refused", "", "", "the value is empty"),
    ("a newline alone is refused", "\n", "", "the value is empty"),
    ("two lines are refused", "canary\ncanary", "", "more than one line"),
    ("a space inside is refused", "canary canary", "", "no token has"),
    ("a character beyond ASCII is refused", "canary-é", "", "no token has"),
    ("a placeholder is refused", "changeme", "", "placeholder"),
    ("a placeholder in brackets is refused", "<canary-your-token>", "", "placeholder"),
    ("a byte order mark and blanks around it are taken off", "\ufeff canary-marked \n", "", "=canary-marked"),
    ("a line of an environment file is refused", "SNOWFLAKE_PAT=canary", "", "store the token alone"),
    ("a token in base64 is refused", "ZXlKcanary", "", "store the token itself"),
    ("a client key is refused", "pgk_canary_x_y", "", "client key of patgate"),
]
GARBLED = [
    ("nonsense instead of HTTP", "garbage", "unavailable"),
    ("an answer that is cut", "cut", "unavailable"),
    ("an answer that drips", "drip", "unavailable"),
    ("an answer that never comes", "hang", "unavailable"),
    ("a page of HTML", {"status": 200, "headers": {"Content-Type": "text/html"}, "body": b"<html>canary</html>"}, ""),
    ("JSON of another shape", {"status": 200, "body": b'{"canary":{"canary":1}}'}, ""),
    ("JSON that is a list", {"status": 200, "body": b'["canary"]'}, ""),
    ("an empty answer", {"status": 200, "body": b""}, ""),
    ("an answer of 3 MB", {"status": 200, "body": b" " * 3_000_000}, ""),
    ("a redirect, which is not followed", {"status": 302, "headers": {"Location": "https://localhost:1/"}, "body": b""}, ""),
    ("401", {"status": 401, "body": b"{}"}, ""),
    ("403", {"status": 403, "body": b'{"canary":1}'}, "refused"),
    ("404", {"status": 404, "body": b"{}"}, "refused"),
    ("429", {"status": 429, "body": b"{}"}, "throttled"),
    ("429 with Retry-After", {"status": 429, "headers": {"Retry-After": "7"}, "body": b"{}"}, "throttled"),
    ("500", {"status": 500, "body": b"canary"}, "unavailable"),
    ("502", {"status": 502, "body": b"<html>"}, "unavailable"),
    ("503", {"status": 503, "body": b"{}"}, "unavailable"),
    ("503 with Retry-After", {"status": 503, "headers": {"Retry-After": "3"}, "body": b"{}"}, "throttled"),
]
LATE = {"drip", "hang"}
OUTAGES = {
    "time-out": "hang",
    "5xx": {"status": 503, "body": b"{}"},
    "403": {"status": 403, "body": b"{}"},
    "garbage": "garbage",
    "killed": None,
    "DNS": None,
}


class Contract:
    """The cases, for one backend."""

    def __init__(self, checks: Checks, backend: Backend, place, certificates: Certificates, standin: StandIn, wrong: dict):
        self.checks, self.backend, self.place = checks, backend, place
        self.certificates, self.standin, self.wrong = certificates, standin, wrong
        self.key, self.hash = world.new_key("bi")
        self.output = []

    def check(self, name: str, test) -> None:
        self.checks.check(f"{self.backend.name}: {name}", test)

    # What a store holds, by `check --online`.

    def config(self, credentials: dict[str, str], table: str = "", extra: str = "", **changes: dict) -> str:
        """A configuration with these credentials: name, reference; `changes` go to the tables that all share."""
        text = str(world.base(self.certificates, self.standin.port).but(**changes)) + extra + (table or self.backend.table())
        for name, reference in credentials.items():
            text += f'[credentials.{name}]\naccount = "prod"\nuser = "{USER}"\npat = {json.dumps(reference)}\n'
        return text + f'[clients.bi]\ncredential = "{next(iter(credentials))}"\nkeys = ["{self.hash}"]\n'

    def probe(self, credentials: dict[str, str], table: str = "", env: dict | None = None, late: str = "30s") -> dict[str, dict]:
        """What `check --online` says of each reference. Its output is searched for secrets at the end.

        `late` is how long a read may take: short only where the store is made to be late, since a busy machine is slow too.
        """
        file = self.place / "check.toml"
        file.write_text(self.config(credentials, table, f'[pat]\nread = "{late}"\n'))
        done = subprocess.run(
            [str(BINARY), "check", "--config", str(file), "--online", "--json"],
            capture_output=True, text=True, timeout=60, cwd=self.place, env=self.environment(env),
        )  # fmt: skip
        self.output.append(done.stdout + done.stderr)
        told = {one["credential"]: one for one in json.loads(done.stdout)["references"]}
        assert done.returncode == (0 if all(one["ok"] for one in told.values()) else 5), (done.returncode, told)
        return told

    def environment(self, more: dict | None = None) -> dict:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AZURE_", "GOOGLE_", "IDENTITY_"))}
        return {**clean, **self.backend.env, **(more or {})}

    def read(self, name: str = "pat", **options) -> dict:
        return self.probe({"one": self.backend.reference(name)}, **options)["one"]

    def gives(self, pat: str, name: str = "pat", **options) -> dict:
        told = self.read(name, **options)
        assert told["ok"] and told["id"] == fingerprint(pat), told
        return told

    def fails(self, kind: str, *says: str, name: str = "pat", **options) -> None:
        told = self.read(name, **options)
        assert not told["ok"], told
        error = told["error"]
        if kind == "throttled" and "login: Vault" in error["cause"]:
            kind = "unavailable" if "429" not in error["cause"] else kind  # vaultrs, which does the login, hides Retry-After
        assert kind in ("", error["kind"]), told
        assert all(text in error["cause"] for text in says), told
        assert "canary" not in error["cause"], told

    def values(self) -> None:
        vault, cases = self.backend.kind == "vault", []
        for number, (name, value, field, expected) in enumerate(VALUES):
            whole_is_object = value.strip().startswith("{")
            if vault and field and not whole_is_object:
                continue  # Vault holds objects alone
            if not value and not self.backend.empty:
                continue
            secret = f"value-{number}"
            self.backend.put(secret, value)
            reference = f"s:{self.backend.path(secret)}"
            reference += field if field or whole_is_object else self.backend.field
            cases.append((name, f"c{number}", reference, expected))
        told = self.probe({credential: reference for _, credential, reference, _ in cases})

        def case(one: dict, expected: str):
            if expected.startswith("="):
                assert one["ok"] and one["id"] == fingerprint(expected[1:]), one
            else:
                assert not one["ok"] and one["error"]["kind"] == "unusable" and expected in one["error"]["cause"], one

        for name, credential, _, expected in cases:
            self.check(name, lambda: case(told[credential], expected))

    def versions(self) -> None:
        backend = self.backend

        def named():
            version = backend.put("versions", "canary-v1")
            told = self.gives("canary-v1", "versions")
            assert told["version"] == version if backend.versions else told["version"].startswith("content:"), told
            assert told["store"] == "s" and told["kind"] == backend.kind, told
            assert self.gives("canary-v1", "versions")["version"] == told["version"]

        def followed():
            before = self.gives("canary-v1", "versions")["version"]
            version = backend.put("versions", "canary-v2")
            after = self.gives("canary-v2", "versions")["version"]
            assert after != before and (not backend.versions or after == version), (before, after, version)

        def age():
            told = self.read("versions")
            assert told["age_s"] is not None and told["age_s"] < 120 and told["created"], told

        def expiry():
            backend.put("ends", "canary-ends", expires=3600)
            told = self.gives("canary-ends", "ends")
            left = time.mktime(time.strptime(told["expires"], "%Y-%m-%dT%H:%M:%SZ")) - time.mktime(time.gmtime())
            assert 3500 < left < 3700, told

        def pinned():
            first = backend.put("pinned", "canary-first")
            backend.put("pinned", "canary-second")
            told = self.probe({"one": f"s:pinned/{first}"})["one"]
            assert told["ok"] and told["id"] == fingerprint("canary-first") and told["version"] == first, told

        def missing():
            self.fails("missing", name="never-there")

        def removed():
            backend.put("removed", "canary-removed")
            self.gives("canary-removed", "removed")
            backend.remove("removed")
            self.fails("missing", name="removed")

        self.check("a version has a name, and the same at the second read", named)
        self.check("a new version has another name", followed)
        if backend.created:
            self.check("the age of a version is told", age)
        if backend.expiry:
            self.check("the end of a version is told", expiry)
        if backend.pinned:
            self.check("a reference can name a version", pinned)
        self.check("a secret that is not there is the store's no", missing)
        self.check("a secret that was removed is the store's no", removed)
        for state, kind in backend.states.items():

            def lost(state=state, kind=kind):
                backend.put(f"was-{state}", "canary-was")
                self.gives("canary-was", f"was-{state}")
                backend.state(f"was-{state}", state)
                self.fails(kind, name=f"was-{state}")

            self.check(f"a version that is {state} is the store's no", lost)

        if backend.kind == "vault":

            def slashes():
                for place, body in (("team/bi/kv1/deep/pat", {"token": "canary-v1"}), ("team/bi/kv2/data/deep/pat", {"data": {"token": "canary-v2"}})):
                    backend.server.ask("POST", place, body)
                for version in (1,) if backend.extra else (1, 2):  # with `kv`, the store has that version alone
                    told = self.probe({"one": f"s:team/bi/kv{version}/deep/pat#token"})["one"]
                    assert told["ok"] and told["id"] == fingerprint(f"canary-v{version}"), told

            self.check("a mount with slashes in its name", slashes)

        backend.put("pat", "canary-pat-1")
        if backend.denies and backend.network:

            def denied():
                backend.allow(False)
                try:
                    self.fails("refused", "403")
                finally:
                    backend.allow(True)
                self.gives("canary-pat-1")

            self.check("a permission that was taken away is the store's no", denied)

    def failures(self) -> None:
        front, backend = self.backend.front, self.backend
        backend.put("pat", "canary-pat-1")
        for name, mode, kind in GARBLED:

            def garbled(mode=mode, kind=backend.garbled.get(name, kind)):
                front.set(mode)
                try:
                    self.fails(kind, **({"late": "1s"} if isinstance(mode, str) and mode in LATE else {}))
                finally:
                    front.set("pass")

            self.check(f"{name} is told and never quoted", garbled)

        def through(other: Front, kind: str, *says: str):
            try:
                self.fails(kind, *says, table=backend.table(port=other.port))
            finally:
                other.stop()

        def front_with(pair):
            return Front(self.certificates, front.backend, tls=front.backend_tls, pair=pair)

        for what, pair in self.wrong.items():
            self.check(f"a certificate {what} is not accepted", lambda: through(front_with(pair), "unavailable", "certificate"))
        self.check("a server without TLS is not spoken to", lambda: through(front_with((None, None)), "unavailable"))

        def nobody():
            front.stop()
            try:
                self.fails("unavailable")
            finally:
                front.start()
            self.gives("canary-pat-1")

        self.check("a server that is gone is unavailable, and comes back", nobody)
        host = "no-such-host.invalid"
        self.check("a name that cannot be resolved is unavailable", lambda: self.fails("unavailable", table=backend.table(host=host)))
        self.check("a name from the hosts file is resolved", lambda: self.gives("canary-pat-1", table=backend.table(host="store.test")))
        self.check("a CA file that is none is said at once", self.wrong_ca)
        self.check("through a forward proxy, for all or for this store, and not where it says direct", self.forwarded)
        pair = self.certificates.self_signed("store-own")
        own = Front(self.certificates, front.backend, tls=front.backend_tls, pair=pair)
        bundle = self.place / "store-own-and-ca.pem"  # Azure's authority has a certificate of the CA
        bundle.write_text(pair[0].read_text() + self.certificates.ca.read_text())
        mine = lambda: backend.table(port=own.port).replace(str(self.certificates.ca), str(bundle))  # noqa: E731
        self.check("a self-signed certificate is its own CA", lambda: self.gives("canary-pat-1", table=mine()))
        own.stop()

    def forwarded(self):
        """The store's host has a name that this machine alone knows: only tunnels of the proxy lead there."""
        table, place = self.backend.table(host="store.test"), self.place
        (place / "proxy-password").write_text("canary-proxy-password\n")
        with Tunnels("gate:canary-proxy-password") as tunnels:
            login = f'address = "127.0.0.1:{tunnels.port}"\nuser = "gate"\npassword = "file:proxy-password"\n'
            inline = "proxy = { " + login.strip().replace("\n", ", ") + " }\n"
            self.gives("canary-pat-1", table=f"[proxy]\n{login}{table}")
            assert tunnels.made > 0 and tunnels.names == {"store.test"}, (tunnels.made, tunnels.names)
            made = tunnels.made
            self.gives("canary-pat-1", table=table + inline)
            assert tunnels.made > made, tunnels.made
            made = tunnels.made
            self.gives("canary-pat-1", table=f"[proxy]\n{login}{table}proxy = {{ direct = true }}\n")
            assert tunnels.made == made, tunnels.made
            (place / "proxy-password").write_text("another\n")
            self.fails("unavailable", "proxy authorization required", table=f"[proxy]\n{login}{table}")

    def wrong_ca(self):
        file = self.place / "check.toml"
        (self.place / "no-ca.pem").write_text("no certificate\n")
        text = self.backend.table().replace(str(self.certificates.ca), str(self.place / "no-ca.pem"))
        file.write_text(self.config({"one": self.backend.reference("pat")}, text))
        done = subprocess.run([str(BINARY), "check", "--config", str(file), "--online"], capture_output=True, text=True,
                              timeout=60, env=self.environment())  # fmt: skip
        assert done.returncode == 4 and "no-ca.pem" in done.stderr and "[stores.s]" in done.stderr, (done.returncode, done.stderr)

    # A running gate.

    def gate(self, name: str, pat: str = "", table: str = "", secret: str = "pat", state: str = "") -> Gate:
        config = self.config({"one": self.backend.reference(secret)}, table, f"[pat]\n{pat}\n{state}")
        label = f"gate-{self.backend.name.replace(' ', '-').lower()}-{name}"
        gate = Gate(self.place, label, config, env=self.environment())
        gate.wait_ready()
        return gate

    def login(self, gate: Gate) -> None:
        answer = world.login(gate, self.certificates.ca, self.key)
        assert answer["success"], answer["message"]

    def new_pat(self, pat: str, overlap: bool = True) -> None:
        """Snowflake has a new PAT; without overlap every older one is dead at once."""
        if overlap:
            self.standin.ask("pat", {"user": USER, "pat": pat, "state": "active"})
        else:
            self.standin.ask("rotate", {"user": USER, "pat": pat})

    def held(self, gate: Gate) -> dict:
        return ask_admin(gate, "GET", "/pats")["pats"][0]

    def running(self) -> None:
        backend, pats = self.backend, iter(f"canary-run-{n}" for n in range(10_000))
        self.new_pat(first := next(pats), overlap=False)
        backend.put("pat", first)
        quick, calm = self.gate("quick", 'refresh = "1s"'), self.gate("calm", 'refresh = "1h"')

        def used(gate, pat):
            assert self.held(gate)["held"]["id"] == fingerprint(pat)
            self.login(gate)

        def polled(patience: float = 5) -> None:
            """A new version, in the store and at Snowflake, until the quick gate has it by itself."""
            self.new_pat(pat := next(pats))
            backend.put("pat", pat)
            world.wait_for(lambda: self.held(quick)["held"]["id"] == fingerprint(pat), patience)
            used(quick, pat)

        def dead_at_once():
            for _ in range(3):
                self.new_pat(pat := next(pats), overlap=False)
                backend.put("pat", pat)
                self.login(calm)
                used(calm, pat)

        def store_first():
            """The store is written before Snowflake knows the new one: the old one goes on until it is refused."""
            pat = next(pats)
            backend.put("pat", pat)
            self.new_pat(pat, overlap=False)
            self.login(calm)
            used(calm, pat)

        def pushed():
            self.new_pat(pat := next(pats))
            backend.put("pat", pat)
            ask_admin(calm, "POST", "/pats/refresh")
            used(calm, pat)

        def failed_push():
            before = self.held(calm)["held"]["id"]
            backend.front.set({"status": 503, "body": b"{}"})
            try:
                told = ask_admin(calm, "POST", "/pats/refresh?credential=one", expect=502)["pats"][0]
            finally:
                backend.front.set("pass")
            assert told["failure"]["kind"] == "unavailable" and told["held"]["id"] == before, told
            self.login(calm)
            # A failure answers for a moment.
            world.wait_for(lambda: ask_admin(calm, "POST", "/pats/refresh"))

        def at_once(how):
            """From the new version in the store to its first use, a few times."""
            times = []
            for _ in range(5):
                self.new_pat(pat := next(pats))
                backend.put("pat", pat)
                start = time.monotonic()
                how(pat)
                times.append(time.monotonic() - start)
            return times

        def figures():
            def push(_pat):
                ask_admin(calm, "POST", "/pats/refresh")

            def refusal(pat):
                self.standin.ask("rotate", {"user": USER, "pat": pat})
                self.login(calm)

            def poll(pat):
                world.wait_for(lambda: self.held(quick)["held"]["id"] == fingerprint(pat))

            kinds = {"push": push, "refusal": refusal, "poll each 1 s": poll}
            told = {name: at_once(how) for name, how in kinds.items()}
            text = ", ".join(f"{n} {statistics.median(t) * 1000:.0f}/{max(t) * 1000:.0f} ms" for n, t in told.items())
            print(f"       {backend.name}: new version in the store to its use, median/max: {text}", flush=True)

        def mid_read():
            """The rotation happens while a read is under way, so that the read still brings the old one."""
            # A front of its own, so that the read that is held is this gate's.
            front = Front(self.certificates, backend.front.backend, tls=backend.front.backend_tls)
            gate = self.gate("mid-read", 'refresh = "1h"', table=backend.table(port=front.port))
            try:
                front.set("hold")
                with ThreadPoolExecutor() as threads:
                    reading = threads.submit(ask_admin, gate, "POST", "/pats/refresh")
                    assert front.held.wait(10), "no read has begun"
                    self.new_pat(pat := next(pats), overlap=False)
                    backend.put("pat", pat)
                    front.set("pass")
                    self.login(gate)
                    reading.result()
                used(gate, pat)
                world.same(gate.stop(), 0)
            finally:
                front.stop()

        def permission():
            polled()
            backend.allow(False)
            try:
                world.wait_for(lambda: self.held(quick)["failure"])
                assert self.held(quick)["failure"]["kind"] == "refused" and quick.ready() == 200
                self.login(quick)
            finally:
                backend.allow(True)
            world.wait_for(lambda: not self.held(quick)["failure"])

        def revoked():
            backend.revoke()
            polled(15)

        def metrics():
            text = ask_admin(quick, "GET", "/metrics", text=True)
            for line in ('patgate_store_reads_total{store="s",outcome="ok"}', 'patgate_pat_ready{credential="one"} 1',
                         'patgate_pat_age_seconds{credential="one"}'):  # fmt: skip
                assert line in text, text
            for secret in backend.secrets.values():
                assert secret not in text

        self.check("a rotation with overlap is followed by the poll", polled)
        self.check("a rotation without overlap is followed within the login", dead_at_once)
        self.check("a store that is ahead of Snowflake", store_first)
        self.check("a push is followed at once", pushed)
        if backend.network:
            self.check("a push that cannot be followed changes nothing", failed_push)
            self.check("a rotation in the middle of a read", mid_read)
        self.check("how long a new version takes", figures)
        if backend.network and backend.denies:
            self.check("a permission lost in the run: shown, and logins go on", permission)
        if backend.revokes:
            self.check("the gate's login is ended from outside: it logs in anew", revoked)
        self.check("metrics tell of it", metrics)
        for gate in (quick, calm):
            world.same(gate.stop(), 0)

    def outages(self, hosts) -> None:
        """Each longer than the refresh interval: no login fails, nothing is evicted, and it is shown."""
        backend = self.backend
        self.new_pat("canary-outage", overlap=False)
        backend.put("pat", "canary-outage")
        gate = self.gate("outage", 'refresh = "1s"\nread = "1s"\n', table=backend.table(host="store.test"))
        for what, mode in OUTAGES.items():

            def outage(what=what, mode=mode):
                begin, end = {
                    "killed": (backend.front.stop, backend.front.start),
                    "DNS": (lambda: (hosts(False), backend.front.drop()), lambda: hosts(True)),
                }.get(what, (lambda: backend.front.set(mode), lambda: backend.front.set("pass")))
                begin()
                try:
                    world.wait_for(lambda: self.held(gate)["failure"])
                    until, logins = time.monotonic() + 2.5, 0
                    while time.monotonic() < until or logins < 20:
                        self.login(gate)
                        logins += 1
                    told = self.held(gate)
                    assert told["held"]["usable"] and told["failure"] and gate.ready() == 200, told
                    assert "canary" not in told["failure"]["cause"], told
                finally:
                    end()
                world.wait_for(lambda: not self.held(gate)["failure"])

            self.check(f"an outage ({what}): 0 failed logins, 0 evictions, and it is shown", outage)
        world.same(gate.stop(), 0)

        def bound():
            gate = self.gate("bound", 'refresh = "1s"\nstale = "5s"\n')
            backend.front.set({"status": 503, "body": b"{}"})
            try:
                self.login(gate)
                world.wait_for(lambda: gate.ready() == 503)
                answer = world.login(gate, self.certificates.ca, self.key)
                assert not answer["success"] and "cannot reach the secrets manager" in answer["message"], answer
            finally:
                backend.front.set("pass")
            world.wait_for(lambda: gate.ready() == 200)
            self.login(gate)
            world.same(gate.stop(), 0)

        self.check("after the bound on staleness: the sentence, and not ready", bound)

        def cold():
            (self.place / "warm-key").write_text("canary-warm-key-of-more-than-32-characters\n")
            state, directory = '[state]\ndirectory = "warm-state"\nwarm_key = "file:warm-key"\n', self.place / "warm-state"
            first = self.gate("warm-1", 'refresh = "1s"', state=state)
            self.login(first)
            world.wait_for((directory / "warm").exists)
            first.kill()
            backend.front.stop()
            try:
                second = self.gate("warm-2", 'refresh = "1s"', state=state)
                self.login(second)
                assert self.held(second)["held"]["warm"], self.held(second)
            finally:
                backend.front.start()
            world.wait_for(lambda: not self.held(second)["held"]["warm"])
            world.same(second.stop(), 0)
            sealed = (directory / "warm").read_bytes()
            assert b"canary" not in sealed and oct((directory / "warm").stat().st_mode)[-3:] == "600"

        self.check("a cold start in an outage serves from the warm copy", cold)

    def leaks(self) -> None:
        def test():
            secrets = {**self.backend.secrets, "client key": self.key, "a PAT": "canary-"}
            for text in self.output:
                for name, secret in secrets.items():
                    assert secret not in text, f"{name} stands in the output of check"

        self.check("no secret stands in what check says", test)


def ask_admin(gate: Gate, method: str, target: str, expect: int = 200, text: bool = False):
    connection = http.client.HTTPConnection("127.0.0.1", gate.admin, timeout=world.PATIENCE)
    connection.request(method, target)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == expect, (target, answer.status, body)
    return body.decode() if text else json.loads(body)
