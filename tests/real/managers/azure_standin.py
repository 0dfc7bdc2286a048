"""A strict stand-in for Azure Key Vault's secrets, Entra ID's token endpoint and the managed identity endpoints.

    python3 azure_standin.py --cert PEM --key PEM [--imds HOST:PORT]

Prints `ready PORT IMDSPORT`: vault, token endpoint and the test's own controls (/standin/...) are on PORT with TLS, the
managed identity on IMDSPORT without. Shapes are what Microsoft's Python clients demand and what public reports show of
the service; where only memory says so, a comment says that.
"""

import re
import secrets
import time
import uuid

import jwt

import standin_base
from standin_base import PROVIDER, Answer

VAULT = "https://vault.azure.net"
FACTS = {
    "tenant": "5a0c1e7e-0000-4000-8000-00000000ad01",
    "client_id": "5a0c1e7e-0000-4000-8000-00000000c001",
    "user_assigned": "5a0c1e7e-0000-4000-8000-00000000c002",  # client ids of managed identities
    "system_assigned": "5a0c1e7e-0000-4000-8000-00000000c003",
    "identity_header": "canary-identity-header",
    "issuer": "https://oidc.standin.test/",
    "subject": "system:serviceaccount:patgate:patgate",
    "audience": "api://AzureADTokenExchange",
}
ISSUER = f"https://sts.windows.net/{FACTS['tenant']}/"
ENTRA = standin_base.new_key()
# Seen in public reports; that 50027 is right, and which of them are 400 and which 401, is from memory.
UNMATCHED = "No matching federated identity record found for presented assertion"
ASSERTION_FAULTS = (
    (jwt.ExpiredSignatureError, 700024, "Client assertion is not within its valid time range."),
    (jwt.ImmatureSignatureError, 700024, "Client assertion is not within its valid time range."),
    (jwt.InvalidSignatureError, 50013, "Assertion failed signature validation."),
    (jwt.InvalidAudienceError, 700212, f"{UNMATCHED} audience."),
    (jwt.InvalidIssuerError, 700211, f"{UNMATCHED} issuer."),
    (jwt.InvalidTokenError, 50027, "JWT token is invalid or malformed."),
)
# 10022 is as reported publicly, the others are from memory.
TOKEN_FAULTS = (
    (jwt.InvalidAudienceError, f"AKV10022: Invalid audience. Expected {VAULT}."),
    (jwt.ExpiredSignatureError, "[TokenExpired] Error validating token: the token is expired."),
    (jwt.InvalidTokenError, "AKV10006: Error validating token."),
)


class State(standin_base.State):
    def reset(self):
        super().reset()
        self.secrets, self.deleted = {}, {}  # name: versions, oldest first
        self.client_secret = "canary-client-secret"
        self.issued, self.revoked, self.claims = set(), set(), False


STATE = State()


def refusal(status, code, message, inner=None, headers=None):
    error = {"code": code, "message": message}
    return Answer(status, {"error": error | ({"innererror": {"code": inner}} if inner else {})}, headers)


def aadsts(status, error, number, text):
    now = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
    trace = {"timestamp": now, "trace_id": str(uuid.uuid4()), "correlation_id": str(uuid.uuid4())}
    text = f"AADSTS{number}: {text} Trace ID: {trace['trace_id']} Timestamp: {now}"
    return Answer(status, {"error": error, "error_description": text, "error_codes": [number], **trace})


def access_token(app, audience):
    now, uti = int(time.time()), secrets.token_urlsafe(16)
    STATE.issued.add(uti)
    claims = {"aud": audience, "iss": ISSUER, "iat": now, "nbf": now, "exp": now + STATE.lifetime}
    claims |= {"appid": app, "oid": app, "tid": FACTS["tenant"], "uti": uti, "ver": "1.0"}
    return jwt.encode(claims, ENTRA, "RS256", {"kid": "entra"}), claims


def attributes(body):
    """What a caller may set; dates are whole seconds."""
    given = {name: value for name, value in (body.get("attributes") or {}).items() if value is not None}
    for name, kind in (("enabled", bool), ("nbf", int), ("exp", int)):
        if name in given and type(given[name]) is not kind:
            raise refusal(400, "BadParameter", f"Property {name} has an invalid value.")  # text from memory
    return {name: given[name] for name in ("enabled", "nbf", "exp") if name in given}


def put(name, body):
    if not re.fullmatch(r"[0-9a-zA-Z-]{1,127}", name):
        raise refusal(400, "BadParameter", f"The request URI contains an invalid name: {name}")
    if not isinstance(body.get("value"), str) or len(body["value"]) > 25600:
        raise refusal(400, "BadParameter", "The secret value is missing or too long.")  # text from memory
    if name in STATE.deleted:
        text = "is currently in a deleted but recoverable state, and its name cannot be reused"
        text = f"Secret {name} {text}; in this state, the secret can only be recovered or purged."
        raise refusal(409, "Conflict", text, "ObjectIsDeletedButRecoverable")
    now = int(time.time())
    fixed = {"created": now, "updated": now, "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90}
    extra = {name: body[name] for name in ("contentType", "tags") if body.get(name)}
    version = {"version": uuid.uuid4().hex, "value": body["value"], "extra": extra}
    version["attributes"] = {"enabled": True, **fixed, **attributes(body)}
    STATE.secrets.setdefault(name, []).append(version)
    return version


def find(name, wanted="", deleted=False):
    """Without a version it is the newest one, whatever its state: the service never falls back to an older one."""
    versions = (STATE.deleted if deleted else STATE.secrets).get(name, [])
    for version in versions if wanted else versions[-1:]:
        if wanted in ("", version["version"]):
            return version
    text = f"A secret with (name/id) {name}{'/' + wanted if wanted else ''} was not found in this key vault."
    raise refusal(404, "SecretNotFound", text)


def delete(name):
    find(name)["deleted"] = int(time.time())
    STATE.deleted[name] = STATE.secrets.pop(name)


class Handler(standin_base.Handler):
    state = STATE

    def error(self, status, text):
        codes = {400: "BadParameter", 429: "Throttled", 500: "InternalServerError", 503: "ServiceUnavailable"}
        return refusal(status, codes.get(status, "Error"), text)

    def route(self):
        if self.parts[0] in ("secrets", "deletedsecrets"):
            self.arrived("vault")
            self.authorize()
            return self.vault()
        host = self.headers["Host"]
        entra = f"https://{host}/{FACTS['tenant']}"
        match (self.command, *self.parts):
            case ("POST", tenant, "oauth2", "v2.0", "token"):
                self.arrived("token")
                return self.token(tenant)
            case ("GET", tenant, "v2.0", ".well-known", "openid-configuration") if tenant == FACTS["tenant"]:
                ends = {"token_endpoint": f"{entra}/oauth2/v2.0/token", "jwks_uri": f"{entra}/discovery/v2.0/keys"}
                ends["authorization_endpoint"] = f"{entra}/oauth2/v2.0/authorize"
                return Answer(200, {"issuer": f"{entra}/v2.0", **ends})
            case ("GET", "common", "discovery", "instance"):
                alias = {"preferred_network": host, "preferred_cache": host, "aliases": [host]}
                where = f"{entra}/v2.0/.well-known/openid-configuration"
                return Answer(200, {"tenant_discovery_endpoint": where, "api-version": "1.1", "metadata": [alias]})
        return Answer(404, {"error": "not_found", "error_description": self.path})

    def token(self, tenant):
        form = self.form()
        app, scope = form.get("client_id"), form.get("scope", "")
        STATE.counters["token_refused"] += 1  # until it is known better
        if tenant != FACTS["tenant"]:
            raise aadsts(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")
        if app != FACTS["client_id"]:
            raise aadsts(400, "unauthorized_client", 700016, f"Application with identifier '{app}' was not found.")
        if form.get("grant_type") != "client_credentials":
            raise aadsts(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
        if not scope.endswith("/.default"):
            raise aadsts(400, "invalid_scope", 70011, f"The provided value for scope {scope} is not valid.")
        if "client_assertion" in form:
            self.assertion(form)
        elif form.get("client_secret") != STATE.client_secret:
            raise aadsts(401, "invalid_client", 7000215, "Invalid client secret provided.")
        STATE.counters["token_refused"] -= 1
        STATE.counters["token_issued"] += 1
        token, _ = access_token(app, scope.removesuffix("/.default"))
        life = {"expires_in": STATE.lifetime, "ext_expires_in": STATE.lifetime}
        return Answer(200, {"token_type": "Bearer", **life, "access_token": token})

    def assertion(self, form):
        """A federated identity: signature, life, audience, issuer and subject of the platform's own JWT."""
        if form.get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
            raise aadsts(400, "invalid_request", 900144, "client_assertion_type is wrong.")
        want = {"audience": FACTS["audience"], "issuer": FACTS["issuer"], "options": {"require": ["exp", "sub"]}}
        try:
            claims = jwt.decode(form["client_assertion"], PROVIDER.public_key(), ["RS256"], **want)
        except jwt.InvalidTokenError as error:
            number, text = next((n, text) for kind, n, text in ASSERTION_FAULTS if isinstance(error, kind))
            raise aadsts(401, "invalid_client", number, text) from None
        if claims["sub"] != FACTS["subject"]:
            raise aadsts(401, "invalid_client", 700213, f"{UNMATCHED} subject.")

    def authorize(self):
        where = f'Bearer authorization="https://{self.headers["Host"]}/{FACTS["tenant"]}"'
        challenge = f'{where}, resource="{VAULT}"'

        def unauthorized(text, header=challenge, counter="unauthorized"):
            STATE.counters[counter] += 1
            return refusal(401, "Unauthorized", text, headers={"WWW-Authenticate": header})

        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthorized("AKV10000: Request is missing a Bearer or PoP token.", counter="challenged")
        try:
            claims = jwt.decode(token, ENTRA.public_key(), ["RS256"], audience=VAULT, issuer=ISSUER)
        except jwt.InvalidTokenError as error:
            raise unauthorized(next(text for kind, text in TOKEN_FAULTS if isinstance(error, kind))) from None
        if claims["uti"] in STATE.revoked:
            # Only claims send a client past its cache. That the vault sends them, and their order, is from memory.
            more = f'{where}, error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="'
            raise unauthorized("AKV10006: The token was revoked.", more if STATE.claims else challenge)
        name = self.parts[1] if len(self.parts) > 1 else ""
        if STATE.forbidden & {"*", name}:
            STATE.counters["forbidden"] += 1
            text = "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments "
            text += "or role definitions were changed recently, please observe propagation time.\r\n"
            text += f"Caller: appid={claims['appid']};oid={claims['oid']};iss={ISSUER}\r\nAssignment: (not found)\r\n"
            raise refusal(403, "Forbidden", text, "ForbiddenByRbac")
        if "api-version" not in self.query:
            raise refusal(400, "BadParameter", "The api-version query parameter is required.")  # text from memory

    def bundle(self, name, version, value=True, pinned=True):
        """A version as it is shown: with its value only to who gets or sets it."""
        shown = {"id": f"https://{self.headers['Host']}/secrets/{name}" + (f"/{version['version']}" if pinned else "")}
        shown |= {"attributes": version["attributes"], **version["extra"]}
        return shown | ({"value": version["value"]} if value else {})

    def gone(self, name):
        version = find(name, deleted=True)
        when = {"deletedDate": version["deleted"], "scheduledPurgeDate": version["deleted"] + 90 * 86400}
        where = f"https://{self.headers['Host']}/deletedsecrets/{name}"
        return {**self.bundle(name, version, value=False), "recoveryId": where, **when}

    def listing(self, items):
        first, most = int(self.query.get("$skiptoken", 0)), int(self.query.get("maxresults", 25))
        more = f"https://{self.headers['Host']}/{'/'.join(self.parts)}?api-version={self.query['api-version']}"
        more = f"{more}&maxresults={most}&$skiptoken={first + most}" if len(items) > first + most else None
        return Answer(200, {"value": items[first : first + most], "nextLink": more})

    def vault(self):
        match (self.command, *self.parts):
            case ("GET", "secrets"):
                return self.listing([self.bundle(n, v[-1], False, False) for n, v in sorted(STATE.secrets.items())])
            case ("GET", "secrets", name, "versions"):
                # By hash, not by age (nagyesta/lowkey-vault issue 467).
                versions = sorted(STATE.secrets.get(name, []), key=lambda version: version["version"])
                return self.listing([self.bundle(name, version, value=False) for version in versions])
            case ("GET", "secrets", name, *wanted) if len(wanted) < 2:
                version = find(name, *wanted)
                if not version["attributes"]["enabled"]:
                    text = "Operation get is not allowed on a disabled secret."
                    raise refusal(403, "Forbidden", text, "SecretDisabled")
                # nbf and exp do not matter: Microsoft's "About secrets" calls them informational, with get working
                # outside of them, and Azure/AzureKeyVault issue 19 shows a 200 after exp.
                STATE.counters["read"] += 1
                return Answer(200, self.bundle(name, version))
            case ("PUT", "secrets", name):
                return Answer(200, self.bundle(name, put(name, self.json())))
            case ("PATCH", "secrets", name, *wanted) if len(wanted) < 2:
                version, body = find(name, *wanted), self.json()
                version["attributes"].update(attributes(body), updated=int(time.time()))
                version["extra"] |= {key: body[key] for key in ("contentType", "tags") if body.get(key) is not None}
                return Answer(200, self.bundle(name, version, value=False))
            case ("DELETE", "secrets", name):
                delete(name)
                return Answer(200, self.gone(name))  # the service takes seconds until /deletedsecrets has it
            case ("GET", "deletedsecrets"):
                return self.listing([self.gone(name) for name in sorted(STATE.deleted)])
            case ("GET", "deletedsecrets", name):
                return Answer(200, self.gone(name))
            case ("POST", "deletedsecrets", name, "recover"):
                find(name, deleted=True)
                STATE.secrets[name] = STATE.deleted.pop(name)
                return Answer(200, self.bundle(name, find(name), value=False))
            case ("DELETE", "deletedsecrets", name):
                find(name, deleted=True)
                del STATE.deleted[name]
                return Answer(204)
        return refusal(404, "NotFound", f"{self.command} {self.path}")  # from memory

    def control(self, what, body):
        name = body.get("name")
        match what:
            case "facts":
                return {**FACTS, "client_secret": STATE.client_secret}
            case "put":
                return {"version": put(name, {**body, "attributes": body})["version"]}
            case "disable" | "enable":
                find(name, body.get("version", ""))["attributes"]["enabled"] = what == "enable"
            case "delete":
                delete(name)
            case "purge":
                STATE.deleted.pop(name, None)
            case "client":
                STATE.client_secret = body["secret"]
            case "assertion":
                sound = (FACTS[name] for name in ("issuer", "subject", "audience"))
                return {"assertion": standin_base.workload_token(body, *sound)}
            case "revoke":
                STATE.revoked, STATE.claims = set(STATE.issued), body.get("claims", False)
                return {"revoked": len(STATE.revoked)}
            case _:
                return STATE.control(what, body)
        return {}


class Identity(Handler):
    """The metadata service of a virtual machine, and App Service's form of it."""

    def route(self):
        self.arrived("imds")
        STATE.counters["imds_refused"] += 1  # until it is known better
        app_service = self.parts == ["msi", "token"]
        if self.command != "GET" or not app_service and self.parts != ["metadata", "identity", "oauth2", "token"]:
            return Answer(404, {"error": "not_found"})
        if app_service and self.headers.get("X-IDENTITY-HEADER") != FACTS["identity_header"]:
            # msal reads these two names; the rest is from memory.
            return Answer(401, {"statusCode": 401, "message": "X-IDENTITY-HEADER is wrong"})
        if not app_service and (self.headers.get("Metadata") != "true" or "X-Forwarded-For" in self.headers):
            return self.invalid("Required metadata header not specified")
        if self.query.get("api-version") not in (["2019-08-01"] if app_service else ["2018-02-01", "2019-08-01"]):
            return self.invalid("Required api-version is missing or not known")  # text from memory
        if "resource" not in self.query:
            return self.invalid("Required parameter resource is missing")  # text from memory
        app = self.query.get("client_id", FACTS["system_assigned"])
        if app not in (FACTS["system_assigned"], FACTS["user_assigned"]):
            return self.invalid("Identity not found")
        STATE.counters["imds_refused"] -= 1
        STATE.counters["imds_issued"] += 1
        token, claims = access_token(app, self.query["resource"])
        answer = {"access_token": token, "client_id": app, "expires_on": str(claims["exp"]), "token_type": "Bearer"}
        if not app_service:
            answer |= {"expires_in": str(STATE.lifetime), "not_before": str(claims["nbf"])}
        return Answer(200, {**answer, "resource": claims["aud"]})

    def invalid(self, text):
        return Answer(400, {"error": "invalid_request", "error_description": text})


if __name__ == "__main__":
    standin_base.serve(Handler, Identity, "--imds")
