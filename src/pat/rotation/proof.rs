//! The proof of a token that is in no store yet: the gate's own login with it, under the guard.

use super::guarded::PATIENCE;
use crate::base::ids::ServiceUser;
use crate::pat::Inner;
use crate::pat::ledger::Outcome;
use crate::pat::proof::{NotSent, split};
use crate::snowflake::login_secret::LoginSecret;

/// What the own login with a new token shows.
pub(super) enum Proven {
    /// Snowflake accepts it, and the session got what the credential asks for.
    Yes,
    /// It cannot log in, and why.
    Dead(String),
    /// Nothing: no login was answered.
    Open(String),
}

impl Inner {
    /// Logs in with a new token, as the credential logs in, and logs out. The outcome counts in the guard's ledger.
    pub(super) async fn prove_new(&self, user: &ServiceUser, credential: &str, secret: &LoginSecret) -> Proven {
        let version = secret.id();
        let sending = match self.own_login_begins(user, &version, PATIENCE).await {
            Ok(sending) => sending,
            Err(NotSent::Never(_, cause)) => return Proven::Open(format!("not sent: {cause}")),
            Err(NotSent::Busy) => return Proven::Open("not sent: another own login is under way".to_owned()),
        };
        let mut opened = None;
        let outcome = self.in_turn(user, &version, async {
            let (outcome, session) = split(self.own_logins.open(credential, secret).await);
            opened = Some(session);
            outcome
        });
        let outcome = outcome.await;
        let refused = matches!(outcome, Outcome::Refused(_));
        sending.told(outcome);
        match opened {
            None => Proven::Open("not sent: other gates log in just now".to_owned()),
            Some(Err(fault)) if refused => Proven::Dead(fault.cause().to_owned()),
            Some(Err(fault)) => Proven::Open(fault.cause().to_owned()),
            Some(Ok(session)) => {
                let wrong = self.places(credential, &session).into_iter().find(|place| !place.is_right());
                tokio::spawn(session.log_out());
                match wrong {
                    None => Proven::Yes,
                    Some(place) => {
                        let (asked, got) = (place.asked.unwrap_or_default(), place.got.unwrap_or_default());
                        Proven::Dead(format!("its session has the {} \"{got}\" in place of {asked}", place.place))
                    }
                }
            }
        }
    }
}
