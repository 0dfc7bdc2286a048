//! [`IdlePool`]: connections that wait for their next request.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::connect::Connection;

/// How many are kept; more are closed when they come back.
const MOST: usize = 256;

/// One worker's unused connections to one account, the youngest last. A lock guards the list for the length of a push
/// or a pop; no other thread ever waits for it.
pub(super) struct IdlePool {
    connections: Mutex<Vec<(Box<Connection>, Instant)>>,
    longest: Duration,
}

impl IdlePool {
    /// An empty list of connections that are kept for so long.
    pub(super) fn new(longest: Duration) -> Self {
        Self { connections: Mutex::default(), longest }
    }

    /// A connection that is still open, the youngest first.
    pub(super) async fn take(&self) -> Option<Box<Connection>> {
        loop {
            let (mut connection, since) = self.lock().pop()?;
            if since.elapsed() > self.longest {
                // The rest of the list is older still.
                self.lock().clear();
                return None;
            }
            let open = poll_fn(|cx| Poll::Ready(connection.poll(cx).is_pending())).await;
            if open && connection.is_ready() {
                return Some(connection);
            }
        }
    }

    /// Takes a connection back, when it can serve another request.
    pub(super) fn give_back(&self, connection: Box<Connection>) {
        if !connection.is_ready() {
            return;
        }
        let mut connections = self.lock();
        if connections.len() < MOST {
            connections.push((connection, Instant::now()));
        }
    }

    /// Closes what has waited too long.
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
