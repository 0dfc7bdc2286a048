//! The `vault` store: HashiCorp Vault, or OpenBao with the same protocol. KV v1 and v2.
//!
//! vaultrs does the logins and renewals. The store sets all its options, because its defaults read the environment, and
//! one variable can switch verification off. Its `Debug` prints tokens and its errors may contain a whole answer, so
//! the store formats neither; [`explain`] takes only the status and Vault's own error texts. The store makes reads
//! itself, because vaultrs drops the number and times of a version, hides `Retry-After`, cannot tell a deleted version
//! from a missing secret, and reads answers of any length. Both use the client of [`StoreHttp`], which vaultrs's own
//! settings cannot configure.
//!
//! # The token's life
//! The gate logs in at the first read, and renews the token at two thirds of its lease. It logs in once more if the
//! renewal fails, if the new lease is shorter, or if Vault refuses a read with 403. If that login does not help, the
//! gate waits before the next one. While neither works, a token with some lease left still serves.

#[path = "vault_mount.rs"]
mod mount;
#[path = "vault_write.rs"]
mod write;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use parking_lot::{Mutex, MutexGuard};
use rustify::clients::reqwest::Client as RestClient;
use rustify::errors::ClientError as RestError;
use serde::Deserialize;
use serde_json::value::RawValue;
use vaultrs::api::{AuthInfo, EndpointMiddleware};
use vaultrs::auth::{approle, cert, kubernetes, oidc};
use vaultrs::client::{Client, VaultClient, VaultClientSettings};
use vaultrs::error::ClientError;

use super::http::{NoHttp, StoreHttp, status_error, url};
use super::login::{LoginCache, with_login};
use super::secret_source::load;
use super::{ReadFuture, SecretStore, StoreError, StoredSecret, Write, WriteFuture};
use crate::base::clock::Clock;
use crate::base::fault::chain;
use crate::base::rfc3339;
use crate::base::secret::Secret;
use crate::config::KeyPair;
use crate::config::stores::{KvVersion, VaultLogin, VaultStore};
use mount::Mounts;

/// How long the gate believes a 403 that a new login did not change: each login leaves a lease in Vault.
const BARREN: Duration = Duration::from_secs(300);

/// A Vault server.
pub(super) struct Vault {
    settings: VaultStore,
    web: StoreHttp,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    logins: LoginCache<Login>,
    mounts: Mounts,
    /// Until when a 403 leads to no new login, because the last one did not help.
    barren: Mutex<Option<Instant>>,
}

/// A login at Vault.
struct Login {
    client: VaultClient,
    token: Secret,
    /// `None` for a token that is not from a login, or that does not expire.
    lease: Option<Lease>,
}

#[derive(Clone, Copy)]
struct Lease {
    length: Duration,
    renew: Instant,
    end: Instant,
}

impl Vault {
    /// Sets the server up, without a request.
    ///
    /// # Errors
    /// If a file that it names is unusable.
    pub(super) fn new(settings: &VaultStore, timeout: Duration, clock: Arc<dyn Clock>) -> Result<Self, NoHttp> {
        let web = StoreHttp::new(&settings.reach, None, timeout)?;
        Ok(Self {
            settings: settings.clone(),
            web,
            timeout,
            clock,
            logins: LoginCache::default(),
            mounts: Mounts::default(),
            barren: Mutex::default(),
        })
    }

    fn client(&self, web: &StoreHttp, token: &Secret) -> Result<VaultClient, StoreError> {
        let address = self.settings.address.parse();
        let address = address.map_err(|_| StoreError::Refused("the address is not a URL".into()))?;
        let settings = VaultClientSettings {
            address,
            ca_certs: Vec::new(),
            identity: None,
            timeout: Some(self.timeout),
            token: token.expose().to_owned(),
            verify: true,
            version: 1,
            wrapping: false,
            namespace: self.settings.namespace.clone(),
            proxy: None,
        };
        let middle = EndpointMiddleware {
            token: token.expose().to_owned(),
            version: "v1".to_owned(),
            wrap: None,
            namespace: self.settings.namespace.clone(),
        };
        Ok(VaultClient { http: RestClient::new(&self.settings.address, web.http.clone()), middle, settings })
    }

    /// A login that should be valid.
    async fn login(&self) -> Result<Arc<Login>, StoreError> {
        let next = |held: Option<Arc<Login>>| async {
            let Some(held) = held else { return self.log_in().await };
            let now = self.clock.now();
            match held.lease {
                Some(lease) if now >= lease.renew => match self.renewed(&held, lease).await {
                    Some(renewed) => Ok(renewed),
                    None => match self.log_in().await {
                        Err(error) if now < lease.end => {
                            tracing::warn!(
                                cause = %error, owner = "store",
                                "cannot log in to Vault again; the old token is still valid"
                            );
                            Ok(held)
                        }
                        outcome => outcome,
                    },
                },
                _ => Ok(held),
            }
        };
        self.logins.current(next).await
    }

    async fn renewed(&self, held: &Login, lease: Lease) -> Option<Arc<Login>> {
        // A renewal that hangs must leave time for the rest of the read.
        let Ok(renewal) = tokio::time::timeout(self.timeout / 3, held.client.renew(None)).await else {
            tracing::debug!("Vault does not answer the renewal of the token");
            return None;
        };
        match renewal {
            // A shorter lease means that the token is near its maximum lifetime: a new login now avoids a refusal
            // later.
            Ok(auth) if Duration::from_secs(auth.lease_duration) < lease.length => {
                tracing::debug!("the Vault token is near its maximum lifetime");
                None
            }
            Ok(auth) => {
                tracing::debug!(lease_s = auth.lease_duration, "renewed the Vault token");
                let client = self.client(&self.web, &held.token).ok()?;
                Some(Arc::new(Login { client, token: held.token.clone(), lease: self.lease(&auth) }))
            }
            Err(error) => {
                tracing::debug!(cause = explain(&error).to_string(), "the Vault token cannot be renewed");
                None
            }
        }
    }

    async fn log_in(&self) -> Result<Arc<Login>, StoreError> {
        let nobody = self.client(&self.web, &Secret::new(String::new()))?;
        let answer = match &self.settings.login {
            VaultLogin::Token(source) => {
                let token = load(source).await?;
                return Ok(Arc::new(Login { client: self.client(&self.web, &token)?, token, lease: None }));
            }
            VaultLogin::AppRole { mount, role_id, secret_id } => {
                let (role_id, secret_id) = (load(role_id).await?, load(secret_id).await?);
                approle::login(&nobody, mount, role_id.expose(), secret_id.expose()).await
            }
            VaultLogin::Kubernetes { mount, role, jwt } => {
                kubernetes::login(&nobody, mount, role, load(jwt).await?.expose()).await
            }
            VaultLogin::Jwt { mount, role, jwt } => {
                oidc::login(&nobody, mount, load(jwt).await?.expose(), role.clone()).await
            }
            VaultLogin::Certificate { mount, role, certificate, key } => {
                let shown = self.client(&self.shown(certificate, key)?, &Secret::new(String::new()))?;
                cert::login(&shown, mount, role.as_deref().unwrap_or_default()).await
            }
        };
        let mut auth = answer.map_err(|error| explain(&error).prefixed("login"))?;
        let (lease, token) = (self.lease(&auth), Secret::new(std::mem::take(&mut auth.client_token)));
        tracing::info!(lease_s = auth.lease_duration, renewable = auth.renewable, "logged in to Vault");
        Ok(Arc::new(Login { client: self.client(&self.web, &token)?, token, lease }))
    }

    /// A client with the gate's certificate. It reads the files again, because a renewal replaces them.
    fn shown(&self, certificate: &Path, key: &Path) -> Result<StoreHttp, StoreError> {
        let pair = KeyPair { certificate: certificate.to_owned(), key: key.to_owned() };
        StoreHttp::new(&self.settings.reach, Some(&pair), self.timeout)
            .map_err(|error| StoreError::Refused(format!("login: {}", chain(&error))))
    }

    fn lease(&self, auth: &AuthInfo) -> Option<Lease> {
        let (length, now) = (Duration::from_secs(auth.lease_duration), self.clock.now());
        let (renew, end) = (now.checked_add(length / 3 * 2)?, now.checked_add(length)?);
        (!length.is_zero()).then_some(Lease { length, renew, end })
    }

    async fn read_secret(&self, path: &str) -> Result<StoredSecret, StoreError> {
        self.mounts.split(path)?;
        let denied = |denied: &Denied| denied.status == Some(StatusCode::FORBIDDEN);
        let may_help = |found: &Denied| denied(found) && self.barren().is_none_or(|until| self.clock.now() >= until);
        let read = with_login!(self, login => self.read_at(&login, path), unless may_help);
        match &read {
            Err(found) if denied(found) => {
                let (now, mut barren) = (self.clock.now(), self.barren());
                if barren.is_none_or(|until| now >= until) {
                    *barren = Some(now + BARREN);
                }
            }
            Err(_) => {}
            Ok(_) => *self.barren() = None,
        }
        read.map_err(|denied| denied.error)
    }

    fn barren(&self) -> MutexGuard<'_, Option<Instant>> {
        self.barren.lock()
    }

    /// Reads at the mount that is taken for the reference's; where nothing is found there, Vault says which it is.
    async fn read_at(&self, login: &Login, path: &str) -> Result<StoredSecret, Denied> {
        let (mount, rest) = self.mounts.split(path)?;
        match self.read_kv(login, mount, rest).await {
            Err(denied) if denied.elsewhere && self.ask_mount(login, path).await => {
                let (mount, rest) = self.mounts.split(path)?;
                self.read_kv(login, mount, rest).await
            }
            outcome => outcome,
        }
    }

    async fn read_kv(&self, login: &Login, mount: &str, path: &str) -> Result<StoredSecret, Denied> {
        if self.settings.kv == Some(KvVersion::V1) {
            return self.read_v1(login, mount, path).await;
        }
        match self.read_v2(login, mount, path).await {
            // The KV version is unknown: a secret that is missing or forbidden in one form may exist in the other.
            Err(denied) if self.settings.kv.is_none() && denied.elsewhere => {
                self.read_v1(login, mount, path).await.map_err(|_| denied)
            }
            outcome => outcome,
        }
    }

    async fn read_v2(&self, login: &Login, mount: &str, path: &str) -> Result<StoredSecret, Denied> {
        let answer = self.get(login, mount.split('/').chain(["data"]).chain(path.split('/'))).await?;
        let secret = answered::<Envelope>(&answer)
            .and_then(|envelope| envelope.data)
            .and_then(|data| serde_json::from_str::<Versioned>(data.get()).ok());
        // Vault answers 404 for a deleted version, but with its metadata.
        let Some(secret) = secret else { return Err(denied(&answer)) };
        let metadata = secret.metadata;
        let Some(data) = secret.data.filter(|data| data.get() != "null") else {
            let what = if metadata.destroyed { "destroyed" } else { "deleted" };
            let text = format!("version {} of the secret is {what} in Vault", metadata.version);
            return Err(Denied { status: None, elsewhere: false, error: StoreError::Missing(text) });
        };
        Ok(StoredSecret {
            value: Secret::new(data.get().to_owned()),
            version: format!("v{}", metadata.version),
            created: rfc3339::parse(&metadata.created_time),
            expires: rfc3339::parse(&metadata.deletion_time),
        })
    }

    async fn read_v1(&self, login: &Login, mount: &str, path: &str) -> Result<StoredSecret, Denied> {
        let answer = self.get(login, mount.split('/').chain(path.split('/'))).await?;
        let data = answered::<Envelope>(&answer).and_then(|envelope| envelope.data);
        let Some(data) = data.filter(|_| answer.status().is_success()) else { return Err(denied(&answer)) };
        let value = Secret::new(data.get().to_owned());
        Ok(StoredSecret { version: StoredSecret::content_version(&value), value, created: None, expires: None })
    }

    async fn get<'a>(&self, login: &Login, path: impl Iterator<Item = &'a str>) -> Result<Response<Bytes>, StoreError> {
        self.send(login, Method::GET, path, Bytes::new()).await
    }

    async fn send<'a>(
        &self,
        login: &Login,
        method: Method,
        path: impl Iterator<Item = &'a str>,
        body: Bytes,
    ) -> Result<Response<Bytes>, StoreError> {
        // Nothing is sent then: it is a secret, or a setting, of the gate's own.
        let header = |text: &str| {
            let value = HeaderValue::from_str(text);
            value.map_err(|_| {
                StoreError::OwnSecret("the Vault token, or the namespace, holds more than one line of ASCII".into())
            })
        };
        let mut headers = HeaderMap::new();
        let mut token = header(login.token.expose())?;
        token.set_sensitive(true);
        headers.insert("x-vault-token", token);
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = &self.settings.namespace {
            headers.insert("x-vault-namespace", header(namespace)?);
        }
        let url = url(&self.settings.address, std::iter::once("v1").chain(path))?;
        Ok(self.web.ask(method, url, headers, body).await?)
    }
}

impl SecretStore for Vault {
    fn read<'a>(&'a self, path: &'a str) -> ReadFuture<'a> {
        Box::pin(self.read_secret(path))
    }

    fn write<'a>(&'a self, write: Write<'a>) -> WriteFuture<'a> {
        Box::pin(self.write_secret(write))
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Versioned<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
    #[serde(default)]
    created_time: String,
    /// When `delete_version_after` will delete it, or when it was deleted; empty if neither.
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<String>,
}

/// A read without a value.
struct Denied {
    /// The status of an answer that is a refusal.
    status: Option<StatusCode>,
    /// Whether the secret may exist in the other KV version.
    elsewhere: bool,
    error: StoreError,
}

impl From<StoreError> for Denied {
    fn from(error: StoreError) -> Self {
        Self { status: None, elsewhere: false, error }
    }
}

fn answered<'a, T: Deserialize<'a>>(answer: &'a Response<Bytes>) -> Option<T> {
    serde_json::from_slice(answer.body()).ok()
}

fn denied(answer: &Response<Bytes>) -> Denied {
    let status = answer.status();
    let said = answered::<Errors>(answer).map(|said| said.errors.join("; ")).unwrap_or_default();
    let error = match status {
        StatusCode::NOT_FOUND => StoreError::Missing(with("Vault has no such secret (404)", &said)),
        _ if status.is_success() => StoreError::Unusable("Vault's answer holds no secret".into()),
        _ => status_error(status, answer.headers(), with(&format!("Vault answered {}", status.as_u16()), &said)),
    };
    let elsewhere = matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) || status.is_success();
    Denied { status: Some(status), elsewhere, error }
}

fn with(what: &str, said: &str) -> String {
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    if said.is_empty() { what.to_owned() } else { format!("{what}: {said}") }
}

/// The error of a failed login or renewal, with nothing from an answer's body except Vault's own error texts.
fn explain(error: &ClientError) -> StoreError {
    let refused = |code: u16, said: &str| {
        let status = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY);
        status_error(status, &HeaderMap::new(), with(&format!("Vault answered {code}"), said))
    };
    match error {
        ClientError::APIError { code, errors } => refused(*code, &errors.join("; ")),
        ClientError::RestClientError { source: RestError::ServerResponseError { code, .. } } => refused(*code, ""),
        ClientError::RestClientError { source: RestError::RequestError { source, .. } } => {
            StoreError::Unavailable(format!("Vault does not answer: {}", chain(source.as_ref())))
        }
        ClientError::ResponseDataEmptyError | ClientError::ResponseEmptyError => {
            StoreError::Unusable("Vault's answer holds no data".into())
        }
        _ => StoreError::Unavailable("the server that answered did not speak Vault's protocol".into()),
    }
}
