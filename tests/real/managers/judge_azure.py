"""Microsoft's own Python clients against azure_standin.py: what they accept is what a gate may expect of Key Vault.

    python3 judge_azure.py PORT IMDS CA        # IMDS is HOST:PORT
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

PORT, IMDS, CA = sys.argv[1:4]
for name in list(os.environ):
    if name.startswith(("AZURE_", "IDENTITY_", "MSI_")) or name.lower().endswith("_proxy"):
        del os.environ[name]
os.environ["REQUESTS_CA_BUNDLE"] = CA  # the only way to a private CA that all of these clients have in common

import requests  # noqa: E402
from azure.core.exceptions import (  # noqa: E402
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.identity import ClientSecretCredential, ManagedIdentityCredential, WorkloadIdentityCredential  # noqa: E402
from azure.keyvault.secrets import SecretClient  # noqa: E402
from judge_base import FAILED, check, refused, same  # noqa: E402

TEMPORARY = tempfile.TemporaryDirectory()
BASE = f"https://localhost:{PORT}"
SCOPE = "https://vault.azure.net/.default"


def ask(path, body=None):
    answer = requests.request("GET" if body is None else "POST", f"{BASE}/standin/{path}", json=body, timeout=10)
    assert answer.status_code == 200, (path, answer.status_code, answer.text)
    return answer.json()


def main():
    ask("reset", {})
    facts = ask("facts")
    # msal would ask login.microsoftonline.com whether it knows this authority.
    own = {"authority": BASE, "disable_instance_discovery": True}

    def by_secret(secret=facts["client_secret"]):
        return ClientSecretCredential(facts["tenant"], facts["client_id"], secret, **own)

    def client(credential, **options):
        # "localhost" is not under vault.azure.net, which the client would insist on.
        return SecretClient(BASE, credential, verify_challenge_resource=False, **options)

    def by_assertion(**how):
        token = Path(TEMPORARY.name) / "token"
        token.write_text(ask("assertion", how)["assertion"])
        who = {"tenant_id": facts["tenant"], "client_id": facts["client_id"]}
        return WorkloadIdentityCredential(**who, token_file_path=str(token), **own)

    def managed(env, **which):
        os.environ.update(env)
        try:
            return client(ManagedIdentityCredential(**which)).get_secret("db").value
        finally:
            for name in env:
                del os.environ[name]

    vault = client(by_secret())
    first = vault.set_secret("db", "one", content_type="text/plain", tags={"a": "b"})
    second = vault.set_secret("db", "two")

    def read():
        got = vault.get_secret("db")
        same((got.value, got.properties.version, got.properties.enabled), ("two", second.properties.version, True))
        assert len(got.properties.version) == 32 and got.properties.vault_url == BASE, got.id

    def read_version():
        got = vault.get_secret("db", first.properties.version)
        same((got.value, got.properties.content_type, got.properties.tags), ("one", "text/plain", {"a": "b"}))

    def list_versions():
        got = {p.version for p in vault.list_properties_of_secret_versions("db", max_page_size=1)}
        same(got, {first.properties.version, second.properties.version})
        same([p.name for p in vault.list_properties_of_secrets()], ["db"])

    def disabled():
        vault.update_secret_properties("db", second.properties.version, enabled=False)
        refused(HttpResponseError, lambda: vault.get_secret("db"), "403", "SecretDisabled", "disabled secret")
        same(vault.get_secret("db", first.properties.version).value, "one")
        vault.update_secret_properties("db", second.properties.version, enabled=True)
        read()

    def dates():
        """The service gives out a secret that is not yet, or no longer, valid; only its attributes tell."""
        ask("put", {"name": "late", "value": "x", "nbf": int(time.time()) + 3600, "exp": int(time.time()) + 7200})
        got = vault.get_secret("late")
        assert got.value == "x" and got.properties.not_before.timestamp() > time.time(), got.properties
        ask("put", {"name": "late", "value": "y", "exp": 1})
        same(vault.get_secret("late").properties.expires_on.timestamp(), 1)

    def deleted():
        same(vault.begin_delete_secret("db").result().name, "db")
        refused(ResourceNotFoundError, lambda: vault.get_secret("db"), "404", "SecretNotFound")
        refused(ResourceExistsError, lambda: vault.set_secret("db", "three"), "409", "ObjectIsDeletedButRecoverable")
        same([d.name for d in vault.list_deleted_secrets()], ["db"])
        vault.begin_recover_deleted_secret("db").wait()
        read()
        ask("put", {"name": "gone", "value": "x"})
        vault.begin_delete_secret("gone").wait()
        vault.purge_deleted_secret("gone")
        refused(ResourceNotFoundError, lambda: vault.get_deleted_secret("gone"), "404")

    def wrong_secret():
        refused(ClientAuthenticationError, lambda: by_secret("wrong").get_token(SCOPE), "AADSTS7000215")

    def unknown_identity():
        refused(ClientAuthenticationError, lambda: managed(imds, client_id="other"), "not found")

    def assertion_refused(code, **how):
        refused(ClientAuthenticationError, lambda: by_assertion(**how).get_token(SCOPE), code)

    def identity_header():
        env = {"IDENTITY_ENDPOINT": f"http://{IMDS}/msi/token", "IDENTITY_HEADER": "wrong"}
        refused(ClientAuthenticationError, lambda: managed(env))

    def metadata_header():
        path = f"http://{IMDS}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=x"
        same([requests.get(path, headers=h, timeout=10).status_code for h in ({}, {"Metadata": "true"})], [400, 200])

    def permission():
        ask("permission", {"allowed": False, "name": "db"})
        refused(HttpResponseError, lambda: vault.get_secret("db"), "403", "ForbiddenByRbac", "not authorized")
        same(vault.get_secret("late").value, "y")
        ask("permission", {"allowed": True, "name": "db"})
        read()

    def throttled(status, retry_after):
        ask("fail", {"at": "vault", "next": 2, "status": status, "retry_after": retry_after})
        start = time.monotonic()
        read()
        assert time.monotonic() - start >= 2 * retry_after, "Retry-After was not waited for"
        ask("fail", {"at": "vault", "next": 1, "status": status})
        refused(HttpResponseError, lambda: client(by_secret(), retry_total=0).get_secret("db"), str(status))

    def get(token, path="/secrets/db/?api-version=7.4"):
        return requests.get(BASE + path, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=10)

    def tokens():
        """What the client hides: the vault's own look at a token."""
        good = by_secret().get_token(SCOPE).token
        same([get(token).status_code for token in (good, None, good[:-20], "x")], [200, 401, 401, 401])
        challenge = get(None).headers["WWW-Authenticate"]
        same(challenge, f'Bearer authorization="{BASE}/{facts["tenant"]}", resource="https://vault.azure.net"')
        other = by_secret().get_token("https://management.azure.com/.default").token
        assert get(other).status_code == 401 and "AKV10022" in get(other).text, get(other).text
        assert get(good, "/secrets/db").status_code == 400, "api-version was not demanded"
        ask("lifetime", {"seconds": 1})
        short = by_secret().get_token(SCOPE).token
        ask("lifetime", {"seconds": 3600})
        same(get(short).status_code, 200)
        time.sleep(1.1)
        assert get(short).status_code == 401 and "TokenExpired" in get(short).text, get(short).text
        same(get(good).status_code, 200)

    def revoked():
        """Without claims in the challenge the client gives up with its cached token; with them it fetches a new one."""
        read()
        assert ask("revoke", {})["revoked"] > 0
        refused(ClientAuthenticationError, lambda: vault.get_secret("db"), "401")
        ask("revoke", {"claims": True})
        read()

    imds = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://{IMDS}"}
    app = {"IDENTITY_ENDPOINT": f"http://{IMDS}/msi/token", "IDENTITY_HEADER": facts["identity_header"]}
    check("client secret: read the newest", read)
    check("read one version", read_version)
    check("list versions and secrets, page by page", list_versions)
    check("disabled", disabled)
    check("nbf and exp", dates)
    check("delete, recover, purge", deleted)
    check("wrong client secret", wrong_secret)
    check("workload identity", lambda: same(client(by_assertion()).get_secret("db").value, "two"))
    check("expired assertion", lambda: assertion_refused("AADSTS700024", expires_in=-5))
    check("assertion with a wrong signature", lambda: assertion_refused("AADSTS50013", bad_signature=True))
    check("assertion with a wrong audience", lambda: assertion_refused("AADSTS700212", audience="other"))
    check("assertion with a wrong subject", lambda: assertion_refused("AADSTS700213", subject="other"))
    check("assertion with a wrong issuer", lambda: assertion_refused("AADSTS700211", issuer="other"))
    check("managed identity of a machine", lambda: same(managed(imds), "two"))
    check("user-assigned managed identity", lambda: same(managed(imds, client_id=facts["user_assigned"]), "two"))
    check("unknown managed identity", unknown_identity)
    check("machine identity without the Metadata header", metadata_header)
    check("managed identity of App Service", lambda: same(managed(app), "two"))
    check("App Service with a wrong header", identity_header)
    check("permission taken away and given", permission)
    check("429 with Retry-After, then success", lambda: throttled(429, 1))
    check("503 with Retry-After, then success", lambda: throttled(503, 1))
    check("500, then an error", lambda: throttled(500, 0))
    check("tokens: missing, forged, wrong audience, expired", tokens)
    check("tokens revoked", revoked)
    print(json.dumps(ask("counters")), file=sys.stderr)
    sys.exit(1 if FAILED else 0)


if __name__ == "__main__":
    main()
