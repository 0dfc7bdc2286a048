//! [`InFlight`]: how many requests may be under way at an account.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The in-flight limit of one account, over all workers. Clones share it.
#[derive(Clone)]
pub(super) struct InFlight(Option<Arc<Semaphore>>);

/// A permit under the account's in-flight limit. Each request is sent with one, and holds it until its answer ends or
/// fails.
pub struct InFlightPermit {
    _place: Option<OwnedSemaphorePermit>,
}

impl InFlight {
    /// A limit of so many requests; `None` for no limit.
    pub(super) fn new(most: Option<usize>) -> Self {
        Self(most.map(|most| Arc::new(Semaphore::new(most))))
    }

    /// A permit, if there is one without a wait.
    pub(super) fn free(&self) -> Option<InFlightPermit> {
        let Some(places) = &self.0 else { return Some(InFlightPermit::exempt()) };
        Some(InFlightPermit { _place: Some(places.clone().try_acquire_owned().ok()?) })
    }

    /// Waits for a permit; `None` if there is none in time.
    pub(super) async fn permit(&self, within: Duration) -> Option<InFlightPermit> {
        let Some(places) = &self.0 else { return Some(InFlightPermit::exempt()) };
        let place = tokio::time::timeout(within, places.clone().acquire_owned()).await.ok()?.ok()?;
        Some(InFlightPermit { _place: Some(place) })
    }
}

impl InFlightPermit {
    /// For a request that must not wait for a permit: it reduces the work at the account.
    pub fn exempt() -> Self {
        Self { _place: None }
    }
}
