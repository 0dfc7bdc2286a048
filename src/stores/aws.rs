//! The `aws` store: AWS Secrets Manager, with its official SDK.
//!
//! The SDK signs requests and finds credentials where AWS's tools do: environment, profile, web identity, container,
//! instance; but not by SSO, which is for people. All its features except the runtime are off, because its default HTTP
//! stack is old; [`StoreHttp`] replaces it, also for STS and the metadata services.
//!
//! The store always names the stage. Without a name the service documents `AWSCURRENT`, but some servers with the same
//! protocol return another. `AWSPENDING` is the successor that a rotation has written and not yet promoted: the store
//! reads it only after a refusal.

#[path = "aws_write.rs"]
mod write;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::{GetSecretValueError, GetSecretValueOutput};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::http::{HttpError, NoHttp, StoreHttp, inside, status_error};
use super::login::{LoginCache, with_login};
use super::{ReadFuture, SecretStore, StoreError, StoredSecret, Write, WriteFuture};
use crate::base::fault::sources;
use crate::base::secret::Secret;
use crate::config::stores::AwsStore;

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";
/// Error codes for temporary credentials that the service no longer accepts (AWS API reference, common errors).
const LOGIN_OVER: [&str; 4] =
    ["ExpiredTokenException", "ExpiredToken", "InvalidClientTokenId", "UnrecognizedClientException"];

/// Secrets Manager in one region.
pub(super) struct Aws {
    settings: AwsStore,
    web: StoreHttp,
    timeout: Duration,
    logins: LoginCache<Client>,
}

impl Aws {
    /// Sets the store up, without a request.
    ///
    /// # Errors
    /// If a file that it names is unusable.
    pub(super) fn new(settings: &AwsStore, timeout: Duration) -> Result<Self, NoHttp> {
        let web = StoreHttp::new(&settings.reach, None, timeout)?;
        Ok(Self { settings: settings.clone(), web, timeout, logins: LoginCache::default() })
    }

    async fn login(&self) -> Result<Arc<Client>, StoreError> {
        self.logins.kept(|| self.client()).await
    }

    async fn client(&self) -> Result<Client, StoreError> {
        // The cache does the retries: it knows whether a request waits.
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(Transport(self.web.clone()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(self.timeout).build());
        if let Some(region) = &self.settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let found = loader.load().await;
        if found.region().is_none() {
            let text = "no region: name one in the store's table, or in AWS_REGION";
            return Err(StoreError::Refused(text.into()));
        }
        let mut config = aws_sdk_secretsmanager::config::Builder::from(&found);
        if let Some(address) = &self.settings.address {
            config = config.endpoint_url(address);
        }
        Ok(Client::from_conf(config.build()))
    }

    async fn read_stage(&self, name: &str, stage: &str) -> Result<StoredSecret, StoreError> {
        let over = |error: &Failed| error.code().is_some_and(|code| LOGIN_OVER.contains(&code));
        let read = with_login!(self, client => get(&client, name, stage), unless over);
        let answer = read.map_err(|error| explain(&error))?;
        let text = answer.secret_string.map(Ok).or_else(|| {
            let bytes = answer.secret_binary.map(aws_smithy_types::Blob::into_inner)?;
            Some(String::from_utf8(bytes).map_err(|_| StoreError::Unusable("the secret is binary, not text".into())))
        });
        let text = text.unwrap_or_else(|| Err(StoreError::Unusable("the answer holds no secret".into())))?;
        Ok(StoredSecret {
            value: Secret::new(text),
            version: answer.version_id.unwrap_or_else(|| "unnamed".to_owned()),
            created: answer.created_date.and_then(|at| SystemTime::try_from(at).ok()),
            expires: None,
        })
    }
}

/// The SDK's error of a failed read, or the reason why it could not read.
enum Failed {
    Sdk(Box<SdkError<GetSecretValueError, HttpResponse>>),
    Store(StoreError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failed {
    fn code(&self) -> Option<&str> {
        match self {
            Self::Sdk(error) => error.code(),
            Self::Store(_) => None,
        }
    }
}

async fn get(client: &Client, name: &str, stage: &str) -> Result<GetSecretValueOutput, Failed> {
    let answer = client.get_secret_value().secret_id(name).version_stage(stage).send().await;
    answer.map_err(|error| Failed::Sdk(Box::new(error)))
}

impl SecretStore for Aws {
    fn read<'a>(&'a self, path: &'a str) -> ReadFuture<'a> {
        Box::pin(self.read_stage(path, CURRENT))
    }

    fn read_successor<'a>(&'a self, path: &'a str) -> Option<ReadFuture<'a>> {
        Some(Box::pin(self.read_stage(path, PENDING)))
    }

    fn write<'a>(&'a self, write: Write<'a>) -> WriteFuture<'a> {
        Box::pin(self.write_secret(write))
    }
}

fn explain(failed: &Failed) -> StoreError {
    match failed {
        Failed::Sdk(error) => explain_sdk(error),
        Failed::Store(error) => error.clone(),
    }
}

/// The error as text, with nothing from an answer's body except the service's error code.
fn explain_sdk<E>(error: &SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    if let Some(ours) = inside(error) {
        return StoreError::Unavailable(format!("Secrets Manager, or the source of the gate's credentials: {ours}"));
    }
    match error {
        SdkError::ServiceError(refusal) => {
            let code = refusal.err().code().unwrap_or("no code");
            let raw = refusal.raw();
            let status = StatusCode::from_u16(raw.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
            let mut headers = HeaderMap::new();
            let pause = raw.headers().get("retry-after").and_then(|pause| pause.parse().ok());
            pause.and_then(|pause| headers.insert(http::header::RETRY_AFTER, pause));
            let told = format!("Secrets Manager answered {} {code}", status.as_u16());
            match code {
                "ThrottlingException" | "Throttling" | "TooManyRequestsException" => {
                    status_error(StatusCode::TOO_MANY_REQUESTS, &headers, told)
                }
                "InternalServiceError" | "InternalServiceErrorException" => StoreError::Unavailable(told),
                "ResourceNotFoundException" => StoreError::Missing(format!("{told}: no such secret, or no such stage")),
                "InvalidRequestException" => StoreError::Refused(format!("{told}: the secret is being deleted")),
                "DecryptionFailure" => StoreError::Refused(format!("{told}: the gate may not use the secret's key")),
                _ => status_error(status, &headers, told),
            }
        }
        SdkError::TimeoutError(_) => StoreError::Unavailable("no answer in time".into()),
        SdkError::ResponseError(_) => {
            StoreError::Unavailable("the server that answered did not speak Secrets Manager's protocol".into())
        }
        // A provider of the credentials chain; its own text may quote an answer.
        SdkError::DispatchFailure(_) => match sources(error).find_map(|error| error.downcast_ref()) {
            Some(CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_)) => {
                StoreError::Unavailable("the source of the gate's AWS credentials gave no usable answer".into())
            }
            _ => StoreError::Login("the gate finds no usable AWS credentials".into()),
        },
        _ => StoreError::Refused("the request cannot be made: check region and reference".into()),
    }
}

/// The gate's HTTP client, in place of the SDK's own.
#[derive(Debug, Clone)]
struct Transport(StoreHttp);

impl HttpClient for Transport {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Transport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let web = self.0.clone();
        HttpConnectorFuture::new(async move {
            let bad = |why: &str| ConnectorError::user(HttpError::Request(why.to_owned()).into());
            let request = request.try_into_http1x().map_err(|_| bad("its form"))?;
            let (head, body) = request.into_parts();
            let body = body.bytes().map(Bytes::copy_from_slice).ok_or_else(|| bad("its body is a stream"))?;
            let answer = web.send(http::Request::from_parts(head, body)).await.map_err(|error| match error {
                HttpError::Slow => ConnectorError::timeout(error.into()),
                error => ConnectorError::io(error.into()),
            })?;
            HttpResponse::try_from(answer.map(SdkBody::from)).map_err(|_| bad("the form of its answer"))
        })
    }
}
