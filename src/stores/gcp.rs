//! The `gcp` store: GCP Secret Manager.
//!
//! Google's own library finds and renews the gate's credentials: a service account's key, workload identity federation,
//! the metadata server. A read is one GET that the gate makes itself: Google's SDK for it cannot use other roots, and
//! repeats a failed read for a minute. For the same reason the store's `ca` applies to reads only; token endpoints are
//! Google's, or use the platform's roots.
//!
//! A reference is `NAME`, `NAME/VERSION` or `projects/PROJECT/secrets/NAME/versions/VERSION`.

#[path = "gcp_write.rs"]
mod write;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use google_cloud_auth::credentials::{
    AccessTokenCredentials, Builder, external_account, impersonated, service_account, user_account,
};
use google_cloud_auth::errors::CredentialsError;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde::Deserialize;

use super::http::{NoHttp, StoreHttp, status_error, url};
use super::login::{LoginCache, with_login};
use super::secret_source::load;
use super::{ReadFuture, SecretStore, StoreError, StoredSecret, Write, WriteFuture};
use crate::base::secret::Secret;
use crate::config::stores::GcpStore;

const ADDRESS: &str = "https://secretmanager.googleapis.com";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Secret Manager of one project.
pub(super) struct Gcp {
    settings: GcpStore,
    web: StoreHttp,
    logins: LoginCache<AccessTokenCredentials>,
}

impl Gcp {
    /// Sets the store up, without a request.
    ///
    /// # Errors
    /// If a file that it names is unusable.
    pub(super) fn new(settings: &GcpStore, timeout: Duration) -> Result<Self, NoHttp> {
        let web = StoreHttp::new(&settings.reach, None, timeout)?;
        Ok(Self { settings: settings.clone(), web, logins: LoginCache::default() })
    }

    async fn login(&self) -> Result<Arc<AccessTokenCredentials>, StoreError> {
        self.logins.kept(|| self.credentials()).await
    }

    async fn credentials(&self) -> Result<AccessTokenCredentials, StoreError> {
        // The library's own text may quote the file.
        let wrong = || StoreError::Refused("login: the credentials are in none of Google's formats".into());
        let Some(source) = &self.settings.credentials else {
            return Builder::default().with_scopes([SCOPE]).build_access_token_credentials().map_err(|_| wrong());
        };
        let text = load(source).await?;
        let json: serde_json::Value = serde_json::from_str(text.expose()).map_err(|_| wrong())?;
        let built = match json.get("type").and_then(serde_json::Value::as_str) {
            Some("service_account") => service_account::Builder::new(json).build_access_token_credentials(),
            Some("external_account") => {
                external_account::Builder::new(json).with_scopes([SCOPE]).build_access_token_credentials()
            }
            Some("impersonated_service_account") => {
                impersonated::Builder::new(json).with_scopes([SCOPE]).build_access_token_credentials()
            }
            Some("authorized_user") => user_account::Builder::new(json).build_access_token_credentials(),
            _ => return Err(wrong()),
        };
        built.map_err(|_| wrong())
    }

    async fn read_secret(&self, path: &str) -> Result<StoredSecret, StoreError> {
        let (project, name, version) = place(path, &self.settings.project)?;
        let method = format!("{version}:access");
        let path = ["v1", "projects", project, "secrets", name, "versions", method.as_str()];
        let over = |denied: &Denied| denied.status == Some(StatusCode::UNAUTHORIZED);
        let read = with_login!(self, credentials => self.access(&credentials, path), unless over);
        read.map_err(|denied| denied.error)
    }

    async fn access(&self, credentials: &Credentials, path: [&str; 7]) -> Result<StoredSecret, Denied> {
        let answer = self.ask(credentials, Method::GET, &path, Bytes::new()).await?;
        if !answer.status().is_success() {
            return Err(denied(&answer));
        }
        Ok(value(&answer)?)
    }

    async fn ask(
        &self,
        credentials: &Credentials,
        method: Method,
        path: &[&str],
        body: Bytes,
    ) -> Result<Response<Bytes>, Denied> {
        let token = match credentials.access_token().await {
            Ok(token) => token,
            Err(error) => {
                // After a refusal that it considers permanent, the library does not ask again.
                self.logins.give_up(credentials).await;
                return Err(no_token(&error).into());
            }
        };
        let bearer = HeaderValue::from_str(&format!("Bearer {}", token.token));
        let mut bearer =
            bearer.map_err(|_| StoreError::Refused("the access token does not fit into a header".into()))?;
        bearer.set_sensitive(true);
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]);
        let url = url(self.settings.address.as_deref().unwrap_or(ADDRESS), path.iter().copied())?;
        Ok(self.web.ask(method, url, headers, body).await.map_err(StoreError::from)?)
    }
}

/// The gate's credentials at Google.
type Credentials = Arc<AccessTokenCredentials>;

/// Project, name and version of a reference.
fn place<'a>(path: &'a str, own: &'a str) -> Result<(&'a str, &'a str, &'a str), StoreError> {
    let parts: Vec<&str> = path.split('/').collect();
    Ok(match parts[..] {
        [name] => (own, name, "latest"),
        [name, version] => (own, name, version),
        ["projects", project, "secrets", name] => (project, name, "latest"),
        ["projects", project, "secrets", name, "versions", version] => (project, name, version),
        _ => {
            let text = "the reference needs NAME, NAME/VERSION or projects/PROJECT/secrets/NAME/versions/VERSION";
            return Err(StoreError::Refused(text.into()));
        }
    })
}

impl SecretStore for Gcp {
    fn read<'a>(&'a self, path: &'a str) -> ReadFuture<'a> {
        Box::pin(self.read_secret(path))
    }

    fn write<'a>(&'a self, write: Write<'a>) -> WriteFuture<'a> {
        Box::pin(self.write_secret(write))
    }
}

#[derive(Deserialize)]
struct Accessed<'a> {
    /// The resource name, with the number of the version behind an alias.
    name: String,
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    data: &'a str,
    /// A 64-bit number as text, as JSON of protocol buffers has it.
    #[serde(rename = "dataCrc32c")]
    checksum: Option<&'a str>,
}

fn value(answer: &Response<Bytes>) -> Result<StoredSecret, StoreError> {
    let garbled = || StoreError::Unavailable("the server that answered did not speak Secret Manager's protocol".into());
    let accessed: Accessed<'_> = serde_json::from_slice(answer.body()).map_err(|_| garbled())?;
    let data = STANDARD.decode(accessed.payload.data).map_err(|_| garbled())?;
    if accessed.payload.checksum.is_some_and(|sum| sum != crc32c::crc32c(&data).to_string()) {
        return Err(StoreError::Unavailable("the secret was damaged on its way: its checksum is wrong".into()));
    }
    let text = String::from_utf8(data).map_err(|_| StoreError::Unusable("the secret is binary, not text".into()))?;
    let version = accessed.name.rsplit('/').next().unwrap_or("unnamed").to_owned();
    Ok(StoredSecret { value: Secret::new(text), version, created: None, expires: None })
}

/// A read without a value.
struct Denied {
    /// The status of an answer that is a refusal.
    status: Option<StatusCode>,
    error: StoreError,
}

impl From<StoreError> for Denied {
    fn from(error: StoreError) -> Self {
        Self { status: None, error }
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalError,
}

#[derive(Deserialize)]
struct RefusalError {
    /// `PERMISSION_DENIED` and its like (google.rpc.Code).
    status: String,
}

fn denied(answer: &Response<Bytes>) -> Denied {
    let status = answer.status();
    let code = serde_json::from_slice::<Refusal>(answer.body()).map(|refusal| refusal.error.status).unwrap_or_default();
    let code = if code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') { code.as_str() } else { "" };
    let told = format!("Secret Manager answered {} {code}", status.as_u16());
    let error = match (status, code) {
        (StatusCode::NOT_FOUND, _) => StoreError::Missing(format!("{told}: no such secret or version")),
        (_, "FAILED_PRECONDITION") => StoreError::Refused(format!("{told}: the version is disabled or destroyed")),
        _ => status_error(status, answer.headers(), told),
    };
    Denied { status: Some(status), error }
}

/// Why there is no access token; the library's own text may quote an answer.
fn no_token(error: &CredentialsError) -> StoreError {
    let told = "login: Google's token endpoint, or the metadata server";
    if error.is_transient() {
        StoreError::Unavailable(format!("{told}, does not answer"))
    } else {
        StoreError::Refused(format!("{told}, refuses the gate's credentials"))
    }
}
