//! [`IdlePool`]: connections that wait for their next request.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::connect::Connection;

/// The most connections in the pool; the pool closes the others when they return.
const MOST: usize = 256;

/// One worker's unused connections to one account, the youngest last. A lock protects the list during a push or a pop;
/// no other thread waits for it.
pub(super) struct IdlePool {
    connections: Mutex<Vec<(Box<Connection>, Instant)>>,
    longest: Duration,
}

impl IdlePool {
    /// An empty pool that keeps connections for the given time.
    pub(super) fn new(longest: Duration) -> Self {
        Self { connections: Mutex::default(), longest }
    }

    /// A connection that is still open, the youngest first; none that was idle for longer than `youngest`.
    pub(super) async fn take(&self, youngest: Duration) -> Option<Box<Connection>> {
        loop {
            let mut connection = {
                let mut connections = self.lock();
                let idle = connections.last()?.1.elapsed();
                if idle > self.longest {
                    // The rest of the list is older.
                    connections.clear();
                    return None;
                }
                if idle > youngest {
                    return None;
                }
                connections.pop()?.0
            };
            let open = poll_fn(|cx| Poll::Ready(connection.poll(cx).is_pending())).await;
            if open && connection.is_ready() {
                return Some(connection);
            }
        }
    }

    /// Takes a connection back if it can serve another request.
    pub(super) fn give_back(&self, connection: Box<Connection>) {
        if !connection.is_ready() {
            return;
        }
        let mut connections = self.lock();
        if connections.len() < MOST {
            connections.push((connection, Instant::now()));
        }
    }

    /// Closes the connections that were idle before: one of the same age is dead, so they may be too.
    pub(super) fn condemn(&self, before: Instant) {
        let elders: Vec<_> = {
            let mut connections = self.lock();
            let elders = connections.partition_point(|(_, since)| *since <= before);
            connections.drain(..elders).collect()
        };
        drop(elders);
    }

    /// Closes connections that were idle for too long.
    pub(super) fn sweep(&self) {
        let old: Vec<_> = {
            let mut connections = self.lock();
            let young = connections.partition_point(|(_, since)| since.elapsed() > self.longest);
            connections.drain(..young).collect()
        };
        drop(old);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Box<Connection>, Instant)>> {
        self.connections.lock()
    }
}
