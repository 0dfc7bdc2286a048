//! [`StoreHttp`]: the HTTP client for all stores over the network, whichever library speaks the protocol. The only
//! exception is Google's token endpoints; the `gcp` store says why.
//!
//! It uses the operator's roots and forward proxy, follows no redirect, and ignores proxies of the environment. A whole
//! exchange has a deadline, and an answer has a size limit. An error contains nothing of an answer's body.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, header};

use super::StoreError;
use super::secret_source::load_now;
use crate::base::fault::chain;
#[cfg(any(feature = "aws", feature = "azure"))]
use crate::base::fault::sources;
use crate::config::stores::Reach;
use crate::config::{ForwardProxy, KeyPair};
use crate::tls::{self, TlsError};

/// The largest answer that the gate reads. Secrets have 64 KiB at most in every store.
const ANSWER_CAP: usize = 1 << 20;
/// The longest pause that a store may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// One client, with its own connections.
#[derive(Debug, Clone)]
pub(super) struct StoreHttp {
    pub http: reqwest::Client,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("no connection: {0}")]
    NoConnection(String),
    #[error("no answer in time")]
    Slow,
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the answer is larger than {ANSWER_CAP} bytes")]
    TooLarge,
    #[error("the request cannot be sent: {0}")]
    Request(String),
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoHttp {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the forward proxy's password: {0}")]
    Password(#[from] StoreError),
    #[error("the HTTP client does not take the roots, or the forward proxy's address")]
    Client,
}

/// What is never asked through a forward proxy: this machine, and the metadata services of clouds and containers.
const DIRECT: &str = "localhost,127.0.0.0/8,::1,169.254.0.0/16,fd00:ec2::/32";

/// The tunnels of a forward proxy.
fn through(proxy: &ForwardProxy) -> Result<reqwest::Proxy, NoHttp> {
    let all = reqwest::Proxy::all(format!("http://{}", proxy.address)).map_err(|_| NoHttp::Client)?;
    let all = all.no_proxy(reqwest::NoProxy::from_string(DIRECT));
    Ok(match &proxy.user {
        Some((user, password)) => all.basic_auth(user, load_now(password)?.expose()),
        None => all,
    })
}

impl StoreHttp {
    /// A client for this way, which may have a client certificate.
    ///
    /// # Errors
    /// If a file is unusable.
    pub(super) fn new(reach: &Reach, identity: Option<&KeyPair>, timeout: Duration) -> Result<Self, NoHttp> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_as(reach.ca.as_deref(), identity)?)
            .connect_timeout(timeout)
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            // None of the environment's.
            .no_proxy();
        let client = match &reach.proxy {
            Some(proxy) => client.proxy(through(proxy)?),
            None => client,
        };
        Ok(Self { http: client.build().map_err(|_| NoHttp::Client)? })
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = request.try_into().map_err(|error| HttpError::Request(told(error)))?;
        let mut answer = self.http.execute(request).await.map_err(failed)?;
        let mut head = Response::builder().status(answer.status()).body(())?;
        *head.headers_mut() = std::mem::take(answer.headers_mut());
        let mut body = BytesMut::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > ANSWER_CAP {
                return Err(HttpError::TooLarge);
            }
            body.extend_from_slice(&piece);
        }
        Ok(head.map(|()| body.freeze()))
    }

    /// Sends a request to a URL; a body is JSON.
    #[cfg(any(feature = "vault", feature = "gcp"))]
    pub(super) async fn ask(
        &self,
        method: http::Method,
        url: reqwest::Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, HttpError> {
        let json = !body.is_empty();
        let mut request = Request::builder().method(method).uri(url.as_str()).body(body)?;
        *request.headers_mut() = headers;
        if json {
            request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        }
        self.send(request).await
    }
}

impl From<http::Error> for HttpError {
    fn from(error: http::Error) -> Self {
        Self::Request(error.to_string())
    }
}

impl From<HttpError> for StoreError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::TooLarge => Self::Unusable(error.to_string()),
            HttpError::Request(_) => Self::Refused(error.to_string()),
            HttpError::NoConnection(_) | HttpError::Slow | HttpError::Broken(_) => Self::Unavailable(error.to_string()),
        }
    }
}

/// A URL below `origin` whose path is made of these segments, each encoded.
#[cfg(any(feature = "vault", feature = "gcp"))]
pub(super) fn url<'a>(origin: &str, segments: impl IntoIterator<Item = &'a str>) -> Result<reqwest::Url, StoreError> {
    let wrong = || StoreError::Refused("the store's address is not a URL".into());
    let mut url = reqwest::Url::parse(origin).map_err(|_| wrong())?;
    url.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().extend(segments);
    Ok(url)
}

/// The error for a status that is not a success; `what` is the store's text.
pub(super) fn status_error(status: StatusCode, headers: &HeaderMap, what: String) -> StoreError {
    match status {
        StatusCode::TOO_MANY_REQUESTS => StoreError::Throttled(what, retry_after(headers).unwrap_or_default()),
        StatusCode::REQUEST_TIMEOUT => StoreError::Unavailable(what),
        // A standby node, or a store that moves, sends its clients elsewhere for a while; the token stays here.
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
            StoreError::Unavailable(format!("{what}; it redirects to another address, which the gate does not follow"))
        }
        status if status.is_server_error() => match retry_after(headers) {
            Some(pause) => StoreError::Throttled(what, pause),
            None => StoreError::Unavailable(what),
        },
        _ => StoreError::Refused(what),
    }
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3); its other form, a date, is not used by these services.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// The gate's own error inside a library's error, if there is one.
#[cfg(any(feature = "aws", feature = "azure"))]
pub(super) fn inside<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a HttpError> {
    sources(error).find_map(|error| error.downcast_ref())
}

fn failed(error: reqwest::Error) -> HttpError {
    match error {
        error if error.is_timeout() => HttpError::Slow,
        error if error.is_connect() => HttpError::NoConnection(told(error)),
        error => HttpError::Broken(told(error)),
    }
}

/// The error without the URL: the log line has the reference.
fn told(error: reqwest::Error) -> String {
    chain(&error.without_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_is_final() {
        let passes = |status: u16| {
            status_error(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), String::new()).passes()
        };
        assert!([307, 308, 408, 429, 500, 503].into_iter().all(passes));
        assert!(![301, 400, 403, 404].into_iter().any(passes));
    }
}
