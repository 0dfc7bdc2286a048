"""Google's own Python clients against gcp_standin.py: what they accept is what a gate may expect of Secret Manager.

    python3 judge_gcp.py PORT METADATAPORT CA
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

PORT, METADATA, CA = sys.argv[1:4]
TEMPORARY = tempfile.TemporaryDirectory()
PLACE = Path(TEMPORARY.name)
for name in list(os.environ):
    if name.startswith(("GOOGLE_", "GCE_", "CLOUDSDK_")) or name.lower().endswith("_proxy"):
        del os.environ[name]
# google.auth reads these when it is imported. It looks for a metadata server at the IP, and asks the host.
os.environ |= {"GCE_METADATA_HOST": f"127.0.0.1:{METADATA}", "GCE_METADATA_IP": f"127.0.0.1:{METADATA}"}
os.environ |= {"CLOUDSDK_CONFIG": str(PLACE), "REQUESTS_CA_BUNDLE": CA}

import google.auth  # noqa: E402
import google.auth.transport.requests  # noqa: E402
import google.oauth2.credentials  # noqa: E402
import requests  # noqa: E402
from google.api_core import exceptions, retry  # noqa: E402
from google.api_core.client_options import ClientOptions  # noqa: E402
from google.auth import identity_pool  # noqa: E402
from google.auth.exceptions import OAuthError, RefreshError  # noqa: E402
from google.cloud.secretmanager_v1 import SecretManagerServiceClient, SecretVersion  # noqa: E402
from google.oauth2 import service_account  # noqa: E402
from judge_base import FAILED, check, refused, same  # noqa: E402

BASE = f"https://localhost:{PORT}"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
STATE = SecretVersion.State


def ask(path, body=None):
    answer = requests.request("GET" if body is None else "POST", f"{BASE}/standin/{path}", json=body, timeout=10)
    assert answer.status_code == 200, (path, answer.status_code, answer.text)
    return answer.json()


def crc32c(data):
    """Castagnoli, bit by bit; not the stand-in's code, and tried on the check value of the literature."""
    crc = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            low = (crc ^ byte >> bit) & 1
            crc = crc >> 1 ^ 0x82F63B78 * low
    return crc ^ 0xFFFFFFFF


def client(credentials):
    options = ClientOptions(api_endpoint=f"localhost:{PORT}")
    return SecretManagerServiceClient(credentials=credentials, client_options=options, transport="rest")


def refresh(credentials):
    credentials.refresh(google.auth.transport.requests.Request())
    return credentials


def main():
    same(crc32c(b"123456789"), 0xE3069283)
    ask("reset", {})
    facts = ask("facts")
    project = f"projects/{facts['project']}"
    secret, numbered = f"{project}/secrets/db", f"projects/{facts['number']}/secrets/db"

    def account(**how):
        path = str(PLACE / f"account-{len(list(PLACE.iterdir()))}.json")
        ask("service_account", {"path": path, **how})
        return path

    def by_account(wrong_key=False, **more):
        return service_account.Credentials.from_service_account_file(account(wrong_key=wrong_key), **more)

    def signed(audience, **more):
        """A JWT that the account signed itself."""
        credentials = google.auth.jwt.Credentials.from_service_account_file(account(), audience=audience, **more)
        return refresh(credentials).token.decode()

    def by_platform(impersonate=False, **how):
        token, path = PLACE / "token", str(PLACE / "external.json")
        token.write_text(ask("subject_token", how)["token"])
        ask("external_account", {"path": path, "token_file": str(token), "impersonate": impersonate})
        # google.auth.load_credentials_from_file would ask cloudresourcemanager.googleapis.com for the project's name.
        return identity_pool.Credentials.from_file(path, scopes=SCOPES)

    def access(version="latest", by=None):
        got = (by or manager).access_secret_version(name=f"{secret}/versions/{version}")
        same(crc32c(got.payload.data), got.payload.data_crc32c)
        return got.payload.data, got.name.rpartition("/")[2]

    manager = client(by_account())
    counted = ask("counters")
    db = {"parent": project, "secret_id": "db", "secret": {"replication": {"automatic": {}}}}
    manager.create_secret(**db)
    same(ask("counters").get("token", 0), counted.get("token", 0))  # a self-signed JWT needs no token endpoint

    def add(data):
        return manager.add_secret_version(parent=secret, payload={"data": data, "data_crc32c": crc32c(data)})

    first, second = add(b"one"), add(b"two\x00\xff")

    def read():
        same((first.name, second.state), (f"{numbered}/versions/1", STATE.ENABLED))
        same(access(), (b"two\x00\xff", "2"))
        same(manager.get_secret(name=secret).name, numbered)

    def read_version():
        same(access("1"), (b"one", "1"))
        same(manager.get_secret_version(name=f"{secret}/versions/1").state, STATE.ENABLED)
        refused(exceptions.NotFound, lambda: access("9"), "404", "versions/9] not found")

    def alias():
        changed = {"name": secret, "version_aliases": {"stable": 1}}
        manager.update_secret(secret=changed, update_mask={"paths": ["version_aliases"]})
        same(access("stable"), (b"one", "1"))

    def list_versions():
        got = manager.list_secret_versions(request={"parent": secret, "page_size": 1})
        same([version.name.rpartition("/")[2] for version in got], ["2", "1"])

    def states():
        """"latest" is the newest version, whatever its state."""
        newest = f"{secret}/versions/{add(b'three').name.rpartition('/')[2]}"
        same(manager.disable_secret_version(name=newest).state, STATE.DISABLED)
        refused(exceptions.BadRequest, access, "400", "is in DISABLED state")
        same(manager.enable_secret_version(name=newest).state, STATE.ENABLED)
        same(access(), (b"three", "3"))
        same(manager.destroy_secret_version(name=newest).state, STATE.DESTROYED)
        refused(exceptions.BadRequest, access, "400", "is in DESTROYED state")
        refused(exceptions.BadRequest, lambda: manager.enable_secret_version(name=newest), "400")
        same(access("2"), (b"two\x00\xff", "2"))
        add(b"four")

    def mistakes():
        refused(exceptions.Conflict, lambda: manager.create_secret(**db))
        payload = {"data": b"x", "data_crc32c": 1}
        refused(exceptions.BadRequest, lambda: manager.add_secret_version(parent=secret, payload=payload), "400")
        refused(exceptions.Forbidden, lambda: manager.get_secret(name="projects/other/secrets/db"), "403")

    def deleted():
        ask("put", {"name": "gone", "value": "x"})
        gone = f"{project}/secrets/gone"
        manager.delete_secret(name=gone)
        refused(exceptions.NotFound, lambda: manager.access_secret_version(name=f"{gone}/versions/latest"), "404")
        refused(exceptions.NotFound, lambda: manager.get_secret(name=gone), "404")

    def exchanged():
        """The same key by way of the token endpoint, which this client only takes outside of its own transport."""
        token = refresh(by_account(scopes=SCOPES)).token
        assert token.startswith("ya29."), "not an access token"
        same(access(by=client(google.oauth2.credentials.Credentials(token)))[0], b"four")

    def wrong_key():
        wrong = by_account(wrong_key=True, scopes=SCOPES)
        refused(RefreshError, lambda: refresh(wrong), "invalid_grant", "Invalid JWT Signature")
        wrong = client(by_account(wrong_key=True))
        refused(exceptions.Unauthorized, lambda: access(by=wrong), "401", "invalid authentication credentials")

    def metadata():
        credentials, found = google.auth.default(scopes=SCOPES)
        same((type(credentials).__module__, found), ("google.auth.compute_engine.credentials", facts["project"]))
        same(access(by=client(credentials))[0], b"four")
        same((credentials.service_account_email, credentials.universe_domain), (facts["email"], "googleapis.com"))

    def metadata_header():
        path = f"http://127.0.0.1:{METADATA}/computeMetadata/v1/instance/service-accounts/default/token"
        same(requests.get(path, timeout=10).status_code, 403)
        same(requests.get(path, headers={"Metadata-Flavor": "Google"}, timeout=10).headers["Metadata-Flavor"], "Google")

    def impersonated():
        same(access(by=client(by_platform(impersonate=True)))[0], b"four")

    def platform_refused(code, **how):
        refused(OAuthError, lambda: refresh(by_platform(**how)), code)

    def permission():
        ask("permission", {"allowed": False, "name": "db"})
        refused(exceptions.Forbidden, access, "403", "'secretmanager.versions.access' denied", "IAM_PERMISSION_DENIED")
        ask("permission", {"allowed": True, "name": "db"})
        same(access()[0], b"four")

    def throttled(status, kind, text):
        """Over REST the client retries 503 by itself but not 429, though it means to: it looks for gRPC's class.
        Retry-After it does not look at.
        """
        order = {"at": "secrets", "status": status, "retry_after": 1}
        ask("fail", order)
        answer = get(None)
        same((answer.status_code, answer.headers["Retry-After"], answer.json()["error"]["status"]), (status, "1", text))
        ask("fail", order)
        access() if status == 503 else refused(kind, access, str(status))
        ask("fail", {**order, "next": 2})
        again = retry.Retry(predicate=retry.if_exception_type(kind), initial=0.1, timeout=10)
        same(manager.access_secret_version(name=f"{secret}/versions/latest", retry=again).payload.data, b"four")

    def wrong_crc():
        ask("wrong_crc", {"next": 1})
        refused(AssertionError, access, "not")
        same(access()[0], b"four")

    def get(token):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.get(f"{BASE}/v1/{secret}/versions/latest:access", headers=headers, timeout=10)

    def tokens():
        """What the client hides: the service's own look at a token."""
        ask("lifetime", {"seconds": 1})
        short = refresh(by_platform()).token
        ask("lifetime", {"seconds": 3600})
        good = refresh(by_platform()).token
        same([get(token).status_code for token in (good, short, None, good[:-1], "a.b.c")], [200, 200, 401, 401, 401])
        same(get(None).json()["error"]["status"], "UNAUTHENTICATED")
        same(get(good).json()["name"], f"{numbered}/versions/4")
        time.sleep(1.1)
        same((get(short).status_code, get(good).status_code), (401, 200))
        narrow = by_account(scopes=["https://www.googleapis.com/auth/devstorage.read_only"])
        same(get(refresh(narrow).token).json()["error"]["status"], "PERMISSION_DENIED")
        service = "https://secretmanager.googleapis.com/"
        same(get(signed(service)).status_code, 200)
        same(get(signed("https://storage.googleapis.com/")).status_code, 401)
        same(get(signed(service, token_lifetime=-5)).status_code, 401)
        same(get(signed(service, token_lifetime=7200)).status_code, 401)
        # As Google's Rust client does it: a scope, "aud": null, and 20 s more than an hour.
        more = {"aud": None, "scope": SCOPES[0]}
        same(get(signed(service, token_lifetime=3620, additional_claims=more)).status_code, 200)

    def revoked():
        """A 401 makes the client fetch a new token, unasked."""
        by_token = client(by_platform())
        own = signed("https://secretmanager.googleapis.com/")
        same((access(by=by_token)[0], get(own).status_code), (b"four", 200))
        assert ask("revoke", {})["revoked"] > 0
        same(get(own).status_code, 401)
        counted = ask("counters")
        same(access(by=by_token)[0], b"four")
        same(ask("counters")["sts"], counted["sts"] + 1)
        time.sleep(1)  # within a second the account would sign the same JWT again
        same(access()[0], b"four")

    check("service account file: read the newest", read)
    check("read one version", read_version)
    check("an alias", alias)
    check("list versions, page by page", list_versions)
    check("disable, enable, destroy", states)
    check("exists already, wrong checksum, other project", mistakes)
    check("delete", deleted)
    check("service account by the token endpoint", exchanged)
    check("service account with a wrong key", wrong_key)
    check("metadata server", metadata)
    check("metadata server without the header", metadata_header)
    check("external account", lambda: same(access(by=client(by_platform()))[0], b"four"))
    check("external account with impersonation", impersonated)
    check("expired subject token", lambda: platform_refused("invalid_grant", expires_in=-5))
    check("subject token with a wrong signature", lambda: platform_refused("invalid_grant", bad_signature=True))
    check("subject token with a wrong audience", lambda: platform_refused("invalid_grant", audience="other"))
    check("subject token with a wrong issuer", lambda: platform_refused("invalid_grant", issuer="other"))
    check("subject token with a wrong subject", lambda: platform_refused("unauthorized_client", subject="other"))
    check("permission taken away and given", permission)
    check("429, then success", lambda: throttled(429, exceptions.TooManyRequests, "RESOURCE_EXHAUSTED"))
    check("503, then success", lambda: throttled(503, exceptions.ServiceUnavailable, "UNAVAILABLE"))
    check("wrong crc32c", wrong_crc)
    check("tokens: missing, forged, expired, wrong scope, wrong audience", tokens)
    check("tokens revoked", revoked)
    print(json.dumps(ask("counters")), file=sys.stderr)
    sys.exit(1 if FAILED else 0)


if __name__ == "__main__":
    main()
