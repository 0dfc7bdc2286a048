//! The gate's own login: in the credential's own context, with nothing of a client's, logged out at once.
//!
//! Its outcome is the only one from which the gate draws a verdict about a PAT for all clients. No limit and no queue
//! comes before it, and it has a connection of its own, so that a dead connection cannot stop it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::ledger::Outcome;
use crate::base::clock::Env;
use crate::base::ids::SessionId;
use crate::base::pins::Pins;
use crate::base::secret::Secret;
use crate::config::Config;
use crate::snowflake::answer::LoginAnswer;
use crate::snowflake::login::own_login;
use crate::snowflake::query::{self, pinned};
use crate::snowflake::route::LOGIN;
use crate::upstream::{AccountClient, AccountState, whole};

/// How long an own login may take; shorter than its turn among replicas.
const ANSWER_TIME: Duration = Duration::from_secs(55);

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
    pub(super) fn context(&self, credential: &str) -> &[String] {
        self.credentials.get(credential).map_or(&[], |form| &form.context)
    }

    /// Logs in with this PAT.
    pub(super) async fn log_in(&self, credential: &str, pat: &Secret) -> Outcome {
        let Some(form) = self.credentials.get(credential) else { return Outcome::Unsent };
        let Some(account) = form.account.as_ref().and_then(|state| AccountClient::new(state, None).ok()) else {
            return Outcome::Unsent;
        };
        let Some((target, body)) = self.request(form, &account, pat) else { return Outcome::Unsent };
        let exchange = async {
            let response = account.post(&target, body, None).await.map_err(|failure| match failure.is_unsent() {
                true => Outcome::Unsent,
                false => Outcome::Lost,
            })?;
            whole(response).await.map(|(_head, body)| body).map_err(|_not_read| Outcome::Lost)
        };
        let body = match timeout(ANSWER_TIME, exchange).await {
            Ok(Ok(body)) => body,
            Ok(Err(outcome)) => return outcome,
            Err(_late) => return Outcome::Lost,
        };
        match LoginAnswer::read(&body) {
            Some(LoginAnswer::Success(granted)) => {
                let token = granted.token();
                tokio::spawn(async move { account.log_out(&token).await });
                Outcome::Accepted
            }
            Some(LoginAnswer::Refused(mut refusal)) => {
                refusal.without(pat);
                Outcome::Refused(refusal)
            }
            // The answer is complete but not a login answer: Snowflake has not checked the PAT.
            None => Outcome::Unsent,
        }
    }

    /// The target and the body of a login.
    fn request(&self, form: &OwnForm, account: &AccountClient, pat: &Secret) -> Option<(String, Bytes)> {
        let id = SessionId::new(&*self.env.random).ok()?.as_uuid();
        let target = format!("{LOGIN}?requestId={id}&request_guid={id}");
        let target = pinned(&form.pins, &target).ok()?.into_owned();
        Some((target, own_login(account.account_name(), &form.user, pat).into()))
    }
}
