//! [`RiskPermit`]: one request's place in the width of a version, and the report of its outcome.

use std::sync::Arc;
use std::time::Instant;

use super::guard::{Guard, Question, deliver};
use super::ledger::{Ledger, Outcome, Sending};
use crate::base::ids::{PatId, ServiceUser};
use crate::replicas::{LeaseOutcome, ReplicaLease};
use crate::snowflake::refusal::Refusal;

/// The right to send one request with one version. A permit that is dropped without a report after sending counts as a
/// lost outcome.
pub(super) struct RiskPermit {
    guard: Arc<Guard>,
    user: ServiceUser,
    version: PatId,
    sending: Sending,
    sent: bool,
    told: bool,
    settled: bool,
    /// What other gates know of it.
    replica_lease: Option<ReplicaLease>,
}

impl RiskPermit {
    /// The place of a request that was let go with this number.
    pub(super) fn new(guard: Arc<Guard>, question: Question, (number, at): (u64, Instant)) -> Self {
        let Question { user, client, version, context, .. } = question;
        Self {
            guard,
            user,
            version,
            sending: Sending { number, at, client, context },
            sent: false,
            told: false,
            settled: false,
            replica_lease: None,
        }
    }

    /// Snowflake accepted the PAT; this settles earlier lost outcomes.
    pub(super) fn accepted(mut self) {
        self.tell(Outcome::Accepted, LeaseOutcome::Accepted);
    }

    /// The request did not reach the point where Snowflake checks the PAT.
    pub(super) fn unsent(mut self) {
        self.tell(Outcome::Unsent, LeaseOutcome::Harmless);
    }

    /// Snowflake refused; returns how often it has refused this version by now.
    pub(super) fn refused(mut self, refusal: Refusal) -> usize {
        self.tell(Outcome::Refused(refusal), LeaseOutcome::Refused)
    }

    /// From now on Snowflake may see it.
    pub(super) fn sending(&mut self) {
        self.sent = true;
    }

    /// The version that it is for.
    pub(super) fn version(&self) -> &PatId {
        &self.version
    }

    /// Also reports the outcome to other gates.
    pub(super) fn shared_with(mut self, replica_lease: Option<ReplicaLease>) -> Self {
        self.replica_lease = replica_lease;
        self
    }

    /// Frees the place while the answer is still outstanding: Snowflake refuses at once or not at all, and enough time
    /// has passed. A late refusal still counts.
    pub(super) fn settle(&mut self) {
        if self.settled {
            return;
        }
        self.settled = true;
        if let Some(lease) = &mut self.replica_lease {
            lease.settle();
        }
        let (guard, user) = (self.guard.clone(), self.user.clone());
        let mut users = guard.users.lock();
        users.user(&user).ledger.frees(&self.version, guard.clock.now());
        let answers = guard.pump(&mut users, &user);
        drop(users);
        deliver(answers);
    }

    fn tell(&mut self, outcome: Outcome, shared: LeaseOutcome) -> usize {
        self.told = true;
        if let Some(lease) = self.replica_lease.take() {
            lease.answered(shared);
        }
        let (guard, user, version) = (self.guard.clone(), self.user.clone(), self.version.clone());
        let now = guard.clock.now();
        let mut users = guard.users.lock();
        let frees = !self.settled;
        let record = |ledger: &mut Ledger, outcome| {
            if frees {
                ledger.frees(&version, now);
            }
            ledger.told(&version, &self.sending, outcome, guard.widths(), now);
        };
        if users.user(&user).ledger.would_change(&version, &outcome) {
            users.change(&user, &*guard.clock, |ledger| record(ledger, outcome));
            users.tidy(&*guard.clock);
        } else {
            record(&mut users.user(&user).ledger, outcome);
        }
        let refusals = users.user(&user).ledger.refusals(&version);
        let answers = guard.pump(&mut users, &user);
        drop(users);
        deliver(answers);
        refusals
    }
}

impl Drop for RiskPermit {
    fn drop(&mut self) {
        if !self.told {
            match self.sent {
                // A request that gave its place back has had the time to be refused.
                true if self.settled => {}
                true => drop(self.tell(Outcome::Lost, LeaseOutcome::Lost)),
                false => drop(self.tell(Outcome::Unsent, LeaseOutcome::Harmless)),
            }
        }
    }
}
