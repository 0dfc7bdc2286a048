//! [`ReadHealth`]: the outcome of the recent reads of each credential's references.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::base::clock::Clock;
use crate::base::names::LoginRefs;
use crate::stores::{FailedReference, FetchedPat, StoreError};

/// How long a failed read also answers the requests that follow it.
pub(super) const FAILURE_HOLDS: Duration = Duration::from_millis(500);

/// The health of all references.
#[derive(Default)]
pub(super) struct ReadHealth(Mutex<HashMap<LoginRefs, Health>>);

/// The outcome of recent reads.
#[derive(Default, Clone)]
pub(super) struct Health {
    /// The last failure, until a read succeeds.
    pub failure: Option<StoreFailure>,
    /// References that gave nothing at the last read, although another did.
    pub failed: Vec<FailedReference>,
}

/// A read without a usable value.
#[derive(Clone)]
pub(super) struct StoreFailure {
    /// When the last one ended.
    pub at: Instant,
    /// Since when there was no success.
    pub since: SystemTime,
    pub error: StoreError,
}

impl ReadHealth {
    /// The health of one credential's references.
    pub(super) fn of(&self, key: &LoginRefs) -> Health {
        self.0.lock().get(key).cloned().unwrap_or_default()
    }

    /// The failure that also answers a request of this moment. A push overrides the pause that the store asked for.
    pub(super) fn failed_just_now(&self, key: &LoginRefs, asked: Instant, pushed: bool) -> Option<StoreError> {
        let all = self.0.lock();
        let failure = all.get(key)?.failure.as_ref()?;
        let pause = if pushed { Duration::ZERO } else { failure.error.pause() };
        let holds = FAILURE_HOLDS.max(pause);
        (failure.at + holds > asked).then(|| failure.error.clone())
    }

    /// A read gave no usable value.
    pub(super) fn failed(&self, key: &LoginRefs, error: StoreError, failed: Vec<FailedReference>, clock: &dyn Clock) {
        let mut all = self.0.lock();
        let health = all.entry(key.clone()).or_default();
        let since = health.failure.as_ref().map_or_else(|| clock.wall(), |failure| failure.since);
        *health = Health { failure: Some(StoreFailure { at: clock.now(), since, error }), failed };
    }

    /// A read gave a value, although `failed` gave none.
    pub(super) fn succeeded(&self, key: &LoginRefs, found: &FetchedPat, failed: Vec<FailedReference>) {
        let mut all = self.0.lock();
        let health = all.entry(key.clone()).or_default();
        if health.failure.is_some() {
            tracing::info!(references = %key, from = %found.from, "the PAT can be read again");
        }
        let known = |failed: &FailedReference| health.failed.iter().any(|known| known.reference == failed.reference);
        for failed in failed.iter().filter(|failed| !known(failed)) {
            let (reference, cause) = (&failed.reference, &failed.error);
            tracing::warn!(
                %reference, %cause, owner = "store", from = %found.from,
                "a reference gives nothing; another one has a PAT"
            );
        }
        *health = Health { failure: None, failed };
    }
}
