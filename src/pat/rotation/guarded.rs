//! The guard of a rotator. Each of its statements is a login too, with a fresh token of its key pair or with its PAT,
//! and five bad ones in a row lock the rotator, so that nothing is rotated any more.
//!
//! Until a version of its secret has lately worked, one statement goes at a time, and what was refused is not sent
//! again before a newer version or `patgate pat retry`. While it works, statements go freely, and a lost answer is no
//! doubt: the rotation looks at once what became of it.

use std::sync::Arc;
use std::time::Duration;

use super::failure::RotationFailure;
use crate::base::fault::Owner;
use crate::base::ids::{PatId, ServiceUser};
use crate::pat::Inner;
use crate::pat::guard::Guard;
use crate::pat::ledger::Outcome;
use crate::pat::proof::{NotSent, Sending};
use crate::upstream::Ran;

/// How long a rotation waits until the guard sends: for another statement of the same rotator, or until logins that
/// were lost are no doubts any more.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A statement of a rotator's that may be sent.
pub(super) struct Guarded {
    guard: Arc<Guard>,
    user: ServiceUser,
    version: PatId,
    /// `None` while the version works.
    alone: Option<Sending>,
}

impl Inner {
    /// Waits until a statement may go with this version of a rotator's secret.
    pub(super) async fn statement_begins(
        &self,
        (user, version): (&ServiceUser, &PatId),
        rotator: &str,
        credential: &str,
    ) -> Result<Guarded, RotationFailure> {
        let begun = |alone| Guarded { guard: self.guard.clone(), user: user.clone(), version: version.clone(), alone };
        if self.guard.works(user, version) {
            return Ok(begun(None));
        }
        match self.own_login_begins(user, version, PATIENCE).await {
            Ok(sending) => Ok(begun(Some(sending))),
            Err(NotSent::Never(kind, cause)) => {
                Err(RotationFailure::paused(kind, &format!("the rotator {rotator}: {cause}"), credential))
            }
            Err(NotSent::Busy) => {
                let cause = format!("the rotator {rotator} waits for the outcome of another statement of its own");
                Err(RotationFailure::new(Owner::Gate, cause, "Nothing: the gate tries again by itself"))
            }
        }
    }
}

impl Guarded {
    /// Tells the guard what came of it.
    pub(super) fn told(self, ran: &Ran) {
        let Self { guard, user, version, alone } = self;
        let outcome = match ran {
            // Snowflake took the login, and refused the statement.
            Ran::Refused { status, .. } if *status != 401 => Outcome::Accepted,
            Ran::Refused { refusal, .. } => Outcome::Refused(refusal.clone()),
            Ran::Answered(_) => Outcome::Accepted,
            Ran::Unsent(_) => Outcome::Unsent,
            Ran::Lost(_) => Outcome::Lost,
        };
        match (alone, &outcome) {
            (Some(sending), _) => sending.told(outcome),
            (None, Outcome::Accepted | Outcome::Refused(_)) => guard.beside_told(&user, &version, outcome),
            (None, Outcome::Lost | Outcome::Unsent) => {}
        }
    }
}
