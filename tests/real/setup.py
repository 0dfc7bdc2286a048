"""A set-up that nobody has to look up: what `client setup` prints is used by the real driver it is for, and the statements
of `sql setup` are read by a parser of Snowflake's SQL.

    python3 setup.py TOOLS
"""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import install
import world
from load import free_port
from programs import Client, clients
from world import BINARY, Checks, Gate, Ground, Process, run, same

USER = "BI_SERVICE"
PAT = "canary-pat-setup"
PLACEHOLDER = "<THE CLIENT KEY>"
SELECT = "assert connection.cursor().execute('select 1').fetchone() == (1,); connection.close()"
PYTHON = "import json, os, sys, snowflake.connector; connection = snowflake.connector.connect(**json.loads(sys.argv[1])); " + SELECT
NAMED = "import snowflake.connector; connection = snowflake.connector.connect(connection_name='patgate'); " + SELECT
ADBC = """
import json, sys, adbc_driver_snowflake.dbapi as adbc
connection = adbc.connect(db_kwargs=json.loads(sys.argv[1]), autocommit=True)
with connection.cursor() as cursor:
    cursor.execute("select 1")
    assert int(cursor.fetchall()[0][0]) == 1
connection.close()
"""
# The driver tells Snowflake the arguments of its process, so that a key among them would leave the gate.
NODE = """
const sf = require('snowflake-sdk');
sf.configure({ disableOCSPChecks: true, logLevel: 'OFF', additionalLogToConsole: false, logFilePath: 'STDOUT' });
const con = sf.createConnection(JSON.parse(process.env.SETTINGS));
const end = (error) => { if (error) { console.error(error.message); process.exit(1); } };
con.connect((error) => { end(error); con.execute({ sqlText: 'select 1', complete: (error) => { end(error); con.destroy(end); } }); });
"""
# What sqlglot's Snowflake dialect knows; it takes the other statements as they are, or not at all.
MODELLED = re.compile(r"(USE|CREATE DATABASE|CREATE SCHEMA|GRANT (USAGE|SELECT)|SELECT)\b")
PARSE = """
import json, logging, sys, sqlglot
logging.disable(logging.CRITICAL)
for text in json.load(sys.stdin):
    (statement,) = sqlglot.parse(text, read="snowflake")
    assert not isinstance(statement, sqlglot.exp.Command), text
"""


class Place:
    """A gate, and what `client setup` says of it."""

    def __init__(self, ground: Ground, tools: Path):
        self.ground, self.tools = ground, tools
        config = ground.config.but(credentials__bi={"account": "prod", "user": USER, "pat": "local:pat", "warehouse": "BI_WH", "role": "BI_READER"})
        self.gate = Gate(ground.place, "gate", config)
        self.file = ground.place / "setup.toml"
        self.file.write_text(str(config.but(listen={"public": f"localhost:{self.gate.port}"})))

    def told(self, tool: str, *more) -> dict:
        words = (BINARY, "client", "setup", "bi", "--for", tool, "--json", "--ca", self.ground.certificates.ca, "--config", self.file)
        return json.loads(run(*words, *more).replace(PLACEHOLDER, self.ground.key))

    def environment(self, told: dict, **more) -> dict:
        own = {name: value for name, value in os.environ.items() if "CERT" not in name and "CA_BUNDLE" not in name}
        return {**own, **told["environment"], **{name: str(value) for name, value in more.items()}}

    def ran(self, told: dict, *command, **more) -> str:
        done = subprocess.run([str(word) for word in command], env=self.environment(told, **more), capture_output=True, text=True,
                              cwd=self.ground.place, timeout=180)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def by_the_gate(checks: Checks, place: Place) -> None:
    """`client setup` asks the running gate, and says when it did not."""

    def test() -> None:
        words = (BINARY, "client", "setup", "bi", "--for", "jdbc")
        said = run(*words, "--admin", f"127.0.0.1:{place.gate.admin}")
        assert f"jdbc:snowflake://localhost:{place.gate.port}/" in said and "As the running gate has it." in said, said
        assert "As the file has it; no gate answers" in run(*words, "--config", place.file)
        said = run(*words, "--config", place.gate.file_for_commands())
        assert f"localhost:{place.gate.port}/" in said and "As the running gate has it." in said, said
        unknown = subprocess.run([str(BINARY), "client", "setup", "nobody", "--for", "jdbc", "--admin", f"127.0.0.1:{place.gate.admin}"],
                                 capture_output=True, text=True)  # fmt: skip
        assert unknown.returncode == 8 and "no client has the name nobody" in unknown.stderr, unknown

    checks.check("client setup asks the running gate", test)


def python(checks: Checks, place: Place) -> None:
    told = place.told("python")
    five, four = install.py5(place.tools), install.py4(place.tools)
    checks.check("python 5 logs in with the settings alone", lambda: place.ran({"environment": {}}, five, "-c", PYTHON, json.dumps(told["settings"])))
    old = {name: value for name, value in told["settings"].items() if name != "custom_root_store_path"}
    checks.check("python 4 logs in with the settings and the variable", lambda: place.ran(told, four, "-c", PYTHON, json.dumps(old)))

    def written() -> None:
        home = place.ground.place / "home"
        home.mkdir()
        run(BINARY, "client", "setup", "bi", "--for", "python", "--ca", place.ground.certificates.ca, "--config", place.file, "--write", home)
        for name in ("connect.py", "connections.toml"):
            file = home / name
            text = file.read_text()
            assert PLACEHOLDER in text and place.ground.key not in text, text
            file.write_text(text.replace(PLACEHOLDER, place.ground.key))
            assert file.stat().st_mode & 0o077 == 0, name
        place.ran(told, five, home / "connect.py")
        place.ran(told, five, "-c", NAMED, SNOWFLAKE_HOME=home)
        again = subprocess.run([str(word) for word in (BINARY, "client", "setup", "bi", "--for", "python", "--config", place.file, "--write", home)],
                               capture_output=True, text=True)  # fmt: skip
        assert again.returncode == 4 and "is there already" in again.stderr, again

    checks.check("python logs in by the files that are written, and no file is overwritten", written)


def others(checks: Checks, place: Place) -> None:
    adbc = place.told("adbc")
    options = {name: value for name, value in adbc["settings"].items() if name.startswith("adbc.") or name in ("username", "password")}
    no_ocsp = {"SF_OCSP_RESPONSE_CACHE_SERVER_ENABLED": "false"}
    checks.check("ADBC logs in with the options", lambda: place.ran(adbc, install.adbc(place.tools), "-c", ADBC, json.dumps(options), **no_ocsp))
    node = place.told("node")
    own = {name: node["settings"][name] for name in ("account", "accessUrl", "username", "password", "warehouse", "role")}
    checks.check("Node logs in with the options", lambda: place.ran(node, "node", "-e", NODE, SETTINGS=json.dumps(own), NODE_PATH=install.node(place.tools)))
    for tool, name, variable in (("jdbc", "snowflake-jdbc", "GATE_URL"), ("go", "gosnowflake", "GATE_DSN")):
        told = place.told(tool)
        text = told["settings"]["url" if tool == "jdbc" else "dsn"]
        (program,) = clients(place.tools, (name,))
        client = Client(name, program.command, {**program.env, variable: text + ("&disableOCSPChecks=true" if tool == "go" else "")})

        def test(client=client) -> None:
            answer = client.run("login", "password", place.ground.key, place.gate.port, place.ground.certificates)
            assert answer["ok"], answer

        checks.check(f"{tool} logs in with the connection string", test)

    def dbt() -> None:
        told = place.told("dbt")
        home = place.ground.place / "dbt"
        home.mkdir()
        # The stand-in has neither database nor schema.
        (home / "profiles.yml").write_text(told["files"]["profiles.yml"].replace("<DATABASE>", "DB"))
        (home / "dbt_project.yml").write_text(json.dumps({"name": "patgate", "profile": "patgate"}))
        program = install.dbt(place.tools).with_name("dbt")
        said = place.ran(told, program, "--no-send-anonymous-usage-stats", "debug", "--connection", f"--profiles-dir={home}", f"--project-dir={home}")
        assert "Connection test: [OK" in re.sub(r"\x1b\[\d+m", "", said), said

    checks.check("dbt connects by the profile", dbt)


class Made:
    """What `cert init` makes, as the drivers' programs take it."""

    def __init__(self, place: Path):
        run(BINARY, "cert", "init", "--dir", place, "--name", "localhost")
        self.ca, self.pem, self.key = place / "ca.pem", place / "server.pem", place / "server.key"
        self.trust, self.trust_password = place / "patgate.p12", "changeit"
        run("keytool", "-importcert", "-noprompt", "-storetype", "PKCS12", "-alias", "patgate", "-file", self.ca, "-keystore", self.trust,
            "-storepass", self.trust_password)  # fmt: skip


def certificate(checks: Checks, place: Place) -> None:
    """Every driver trusts what `cert init` makes, also after it was made anew while the gate runs."""
    made = Made(place.ground.place / "tls")
    gate = Gate(place.ground.place, "gate-own", place.ground.config.but(listen={"certificate": made.pem, "key": made.key}, reload={"watch": "100ms"}))

    def logs_in(client: Client) -> None:
        answer = client.run("login", client.hows[0], place.ground.key, gate.port, made)
        assert answer["ok"], answer

    for client in clients(place.tools):
        checks.check(f"{client.name} trusts the certificate of cert init", lambda: logs_in(client))

    def anew() -> None:
        before = made.pem.read_text()
        run(BINARY, "cert", "init", "--dir", made.pem.parent, "--renew")
        assert made.pem.read_text() != before
        gate.logged(lambda line: line.get("why") == "a file has changed")
        logs_in(clients(place.tools, ("gosnowflake",))[0])

    checks.check("a certificate that is made anew is taken up", anew)
    checks.check("that gate ends with 0", lambda: same(gate.stop(), 0))


def from_nothing(checks: Checks, place: Place) -> None:
    """`init`: from nothing to a gate that a driver logs in through."""
    ground, port = place.ground, free_port()
    home = ground.place / "fresh"
    flags = {"dir": home, "account": f"localhost:{ground.standin.port}", "user": USER, "store": f"file={ground.place}", "pat": "pat",
             "client": "first", "host": "localhost", "port": port, "tool": "python"}  # fmt: skip
    roots = {**os.environ, "SSL_CERT_FILE": str(ground.certificates.ca)}

    def init(*more, **changed) -> subprocess.CompletedProcess:
        words = [word for name, value in {**flags, **changed}.items() for word in (f"--{name}", str(value))]
        return subprocess.run([str(BINARY), "init", "--yes", *words, *more], env=roots, capture_output=True, text=True, timeout=120)

    def nothing_half() -> None:
        for changed, code, said in (
            ({"pat": "none"}, 5, "none"),
            ({"account": "localhost:1"}, 6, "localhost:1"),
            ({"user": "SOMEBODY"}, 7, ""),
            ({"store": "nowhere=x"}, 2, "is no store"),
            ({"host": "https://gate"}, 2, "neither a host name"),
        ):
            done = init(**changed)
            assert done.returncode and said in done.stderr and not home.exists(), (changed, done)
            print(f"       {changed}: exit code {done.returncode}, {done.stderr.strip().splitlines()[-1][:100]}")

    def works() -> None:
        begun = time.monotonic()
        done = init("--json")
        assert done.returncode == 0, done
        print(f"       from nothing to a login in {time.monotonic() - begun:.1f} s")
        told = json.loads(done.stdout)
        assert sorted(path.name for path in home.iterdir()) == ["patgate.toml", "state", "tls"], list(home.iterdir())
        assert told["key"].startswith("pgk_first_") and told["key"] not in (home / "patgate.toml").read_text()
        story = json.loads(run(BINARY, "explain", told["trace"], "--json", "--state", home / "state"))
        same(story["requests"][0]["client"], "first")
        again = init()
        assert again.returncode == 4 and "nothing is overwritten" in again.stderr, again
        gate = Process(ground.place, "gate-fresh", BINARY, "run", "--config", home / "patgate.toml", env=roots)
        world.wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1))
        settings = json.loads(run(BINARY, "client", "setup", "first", "--for", "python", "--json", "--ca", home / "tls" / "ca.pem", "--config", home / "patgate.toml"))
        text = json.dumps(settings["settings"]).replace(PLACEHOLDER, told["key"])
        place.ran({"environment": {}}, install.py5(place.tools), "-c", PYTHON, text)
        same(gate.stop(), 0)

    def broken_off() -> None:
        """Ctrl-C while Snowflake does not answer the login; and a port that another program has."""
        before = ground.standin.ask("seen")["counts"].get("login", 0)
        ground.standin.ask("delay", {"place": "login", "ms": 20_000})
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        going = subprocess.Popen([str(BINARY), "init", "--yes", *words], env=roots, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        world.wait_for(lambda: ground.standin.ask("seen")["counts"].get("login", 0) > before)
        going.send_signal(signal.SIGINT)
        said = going.communicate(timeout=world.PATIENCE)[1]
        ground.standin.ask("delay", {"place": "login", "ms": 0})
        assert going.returncode == 2 and "nothing is left of it" in said and not home.exists(), (going.returncode, said)
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = init(port=other.getsockname()[1])
            assert taken.returncode == 4 and "cannot listen" in taken.stderr and not home.exists(), taken

    def asks_again() -> None:
        """At a terminal each answer is proven at once, and asked for again where it is wrong."""
        answers = ["account: ", "localhost:1", "account: ", "localhost:%d" % ground.standin.port, "store: ", "nowhere=x", "store: ", f"file={ground.place}",
                   "pat: ", "none", "store: ", f"file={ground.place}", "pat: ", "pat", "user: ", USER, "client: ", "Not A Name", "client: ", "typed",
                   "host: ", "https://gate", "host: ", "localhost"]  # fmt: skip
        marks = {"account": "the account's host", "store": "the store, such as", "pat": "where the PAT is", "user": "the service user",
                 "client": "a name for the first client", "host": "the name that tools connect to"}  # fmt: skip
        ours, theirs = pty.openpty()
        typed = ground.place / "typed"
        going = subprocess.Popen([str(BINARY), "init", "--dir", typed, "--port", str(port)], env=roots, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        said, seen = "", 0
        for question, answer in zip(answers[::2], answers[1::2]):
            mark = marks[question.partition(":")[0]]
            while mark not in said[seen:]:
                said += os.read(ours, 4096).decode()
            seen = len(said)
            os.write(ours, (answer + "\n").encode())
        with contextlib.suppress(OSError):  # a terminal whose other end is closed
            while piece := os.read(ours, 4096):
                said += piece.decode()
        assert going.wait(world.PATIENCE) == 0 and "A login through the gate worked" in said, said
        assert said.count("Once more.") == 5 and (typed / "patgate.toml").exists(), said
        shutil.rmtree(typed)

    checks.check("init asks again for what is wrong", asks_again)
    checks.check("init leaves nothing half", nothing_half)
    checks.check("init that is broken off, or whose port is taken, leaves nothing", broken_off)
    checks.check("init makes a gate that a driver logs in through", works)


def adopted(checks: Checks, place: Place) -> None:
    """`adopt` moves the files of drivers, which then log in through the gate by them; no secret of a file is shown."""
    ground = place.ground
    home, canary = ground.place / "adopted", "canary-secret-in-a-file"
    home.mkdir()
    (home / "key").write_text(ground.key)
    login = {"account": "localhost", "user": USER, "password": canary}
    toml = {**login, "protocol": "https", "custom_root_store_path": str(ground.certificates.ca), "warehouse": "BI_WH"}
    files = {
        "connections.toml": "[sales]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in toml.items()),
        "profiles.yml": "patgate:\n  target: prod\n  outputs:\n    prod:\n      type: snowflake\n"
        + "".join(f"      {name}: {value}\n" for name, value in {**login, "protocol": "https", "database": "DB", "schema": "PUBLIC"}.items()),
        "jdbc.env": f"GATE_URL=jdbc:snowflake://localhost:{ground.standin.port}/?user={USER}&password={canary}&account=localhost\n",
    }
    for name, text in files.items():
        (home / name).write_text(text)
        (home / name).chmod(0o600)

    def adopt(*more) -> tuple[int, str]:
        words = (BINARY, "adopt", home, "--config", place.file, *more)
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
        said = done.stdout + done.stderr
        assert canary not in said and ground.key not in said, said
        return done.returncode, said

    def listed() -> None:
        code, said = adopt()
        assert code == 8 and "3 to move" in said and "Secrets in files: 1 (places: 3)" in said, said
        assert all((home / name).read_text() == text for name, text in files.items())

    def moved() -> None:
        code, said = adopt("--write", "--key-file", home / "key")
        assert code == 0 and "3 moved" in said, said
        for name, text in files.items():
            assert (home / f"{name}.before-patgate").read_text() == text and canary not in (home / name).read_text(), name
        same(adopt()[0], 0)

    def used() -> None:
        named = NAMED.replace("patgate", "sales")
        place.ran({"environment": {}}, install.py5(place.tools), "-c", named, SNOWFLAKE_HOME=home)
        (home / "dbt_project.yml").write_text(json.dumps({"name": "patgate", "profile": "patgate"}))
        program = install.dbt(place.tools).with_name("dbt")
        said = place.ran(place.told("dbt"), program, "--no-send-anonymous-usage-stats", "debug", "--connection", f"--profiles-dir={home}", f"--project-dir={home}")
        assert "Connection test: [OK" in re.sub(r"\x1b\[\d+m", "", said), said
        url = (home / "jdbc.env").read_text().strip().partition("=")[2]
        (program,) = clients(place.tools, ("snowflake-jdbc",))
        answer = Client("jdbc", program.command, {**program.env, "GATE_URL": url}).run("login", "password", ground.key, place.gate.port, ground.certificates)
        assert answer["ok"], answer

    checks.check("adopt lists what goes past the gate, and writes nothing unasked", listed)
    checks.check("adopt moves the files and keeps the old ones", moved)
    checks.check("python, dbt and JDBC log in by the files that adopt wrote", used)


def statements(checks: Checks, place: Place) -> None:
    def test() -> None:
        texts = []
        for words in (["setup", "bi", "--egress", "203.0.113.7"], ["check", "bi"]):
            said = run(BINARY, "sql", *words, "--config", place.file)
            said = "\n".join(line for line in said.splitlines() if not line.startswith("--"))
            texts += [text.strip() for text in said.split(";") if MODELLED.match(text.strip())]
        assert len(texts) >= 6, texts
        done = subprocess.run([install.fakesnow(place.tools), "-c", PARSE], input=json.dumps(texts), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    checks.check("sqlglot reads the statements of sql setup and sql check that it knows", test)


SCHEMA = """
import json, pathlib, sys, tomllib
import jsonschema

schema = json.loads(sys.argv[1])
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
print(json.dumps([[error.message for error in validator.iter_errors(tomllib.loads(pathlib.Path(file).read_text()))] for file in sys.argv[2:]]))
"""


def schema(checks: Checks, place: Place) -> None:
    """A validator of JSON schemas reads files with the schema of the configuration, as an editor does."""

    def test() -> None:
        tests = world.ROOT / "tests" / "config"
        example = world.ROOT / "config" / "patgate.toml"
        # The same with every key and table that is commented out.
        full = place.file.with_name("full.toml")
        full.write_text(re.sub(r"(?m)^# (?=[a-z_]+ = |\[)", "", example.read_text()))
        good = [example, full, place.gate.file]
        bad = {"unknown_keys.toml": "'adress', 'idel'", "bad_values.toml": "'vaultt'", "listeners.toml": "'reuse_port'", "admission.toml": "'wish' is not one of"}
        told = run(world.BINARY, "config", "schema")
        # dbt brings the validator along.
        found = json.loads(run(install.dbt(place.tools), "-c", SCHEMA, told, *good, *(tests / name for name in bad)))
        same(found[: len(good)], [[]] * len(good))
        for errors, name in zip(found[len(good) :], bad.values()):
            assert any(name in error for error in errors), errors

    checks.check("the schema of the configuration takes what is right and refuses keys that are not known", test)


def main() -> None:
    tools = Path(sys.argv[1])
    checks = Checks("setup")
    with world.place() as name:
        ground = Ground(Path(name), USER, PAT)
        place = Place(ground, tools)
        by_the_gate(checks, place)
        python(checks, place)
        others(checks, place)
        statements(checks, place)
        certificate(checks, place)
        from_nothing(checks, place)
        adopted(checks, place)
        schema(checks, place)
        checks.check("the gate ends with 0", lambda: same(place.gate.stop(), 0))
        ground.end(checks)
    checks.end()


if __name__ == "__main__":
    main()
