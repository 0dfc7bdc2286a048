"""How the gate logs in to each secrets manager: every way that is configured or found, right and wrong."""

import base64
import json
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import world
from world import Gate

from .backends import NAME
from .contract import Contract, fingerprint
from .front import Front

SUBJECT = "system:serviceaccount:bi:patgate"


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def signed(place: Path, claims: dict, key: str = "jwt") -> str:
    """A JWT by RS256, with openssl for a signer: the suite has no library of its own."""
    pem = place / f"{key}.pem"
    if not pem.exists():
        world.run("openssl", "genrsa", "-out", pem, "2048")
        world.run("openssl", "rsa", "-in", pem, "-pubout", "-out", place / f"{key}.pub")
    now = int(time.time())
    claims = {"iss": "https://issuer.test/", "sub": SUBJECT, "aud": "vault", "iat": now - 60, "nbf": now - 60, "exp": now + 600, **claims}
    text = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
    signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", str(pem)], input=text.encode(), capture_output=True, check=True)
    return f"{text}.{encoded(signature.stdout)}"


class Small:
    """A tiny HTTP server: `answer(method, path, headers, body)` gives status and JSON or text, or None for 404."""

    def __init__(self, answer, address=("127.0.0.1", 0)):
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, told, *headers = answer(self.command, self.path, self.headers, body) or (404, {})
                text = told if isinstance(told, str) else json.dumps(told)
                self.send_response(status)
                for name, value in (headers[0] if headers else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = handle_any

        self.server = ThreadingHTTPServer(address, Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Logins:
    """The cases of one backend; each reads the secret `login` with a login of its own."""

    def __init__(self, contract: Contract):
        self.contract, self.backend = contract, contract.backend
        self.place, self.certificates = contract.place, contract.certificates
        self.check = contract.check
        self.backend.put("login", "canary-login")

    def right(self, name: str, table: str, env: dict | None = None, also=None) -> None:
        def test():
            told = self.contract.read("login", table=table, env=env)
            assert told["ok"] and told["id"] == fingerprint("canary-login"), told
            if also:
                also()

        self.check(f"login by {name}", test)

    def wrong(self, name: str, table: str, env: dict | None = None, kind: str = "login") -> None:
        self.check(f"{name}: the gate's login is refused", lambda: self.contract.fails(kind, name="login", table=table, env=env))

    def run(self) -> None:
        {"vault": self.vault, "aws": self.aws, "azure": self.azure, "gcp": self.gcp}[self.backend.kind]()

    def vault(self) -> None:
        ask, place, backend = self.backend.server.ask, self.place, self.backend
        role = {"token_policies": "gate", "token_ttl": "1h", "user_claim": "sub"}

        def table(login: str, port: int | None = None, more: str = "") -> str:
            return f"[stores.s.vault]\n{backend.address(port, NAME)}{login}\n{backend.extra}{more}"

        (place / "token").write_text(f"{backend.secrets['root token']}\n")
        self.right("token from a file", table('token = "file:token"'))
        self.right("token from a systemd credential", table('token = "credential:token"'), {"CREDENTIALS_DIRECTORY": str(place)})
        (place / "bad-token").write_text("hvs.canary")
        self.wrong("a token that is none", table('token = "file:bad-token"'), kind="refused")
        self.wrong("a token file that is missing", table('token = "file:nowhere"'))
        (place / "bad-secret").write_text("canary")
        self.wrong("a secret_id that is none", table('approle = { role_id = "file:role", secret_id = "file:bad-secret" }'))

        signed(place, {})  # makes the key that the method is to trust
        ask("POST", "sys/auth/jwt", {"type": "jwt"})
        ask("POST", "auth/jwt/config", {"jwt_validation_pubkeys": [(place / "jwt.pub").read_text()], "default_role": "gate"})
        ask("POST", "auth/jwt/role/gate", {**role, "role_type": "jwt", "bound_audiences": ["vault"]})
        for name, claims, key in [("jwt-right", {}, "jwt"), ("jwt-audience", {"aud": "other"}, "jwt"),
                                  ("jwt-old", {"exp": int(time.time()) - 600}, "jwt"), ("jwt-forged", {}, "forger")]:  # fmt: skip
            (place / name).write_text(signed(place, claims, key))
        self.right("JWT with the default role", table('jwt = { jwt = "file:jwt-right" }'))
        self.right("JWT with a role", table('jwt = { jwt = "file:jwt-right", role = "gate" }'))
        self.wrong("a JWT for another audience", table('jwt = { jwt = "file:jwt-audience" }'))
        self.wrong("a JWT that has expired", table('jwt = { jwt = "file:jwt-old" }'))
        self.wrong("a JWT of another key", table('jwt = { jwt = "file:jwt-forged" }'))

        def review(_method, _path, _headers, body):
            sent = json.loads(body)["spec"]
            known = sent["token"] == (place / "kubernetes-right").read_text()
            user = {"username": SUBJECT, "uid": "1"} if known else {}
            return 201, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": sent,
                         "status": {"authenticated": known, "user": user, "audiences": sent.get("audiences", [])}}  # fmt: skip

        account = {"kubernetes.io": {"namespace": "bi", "serviceaccount": {"name": "patgate", "uid": "1"}},
                   "iss": "kubernetes/serviceaccount", "aud": ["vault"]}  # fmt: skip
        (place / "kubernetes-right").write_text(signed(place, account))
        (place / "kubernetes-wrong").write_text(signed(place, {**account, "jti": "other"}))
        cluster = Small(review)
        ask("POST", "sys/auth/kubernetes", {"type": "kubernetes"})
        ask("POST", "auth/kubernetes/config", {"kubernetes_host": f"http://127.0.0.1:{cluster.port}", "disable_local_ca_jwt": True,
                                               "kubernetes_ca_cert": self.certificates.ca.read_text()})  # fmt: skip
        ask("POST", "auth/kubernetes/role/gate", {"bound_service_account_names": "patgate", "bound_service_account_namespaces": "bi",
                                                  "token_policies": "gate", "audience": "vault"})  # fmt: skip
        self.right("Kubernetes service account", table('kubernetes = { role = "gate", jwt = "file:kubernetes-right" }'))
        self.wrong("a token that the cluster does not know", table('kubernetes = { role = "gate", jwt = "file:kubernetes-wrong" }'))
        self.wrong("a role that is not there", table('kubernetes = { role = "other", jwt = "file:kubernetes-right" }'))
        cluster.stop()

        ask("POST", "sys/auth/cert", {"type": "cert"})
        ask("POST", "auth/cert/certs/gate", {"certificate": self.certificates.ca.read_text(), "token_policies": "gate",
                                             "allowed_common_names": "gate-client"})  # fmt: skip
        for name in ("gate-client", "other-client"):
            self.certificates.another(name, usage="clientAuth")
        tls = int(backend.server.tls.rpartition(":")[2])

        def cert(name: str, role: str = "") -> str:
            pair = (self.certificates.place / f"{name}.{end}" for end in ("pem", "key"))
            return table('cert = {{ certificate = "{}", key = "{}"{} }}'.format(*pair, role), tls)

        self.right("TLS certificate", cert("gate-client"))
        self.right("TLS certificate with a role", cert("gate-client", ', role = "gate"'))
        self.wrong("a certificate of another name", cert("other-client"))
        self.wrong("a certificate that is no file", table('cert = { certificate = "nowhere.pem", key = "nowhere.key" }', tls))

        # The open-source core ignores the header: the front refuses what lacks it.
        guarded = Front(self.certificates, backend.front.backend, needs=("X-Vault-Namespace", "team/bi"))
        approle = 'approle = { role_id = "file:role", secret_id = "file:secret" }'
        self.right("AppRole in a namespace", table(approle, guarded.port, 'namespace = "team/bi"\n'))
        self.wrong("another namespace", table(approle, guarded.port, 'namespace = "team/other"\n'))
        guarded.stop()
        self.check("a token is renewed at two thirds, replaced near its end, and once after a 403", self.renewal)

    def renewal(self) -> None:
        """A token of 3 s, 7 s at most: logins to Vault and renewals are seen, and no login to Snowflake notices."""
        self.backend.server.ask("POST", "auth/approle/role/gate", {"token_policies": "gate", "token_ttl": "3s", "token_max_ttl": "7s"})
        gate: Gate = self.contract.gate("renewal", 'refresh = "1s"')
        until = time.monotonic() + 9
        while time.monotonic() < until:
            self.contract.login(gate)
        said = [line["message"] for line in gate.lines()]
        assert 2 <= said.count("logged in to Vault") <= 4 and said.count("renewed the Vault token") >= 2, said
        assert not self.contract.held(gate)["failure"]
        world.same(gate.stop(), 0)
        self.backend.server.ask("POST", "auth/approle/role/gate", {"token_policies": "gate", "token_ttl": "1h", "token_max_ttl": "2h"})

    def aws(self) -> None:
        place, backend = self.place, self.backend
        nothing = {name: "" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        table = backend.table()

        def signed_by(key: str):
            def test():
                authorization = backend.front.last.get("Authorization", "")
                assert f"Credential={key}/" in authorization and "/eu-central-1/secretsmanager/" in authorization, authorization

            return test

        def container(_method, path, headers, _body):
            if path == "/credentials" and headers.get("Authorization") == "canary-container-token":
                return 200, {"AccessKeyId": "CONTAINERKEY", "SecretAccessKey": "canary-aws-secret", "Token": "canary-session",
                             "Expiration": "2099-01-01T00:00:00Z"}  # fmt: skip

        def instance(method, path, headers, _body):
            """IMDSv2: a session token first, then the role and its credentials."""
            lifetime = "X-aws-ec2-metadata-token-ttl-seconds"
            if (method, path) == ("PUT", "/latest/api/token") and headers.get(lifetime):
                return 200, "canary-imds-token", {lifetime: headers[lifetime]}
            if headers.get("X-aws-ec2-metadata-token") != "canary-imds-token":
                return 401, "no token"
            if path.rstrip("/") == "/latest/meta-data/iam/security-credentials":
                return 200, "gate-role"
            if path == "/latest/meta-data/iam/security-credentials/gate-role":
                return 200, {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "INSTANCEKEY", "SecretAccessKey": "canary-aws-secret",
                             "Token": "canary-session", "Expiration": "2099-01-01T00:00:00Z", "LastUpdated": "2026-01-01T00:00:00Z"}  # fmt: skip

        self.right("the environment", table, {"AWS_ACCESS_KEY_ID": "ENVKEY"}, signed_by("ENVKEY"))
        (place / "profile").write_text("[default]\naws_access_key_id = PROFILEKEY\naws_secret_access_key = canary-aws-secret\n")
        self.right("a profile", table, {**nothing, "AWS_SHARED_CREDENTIALS_FILE": str(place / "profile")}, signed_by("PROFILEKEY"))
        (place / "web-token").write_text(signed(place, {"aud": "sts.amazonaws.com"}))
        web = {**nothing, "AWS_WEB_IDENTITY_TOKEN_FILE": str(place / "web-token"), "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/gate",
               "AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{backend.port}"}  # fmt: skip

        def signed_by_sts():
            authorization = backend.front.last.get("Authorization", "")
            assert "Credential=ASIA" in authorization and backend.front.last.get("X-Amz-Security-Token"), authorization

        self.right("web identity over STS", table, web, signed_by_sts)
        ecs = Small(container)
        in_container = {**nothing, "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{ecs.port}/credentials"}
        self.right("a container's endpoint", table, {**in_container, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "canary-container-token"},
                   signed_by("CONTAINERKEY"))  # fmt: skip
        ec2 = Small(instance)
        on_instance = {**nothing, "AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{ec2.port}"}
        self.right("an instance's metadata (v2)", table, on_instance, signed_by("INSTANCEKEY"))
        self.wrong("no credentials anywhere", table, nothing)
        self.wrong("a container's endpoint that wants another token", table, {**in_container, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "x"}, "")
        self.wrong("no region", table.replace('region = "eu-central-1"\n', ""))
        for server in (ecs, ec2):
            server.stop()
        answers = {
            "AccessDeniedException": 400, "ExpiredTokenException": 400, "UnrecognizedClientException": 400, "DecryptionFailure": 400,
            "InvalidParameterException": 400,
        }  # fmt: skip

        def said(code: str, kind: str):
            body = json.dumps({"__type": code, "Message": "canary"}).encode()
            backend.front.set({"status": answers.get(code, 400), "headers": {"Content-Type": "application/x-amz-json-1.1"}, "body": body})
            try:
                self.contract.fails(kind, code, name="login")
            finally:
                backend.front.set("pass")

        # As the service's API reference has them; moto gives none of these.
        for code in answers:
            self.check(f"AWS's own {code} is named and not quoted", lambda: said(code, "refused"))
        self.check("AWS's own ThrottlingException", lambda: said("ThrottlingException", "throttled"))
        self.check("AWS's own InternalServiceError", lambda: said("InternalServiceError", "unavailable"))
        self.check("temporary credentials that have expired are found anew, once", self.expired)
        self.check("AWSPENDING is tried after a refused PAT, within the login", self.pending)

    def expired(self) -> None:
        body = json.dumps({"__type": "ExpiredTokenException", "Message": "canary"}).encode()
        before = self.backend.front.requests
        self.backend.front.set({"status": 400, "body": body, "times": 1})
        told = self.contract.read("login")
        assert told["ok"] and self.backend.front.requests == before + 2, told

    def pending(self) -> None:
        """A rotation that has written the new PAT at Snowflake and in the store, and not yet promoted it."""
        backend, contract = self.backend, self.contract
        contract.new_pat("canary-current", overlap=False)
        current = backend.put("pending", "canary-current")
        gate = contract.gate("pending", 'refresh = "1s"', secret="pending")
        contract.login(gate)
        next_version = backend.put("pending", "canary-next", stages=["AWSPENDING"])
        contract.new_pat("canary-next", overlap=False)
        contract.login(gate)
        assert contract.held(gate)["held"]["version"] == next_version, contract.held(gate)
        # The store's current version is the refused one; the poll must not go back to it.
        reads = backend.front.requests
        world.wait_for(lambda: backend.front.requests >= reads + 4)
        contract.login(gate)
        assert contract.held(gate)["held"]["version"] == next_version, contract.held(gate)
        backend.promote("pending", next_version, current)
        contract.login(gate)
        world.same(gate.stop(), 0)
        bad = contract.standin.ask("seen")["bad_logins"]
        assert bad.get(fingerprint("canary-current"), 0) <= 2, bad

    def azure(self) -> None:
        place, backend, facts = self.place, self.backend, self.backend.facts
        self.wrong("a client secret that is none", backend.table(login=backend.login().replace("azure-secret", "bad-secret")))
        (place / "bad-secret").write_text("canary")
        self.wrong("a client secret that is wrong", backend.table(login=backend.login().replace("azure-secret", "bad-secret")), kind="")
        for name, body in [("right", {}), ("old", {"expires_in": -600}), ("audience", {"audience": "other"}), ("subject", {"subject": "x"}),
                           ("forged", {"bad_signature": True})]:  # fmt: skip
            (place / f"federated-{name}").write_text(backend.ask("assertion", body)["assertion"])

        def workload(name: str) -> str:
            return backend.table(login=f'workload_identity = {{ tenant = "{facts["tenant"]}", client = "{facts["client_id"]}", token = "federated-{name}" }}')

        on_aks = {"AZURE_TENANT_ID": facts["tenant"], "AZURE_CLIENT_ID": facts["client_id"], "AZURE_FEDERATED_TOKEN_FILE": str(place / "federated-right")}
        self.right("workload identity", workload("right"))
        self.right("workload identity as AKS sets it up", backend.table(login="workload_identity = {}"), on_aks)
        for name in ("old", "audience", "subject", "forged"):
            self.wrong(f"a federated token ({name})", workload(name), kind="")
        managed = backend.table(login="managed_identity = {}")
        self.right("managed identity of a machine", managed)
        self.right("managed identity by client id", backend.table(login=f'managed_identity = {{ client = "{facts["user_assigned"]}" }}'))
        service = {"IDENTITY_ENDPOINT": f"http://{backend.imds}/msi/token", "IDENTITY_HEADER": facts["identity_header"]}
        self.right("managed identity of App Service", managed, service)
        self.wrong("App Service with another header", managed, {**service, "IDENTITY_HEADER": "x"}, kind="refused")
        self.wrong("an identity that is not assigned", backend.table(login='managed_identity = { client = "0" }'), kind="refused")
        self.wrong("a vault that names another resource than its own", backend.table().replace("danger_any_resource = true\n", ""), kind="refused")
        self.check("an access token that expires is replaced", self.short_lived)
        self.check("a client secret that is rotated is read anew", self.new_client_secret)

    def new_client_secret(self) -> None:
        """The application's secret is replaced, at Entra and in the file, while a gate runs with tokens of a few seconds."""
        backend, contract = self.backend, self.contract
        backend.ask("lifetime", {"seconds": 3})
        contract.new_pat("canary-login", overlap=True)
        gate = contract.gate("new-secret", 'refresh = "1s"', secret="login")
        backend.ask("client", {"secret": "canary-next-client-secret"})
        world.wait_for(lambda: contract.held(gate)["failure"])
        (self.place / "azure-secret").write_text("canary-next-client-secret\n")
        world.wait_for(lambda: not contract.held(gate)["failure"])
        world.same(gate.stop(), 0)
        backend.ask("lifetime", {"seconds": 3600})

    def gcp(self) -> None:
        place, backend = self.place, self.backend
        metadata = {"GCE_METADATA_HOST": f"127.0.0.1:{backend.plain}"}
        self.right("service account key", backend.table())
        self.right("service account by GOOGLE_APPLICATION_CREDENTIALS", backend.table(login=""), {"GOOGLE_APPLICATION_CREDENTIALS": str(place / "gcp.json")})
        self.right("the metadata server", backend.table(login=""), metadata)
        backend.ask("service_account", {"path": str(place / "forged.json"), "wrong_key": True})
        self.wrong("a key of another account", backend.table(login='credentials = "file:forged.json"'), kind="refused")
        (place / "junk.json").write_text('{"canary":1}')
        self.wrong("credentials of no known form", backend.table(login='credentials = "file:junk.json"'))
        for name, body in [("right", {}), ("old", {"expires_in": -600}), ("forged", {"bad_signature": True}), ("audience", {"audience": "x"})]:
            (place / f"subject-{name}").write_text(backend.ask("subject_token", body)["token"])
            backend.ask("external_account", {"path": str(place / f"external-{name}.json"), "token_file": str(place / f"subject-{name}")})

        def external(name: str) -> str:
            return backend.table(login=f'credentials = "file:external-{name}.json"')

        self.right("workload identity federation", external("right"))
        backend.ask("external_account", {"path": str(place / "external-impersonate.json"), "token_file": str(place / "subject-right"), "impersonate": True})
        self.right("workload identity federation with impersonation", external("impersonate"))
        for name in ("old", "forged", "audience"):
            self.wrong(f"a subject token ({name})", external(name), kind="")
        self.wrong("a metadata server that is gone", backend.table(login=""), {"GCE_METADATA_HOST": "127.0.0.1:1"}, kind="unavailable")
        self.check("a secret that was damaged on its way", self.damaged)
        self.check("an alias of a version", self.alias)
        self.check("an access token that expires is replaced", self.short_lived)

    def short_lived(self) -> None:
        """Tokens of a few seconds: the gate reads on, with new ones. Google's library asks for none within 10 s of another."""
        backend, contract = self.backend, self.contract
        lifetime, counter = (3, "imds_issued") if backend.kind == "azure" else (12, "metadata")
        backend.ask("lifetime", {"seconds": lifetime})
        login = "managed_identity = {}" if backend.kind == "azure" else ""
        env = {"GCE_METADATA_HOST": f"127.0.0.1:{backend.plain}"} if backend.kind == "gcp" else {}
        contract.new_pat("canary-login", overlap=True)
        own = backend.env
        backend.env = {**own, **env}
        try:
            gate = contract.gate("short", 'refresh = "1s"', table=backend.table(login=login), secret="login")
        finally:
            backend.env = own
        before, until = backend.ask("counters")[counter], time.monotonic() + lifetime + 3
        while time.monotonic() < until:
            contract.login(gate)
            assert not contract.held(gate)["failure"], contract.held(gate)
        assert backend.ask("counters")[counter] > before
        world.same(gate.stop(), 0)
        backend.ask("lifetime", {"seconds": 3600})

    def damaged(self) -> None:
        self.backend.ask("wrong_crc")
        self.contract.fails("unavailable", "checksum", name="login")
        assert self.contract.read("login")["ok"]

    def alias(self) -> None:
        version = self.backend.put("aliased", "canary-login")
        self.backend.put("aliased", "canary-other")
        self.backend.ask("alias", {"name": "aliased", "alias": "stable", "version": version})
        told = self.contract.probe({"one": "s:aliased/stable"})["one"]
        assert told["ok"] and told["id"] == fingerprint("canary-login") and told["version"] == version, told
