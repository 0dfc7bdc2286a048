//! What the guard knows of users and versions, for the operator's status and for the cause of a refusal. Nothing here
//! changes it.

use std::collections::HashSet;
use std::time::Instant;

use super::diagnosis::Others;
use super::guard::Guard;
use super::ledger::{Ledger, Room};
use super::version::{ELSEWHERE, Elsewhere, Pause, Standing, Version};
use crate::base::fault::Kind;
use crate::base::ids::{PatId, ServiceUser};

impl Guard {
    /// The versions that Snowflake has refused for good. The resolver skips a store that still has one of them.
    pub(super) fn condemned_versions(&self) -> HashSet<PatId> {
        let state = self.state.lock();
        let versions = state.ledgers.iter().flat_map(|(_, ledger)| &ledger.versions);
        versions.filter(|version| version.is_condemned()).map(|version| version.id.clone()).collect()
    }

    /// Those of them that an operator has revoked at this gate.
    pub(super) fn revoked_versions(&self) -> HashSet<PatId> {
        let state = self.state.lock();
        let versions = state.ledgers.iter().flat_map(|(_, ledger)| &ledger.versions);
        versions.filter(|version| version.is_revoked()).map(|version| version.id.clone()).collect()
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

    /// The pause of a version or its user: one that runs, else the younger of those that are over, after which nobody
    /// has logged in yet.
    pub(super) fn pause(&self, user: &ServiceUser, version: &PatId) -> Option<Pause> {
        let (mut state, now) = (self.state.lock(), self.clock.now());
        let ledger = state.ledgers.of(user);
        let of_version = ledger.find(version).and_then(|version| version.pause.clone());
        let all = ledger.pause.clone().into_iter().chain(of_version);
        all.max_by_key(|pause| (pause.until > now, pause.begun()))
    }

    /// How the other users of the account fare since Snowflake first refused this version for this reason.
    pub(super) fn others(&self, user: &ServiceUser, version: &PatId, kind: Kind) -> Others {
        let (mut state, now) = (self.state.lock(), self.clock.now());
        let ledger = state.ledgers.of(user);
        let pause = ledger.pause.iter().chain(ledger.find(version).and_then(|version| version.pause.as_ref()));
        let paused = pause.filter(|pause| pause.kind == kind).filter_map(Pause::begun).min();
        let Some(since) = ledger.find(version).and_then(|version| version.first_refused).or(paused) else {
            return Others::default();
        };
        let mut others = Others::default();
        for (_, ledger) in state.ledgers.iter().filter(|(other, _)| *other != user && other.is_beside(user)) {
            if is_refused_for(ledger, kind, now) {
                others.refused += 1;
            } else if has_worked_since(ledger, since) {
                others.working += 1;
            }
        }
        others
    }

    /// Whether no request may go with a version any more.
    pub(super) fn is_condemned(&self, user: &ServiceUser, version: &PatId) -> bool {
        self.state.lock().ledgers.of(user).find(version).is_some_and(Version::is_condemned)
    }

    /// Whether Snowflake has refused a version at this gate. One that an operator has revoked is refused by the gate;
    /// of one that another gate has condemned nobody here knows which of both it is.
    pub(super) fn is_refused_by_snowflake(&self, user: &ServiceUser, version: &PatId) -> bool {
        let refused = |version: &Version| match &version.standing {
            Standing::Condemned { kind, cause } => *kind != Kind::PatRevoked && cause != ELSEWHERE,
            Standing::Sound | Standing::Suspect { .. } => false,
        };
        self.state.lock().ledgers.of(user).find(version).is_some_and(refused)
    }

    /// Whether an operator has revoked a version at this gate.
    pub(super) fn is_revoked(&self, user: &ServiceUser, version: &PatId) -> bool {
        self.state.lock().ledgers.of(user).find(version).is_some_and(Version::is_revoked)
    }
}

/// Whether Snowflake refuses a user for this reason now: by a pause that runs, or the youngest version, which it
/// refused.
fn is_refused_for(ledger: &Ledger, kind: Kind, now: Instant) -> bool {
    let pauses = |pause: &Option<Pause>| pause.as_ref().is_some_and(|pause| pause.kind == kind && pause.until > now);
    let refuses = |version: &Version| {
        let condemned = matches!(&version.standing, Standing::Condemned { kind: why, .. } if *why == kind);
        condemned || pauses(&version.pause)
    };
    pauses(&ledger.pause) || ledger.versions.last().is_some_and(refuses)
}

fn has_worked_since(ledger: &Ledger, then: Instant) -> bool {
    ledger.versions.last().and_then(|version| version.last_success).is_some_and(|at| at > then)
}
