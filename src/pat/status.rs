//! The PAT in memory of a credential, and its status for the operator.

use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::health::StoreFailure;
use crate::base::clock::Clock;
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
    /// Its references, in order.
    pub references: Vec<String>,
    /// Whether logins are served.
    pub ready: bool,
    /// What is in memory.
    #[serde(rename = "held")]
    pub cached: Option<CachedPatStatus>,
    /// Why the last read failed, and since when none succeeds.
    pub failure: Option<FailureStatus>,
    /// References that gave nothing at the last read, although another did.
    #[serde(rename = "losers")]
    pub failed: Vec<FailedReferenceStatus>,
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
    /// Whether Snowflake has refused it, and no store has another.
    pub refused: bool,
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
