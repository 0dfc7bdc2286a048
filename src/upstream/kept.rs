//! [`Kept`]: connections that wait for their next request.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::connect::Lane;

/// How many are kept; more are closed when they come back.
const MOST: usize = 256;

/// One worker's unused connections to one account, the youngest last. A lock guards the list for the length of a push or
/// a pop; no other thread ever waits for it.
pub(super) struct Kept {
    lanes: Mutex<Vec<(Box<Lane>, Instant)>>,
    longest: Duration,
}

impl Kept {
    /// An empty list of connections that are kept for so long.
    pub(super) fn new(longest: Duration) -> Self {
        Self { lanes: Mutex::default(), longest }
    }

    /// A connection that is still open, the youngest first.
    pub(super) async fn take(&self) -> Option<Box<Lane>> {
        loop {
            let (mut lane, since) = self.lock().pop()?;
            if since.elapsed() > self.longest {
                // The rest of the list is older still.
                self.lock().clear();
                return None;
            }
            let open = poll_fn(|cx| Poll::Ready(lane.poll(cx).is_pending())).await;
            if open && lane.is_ready() {
                return Some(lane);
            }
        }
    }

    /// Takes a connection back, when it can serve another request.
    pub(super) fn give_back(&self, lane: Box<Lane>) {
        if !lane.is_ready() {
            return;
        }
        let mut lanes = self.lock();
        if lanes.len() < MOST {
            lanes.push((lane, Instant::now()));
        }
    }

    /// Closes what has waited too long.
    pub(super) fn sweep(&self) {
        let old: Vec<_> = {
            let mut lanes = self.lock();
            let young = lanes.partition_point(|(_, since)| since.elapsed() > self.longest);
            lanes.drain(..young).collect()
        };
        drop(old);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Box<Lane>, Instant)>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
