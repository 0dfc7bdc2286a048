//! The `vault` store: HashiCorp Vault, or OpenBao, which speaks the same. KV v1 and v2, token and AppRole login.
//!
//! vaultrs is kept inside this file, with every setting explicit: its defaults read the environment, and one variable can
//! switch verification off. Its `Debug` prints tokens and its errors may carry a whole answer, so neither is ever formatted
//! here; [`explain`] takes out status and Vault's own error texts. The HTTP client is ours, because vaultrs's own has no
//! limit on connecting, and verifies with the roots that the rest of the gate uses.
//!
//! # The token's life
//! The gate logs in at the first read. At two thirds of its lease the token is renewed; when that fails, when the lease
//! comes back shorter, or when a read is refused with 403, the gate logs in once more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustify::clients::reqwest::Client as RestClient;
use rustify::errors::ClientError as RestError;
use tokio::sync::Mutex;
use vaultrs::api::{self, AuthInfo, EndpointMiddleware, kv1, kv2};
use vaultrs::client::{Client, VaultClient, VaultClientSettings};
use vaultrs::error::ClientError;

use super::{Fetched, Reading, SecretStore, StoreError};
use crate::base::clock::Clock;
use crate::base::fault::chain;
use crate::base::secret::Secret;
use crate::config::{KvVersion, SecretSource, VaultLogin, VaultStore};
use crate::tls::{self, TlsError};

/// A Vault server.
pub struct Vault {
    settings: VaultStore,
    http: reqwest::Client,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    session: Mutex<Option<Session>>,
    /// Counts logins, so that of many refused reads one logs in again.
    logins: AtomicU64,
}

/// A login at Vault.
struct Session {
    client: Arc<VaultClient>,
    /// When to renew; `None` for a token that we did not get by a login.
    renew: Option<Renewal>,
    /// Which login it is.
    number: u64,
}

struct Renewal {
    at: Instant,
    lease: Duration,
}

impl Vault {
    /// A server that nothing has been asked yet.
    ///
    /// # Errors
    /// When the CA file cannot be used.
    pub fn new(settings: &VaultStore, timeout: Duration, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client(settings.ca.as_deref())?)
            .connect_timeout(timeout)
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|_| TlsError::Roots(rustls::Error::General("the HTTP client refuses them".into())))?;
        Ok(Self {
            settings: settings.clone(),
            http,
            timeout,
            clock,
            session: Mutex::default(),
            logins: AtomicU64::new(1),
        })
    }

    fn client(&self, token: &Secret) -> Result<VaultClient, StoreError> {
        let address = self.settings.address.parse();
        let address = address.map_err(|_| StoreError::Refused("the address is no URL".into()))?;
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
        Ok(VaultClient { http: RestClient::new(&self.settings.address, self.http.clone()), middle, settings })
    }

    /// A client with a token that is good as far as we know, and the number of its login.
    async fn session(&self) -> Result<(Arc<VaultClient>, u64), StoreError> {
        let mut session = self.session.lock().await;
        if let Some(current) = session.as_mut() {
            let due =
                current.renew.as_ref().filter(|renewal| self.clock.now() >= renewal.at).map(|renewal| renewal.lease);
            let Some(lease) = due else { return Ok((current.client.clone(), current.number)) };
            // A lease that comes back shorter is near its greatest age: better a new login now than a refusal later.
            match current.client.renew(None).await {
                Ok(auth) if Duration::from_secs(auth.lease_duration) >= lease => {
                    current.renew = self.renewal(&auth);
                    tracing::debug!(lease_s = auth.lease_duration, "renewed the Vault token");
                    return Ok((current.client.clone(), current.number));
                }
                Ok(_) => tracing::debug!("the Vault token is near its greatest age"),
                Err(error) => tracing::debug!(cause = explain(error).to_string(), "the Vault token cannot be renewed"),
            }
        }
        let next = self.logins.fetch_add(1, Ordering::Relaxed);
        let fresh = self.log_in(next).await?;
        let client = fresh.client.clone();
        *session = Some(fresh);
        Ok((client, next))
    }

    /// Gives up the login of that number, unless somebody has logged in again since.
    async fn give_up(&self, number: u64) {
        let mut session = self.session.lock().await;
        if session.as_ref().is_some_and(|current| current.number == number) {
            *session = None;
        }
    }

    async fn log_in(&self, number: u64) -> Result<Session, StoreError> {
        match &self.settings.login {
            VaultLogin::Token(source) => {
                let client = self.client(&load(source).await?)?;
                Ok(Session { client: Arc::new(client), renew: None, number })
            }
            VaultLogin::AppRole { mount, role_id, secret_id } => {
                let (role_id, secret_id) = (load(role_id).await?, load(secret_id).await?);
                let nobody = self.client(&Secret::new(String::new()))?;
                let login = vaultrs::auth::approle::login(&nobody, mount, role_id.expose(), secret_id.expose()).await;
                let mut auth = login.map_err(|error| in_login(explain(error)))?;
                let renew = self.renewal(&auth);
                let client = self.client(&Secret::new(std::mem::take(&mut auth.client_token)))?;
                tracing::info!(lease_s = auth.lease_duration, renewable = auth.renewable, "logged in to Vault");
                Ok(Session { client: Arc::new(client), renew, number })
            }
        }
    }

    fn renewal(&self, auth: &AuthInfo) -> Option<Renewal> {
        let lease = Duration::from_secs(auth.lease_duration);
        (!lease.is_zero()).then(|| Renewal { at: self.clock.now() + lease * 2 / 3, lease })
    }

    async fn read_secret(&self, path: &str) -> Result<Fetched, StoreError> {
        let Some((mount, path)) = path.split_once('/') else {
            return Err(StoreError::Refused("the reference needs MOUNT/PATH".into()));
        };
        let (client, number) = self.session().await?;
        match self.read_kv(&client, mount, path).await {
            Err(error) if status(&error) == Some(403) => {
                self.give_up(number).await;
                let (client, _) = self.session().await?;
                self.read_kv(&client, mount, path).await.map_err(explain)
            }
            outcome => outcome.map_err(explain),
        }
    }

    async fn read_kv(&self, client: &VaultClient, mount: &str, path: &str) -> Result<Fetched, ClientError> {
        let versioned = match self.settings.kv {
            Some(KvVersion::V1) => return read_v1(client, mount, path).await,
            _ => read_v2(client, mount, path).await,
        };
        match versioned {
            // Not told which engine it is: what is missing or forbidden in the one form may be there in the other.
            Err(error) if self.settings.kv.is_none() && matches!(status(&error), Some(403 | 404)) => {
                read_v1(client, mount, path).await.map_err(|_| error)
            }
            outcome => outcome,
        }
    }
}

impl SecretStore for Vault {
    fn read<'a>(&'a self, path: &'a str) -> Reading<'a> {
        Box::pin(self.read_secret(path))
    }
}

async fn read_v2(client: &VaultClient, mount: &str, path: &str) -> Result<Fetched, ClientError> {
    // The convenience call drops the version; the request itself does not.
    let request = kv2::requests::ReadSecretRequest { mount: mount.into(), path: path.into(), version: None };
    let answer = api::exec_with_result(client, request).await?;
    Ok(Fetched { value: Secret::new(answer.data.to_string()), version: format!("v{}", answer.metadata.version) })
}

async fn read_v1(client: &VaultClient, mount: &str, path: &str) -> Result<Fetched, ClientError> {
    let request = kv1::requests::GetSecretRequest { mount: mount.into(), path: path.into() };
    let data: serde_json::Value = vaultrs::kv1::get(client, &request.mount, &request.path).await?;
    let value = Secret::new(data.to_string());
    Ok(Fetched { version: format!("content:{}", value.fingerprint()), value })
}

/// Reads a secret of the gate's own; a file that hangs keeps nobody else waiting.
async fn load(source: &SecretSource) -> Result<Secret, StoreError> {
    let own = |text: String| StoreError::Refused(format!("the gate's own login: {text}"));
    let text = match source {
        SecretSource::File(path) => {
            tokio::fs::read_to_string(path).await.map_err(|error| own(format!("{}: {error}", path.display())))?
        }
        SecretSource::Env(name) => {
            std::env::var(name).map_err(|_| own(format!("the environment variable {name} is not set")))?
        }
    };
    Ok(Secret::new(text.trim().to_owned()))
}

/// The HTTP status of a refusal.
fn status(error: &ClientError) -> Option<u16> {
    match error {
        ClientError::APIError { code, .. } => Some(*code),
        ClientError::RestClientError { source: RestError::ServerResponseError { code, .. } } => Some(*code),
        _ => None,
    }
}

/// What a failure means, in words that hold nothing of an answer's body but Vault's own error texts.
fn explain(error: ClientError) -> StoreError {
    let texts = match &error {
        ClientError::APIError { errors, .. } => errors.join("; "),
        _ => String::new(),
    };
    let said = |what: &str| if texts.is_empty() { what.to_owned() } else { format!("{what}: {}", texts.trim()) };
    match (status(&error), &error) {
        (Some(404), _) => StoreError::Refused(said("Vault has no such secret, or its newest version is deleted (404)")),
        (Some(code @ (429 | 500..=599)), _) => StoreError::Unavailable(said(&format!("Vault answered {code}"))),
        (Some(code), _) => StoreError::Refused(said(&format!("Vault answered {code}"))),
        (None, ClientError::RestClientError { source: RestError::RequestError { source, .. } }) => {
            StoreError::Unavailable(format!("Vault does not answer: {}", chain(source.as_ref())))
        }
        (None, ClientError::ResponseDataEmptyError | ClientError::ResponseEmptyError) => {
            StoreError::Unusable("Vault's answer holds no data".into())
        }
        (None, _) => StoreError::Unavailable("what answered in Vault's place did not speak its protocol".into()),
    }
}

fn in_login(error: StoreError) -> StoreError {
    match error {
        StoreError::Refused(text) => StoreError::Refused(format!("login: {text}")),
        StoreError::Unavailable(text) => StoreError::Unavailable(format!("login: {text}")),
        StoreError::Unusable(text) => StoreError::Unusable(format!("login: {text}")),
    }
}
