//! The PAT in memory of a credential, and its status for the operator.

use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::end::EndSource;
use super::health::StoreFailure;
use super::rotation::{RotationStatus, TokenShown};
use super::version::Pause;
use crate::base::clock::Clock;
use crate::base::fault::Kind;
use crate::base::ids::PatId;
use crate::base::rfc3339;
use crate::stores::{FailedReference, FetchedPat};

/// A PAT in memory.
pub struct CachedPat {
    /// The PAT and where it is from.
    pub fetched: FetchedPat,
    /// Whether it comes from the copy on disk and no store has confirmed it since.
    pub from_disk: bool,
    /// Snowflake has refused it and no store had another: when to read again, and the pause after that.
    pub(super) again: Option<(Instant, Duration)>,
}

impl CachedPat {
    /// How old the last read that gave it is.
    ///
    /// The monotonic clock stands still while a laptop sleeps, the wall clock may be set back: the larger age counts.
    pub(super) fn age(&self, clock: &dyn Clock) -> Duration {
        let (monotonic, wall) = self.fetched.ended;
        let monotonic = clock.now().saturating_duration_since(monotonic);
        monotonic.max(clock.wall().duration_since(wall).unwrap_or_default())
    }
}

/// The status of one credential's PAT for the operator. Nothing in it is secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PatStatus {
    /// The credential's name.
    pub credential: String,
    /// `pat` or `key_pair`.
    #[serde(default = "pat_kind")]
    pub kind: String,
    /// How long before the end of a PAT the gate warns, in seconds, the longest first.
    #[serde(default)]
    pub warn_s: Vec<u64>,
    /// Why nobody has to act before the end of this one; `None` if no successor stands ready.
    #[serde(default)]
    pub successor: Option<String>,
    /// The token at Snowflake, where a rotator has looked.
    #[serde(default)]
    pub token: Option<TokenShown>,
    /// How the gate rotates it.
    #[serde(default)]
    pub rotation: Option<RotationStatus>,
    /// Its references, in order.
    pub references: Vec<String>,
    /// Whether logins are served.
    pub ready: bool,
    /// What is in memory.
    #[serde(rename = "held")]
    pub cached: Option<CachedPatStatus>,
    /// Why no login goes to Snowflake with it for a while.
    #[serde(default)]
    pub pause: Option<PauseStatus>,
    /// Why the last read failed, and since when none succeeds.
    pub failure: Option<FailureStatus>,
    /// References that gave nothing at the last read, although another did.
    #[serde(rename = "losers")]
    pub failed: Vec<FailedReferenceStatus>,
}

fn pat_kind() -> String {
    "pat".to_owned()
}

/// The part of a [`PatStatus`] about the PAT in memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CachedPatStatus {
    /// Its fingerprint.
    pub id: PatId,
    /// The store's version.
    pub version: String,
    /// The reference that gave it.
    pub from: String,
    /// When the version was written, if the store says so.
    #[serde(with = "rfc3339::option")]
    pub created: Option<SystemTime>,
    /// When it expires, if known.
    #[serde(with = "rfc3339::option")]
    pub expires: Option<SystemTime>,
    /// Who says so.
    #[serde(default)]
    pub expires_from: Option<EndSource>,
    /// How old the last good read is; whole seconds in JSON.
    #[serde(rename = "age_s", with = "whole_seconds")]
    pub age: Duration,
    /// Whether it is young enough to be used.
    pub usable: bool,
    /// Whether it should have been read again by now.
    pub overdue: bool,
    /// Whether it comes from the copy on disk, and no store has confirmed it since.
    #[serde(rename = "warm")]
    pub from_disk: bool,
    /// Whether Snowflake has refused it, or an operator has revoked it, and no store has another.
    pub refused: bool,
    /// Whether that was an operator, at this gate.
    #[serde(default)]
    pub revoked: bool,
}

/// The part of a [`PatStatus`] about a refusal after which the gate sends no login for a while.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PauseStatus {
    /// The kind of the refusal.
    pub kind: String,
    /// `PG-nnn`.
    pub code: String,
    /// Snowflake's words.
    pub cause: String,
    /// Until when no login goes; `None`: that time is over, and the next login tries again.
    #[serde(with = "rfc3339::option")]
    pub until: Option<SystemTime>,
}

/// The part of a [`PatStatus`] about reads that fail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FailureStatus {
    /// Since when no read succeeds.
    #[serde(with = "rfc3339::option")]
    pub since: Option<SystemTime>,
    /// The kind of error.
    pub kind: String,
    /// The last error.
    pub cause: String,
}

/// The part of a [`PatStatus`] about one reference that gave nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FailedReferenceStatus {
    /// The reference.
    pub reference: String,
    /// The kind of error.
    pub kind: String,
    /// The error.
    pub cause: String,
}

impl PauseStatus {
    /// The pause as it is told.
    pub(super) fn of(pause: &Pause, clock: &dyn Clock) -> Self {
        let (rule, left) = (pause.kind.rule(), pause.until.checked_duration_since(clock.now()));
        Self {
            kind: rule.name.to_owned(),
            code: rule.code.to_string(),
            cause: pause.cause.clone(),
            until: left.filter(|left| !left.is_zero()).map(|left| clock.wall() + left),
        }
    }

    /// What it says to the operator.
    pub(super) fn attention(&self) -> String {
        let Self { code, kind, cause, until } = self;
        let next = Kind::named(kind).map_or("", |kind| kind.page().next_step);
        match until.map(rfc3339::show) {
            Some(until) => {
                format!("its logins fail with {code} {kind}: {cause}; no login goes before {until}. {next}")
            }
            None => format!("its last login failed with {code} {kind}: {cause}; the next one tries again. {next}"),
        }
    }
}

impl From<&StoreFailure> for FailureStatus {
    fn from(failure: &StoreFailure) -> Self {
        let (kind, cause) = (failure.error.kind().to_owned(), failure.error.to_string());
        Self { since: Some(failure.since), kind, cause }
    }
}

impl From<&FailedReference> for FailedReferenceStatus {
    fn from(failed: &FailedReference) -> Self {
        let (kind, cause) = (failed.error.kind().to_owned(), failed.error.to_string());
        Self { reference: failed.reference.to_string(), kind, cause }
    }
}

/// A time span as whole seconds.
mod whole_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(time.as_secs())
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_secs)
    }
}
