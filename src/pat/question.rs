//! [`Question`]: a request that wants to be sent, and what it brings: a [`Helper`] for the work that the guard may
//! need. The refusals that it may get while it waits are here too.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::contexts::Context;
use super::ledger::{Ledger, Outcome, Room};
use super::queue::RequestKind;
use super::version::{Standing, Version};
use crate::base::fault::Kind;
use crate::base::ids::{PatId, ServiceUser};
use crate::base::names::ClientName;

/// How long a request waits at least for a verdict, or for one look into the store.
const LOOK: Duration = Duration::from_secs(3);

/// A request that wants to be sent.
pub(super) struct Question {
    pub user: ServiceUser,
    pub client: ClientName,
    pub kind: RequestKind,
    /// The version in memory.
    pub version: PatId,
    pub context: Context,
    /// How long it waits for a verdict, or for a newer version than a refused one.
    pub hold: Duration,
    /// Whether its line has let it go before: Snowflake has refused it, or it has found another version.
    pub again: bool,
    /// When it came, or was refused.
    pub since: Instant,
    /// Reads the store and logs in, while it waits.
    pub helper: Arc<dyn Helper>,
}

/// A boxed future of a [`Helper`].
pub(super) type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a keeper needs: a store, Snowflake, a runtime. Tests have their own.
pub(super) trait Helper: Send + Sync {
    /// Reads the store for another version than this one; the error says why there is none.
    fn newer<'a>(&'a self, version: &'a PatId) -> Work<'a, Result<PatId, String>>;

    /// Logs in with this version in the credential's own context, and logs out.
    fn log_in<'a>(&'a self, version: &'a PatId) -> Work<'a, Outcome>;

    /// Starts a keeper (`super::keeper`) for a version that cannot go without one.
    fn keep(&self, user: ServiceUser, version: PatId);
}

impl Question {
    /// Why it does not go, if it does not; `rooms` has the versions that something is known of.
    pub(super) fn refusal(
        &self,
        ledger: &Ledger,
        rooms: &HashMap<PatId, Room>,
        now: Instant,
    ) -> Option<(Kind, String)> {
        let Self { client, context, version, .. } = self;
        if let Some(pause) = ledger.pause.as_ref().filter(|pause| now < pause.until) {
            return Some((pause.kind, pause.cause.clone()));
        }
        match rooms.get(version) {
            Some(Room::Paused(kind, cause)) => Some((*kind, cause.clone())),
            Some(Room::Condemned | Room::Suspect) if self.wait().until(ledger, version)? <= now => {
                ledger.find(version).map(|known| match &known.standing {
                    Standing::Suspect { kind, cause, .. } => {
                        let open = "the gate's own login has not shown yet whose fault that is";
                        (*kind, format!("{cause}; {open}; {}", known.store))
                    }
                    Standing::Condemned { kind, cause } => (*kind, condemned(known, cause)),
                    Standing::Sound => (Kind::GateBusy, String::new()),
                })
            }
            Some(Room::Condemned | Room::Suspect) => None,
            None | Some(Room::Go | Room::Full | Room::FullElsewhere | Room::Proof) => {
                ledger.contexts.refusal(client, context, version, now).map(|cause| {
                    let kind = if context.is_client_s { Kind::ContextRefused } else { Kind::CredentialContext };
                    (kind, format!("{cause}; the gate's own login succeeds"))
                })
            }
        }
    }

    /// How long it waits.
    pub(super) fn wait(&self) -> Wait {
        Wait { since: self.since, hold: self.hold }
    }
}

/// How long a request waits for a verdict, or for a newer version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    since: Instant,
    hold: Duration,
}

impl Wait {
    /// Until when it waits for a verdict, or for a newer version than a condemned one: in a rotation a store may be
    /// behind Snowflake for a while. A request that comes after that time waits for one look into the store.
    pub(super) fn until(self, ledger: &Ledger, version: &PatId) -> Option<Instant> {
        let known = ledger.find(version)?;
        let begin = match &known.standing {
            Standing::Sound => return None,
            Standing::Suspect { since, .. } => return Some((*since).max(self.since) + self.hold.max(LOOK)),
            Standing::Condemned { .. } => known.first_refused.unwrap_or(self.since),
        };
        if self.since <= begin + self.hold {
            return Some(begin.max(self.since) + self.hold);
        }
        match known.read_in_vain {
            Some(read) if read >= self.since => Some(self.since),
            _ => Some(self.since + LOOK),
        }
    }
}

/// The cause for a version that the gate does not send again.
fn condemned(version: &Version, cause: &str) -> String {
    let Version { id, refusals, store, .. } = version;
    format!(
        "{cause}; Snowflake has refused PAT {id} {refusals} times, and the gate does not send it again before the \
         store has a new one, or the operator runs `patgate pat retry CREDENTIAL`; {store}"
    )
}
