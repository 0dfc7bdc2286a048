//! [`ConnectionSlot`]: counts a connection at its worker and under the connection limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::OwnedSemaphorePermit;

/// Counts a connection for as long as it lives.
pub(super) struct ConnectionSlot {
    count: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionSlot {
    /// Counts one more in `count`.
    pub(super) fn new(count: Arc<AtomicUsize>, permit: OwnedSemaphorePermit) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self { count, _permit: permit }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
