//! What the guard knows of users and versions, for the operator's status and for the cause of a refusal. Nothing here
//! changes it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::diagnosis::Others;
use super::guard::Guard;
use super::ledger::{Ledger, Room};
use super::version::{Elsewhere, Pause, Standing, Version};
use crate::base::fault::Kind;
use crate::base::ids::{PatId, ServiceUser};

/// A user who logged in within this time works.
const LATELY: Duration = Duration::from_secs(600);

impl Guard {
    /// The versions that Snowflake has refused for good. The resolver skips a store that still has one of them.
    pub(super) fn condemned_versions(&self) -> HashSet<PatId> {
        let state = self.state.lock();
        let versions = state.ledgers.iter().flat_map(|(_, ledger)| &ledger.versions);
        versions.filter(|version| version.is_condemned()).map(|version| version.id.clone()).collect()
    }

    /// What a request waits for, after it has waited for too long.
    pub(super) fn waits_for(&self, user: &ServiceUser, version: &PatId) -> String {
        let mut state = self.state.lock();
        let now = self.clock.now();
        let ledger = state.ledgers.of(user);
        let room = self.room(ledger, version, Elsewhere::default(), now);
        let version = ledger.version(version);
        match room {
            Room::Suspect | Room::Condemned => "it waits for a newer PAT".to_owned(),
            Room::Go | Room::Full | Room::FullElsewhere | Room::Proof | Room::Paused(..) => format!(
                "{} requests of the same service user are under way, {} outcomes are unknown, and {} may be at risk at \
                 once, of which one is kept for the gate's own login",
                version.under_way,
                version.doubts.len(),
                version.width
            ),
        }
    }

    /// When a request with this version last went well, in this process.
    pub(super) fn last_success(&self, user: &ServiceUser, version: &PatId) -> Option<Instant> {
        self.state.lock().ledgers.of(user).find(version)?.last_success
    }

    /// The pause of a version or its user, also one that is over and waits for a proof.
    pub(super) fn pause(&self, user: &ServiceUser, version: &PatId) -> Option<Pause> {
        let mut state = self.state.lock();
        let ledger = state.ledgers.of(user);
        ledger.pause.clone().or_else(|| ledger.find(version)?.pause.clone())
    }

    /// How the other users of the account fare: whether Snowflake refuses them for the same reason.
    pub(super) fn others(&self, user: &ServiceUser, kind: Kind) -> Others {
        let (state, lately) = (self.state.lock(), self.clock.now().checked_sub(LATELY));
        let mut others = Others::default();
        for (_, ledger) in state.ledgers.iter().filter(|(other, _)| *other != user && other.is_beside(user)) {
            if is_refused_for(ledger, kind) {
                others.refused += 1;
            } else if has_worked_since(ledger, lately) {
                others.working += 1;
            }
        }
        others
    }

    /// Whether no request may go with a version any more.
    pub(super) fn is_condemned(&self, user: &ServiceUser, version: &PatId) -> bool {
        self.state.lock().ledgers.of(user).find(version).is_some_and(Version::is_condemned)
    }
}

/// Whether Snowflake refuses all logins of a user for this reason.
fn is_refused_for(ledger: &Ledger, kind: Kind) -> bool {
    let pauses = |pause: &Option<Pause>| pause.as_ref().is_some_and(|pause| pause.kind == kind);
    let condemns =
        |version: &Version| matches!(&version.standing, Standing::Condemned { kind: why, .. } if *why == kind);
    pauses(&ledger.pause) || ledger.versions.iter().any(|version| pauses(&version.pause) || condemns(version))
}

fn has_worked_since(ledger: &Ledger, then: Option<Instant>) -> bool {
    ledger.versions.iter().any(|version| version.last_success.is_some_and(|at| then.is_none_or(|then| at >= then)))
}
