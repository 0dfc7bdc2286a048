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
use crate::base::fault::{Fault, Kind};
use crate::base::ids::SessionId;
use crate::base::pins::{ContextField, Pin, Pins};
use crate::config::Config;
use crate::snowflake::login::own_login;
use crate::snowflake::login_secret::{LoginSecret, Presented};
use crate::snowflake::query::{self, pinned};
use crate::snowflake::route::LOGIN;
use crate::upstream::{AccountClient, AccountState, Opened};

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

    /// Logs in with this secret, and logs out.
    pub(super) async fn log_in(&self, credential: &str, secret: &LoginSecret) -> Outcome {
        match self.open(credential, secret).await {
            Opened::Session(session) => {
                tokio::spawn(session.log_out());
                Outcome::Accepted
            }
            Opened::Refused(refusal) => Outcome::Refused(refusal),
            Opened::Unsent(_) => Outcome::Unsent,
            Opened::Lost(_) => Outcome::Lost,
        }
    }

    /// Logs in with this secret, and leaves the session open.
    pub(super) async fn open(&self, credential: &str, secret: &LoginSecret) -> Opened {
        let unsent = |cause: &str| Opened::Unsent(Fault::new(Kind::GateBroken).with_cause(cause));
        let Some(form) = self.credentials.get(credential) else { return unsent("there is no such credential") };
        let Some(account) = form.account.as_ref().and_then(|state| AccountClient::new(state, None).ok()) else {
            return unsent("the account cannot be set up");
        };
        let Some(presented) = self.present(credential, account.account_name(), secret) else {
            return unsent("the private key did not sign");
        };
        let Some((target, body)) = self.request(form, &account, &presented) else {
            return unsent("the login cannot be written");
        };
        match timeout(ANSWER_TIME, account.open_session(&target, body)).await {
            Ok(Opened::Refused(refusal)) => Opened::Refused(refusal.to(&presented)),
            Ok(opened) => opened,
            Err(_late) => Opened::Lost(Fault::new(Kind::SnowflakeSilent).with_cause("no answer to the login in time")),
        }
    }

    /// What stands for the secret of a credential's user in one request; `None` if its key did not sign.
    pub(super) fn present(&self, credential: &str, account: &str, secret: &LoginSecret) -> Option<Presented> {
        secret.present(account, &self.credentials.get(credential)?.user, self.env.clock.wall()).ok()
    }

    /// What an own login of the credential asks for, of each place that the credential pins.
    pub(super) fn asked(&self, credential: &str) -> Vec<(ContextField, String)> {
        let pins =
            self.credentials.get(credential).map(|form| form.pins.places().map(|(place, pin)| (place, pin.clone())));
        let asked = |(place, pin)| match pin {
            Pin::Free => None,
            Pin::Fixed(value) => Some((place, value.to_string())),
            Pin::OneOf(values) => values.first().map(|first| (place, first.clone())),
        };
        pins.into_iter().flatten().filter_map(asked).collect()
    }

    /// The target and the body of a login.
    fn request(&self, form: &OwnForm, account: &AccountClient, presented: &Presented) -> Option<(String, Bytes)> {
        let id = SessionId::new(&*self.env.random).ok()?.as_uuid();
        let target = format!("{LOGIN}?requestId={id}&request_guid={id}");
        let target = pinned(&form.pins, &target).ok()?.into_owned();
        Some((target, own_login(account.account_name(), &form.user, presented).into()))
    }
}
