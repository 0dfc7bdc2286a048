//! [`StoreWatch`]: how a record learns when its request waited for a secrets manager.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::base::trace::TraceId;

/// How many waits of one request are kept.
const MOST: usize = 8;

/// Goes with a request to whoever reads the store for it, and brings the times back.
#[derive(Debug, Clone)]
pub struct StoreWatch {
    trace: TraceId,
    waits: Arc<Mutex<Vec<(Instant, Instant)>>>,
}

impl StoreWatch {
    pub(super) fn new(trace: TraceId) -> Self {
        Self { trace, waits: Arc::default() }
    }

    /// The trace id of the request.
    pub fn trace(&self) -> TraceId {
        self.trace
    }

    /// The request has waited for a store from then until now.
    pub fn waited_since(&self, from: Instant) {
        let mut waits = self.waits.lock();
        if waits.len() < MOST {
            waits.push((from, Instant::now()));
        }
    }

    /// Each wait as its beginning after `started` and its length.
    pub(super) fn waits(&self, started: Instant) -> Vec<(Duration, Duration)> {
        let waits = self.waits.lock();
        waits.iter().map(|(from, until)| (from.saturating_duration_since(started), *until - *from)).collect()
    }
}
