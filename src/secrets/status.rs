//! What is held for a credential, and what the operator is told of it.

use std::time::{Duration, Instant, SystemTime};

use super::StoreError;
use super::reader::{Found, Loser};
use crate::base::clock::Clock;
use crate::base::names::SecretRefs;
use crate::base::rfc3339;

/// A PAT in memory.
pub struct Held {
    /// The PAT and where it is from.
    pub found: Found,
    /// Whether it comes from the copy on disk and no store has confirmed it since.
    pub warm: bool,
    /// Snowflake has refused it and no store had another: until then nobody need ask again, after that pause.
    pub(super) again: Option<(Instant, Duration)>,
}

impl Held {
    /// How old the last read that gave it is.
    ///
    /// The monotonic clock stands still while a laptop sleeps, the wall clock may be set back: the larger age counts.
    pub(super) fn age(&self, clock: &dyn Clock) -> Duration {
        let (monotonic, wall) = self.found.ended;
        let monotonic = clock.now().saturating_duration_since(monotonic);
        monotonic.max(clock.wall().duration_since(wall).unwrap_or_default())
    }
}

impl std::ops::Deref for Held {
    type Target = Found;

    fn deref(&self) -> &Found {
        &self.found
    }
}

/// How reading has gone lately.
#[derive(Default, Clone)]
pub(super) struct Health {
    /// The last failure, until a read succeeds.
    pub failure: Option<Failure>,
    /// References that gave nothing at the last read, although another did.
    pub losers: Vec<Loser>,
}

/// A read that gave nothing that could be used.
#[derive(Clone)]
pub(super) struct Failure {
    /// When the last one ended.
    pub at: Instant,
    /// Since when there was no success.
    pub since: SystemTime,
    pub error: StoreError,
}

/// What the operator is told of one credential's PAT. Nothing in it is secret.
pub struct Status {
    /// The credential's name.
    pub credential: String,
    /// Its references, in order.
    pub references: SecretRefs,
    /// What is in memory.
    pub held: Option<HeldStatus>,
    /// Why the last read failed, and since when none succeeds.
    pub failure: Option<(SystemTime, StoreError)>,
    /// References that gave nothing at the last read.
    pub losers: Vec<Loser>,
}

/// The part of a [`Status`] about the PAT in memory.
pub struct HeldStatus {
    /// Its fingerprint.
    pub id: String,
    /// The store's version.
    pub version: String,
    /// The reference that gave it.
    pub from: String,
    /// When the version was written.
    pub created: Option<SystemTime>,
    /// When it ends.
    pub expires: Option<SystemTime>,
    /// How old the last good read is.
    pub age: Duration,
    /// Whether it is young enough to be used.
    pub usable: bool,
    /// Whether it should have been read again by now.
    pub overdue: bool,
    /// Whether it comes from the copy on disk.
    pub warm: bool,
    /// Whether Snowflake has refused it, and no store has another.
    pub refused: bool,
}

impl Status {
    /// Whether logins are served.
    pub fn is_ready(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.usable)
    }

    /// As JSON, for `/pats` and `--json`.
    pub fn json(&self) -> serde_json::Value {
        let when = |at: Option<SystemTime>| at.map(rfc3339::show);
        serde_json::json!({
            "credential": self.credential,
            "references": self.references.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "ready": self.is_ready(),
            "held": self.held.as_ref().map(|held| serde_json::json!({
                "id": held.id, "version": held.version, "from": held.from, "created": when(held.created),
                "expires": when(held.expires), "age_s": held.age.as_secs(), "usable": held.usable, "overdue": held.overdue,
                "warm": held.warm, "refused": held.refused,
            })),
            "failure": self.failure.as_ref().map(|(since, error)| serde_json::json!({
                "since": rfc3339::show(*since), "kind": error.kind(), "cause": error.to_string(),
            })),
            "losers": self.losers.iter().map(|loser| serde_json::json!({
                "reference": loser.reference.to_string(), "kind": loser.error.kind(), "cause": loser.error.to_string(),
            })).collect::<Vec<_>>(),
        })
    }
}
