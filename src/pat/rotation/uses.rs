//! Which versions are in use: by this gate's ledger, by other processes with its directory, and by Redis.

use super::journal::Entry;
use super::run::Run;
use super::tidy::Uses;
use crate::base::epoch::EpochMillis;
use crate::base::ids::{PatId, ServiceUser};
use crate::pat::guard::Guard;

impl Run<'_> {
    /// The versions that a gate has used since a later one was proven, or of which that is not known.
    pub(super) async fn uses(&self, entry: &Entry) -> Uses {
        let (inner, user) = (self.inner, &self.token.user);
        let mut uses = Uses { others: inner.replicas.is_some(), ..Uses::default() };
        for (at, known) in entry.versions.iter().enumerate() {
            let later = entry.versions.iter().skip(at + 1).find_map(|later| later.proven);
            let mut used = later.is_none_or(|proven| inner.guard.was_used_since(user, &known.version, proven));
            if let Some(replicas) = inner.replicas.as_ref().filter(|_| !used) {
                used = replicas.is_used(user, &known.version).await != Some(false);
            }
            if used {
                uses.used.insert(known.version.clone());
            }
        }
        uses
    }
}

impl Guard {
    /// Whether a request is under way with a version, at this gate or at another process with its directory.
    pub(super) fn is_under_way(&self, user: &ServiceUser, version: &PatId) -> bool {
        let mut state = self.state.lock();
        let elsewhere = state.ledgers.elsewhere(user, version).at_risk > 0;
        elsewhere || state.ledgers.of(user).find(version).is_some_and(|known| known.taken() > 0 || known.own)
    }

    /// Whether a version is in use at this gate, or at another process with its directory, or was since that time.
    fn was_used_since(&self, user: &ServiceUser, version: &PatId, since: EpochMillis) -> bool {
        let mut state = self.state.lock();
        if state.ledgers.elsewhere(user, version).at_risk > 0 {
            return true;
        }
        let ledger = state.ledgers.of(user);
        let Some(known) = ledger.find(version) else { return false };
        let last = known.last_success.map(|at| EpochMillis::of_instant(at, &*self.clock));
        known.taken() > 0 || last.is_some_and(|last| last > since)
    }
}
