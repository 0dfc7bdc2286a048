//! The guard of a rotator. Each of its statements is a login too, with a fresh token of its key pair or with its PAT,
//! and five bad ones in a row lock the rotator, so that nothing is rotated any more.
//!
//! Until a version of its secret has lately worked, one statement goes at a time, and what was refused is not sent
//! again before a newer version or `patgate pat retry`. While it works, four go at once, so that even a key that dies
//! just then locks nobody, and a lost answer is no doubt: the rotation looks at once what became of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::failure::RotationFailure;
use crate::base::fault::Owner;
use crate::base::ids::{PatId, ServiceUser};
use crate::pat::Inner;
use crate::pat::guard::Guard;
use crate::pat::ledger::Outcome;
use crate::pat::proof::{AGAIN, NotSent, Sending};
use crate::upstream::Ran;

/// How many statements of rotators go at once.
pub(super) const AT_ONCE: usize = 4;
/// How long a rotation waits until the guard sends: for another statement of the same rotator, or until logins that
/// were lost are no doubts any more.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A statement of a rotator's that may be sent.
pub(super) struct Guarded {
    guard: Arc<Guard>,
    user: ServiceUser,
    version: PatId,
    way: Way,
    _place: Option<OwnedSemaphorePermit>,
}

enum Way {
    /// Nothing else goes with the version until its outcome is told.
    Alone(Sending),
    /// The version works; the number of the sending.
    Beside(u64),
}

impl Inner {
    /// Waits until a statement may go with this version of a rotator's secret.
    pub(super) async fn statement_begins(
        &self,
        (user, version): (&ServiceUser, &PatId),
        rotator: &str,
        credential: &str,
    ) -> Result<Guarded, RotationFailure> {
        // It is never closed.
        let place = self.rotations.at_once.clone().acquire_owned().await.ok();
        let guard = self.guard.clone();
        let begun = |way| Guarded { guard, user: user.clone(), version: version.clone(), way, _place: place };
        let since = tokio::time::Instant::now();
        loop {
            // The one before may have shown that it works.
            if let Some(number) = self.guard.sends_beside(user, version) {
                return Ok(begun(Way::Beside(number)));
            }
            match self.guard.own_login_begins(user, version) {
                Ok(sending) => return Ok(begun(Way::Alone(sending))),
                Err(NotSent::Never(kind, cause)) => {
                    return Err(RotationFailure::paused(kind, &format!("the rotator {rotator}: {cause}"), credential));
                }
                Err(NotSent::Busy) if since.elapsed() < PATIENCE => tokio::time::sleep(AGAIN).await,
                Err(NotSent::Busy) => {
                    let cause = format!("the rotator {rotator} waits for the outcome of another statement of its own");
                    return Err(RotationFailure::new(Owner::Gate, cause, "Nothing: the gate tries again by itself"));
                }
            }
        }
    }
}

impl Guarded {
    /// Tells the guard what came of it.
    pub(super) fn told(self, ran: &Ran) {
        let Self { guard, user, version, way, _place } = self;
        let outcome = match ran {
            Ran::Answered(_) | Ran::Refused { status: 422, .. } => Outcome::Accepted,
            Ran::Refused { status: 401, refusal } => Outcome::Refused(refusal.clone()),
            Ran::Refused { refusal, .. } if refusal.is_known() => Outcome::Refused(refusal.clone()),
            // Of something between, which says nothing about the login.
            Ran::Refused { .. } | Ran::Lost(_) => Outcome::Lost,
            Ran::Unsent(_) => Outcome::Unsent,
        };
        match (way, &outcome) {
            (Way::Alone(sending), _) => sending.told(outcome),
            (Way::Beside(number), Outcome::Accepted | Outcome::Refused(_)) => {
                guard.told_beside(&user, &version, number, outcome);
            }
            (Way::Beside(_), Outcome::Lost | Outcome::Unsent) => {}
        }
    }
}
