//! Requests of the gate's own to Snowflake: no client has sent them, and no limit holds them up.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use secrecy::zeroize::Zeroizing;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::account::AccountClient;
use super::body::RequestBody;
use super::failure::Failure;
use super::in_flight::InFlightPermit;
use super::response_body::ResponseBody;
use crate::base::secret::Secret;
use crate::snowflake::answer::CONTENT_TYPE;
use crate::snowflake::login_secret::Presented;
use crate::snowflake::rest::TOKEN_TYPE;
use crate::snowflake::route::LOGOUT;
use crate::snowflake::token_header;

/// How long a logout may take; nobody waits for it.
const LOGOUT_TIME: Duration = Duration::from_secs(10);
/// The largest answer to a logout, in bytes.
const LARGEST: usize = 64 << 10;

impl AccountClient {
    /// Posts JSON to a path of Snowflake.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn post(
        &self,
        target: &str,
        body: Bytes,
        token: Option<&Secret>,
    ) -> Result<Response<ResponseBody>, Failure> {
        let token = token.map(|token| token_header::write(token).ok_or_else(|| unfit("a token"))).transpose()?;
        let authorization = token.map(|token| (header::AUTHORIZATION, token));
        self.own(Method::POST, target, body, authorization.into_iter().collect()).await
    }

    /// Posts JSON to a path of Snowflake's REST APIs, which take a PAT, or the token of a key pair, as bearer token.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn post_rest(
        &self,
        target: &str,
        body: Bytes,
        presented: &Presented,
    ) -> Result<Response<ResponseBody>, Failure> {
        let bearer = Zeroizing::new(format!("Bearer {}", presented.token().expose()));
        let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| unfit("a token"))?;
        bearer.set_sensitive(true);
        let kind = (TOKEN_TYPE, HeaderValue::from_static(presented.token_type()));
        self.own(Method::POST, target, body, vec![(header::AUTHORIZATION, bearer), kind]).await
    }

    /// The time at Snowflake, as the head of an answer has it; `None` if it has none.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn time(&self) -> Result<Option<SystemTime>, Failure> {
        let answer = self.own(Method::GET, "/", Bytes::new(), Vec::new()).await?;
        let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        Ok(date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok()).map(Into::into))
    }

    async fn own(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
        more: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Response<ResponseBody>, Failure> {
        let mut request = Request::new(RequestBody::whole(body));
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(|_| unfit("the target"))?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.authority().clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.insert(header::ACCEPT, HeaderValue::from_static(CONTENT_TYPE));
        let agent = concat!("patgate/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        headers.extend(more);
        self.send(request, InFlightPermit::exempt()).await
    }

    /// Ends a session that nobody will use. Where that fails, Snowflake ends it by itself after some hours.
    pub async fn log_out(&self, token: &Secret) {
        let ended = async {
            let response = self.post(LOGOUT, Bytes::new(), Some(token)).await.ok()?;
            Limited::new(response.into_body(), LARGEST).collect().await.ok()
        };
        let _lost = tokio::time::timeout(LOGOUT_TIME, ended).await;
    }
}

fn unfit(what: &str) -> Failure {
    Failure::unfit(format!("{what} does not fit into a request"))
}
