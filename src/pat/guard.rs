//! [`Guard`]: the budget of requests with one version of a PAT.
//!
//! Snowflake locks a user after five bad logins in a row, and a locked service user stops every report. The guard
//! therefore limits the requests under way with one version, counts the refused ones, and sends none with a version
//! whose budget is spent, until there is a newer version. After a refusal, a request looks for another version before
//! it risks the refused one again, so a rotation mostly costs one bad login, however many logins arrive at once. A
//! request under way counts as spent until its answer: a PAT that is revoked between two answers must not cost more
//! than one that was revoked long ago. A lost answer may have been a refusal. It counts as one for a while, or until
//! that version succeeds.
//!
//! The guard counts by service user, since Snowflake locks the user, whichever credential names it.
//!
//! The price is that logins queue: with a budget of two, and 0.3 s for a login, Snowflake gets at most six logins per
//! second and user. Logins are rare; sessions and queries are not affected.
//!
//! # Over restarts
//! [`super::ledger`] counts; [`super::journal`] keeps the counts on disk. The guard writes a refusal to disk before the
//! client learns of it. It writes a request to disk before it sends it, in a file of this process, and removes it
//! within a second after its end. If a process is killed, the next one finds its requests there, and counts them as
//! lost answers. So a restart loop does not spend the budget twice.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::futures::OwnedNotified;

use super::journal::Journal;
use super::ledger::{Ledger, RiskOutcome, SPREAD};
use crate::base::clock::Clock;
use crate::base::fault::Kind;
use crate::base::ids::{PatId, ServiceUser};
use crate::base::verdict::Verdict;
use crate::replicas::{LeaseOutcome, ReplicaLease};
use crate::state::StateDir;

/// The budgets of all service users. One guard serves the whole process, over all configurations.
pub struct Guard {
    max_refusals: usize,
    clock: Arc<dyn Clock>,
    ledgers: Mutex<Ledgers>,
}

/// All ledgers, and their journal.
struct Ledgers {
    users: HashMap<ServiceUser, Ledger>,
    journal: Option<Journal>,
}

/// The right to send one request with one version. A permit that is dropped without a report after sending counts as a
/// lost answer.
pub(super) struct RiskPermit {
    guard: Arc<Guard>,
    user: ServiceUser,
    version: PatId,
    sent: bool,
    told: bool,
    settled: bool,
    /// What other gates know of it.
    replica_lease: Option<ReplicaLease>,
}

impl Guard {
    /// A guard that allows `max_refusals` for every version, and keeps the counts in `state` if there is one.
    ///
    /// # Errors
    /// If it cannot write there.
    pub fn open(max_refusals: usize, clock: Arc<dyn Clock>, state: Option<StateDir>) -> io::Result<Arc<Self>> {
        let mut users = HashMap::new();
        let journal = state.map(|state| Journal::open(state, &mut users, max_refusals, &*clock)).transpose()?;
        Ok(Arc::new(Self { max_refusals, clock, ledgers: Mutex::new(Ledgers { users, journal }) }))
    }

    /// Asks for a request with that version of a user's PAT; `insists` says that there is no other version. A request
    /// that must wait gets a future that completes when a place becomes free.
    pub(super) fn ask(
        self: &Arc<Self>,
        user: &ServiceUser,
        version: &PatId,
        insists: bool,
    ) -> (Verdict<RiskPermit>, OwnedNotified) {
        let mut ledgers = self.ledgers.lock();
        let Ledgers { users, journal } = &mut *ledgers;
        if let Some(journal) = journal {
            journal.catch_up(users, &*self.clock);
        }
        let ledger = users.entry(user.clone()).or_default();
        let freed = ledger.free.clone().notified_owned();
        if let Err(refused) = ledger.judge(version, insists, self.max_refusals, self.clock.now()).granted() {
            return (refused, freed);
        }
        // Written first, then compared: of two processes that do so at the same time at least one sees the other.
        if let Some(journal) = journal
            && let Some(known) = users.get(user).and_then(|ledger| ledger.find(version))
        {
            journal.write_risk(users, user, known);
            if known.spent() + journal.elsewhere(user, version) > self.max_refusals {
                let ledger = users.entry(user.clone()).or_default();
                ledger.record(version, RiskOutcome::Unsent, self.clock.now());
                return (Verdict::Retry(SPREAD), ledger.free.clone().notified_owned());
            }
        }
        let permit = RiskPermit {
            guard: self.clone(),
            user: user.clone(),
            version: version.clone(),
            sent: false,
            told: false,
            settled: false,
            replica_lease: None,
        };
        (Verdict::Granted(permit), freed)
    }

    /// The budget of each version.
    pub(super) fn max_refusals(&self) -> usize {
        self.max_refusals
    }

    /// The time since the first refusal of that version. In a rotation a store may be slightly behind Snowflake, so for
    /// a while a request may wait for the newer version.
    pub(super) fn refused_for(&self, user: &ServiceUser, version: &PatId) -> Option<Duration> {
        let since = self.ledgers.lock().users.get(user)?.refused_since(version)?;
        Some(self.clock.now().saturating_duration_since(since))
    }

    /// The versions that Snowflake has refused and not accepted since. The resolver skips a store that still has one of
    /// them.
    pub(super) fn refused_versions(&self) -> HashSet<PatId> {
        self.ledgers.lock().users.values().flat_map(Ledger::suspects).cloned().collect()
    }

    /// Records that other gates have spent that version's budget.
    pub(super) fn exhausted_elsewhere(&self, user: &ServiceUser, version: &PatId) {
        let (max_refusals, now) = (self.max_refusals, self.clock.now());
        let change = |ledger: &mut Ledger| ledger.exhausted_elsewhere(version, max_refusals, now);
        self.ledgers.lock().change(user, &*self.clock, change);
    }

    /// Removes ended requests from the disk. The gate calls it about once a second, because the requests that a killed
    /// process leaves there count as lost answers.
    pub fn tidy(&self) {
        self.ledgers.lock().tidy();
    }

    /// Forgets the refusals of a user's PATs, after the operator has enabled a PAT again or unlocked the user.
    pub(super) fn forget_refusals(&self, user: &ServiceUser) {
        let mut ledgers = self.ledgers.lock();
        let free = ledgers.users.get(user).map(|ledger| ledger.free.clone());
        ledgers.change(user, &*self.clock, Ledger::forget_refusals);
        free.inspect(|free| free.notify_waiters());
    }
}

impl Ledgers {
    /// Makes a change that the journal has to keep.
    fn change<T>(&mut self, user: &ServiceUser, clock: &dyn Clock, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let users = &mut self.users;
        match &mut self.journal {
            Some(journal) => journal.change(users, clock, |users| change(users.entry(user.clone()).or_default())),
            None => change(users.entry(user.clone()).or_default()),
        }
    }

    fn tidy(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.tidy(&self.users);
        }
    }
}

impl Drop for Ledgers {
    fn drop(&mut self) {
        self.tidy();
    }
}

impl RiskPermit {
    /// Snowflake accepted the PAT; this settles earlier lost answers.
    pub(super) fn accepted(mut self) {
        self.tell(RiskOutcome::Accepted);
    }

    /// The request did not reach the point where Snowflake checks the PAT.
    pub(super) fn unsent(mut self) {
        self.tell(RiskOutcome::Unsent);
    }

    /// Snowflake refused; returns how often it has refused this version by now.
    pub(super) fn refused(mut self, kind: Kind) -> usize {
        self.tell(RiskOutcome::Refused(kind))
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
        if !self.settled {
            if let Some(lease) = &mut self.replica_lease {
                lease.settle();
            }
            let lease = self.replica_lease.take();
            self.tell(RiskOutcome::Unsent);
            (self.told, self.settled, self.replica_lease) = (false, true, lease);
            let now = self.guard.clock.now();
            let mut ledgers = self.guard.ledgers.lock();
            ledgers.users.entry(self.user.clone()).or_default().place_returned(&self.version, now);
        }
    }

    fn tell(&mut self, outcome: RiskOutcome) -> usize {
        self.told = true;
        if let Some(lease) = self.replica_lease.take() {
            lease.answered(match outcome {
                RiskOutcome::Refused(Kind::PatRefused) => LeaseOutcome::Refused,
                RiskOutcome::Lost => LeaseOutcome::Lost,
                RiskOutcome::Accepted | RiskOutcome::Unsent | RiskOutcome::Refused(_) => LeaseOutcome::Harmless,
            });
        }
        let clock = self.guard.clock.clone();
        let mut ledgers: MutexGuard<'_, Ledgers> = self.guard.ledgers.lock();
        let ledger = ledgers.users.entry(self.user.clone()).or_default();
        if self.settled {
            // It is counted out below.
            ledger.version(&self.version).under_way += 1;
        }
        if ledger.would_change(&self.version, outcome) {
            ledgers.change(&self.user, &*clock, |ledger| ledger.record(&self.version, outcome, clock.now()));
            ledgers.tidy();
        } else {
            ledger.record(&self.version, outcome, clock.now());
        }
        let ledger = ledgers.users.entry(self.user.clone()).or_default();
        // A refusal wakes all requests in the queue; otherwise one place is free, and one request wakes.
        if ledger.is_clean(&self.version) {
            ledger.free.notify_one();
        } else {
            ledger.free.notify_waiters();
        }
        ledger.refusals(&self.version)
    }
}

impl Drop for RiskPermit {
    fn drop(&mut self) {
        if !self.told && !self.settled {
            self.tell(if self.sent { RiskOutcome::Lost } else { RiskOutcome::Unsent });
        }
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
