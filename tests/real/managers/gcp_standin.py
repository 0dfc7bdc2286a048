"""A strict stand-in for GCP Secret Manager (REST, v1), Google's token endpoints and the metadata server.

    python3 gcp_standin.py --cert PEM --key PEM [--metadata HOST:PORT]

Prints `ready PORT METADATAPORT`: secrets, token endpoints and the test's own controls (/standin/...) are on PORT with
TLS, the metadata server on METADATAPORT without. Shapes are what Google's Python client demands and what public reports
show of the service; where only memory says so, a comment says that.
"""

import base64
import binascii
import json
import re
import secrets
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import standin_base
from standin_base import PROVIDER, STRANGER, Answer

PROJECT, NUMBER = "patgate-test", "318246073425"  # answers name projects by their number
EMAIL = f"patgate@{PROJECT}.iam.gserviceaccount.com"
POOL = f"//iam.googleapis.com/projects/{NUMBER}/locations/global/workloadIdentityPools/pool/providers/provider"
FACTS = {"project": PROJECT, "number": NUMBER, "email": EMAIL, "audience": POOL}
FACTS |= {"issuer": "https://oidc.standin.test/", "subject": "system:serviceaccount:patgate:patgate"}
CLOUD, IAM = "https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/iam"
SERVICE = "https://secretmanager.googleapis.com/"
STATES = {"STATE_UNSPECIFIED": 0, "ENABLED": 1, "DISABLED": 2, "DESTROYED": 3}
STATUSES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
STATUSES |= {409: "ALREADY_EXISTS", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}
SHORT_LIVED = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
SHORT_LIVED += "Check your iat and exp values in the JWT claim."
EXPECTED = "Expected OAuth 2 access token, login cookie or other valid authentication credential."
ACCOUNT, ACCOUNT_ID = standin_base.new_key(), secrets.token_hex(20)


class State(standin_base.State):
    def reset(self):
        super().reset()
        self.secrets = {}  # name: {"created", "aliases", "versions": oldest first}
        self.tokens = {}  # access token: (principal, scopes, when it ends)
        self.seen, self.revoked = set(), set()  # JWTs that the service account signed for the service itself
        self.wrong_crc = 0  # so many accesses from now on


STATE = State()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def refusal(code, message, status=None, reason=None, domain="googleapis.com", headers=None):
    error = {"code": code, "message": message, "status": status or STATUSES.get(code, "UNKNOWN")}
    if reason:
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": domain}]
    return Answer(code, {"error": error}, headers)


def oauth(error, text):
    return Answer(400, {"error": error, "error_description": text})


def stamp(when):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


def access_token(principal, scopes):
    token = "ya29.standin-" + secrets.token_urlsafe(48)
    STATE.tokens[token] = (principal, scopes, time.time() + STATE.lifetime)
    STATE.counters["token_issued"] += 1
    return token


def add(name, data):
    secret = STATE.secrets.setdefault(name, {"created": time.time(), "aliases": {}, "versions": []})
    number = str(len(secret["versions"]) + 1)
    secret["versions"].append({"number": number, "created": time.time(), "state": "ENABLED", "data": data})
    return secret["versions"][-1]


def find(name, wanted=None):
    """A secret, or one version; "latest" is the newest whatever its state (google-github-actions/
    get-secretmanager-secrets issue 268), never an older one that would work."""
    path = f"projects/{NUMBER}/secrets/{name}"
    secret = STATE.secrets.get(name)
    if wanted is None:
        if secret is None:
            raise refusal(404, f"Secret [{path}] not found.")
        return secret
    versions = secret["versions"] if secret else []
    if not versions:
        raise refusal(404, f"Secret [{path}] not found or has no versions.")
    wanted = versions[-1]["number"] if wanted == "latest" else secret["aliases"].get(wanted, wanted)
    for version in versions:
        if version["number"] == wanted:
            return version
    raise refusal(404, f"Secret Version [{path}/versions/{wanted}] not found.")


def change(name, wanted, state):
    version = find(name, wanted)
    if version["state"] == "DESTROYED" and state != "DESTROYED":
        text = f"Secret Version [projects/{NUMBER}/secrets/{name}/versions/{version['number']}] is in DESTROYED state."
        raise refusal(400, text, "FAILED_PRECONDITION")
    version["state"] = state
    if state == "DESTROYED":
        version |= {"data": None, "destroyed": time.time()}
    return version


class Handler(standin_base.Handler):
    state = STATE

    def error(self, status, text):
        return refusal(status, text)

    def route(self):
        match (self.command, *self.parts):
            case ("POST", *path, "token") if path in ([], ["v1"]):
                self.arrived("sts" if path else "token")
                try:
                    return self.exchange(self.form()) if path else self.grant(self.form())
                except Answer:
                    STATE.counters["token_refused"] += 1
                    raise
            case ("POST", "v1", "projects", "-", "serviceAccounts", target):
                self.arrived("iam")
                return self.impersonate(target)
            case (_, "v1", "projects", project, "secrets", *rest):
                self.arrived("secrets")
                self.authorize()
                if project not in (PROJECT, NUMBER):
                    raise self.denied("secretmanager.secrets.get", f"projects/{project}")
                return self.secrets(rest)
        return Answer(404, "Not Found")

    def grant(self, form):
        """OAuth's JWT bearer grant with a service account's key."""
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            raise oauth("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type')}")
        # Google's clients write its public address here even when the file has another token_uri.
        audience = ["https://oauth2.googleapis.com/token", f"https://{self.headers['Host']}/token"]
        claims = self.signed_by_account(form.get("assertion", ""), audience)
        scopes = claims.get("scope", "").split()
        if not scopes:
            raise oauth("invalid_scope", "Invalid OAuth scope or ID token audience provided.")  # text from memory
        token = access_token(EMAIL, scopes)
        return Answer(200, {"access_token": token, "expires_in": STATE.lifetime, "token_type": "Bearer"})

    def signed_by_account(self, token, audience=None):
        """A JWT by the service account's own key: signature, key id, issuer, life of at most an hour, audience."""
        options = {"require": ["iss", "iat", "exp"], "verify_aud": audience is not None}
        try:
            claims = jwt.decode(token, ACCOUNT.public_key(), ["RS256"], audience=audience, options=options)
            known = jwt.get_unverified_header(token).get("kid") == ACCOUNT_ID
        except jwt.InvalidSignatureError:
            raise oauth("invalid_grant", "Invalid JWT Signature.") from None
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
            raise oauth("invalid_grant", SHORT_LIVED) from None
        except jwt.InvalidTokenError as error:
            raise oauth("invalid_grant", f"Invalid JWT: {error}") from None  # text from memory
        if claims["exp"] - claims["iat"] > 3600 + 60:  # Google's Rust client takes 20 s more than the hour
            raise oauth("invalid_grant", SHORT_LIVED)
        if not known or claims["iss"] != EMAIL:
            raise oauth("invalid_grant", "Invalid grant: account not found")
        return claims

    def exchange(self, form):
        """The security token service: a platform's JWT against a token of the workload identity pool's."""
        want = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "audience": POOL,
                "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}  # fmt: skip
        for name, value in want.items():
            if form.get(name) != value:
                raise oauth("invalid_request", f"Invalid value for \"{name}\".")  # text from memory
        if not form.get("scope"):
            raise oauth("invalid_scope", "Scope is missing.")  # from memory
        try:
            token, options = form.get("subject_token", ""), {"require": ["exp", "iat", "sub"]}
            expected = {"issuer": FACTS["issuer"], "audience": [POOL, f"https:{POOL}"]}
            claims = jwt.decode(token, PROVIDER.public_key(), ["RS256"], options=options, **expected)
        except jwt.InvalidTokenError as error:
            raise oauth("invalid_grant", f"The subject token is not valid: {error}.") from None  # text from memory
        if claims["sub"] != FACTS["subject"]:
            raise oauth("unauthorized_client", "The given credential is rejected by the attribute condition.")
        token = access_token("principal:" + claims["sub"], form["scope"].split())
        kind = {"issued_token_type": want["requested_token_type"], "token_type": "Bearer"}
        return Answer(200, {"access_token": token, **kind, "expires_in": STATE.lifetime})

    def impersonate(self, target):
        # The client asks the token service for the scope of IAM alone when it is about to impersonate.
        if not self.authorize({CLOUD, IAM}).startswith("principal:") or target != f"{EMAIL}:generateAccessToken":
            raise self.denied("iam.serviceAccounts.getAccessToken", target.partition(":")[0])
        token = access_token(EMAIL, self.json().get("scope") or [])
        return Answer(200, {"accessToken": token, "expireTime": stamp(STATE.tokens[token][2])})

    def authorize(self, enough=frozenset([CLOUD])):
        """Who asks: by an access token of ours, or by a JWT that the service account signed for this very service."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        realm = 'Bearer realm="https://accounts.google.com/"'
        if scheme != "Bearer" or not token:
            STATE.counters["unauthorized"] += 1
            text = f"Request is missing required authentication credential. {EXPECTED}"
            raise refusal(401, text, None, "CREDENTIALS_MISSING", headers={"WWW-Authenticate": realm})
        principal, scopes, until = STATE.tokens.get(token, (None, [], 0))
        if token.count(".") == 2 and not principal:
            try:
                claims = self.signed_by_account(token)
            except Answer:
                claims = {}
            # Google's Rust client writes "aud": null beside a scope.
            fits = claims.get("aud") == SERVICE or claims.get("aud") is None and "scope" in claims
            if fits and claims.get("sub") == EMAIL and token not in STATE.revoked:
                STATE.seen.add(token)
                principal, until = EMAIL, claims["exp"]
                scopes = [CLOUD] if claims.get("aud") else claims["scope"].split()
        if not principal or until <= time.time():
            STATE.counters["unauthorized"] += 1
            # Which reason when is from memory.
            reason = "ACCESS_TOKEN_EXPIRED" if principal else "ACCESS_TOKEN_TYPE_UNSUPPORTED"
            headers = {"WWW-Authenticate": f'{realm}, error="invalid_token"'}
            text = f"Request had invalid authentication credentials. {EXPECTED}"
            raise refusal(401, text, None, reason, headers=headers)
        if not enough & set(scopes):
            text = "Request had insufficient authentication scopes."
            raise refusal(403, text, None, "ACCESS_TOKEN_SCOPE_INSUFFICIENT")
        return principal

    def denied(self, permission, resource):
        STATE.counters["forbidden"] += 1
        text = f"Permission '{permission}' denied for resource '{resource}' (or it may not exist)."
        return refusal(403, text, None, "IAM_PERMISSION_DENIED", "iam.googleapis.com")

    def permitted(self, name, action, version=None):
        if STATE.forbidden & {"*", name}:
            path = f"projects/{NUMBER}/secrets/{name}" + (f"/versions/{version}" if version else "")
            raise self.denied(f"secretmanager.{action}", path)

    def shown(self, name, version=None):
        """A secret or a version as it is shown. Clients that ask for it get numbers for states."""
        path = f"projects/{NUMBER}/secrets/{name}"
        if version is None:
            secret = find(name)
            aliases = {"versionAliases": secret["aliases"]} if secret["aliases"] else {}
            created = {"createTime": stamp(secret["created"]), "replication": {"automatic": {}}}
            return {"name": path, **created, "etag": f'"{len(secret["versions"]):x}"', **aliases}
        state = STATES[version["state"]] if "enum-encoding=int" in self.query.get("$alt", "") else version["state"]
        fixed = {"createTime": stamp(version["created"]), "replicationStatus": {"automatic": {}}, "etag": '"1"'}
        destroyed = {"destroyTime": stamp(version["destroyed"])} if "destroyed" in version else {}
        return {"name": f"{path}/versions/{version['number']}", "state": state, **fixed, **destroyed}

    def secrets(self, rest):
        last, _, verb = rest[-1].partition(":") if rest else ("", "", "")
        rest = [*rest[:-1], last] if rest else []
        match (self.command, verb, *rest):
            case ("POST", ""):
                name = self.query.get("secretId", "")
                self.permitted(name, "secrets.create")
                if not re.fullmatch(r"[0-9A-Za-z_-]{1,255}", name) or "replication" not in self.json():
                    raise refusal(400, "secretId or replication is missing or not valid.")  # text from memory
                if name in STATE.secrets:
                    raise refusal(409, f"Secret [projects/{NUMBER}/secrets/{name}] already exists.")
                STATE.secrets[name] = {"created": time.time(), "aliases": {}, "versions": []}
                return Answer(200, self.shown(name))
            case ("GET", "", name):
                self.permitted(name, "secrets.get")
                return Answer(200, self.shown(name))
            case ("PATCH", "", name):
                self.permitted(name, "secrets.update")
                if self.query.get("updateMask") not in ("versionAliases", "version_aliases"):
                    raise refusal(400, "The stand-in updates only versionAliases.")
                aliases = self.json().get("versionAliases", {})
                find(name)["aliases"] = {alias: str(number) for alias, number in aliases.items()}
                return Answer(200, self.shown(name))
            case ("DELETE", "", name):
                self.permitted(name, "secrets.delete")
                find(name)
                del STATE.secrets[name]
                return Answer(200, {})
            case ("POST", "addVersion", name):
                self.permitted(name, "versions.add")
                find(name)
                return Answer(200, self.shown(name, add(name, self.payload())))
            case ("GET", "", name, "versions"):
                self.permitted(name, "versions.list")
                found = find(name)["versions"][::-1]
                first, most = int(self.query.get("pageToken") or 0), int(self.query.get("pageSize") or 25000)
                page = [self.shown(name, version) for version in found[first : first + most]]
                more = {"nextPageToken": str(first + most)} if found[first + most :] else {}
                return Answer(200, {"versions": page, "totalSize": len(found), **more})
            case ("GET", "access", name, "versions", wanted):
                self.permitted(name, "versions.access", wanted)
                return Answer(200, self.access(name, find(name, wanted)))
            case ("GET", "", name, "versions", wanted):
                self.permitted(name, "versions.get", wanted)
                return Answer(200, self.shown(name, find(name, wanted)))
            case ("POST", "enable" | "disable" | "destroy", name, "versions", wanted):
                self.permitted(name, f"versions.{verb}", wanted)
                state = {"enable": "ENABLED", "disable": "DISABLED", "destroy": "DESTROYED"}[verb]
                return Answer(200, self.shown(name, change(name, wanted, state)))
        return Answer(404, "Not Found")

    def payload(self):
        given = self.json().get("payload") or {}
        try:
            data = base64.b64decode(given["data"], validate=True)
        except (KeyError, TypeError, binascii.Error):
            raise refusal(400, "Invalid value at 'payload.data'.") from None  # text from memory
        if len(data) > 65536 or str(given.get("dataCrc32c", crc32c(data))) != str(crc32c(data)):
            raise refusal(400, "The payload is too long or does not fit its checksum.")  # text from memory
        return data

    def access(self, name, version):
        path = f"projects/{NUMBER}/secrets/{name}/versions/{version['number']}"
        if version["state"] != "ENABLED":
            raise refusal(400, f"Secret Version [{path}] is in {version['state']} state.", "FAILED_PRECONDITION")
        STATE.counters["read"] += 1
        crc = crc32c(version["data"])
        if STATE.wrong_crc > 0:
            STATE.wrong_crc, crc = STATE.wrong_crc - 1, crc ^ 1
        return {"name": path, "payload": {"data": base64.b64encode(version["data"]).decode(), "dataCrc32c": str(crc)}}

    def control(self, what, body):
        name, own = body.get("name"), f"https://{self.headers['Host']}"
        match what:
            case "facts":
                return FACTS
            case "put":
                return {"version": add(name, body["value"].encode())["number"]}
            case "disable" | "enable" | "destroy":
                state = {"enable": "ENABLED", "disable": "DISABLED", "destroy": "DESTROYED"}[what]
                change(name, str(body.get("version", "latest")), state)
            case "delete":
                STATE.secrets.pop(name, None)
            case "alias":
                find(name)["aliases"][body["alias"]] = str(body["version"])
            case "wrong_crc":
                STATE.wrong_crc = body.get("next", 1)
            case "revoke":
                # The same account signs the same JWT again within the same second: that one stays revoked.
                revoked, STATE.tokens = [*STATE.tokens, *STATE.seen], {}
                STATE.revoked |= STATE.seen
                STATE.seen = set()
                return {"revoked": len(revoked)}
            case "subject_token":
                return {"token": standin_base.workload_token(body, FACTS["issuer"], FACTS["subject"], f"https:{POOL}")}
            case "service_account":
                key = STRANGER if body.get("wrong_key") else ACCOUNT
                pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
                account = {"type": "service_account", "project_id": PROJECT, "universe_domain": "googleapis.com"}
                account |= {"client_email": EMAIL, "client_id": "100000000000000000001", "token_uri": f"{own}/token"}
                account |= {"private_key_id": ACCOUNT_ID, "private_key": pem}
                Path(body["path"]).write_text(json.dumps(account))
            case "external_account":
                account = {"type": "external_account", "audience": POOL, "universe_domain": "googleapis.com"}
                account |= {"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}
                account |= {"token_url": f"{own}/v1/token", "credential_source": {"file": body["token_file"]}}
                if body.get("impersonate"):
                    target = f"{own}/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken"
                    account["service_account_impersonation_url"] = target
                Path(body["path"]).write_text(json.dumps(account))
            case _:
                return STATE.control(what, body)
        return {}


class Metadata(Handler):
    """The metadata server of a machine, of GKE's workload identity and of Cloud Run."""

    def route(self):
        self.arrived("metadata")
        flavor = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
        if self.headers.get("Metadata-Flavor") != "Google" or "X-Forwarded-For" in self.headers:
            STATE.counters["metadata_refused"] += 1
            return Answer(403, "Missing Metadata-Flavor:Google header.", flavor)  # text from memory
        account = {"aliases": ["default"], "email": EMAIL, "scopes": [CLOUD]}
        texts = {"/": "computeMetadata/\n", "v1/project/project-id": PROJECT, "v1/project/numeric-project-id": NUMBER,
                 "v1/universe/universe-domain": "googleapis.com"}  # fmt: skip
        path = "/".join(self.parts).removeprefix("computeMetadata/") or "/"
        if self.command != "GET":
            return Answer(405, "Method Not Allowed", flavor)
        for root in (f"v1/instance/service-accounts/{who}" for who in ("default", EMAIL)):
            texts |= {f"{root}/email": EMAIL, f"{root}/scopes": CLOUD + "\n"}
            if path == root:
                recursive = self.query.get("recursive") == "true"
                return Answer(200, account if recursive else "aliases\nemail\nscopes\ntoken\n", flavor)
            if path == f"{root}/token":
                token = access_token(EMAIL, self.query.get("scopes", CLOUD).split(","))
                life = {"expires_in": STATE.lifetime, "token_type": "Bearer"}
                return Answer(200, {"access_token": token, **life}, flavor)
        return Answer(200, texts[path], flavor) if path in texts else Answer(404, "Not Found", flavor)


if __name__ == "__main__":
    standin_base.serve(Handler, Metadata, "--metadata")
