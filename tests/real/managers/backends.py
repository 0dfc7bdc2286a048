"""The secrets managers of the contract: how each is started, written to and broken, behind one set of names.

A backend has `put(name, value)` and its siblings, `table(port)` for the gate's configuration, and says by its attributes what
it is able to do; a case that needs what it lacks is not run for it.
"""

import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import world
from vault import ROOT_TOKEN, Vault, free_ports
from world import Certificates, Process

from .front import Front

HERE = Path(__file__).resolve().parent
NAME = "localhost"


class Backend:
    """What is the same for all."""

    kind = ""
    network = True  # reached over a front
    field = ""  # what a reference to a value needs at its end
    versions = True  # tells versions apart by a name of its own
    created = True  # tells when a version was written
    expiry = False  # can tell when a version ends
    pinned = False  # a reference can name a version
    states = {}  # what a version can become, and the kind of failure that a read is then
    garbled = {}  # the kind of failure of an answer, where it differs from the other backends'
    denies = True  # permission can be taken away
    revokes = False  # the gate's login can be ended from outside
    empty = True  # an empty value can be stored
    env: dict = {}

    def __init__(self, place: Path, certificates: Certificates):
        self.place, self.certificates = place, certificates

    def reference(self, name: str, store: str = "s") -> str:
        return f"{store}:{self.path(name)}{self.field}"

    def path(self, name: str) -> str:
        return name

    def table(self, port: int | None = None, host: str = NAME, store: str = "s") -> str:
        """`[stores.…]` with the front's port in it."""
        raise NotImplementedError

    def address(self, port: int | None, host: str) -> str:
        return f'address = "https://{host}:{port or self.front.port}"\nca = "{self.certificates.ca}"\n'

    def stop(self) -> None:
        if self.network:
            self.front.stop()
            self.server.kill()


class VaultBackend(Backend):
    """Vault 1.14.1's own core; OpenBao speaks the same. Values are members of an object."""

    kind, field = "vault", "#token"
    garbled = {"403": "login", "404": "login"}
    server: Vault

    def __init__(self, place, certificates, tools):
        super().__init__(place, certificates)
        self.server = Vault(place, tools, certificates, free_ports())
        self.server.ask("POST", "sys/auth/approle", {"type": "approle"})
        self.server.ask("POST", "sys/mounts/kv1", {"type": "kv", "options": {"version": "1"}})
        for version in ("1", "2"):
            self.server.ask("POST", f"sys/mounts/team/bi/kv{version}", {"type": "kv", "options": {"version": version}})
        self.allow(True)
        self.server.ask("POST", "auth/approle/role/gate", {"token_policies": "gate", "token_ttl": "1h"})
        role = self.server.ask("GET", "auth/approle/role/gate/role-id")["data"]["role_id"]
        secret = self.server.ask("POST", "auth/approle/role/gate/secret-id", {})["data"]["secret_id"]
        (place / "role").write_text(role)
        (place / "secret").write_text(secret + "\n")
        self.front = Front(certificates, int(self.server.address.rpartition(":")[2]))
        self.secrets = {"role id": role, "secret id": secret, "root token": ROOT_TOKEN, "Vault token": "hvs."}

    def table(self, port=None, host=NAME, store="s"):
        login = 'approle = { role_id = "file:role", secret_id = "file:secret" }'
        return f"[stores.{store}.vault]\n{self.address(port, host)}{login}\n{self.extra}"

    def allow(self, allowed: bool, _name: str = "") -> None:
        rule = '"read"' if allowed else '"deny"'
        paths = ("secret/data/*", "kv1/*", "team/bi/*")
        policy = "\n".join(f'path "{path}" {{ capabilities = [{rule}] }}' for path in paths)
        self.server.ask("PUT", "sys/policies/acl/gate", {"policy": policy})

    def data(self, value: str) -> dict:
        try:
            whole = json.loads(value)
        except ValueError:
            whole = None
        return whole if isinstance(whole, dict) else {"token": value}


class VaultV2(VaultBackend):
    name, states, revokes, expiry, extra = "Vault KV v2", {"deleted": "missing", "destroyed": "missing"}, True, True, ""

    def path(self, name):
        return f"secret/{name}"

    def put(self, name, value, expires: int | None = None):
        if expires:
            self.server.ask("POST", f"secret/metadata/{name}", {"delete_version_after": f"{expires}s"})
        return f"v{self.server.ask('POST', f'secret/data/{name}', {'data': self.data(value)})['data']['version']}"

    def state(self, name, state):
        version = self.server.ask("GET", f"secret/metadata/{name}")["data"]["current_version"]
        what = {"deleted": "delete", "destroyed": "destroy"}[state]
        self.server.ask("POST", f"secret/{what}/{name}", {"versions": [version]})

    def revoke(self):
        self.server.ask("PUT", "sys/leases/revoke-prefix/auth/approle/login")

    def remove(self, name):
        self.server.ask("DELETE", f"secret/metadata/{name}")


class VaultV1(VaultBackend):
    name, versions, created, extra = "Vault KV v1", False, False, 'kv = "v1"\n'

    def path(self, name):
        return f"kv1/{name}"

    def put(self, name, value):
        self.server.ask("POST", f"kv1/{name}", self.data(value))

    def remove(self, name):
        self.server.ask("DELETE", f"kv1/{name}")


class Aws(Backend):
    """moto, with boto3 to write. Its answers to a lack of permission are XML and none of AWS's: see the front for those."""

    name, kind, states, denies, empty = "AWS Secrets Manager", "aws", {"deleted": "refused"}, False, False

    def __init__(self, place, certificates, python):
        super().__init__(place, certificates)
        self.port = free_ports()[0]
        script = Path(python).parent / "moto_server"
        self.server = Process(place, "moto", script, "-H", "127.0.0.1", "-p", str(self.port))
        world.wait_for(lambda: self.call("list_secrets", {}) is not None)
        self.front = Front(certificates, self.port)
        self.env = {
            "AWS_ACCESS_KEY_ID": "canary-key-id", "AWS_SECRET_ACCESS_KEY": "canary-aws-secret",
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }  # fmt: skip
        self.secrets = {"AWS secret": "canary-aws-secret"}

    def call(self, operation: str, arguments: dict) -> dict | None:
        """One call by AWS's own protocol, as boto3 writes it; moto takes any signature."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        target = "".join(word.capitalize() for word in operation.split("_"))
        scope = "AWS4-HMAC-SHA256 Credential=x/20260101/eu-central-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=x"
        headers = {"X-Amz-Target": f"secretsmanager.{target}", "Content-Type": "application/x-amz-json-1.1", "Authorization": scope}
        try:
            connection.request("POST", "/", json.dumps(arguments), headers)
            answer = connection.getresponse()
        except OSError:
            return None
        text = answer.read()
        if answer.status >= 300:
            raise LookupError(f"{operation}: {answer.status} {text.decode()}")
        return json.loads(text)

    def table(self, port=None, host=NAME, store="s"):
        return f'[stores.{store}.aws]\nregion = "eu-central-1"\n{self.address(port, host)}'

    def put(self, name, value, stages: list | None = None):
        try:
            answer = self.call("put_secret_value", {"SecretId": name, "SecretString": value, "VersionStages": stages or ["AWSCURRENT"]})
        except LookupError:
            answer = self.call("create_secret", {"Name": name, "SecretString": value})
        return answer["VersionId"]

    def promote(self, name, version, old):
        self.call("update_secret_version_stage", {"SecretId": name, "VersionStage": "AWSCURRENT",
                                                  "MoveToVersionId": version, "RemoveFromVersionId": old})  # fmt: skip

    def state(self, name, _deleted):
        self.call("delete_secret", {"SecretId": name})

    def remove(self, name):
        self.call("delete_secret", {"SecretId": name, "ForceDeleteWithoutRecovery": True})


class StandInBackend(Backend):
    """One of our own stand-ins; the official Python clients have judged it in the same run."""

    program, options = "", ()

    def __init__(self, place, certificates, python):
        super().__init__(place, certificates)
        self.server = Process(place, self.kind, python, HERE / self.program, "--cert", certificates.pem, "--key", certificates.key,
                              *self.options)  # fmt: skip
        self.port, self.plain = (int(port) for port in self.server.line("ready ").split()[1:])
        self.facts = self.ask("facts")
        self.front = Front(certificates, self.port, tls=True)

    def ask(self, what: str, body: dict | None = None) -> dict:
        status, answer = world.request(self.port, self.certificates.ca, "POST", f"/standin/{what}", body or {})
        assert status == 200, (what, status, answer)
        return answer

    def put(self, name, value, expires: int | None = None):
        return self.ask("put", {"name": name, "value": value, **({"exp": int(time.time()) + expires} if expires else {})})["version"]

    def state(self, name, state):
        self.ask({"deleted": "delete", "destroyed": "destroy", "disabled": "disable"}[state], {"name": name})

    def allow(self, allowed, name=""):
        self.ask("permission", {"allowed": allowed, **({"name": name} if name else {})})

    def revoke(self):
        self.ask("revoke")

    def remove(self, name):
        self.ask("delete", {"name": name})


class Azure(StandInBackend):
    name, kind, program = "Azure Key Vault", "azure", "azure_standin.py"
    # The address of a machine's metadata service, which the namespace gives to its loopback device.
    imds = "169.254.169.254:80"
    options = ("--imds", imds)
    states, garbled = {"deleted": "missing", "disabled": "refused"}, {"404": "missing"}
    revokes, expiry, pinned = True, True, True

    def __init__(self, place, certificates, python):
        super().__init__(place, certificates, python)
        (place / "azure-secret").write_text(self.facts["client_secret"] + "\n")
        self.secrets = {"client secret": self.facts["client_secret"], "access token": "eyJ"}

    def login(self) -> str:
        tenant, client = self.facts["tenant"], self.facts["client_id"]
        return f'client_secret = {{ tenant = "{tenant}", client = "{client}", secret = "file:azure-secret" }}'

    def table(self, port=None, host=NAME, store="s", login=None):
        # The stand-in calls itself vault.azure.net's; it is reached by another name here.
        rest = f'authority = "https://localhost:{self.port}"\ndanger_any_resource = true\n{login or self.login()}\n'
        return f"[stores.{store}.azure]\n{self.address(port, host)}{rest}"


class Gcp(StandInBackend):
    name, kind, program = "GCP Secret Manager", "gcp", "gcp_standin.py"
    states, garbled = {"deleted": "missing", "disabled": "refused", "destroyed": "refused"}, {"404": "missing"}
    revokes, pinned, created = True, True, False

    def __init__(self, place, certificates, python):
        super().__init__(place, certificates, python)
        self.ask("service_account", {"path": str(place / "gcp.json")})
        # The credentials' own library follows the platform's roots.
        self.env = {"SSL_CERT_FILE": str(certificates.ca)}
        self.secrets = {"private key": "PRIVATE KEY", "access token": "ya29.", "signed token": "eyJ"}

    def table(self, port=None, host=NAME, store="s", login='credentials = "file:gcp.json"'):
        return f'[stores.{store}.gcp]\nproject = "{self.facts["project"]}"\n{self.address(port, host)}{login}\n'


class File(Backend):
    name, kind, network, versions, denies = "files", "file", False, False, os.geteuid() != 0

    def __init__(self, place, certificates):
        super().__init__(place, certificates)
        (place / "files").mkdir()
        self.secrets = {}

    def table(self, port=None, host=NAME, store="s"):
        return f'[stores.{store}.file]\npath = "files"\n'

    def put(self, name, value):
        new = self.place / "files" / f"{name}.new"
        new.write_bytes(value.encode())
        new.rename(self.place / "files" / name)

    def remove(self, name):
        (self.place / "files" / name).unlink()


class Env(Backend):
    name, kind, network, versions, created, denies = "environment", "env", False, False, False, False

    def __init__(self, place, certificates):
        super().__init__(place, certificates)
        self.env, self.secrets = {}, {}

    def path(self, name):
        return name.replace("-", "_").upper()

    def table(self, port=None, host=NAME, store="s"):
        return f"[stores.{store}.env]\n"

    def put(self, name, value):
        self.env[self.path(name)] = value

    def remove(self, name):
        del self.env[self.path(name)]


def judged(place: Path, certificates: Certificates, python: Path, backend: StandInBackend) -> None:
    """The official Python clients do their whole round through a stand-in; each of their checks counts."""
    judge = HERE / f"judge_{backend.kind}.py"
    command = [python, judge, backend.port, backend.plain if backend.kind == "gcp" else backend.imds, certificates.ca]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, cwd=place)
    sys.stdout.write("".join(f"       {line}\n" for line in done.stdout.splitlines()))
    assert done.returncode == 0 and done.stdout.count("ok ") > 10, done.stdout[-2000:] + done.stderr[-2000:]
    backend.ask("reset")
