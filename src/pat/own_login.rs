//! The gate's own login: in the credential's own context, with nothing of a client's, logged out at once.
//!
//! Its outcome is the only one from which the gate draws a verdict about a PAT for all clients. No limit and no queue
//! comes before it, and it has a connection of its own, so that a dead connection cannot stop it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

use super::ledger::Outcome;
use crate::base::clock::Env;
use crate::base::ids::SessionId;
use crate::base::pins::Pins;
use crate::base::secret::Secret;
use crate::config::Config;
use crate::snowflake::answer::{CONTENT_TYPE, LoginAnswer};
use crate::snowflake::granted::Granted;
use crate::snowflake::login::{Injection, own_login};
use crate::snowflake::query::{self, pinned};
use crate::snowflake::route::{LOGIN, LOGOUT};
use crate::snowflake::token_header;
use crate::upstream::{AccountClient, AccountState, Failure, InFlightPermit, RequestBody};

/// How long Snowflake may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// How long a logout may take; nobody waits for it.
const LOGOUT_TIME: Duration = Duration::from_secs(10);
/// The largest answer, in bytes. A login's has some 10 KB.
const LARGEST: usize = 4 << 20;

/// The own logins of one configuration.
pub(super) struct OwnLogins {
    credentials: BTreeMap<Arc<str>, OwnForm>,
    env: Env,
}

/// How one credential logs in.
struct OwnForm {
    account: Option<Arc<AccountState>>,
    user: String,
    pins: Pins,
    context: Vec<String>,
}

impl OwnLogins {
    pub(super) fn new(config: &Config, accounts: &BTreeMap<Arc<str>, Arc<AccountState>>, env: Env) -> Self {
        let form = |(name, credential): (&Arc<str>, &crate::config::Credential)| {
            let account = accounts.get(&credential.account).cloned();
            let (user, pins) = (credential.user.clone(), credential.pins.clone());
            let context = pinned(&pins, LOGIN).map(|target| query::context(&target)).unwrap_or_default();
            (name.clone(), OwnForm { account, user, pins, context })
        };
        Self { credentials: config.credentials.iter().map(form).collect(), env }
    }

    /// The context that an own login of the credential asks for.
    pub(super) fn context(&self, credential: &str) -> Vec<String> {
        self.credentials.get(credential).map(|form| form.context.clone()).unwrap_or_default()
    }

    /// Logs in with this PAT.
    pub(super) async fn log_in(&self, credential: &str, pat: &Secret) -> Outcome {
        let Some(form) = self.credentials.get(credential) else { return Outcome::Unsent };
        let Some(account) = form.account.as_ref().and_then(|state| AccountClient::new(state, None).ok()) else {
            return Outcome::Unsent;
        };
        let Some(request) = self.request(form, &account, pat) else { return Outcome::Unsent };
        let sent = timeout(ANSWER_TIME, account.send(request, InFlightPermit::exempt())).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(failure)) => return if Failure::is_unsent(&failure) { Outcome::Unsent } else { Outcome::Lost },
            Err(_late) => return Outcome::Lost,
        };
        let Ok(Ok(body)) = timeout(ANSWER_TIME, Limited::new(response.into_body(), LARGEST).collect()).await else {
            return Outcome::Lost;
        };
        let body = body.to_bytes();
        match LoginAnswer::read(&body) {
            Some(LoginAnswer::Success(granted)) => {
                log_out(account, &granted);
                Outcome::Accepted
            }
            Some(LoginAnswer::Refused(refusal)) => Outcome::Refused(refusal),
            // The answer is complete but not a login answer: Snowflake has not checked the PAT.
            None => Outcome::Unsent,
        }
    }

    fn request(&self, form: &OwnForm, account: &AccountClient, pat: &Secret) -> Option<Request<RequestBody>> {
        let id = SessionId::new(&*self.env.random).ok()?;
        let target = format!("{LOGIN}?requestId={}&request_guid={}", id.as_uuid(), id.as_uuid());
        let target = pinned(&form.pins, &target).ok()?.into_owned();
        let with = Injection { account: account.account_name(), user: &form.user, pat };
        request(account, &target, own_login(&with).into())
    }
}

/// A request of the gate's own.
fn request(account: &AccountClient, target: &str, body: Bytes) -> Option<Request<RequestBody>> {
    let mut request = Request::new(RequestBody::whole(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.parse().ok()?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, account.authority().clone());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let agent = concat!("patgate/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    Some(request)
}

/// Ends the session of an own login.
fn log_out(account: AccountClient, granted: &Granted<'_>) {
    let Some(mut request) = request(&account, LOGOUT, Bytes::new()) else { return };
    let Some(token) = token_header::write(&granted.token()) else { return };
    request.headers_mut().insert(header::AUTHORIZATION, token);
    tokio::spawn(async move {
        // Snowflake ends a session that nobody logs out by itself.
        let _lost = timeout(LOGOUT_TIME, async {
            let response = account.send(request, InFlightPermit::exempt()).await.ok()?;
            Limited::new(response.into_body(), LARGEST).collect().await.ok()
        })
        .await;
    });
}
