//! The `azure` store: Azure Key Vault, with its official SDK.
//!
//! The SDK handles the kinds of identity, their tokens, and the vault's challenge. [`StoreHttp`] replaces its HTTP
//! stack, also for the token and metadata endpoints. A reference is `NAME` or `NAME/VERSION`.
//!
//! The vault names the resource of its tokens. The SDK sends no token to a vault that names another domain than its
//! own; `danger_any_resource` switches that check off, for vaults behind a name of the operator.

#[path = "azure_write.rs"]
mod write;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use azure_core::cloud::CustomConfiguration;
use azure_core::credentials::{Secret as AzureSecret, TokenCredential};
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::request::{Body, Request};
use azure_core::http::{AsyncRawResponse, ClientOptions, HttpClient, RetryOptions, StatusCode, Transport};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use azure_security_keyvault_secrets::models::{Secret as Model, SecretClientGetSecretOptions};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use bytes::Bytes;
use http::HeaderMap;

use super::http::{HttpError, NoHttp, StoreHttp, inside, status_error};
use super::login::{LoginCache, with_login};
use super::secret_source::load;
use super::{ReadFuture, SecretStore, StoreError, StoredSecret, Write, WriteFuture};
use crate::base::fault::sources;
use crate::base::secret::Secret;
use crate::config::stores::{AzureLogin, AzureStore};

/// One key vault.
pub(super) struct Azure {
    settings: AzureStore,
    wire: Arc<Wire>,
    logins: LoginCache<SecretClient>,
}

impl Azure {
    /// Sets the vault up, without a request.
    ///
    /// # Errors
    /// If a file that it names is unusable.
    pub(super) fn new(settings: &AzureStore, timeout: Duration) -> Result<Self, NoHttp> {
        let wire = Arc::new(Wire(StoreHttp::new(&settings.reach, None, timeout)?));
        Ok(Self { settings: settings.clone(), wire, logins: LoginCache::default() })
    }

    async fn login(&self) -> Result<Arc<SecretClient>, StoreError> {
        self.logins.kept(|| self.client()).await
    }

    async fn client(&self) -> Result<SecretClient, StoreError> {
        let credential = self.credential().await?;
        let options = SecretClientOptions {
            client_options: self.options(),
            verify_challenge_resource: Some(!self.settings.danger_any_resource),
            ..SecretClientOptions::default()
        };
        let client = SecretClient::new(&self.settings.address, credential, Some(options));
        client.map_err(|_| StoreError::Refused("the vault's address cannot be used".into()))
    }

    async fn credential(&self) -> Result<Arc<dyn TokenCredential>, StoreError> {
        let unusable = |what: &'static str| move |_| StoreError::Refused(format!("login: {what}"));
        Ok(match &self.settings.login {
            AzureLogin::ManagedIdentity { client } => {
                ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                    user_assigned_id: client.clone().map(UserAssignedId::ClientId),
                    client_options: self.options(),
                }))
                .map_err(unusable("this kind of machine has no managed identity that the gate can use"))?
            }
            AzureLogin::WorkloadIdentity { tenant, client, token } => {
                WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options: self.options() },
                    client_id: client.clone(),
                    tenant_id: tenant.clone(),
                    token_file_path: token.clone(),
                }))
                .map_err(unusable("tenant, client or token file is missing; on AKS the environment has them"))?
            }
            AzureLogin::ClientSecret { tenant, client, secret } => {
                let secret = AzureSecret::new(load(secret).await?.expose().to_owned());
                let options = ClientSecretCredentialOptions { client_options: self.options() };
                ClientSecretCredential::new(tenant, client.clone(), secret, Some(options))
                    .map_err(unusable("tenant, client or secret has a wrong form"))?
            }
        })
    }

    fn options(&self) -> ClientOptions {
        let cloud = self.settings.authority.as_ref().map(|authority| {
            let mut custom = CustomConfiguration::default();
            custom.authority_host.clone_from(authority);
            Arc::new(custom.into())
        });
        ClientOptions {
            cloud,
            // The cache does the retries: it knows whether a request waits.
            retry: RetryOptions::none(),
            transport: Some(Transport::new(self.wire.clone())),
            ..ClientOptions::default()
        }
    }

    async fn read_secret(&self, path: &str) -> Result<StoredSecret, StoreError> {
        let (name, version) = match path.split_once('/') {
            Some((name, version)) => (name, Some(version)),
            None => (path, None),
        };
        // The characters that Key Vault allows in both; no others may reach the URL that the SDK builds.
        let fits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !fits(name) || !version.is_none_or(fits) {
            let text = "the reference needs NAME or NAME/VERSION, each of letters, digits and '-'";
            return Err(StoreError::Refused(text.into()));
        }
        let over = Failed::is_over;
        let read = with_login!(self, client => get(&client, name, version), unless over);
        let secret = read.map_err(|error| explain(&error))?;
        let version = version_of(&secret);
        let attributes = secret.attributes.unwrap_or_default();
        let value = secret.value.ok_or_else(|| StoreError::Unusable("the answer holds no secret".into()))?;
        Ok(StoredSecret {
            value: Secret::new(value),
            version,
            created: attributes.created.map(SystemTime::from),
            expires: attributes.expires.map(SystemTime::from),
        })
    }
}

impl SecretStore for Azure {
    fn read<'a>(&'a self, path: &'a str) -> ReadFuture<'a> {
        Box::pin(self.read_secret(path))
    }

    fn write<'a>(&'a self, write: Write<'a>) -> WriteFuture<'a> {
        Box::pin(self.write_secret(write))
    }
}

fn version_of(secret: &Model) -> String {
    secret.id.as_deref().and_then(|id| id.rsplit('/').next()).unwrap_or("unnamed").to_owned()
}

async fn get(client: &SecretClient, name: &str, version: Option<&str>) -> Result<Model, Failed> {
    let version = version.map(str::to_owned);
    let options = SecretClientGetSecretOptions { secret_version: version, ..SecretClientGetSecretOptions::default() };
    Ok(client.get_secret(name, Some(options)).await?.into_model()?)
}

/// The SDK's error of a failed read, or the reason why it could not read.
enum Failed {
    Sdk(azure_core::Error),
    Store(StoreError),
}

impl From<azure_core::Error> for Failed {
    fn from(error: azure_core::Error) -> Self {
        Self::Sdk(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failed {
    /// Whether a new login may help: the vault no longer accepts the token, or the token endpoint refuses the gate's
    /// credential, which may have been replaced since the gate read it.
    fn is_over(&self) -> bool {
        let Self::Sdk(error) = self else { return false };
        let status = refusal(error).map(|(status, ..)| status);
        match error.kind() {
            ErrorKind::Credential => matches!(status, Some(StatusCode::BadRequest | StatusCode::Unauthorized)),
            _ => status == Some(StatusCode::Unauthorized),
        }
    }
}

/// The error as text, with nothing from an answer's body except the service's error code.
fn explain(failed: &Failed) -> StoreError {
    let error = match failed {
        Failed::Sdk(error) => error,
        Failed::Store(error) => return error.clone(),
    };
    let in_login = matches!(error.kind(), ErrorKind::Credential);
    let who = if in_login { "the identity endpoint" } else { "Key Vault" };
    if let Some(ours) = inside(error) {
        return StoreError::Unavailable(format!("{who}: {ours}"));
    }
    let Some((status, code, headers)) = refusal(error) else {
        return match error.kind() {
            ErrorKind::Credential => StoreError::Login("login: the identity cannot be used".into()),
            ErrorKind::Other => StoreError::Refused(
                "Key Vault asks for a token of another resource than its own domain; see danger_any_resource".into(),
            ),
            _ => StoreError::Unavailable(format!("the server that answered for {who} did not speak its protocol")),
        };
    };
    let told = format!("{who} answered {} {code}", u16::from(status));
    let status = http::StatusCode::from_u16(status.into()).unwrap_or(http::StatusCode::BAD_GATEWAY);
    match status {
        http::StatusCode::NOT_FOUND if !in_login => StoreError::Missing(format!("{told}: no such secret or version")),
        _ => status_error(status, &headers, told),
    }
}

/// The refusal in an error that the SDK may have wrapped: status, code and `Retry-After`.
fn refusal(error: &azure_core::Error) -> Option<(StatusCode, String, HeaderMap)> {
    sources(error).find_map(|found| {
        let Some(ErrorKind::HttpResponse { status, error_code, raw_response }) =
            found.downcast_ref::<azure_core::Error>().map(azure_core::Error::kind)
        else {
            return None;
        };
        let code = error_code.as_deref().unwrap_or_default();
        let plain = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b",_-".contains(&b));
        let mut headers = HeaderMap::new();
        let pause = raw_response
            .as_ref()
            .and_then(|raw| raw.headers().get_optional_string(&HeaderName::from_static("retry-after"))?.parse().ok());
        pause.and_then(|pause| headers.insert(http::header::RETRY_AFTER, pause));
        Some((*status, if plain { code.to_owned() } else { String::new() }, headers))
    })
}

/// The gate's HTTP client, in place of the SDK's own.
#[derive(Debug)]
struct Wire(StoreHttp);

#[async_trait::async_trait]
impl HttpClient for Wire {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let failed = |error: HttpError| azure_core::Error::new(ErrorKind::Io, error);
        let Body::Bytes(body) = request.body() else {
            return Err(failed(HttpError::Request("its body is a stream".into())));
        };
        let mut ours = http::Request::builder().method(request.method().as_str()).uri(request.url().as_str());
        for (name, value) in request.headers().iter() {
            ours = ours.header(name.as_str(), value.as_str());
        }
        let ours = ours.body(Bytes::clone(body)).map_err(|error| failed(error.into()))?;
        let (head, body) = self.0.send(ours).await.map_err(failed)?.into_parts();
        let mut headers = Headers::new();
        for (name, value) in &head.headers {
            if let Ok(value) = value.to_str() {
                headers.insert(name.as_str().to_owned(), value.to_owned());
            }
        }
        Ok(AsyncRawResponse::from_bytes(head.status.as_u16().into(), headers, body))
    }
}
