//! [`Unadmitted`]: the places of connections that have not had an admitted request yet.
//!
//! A stranger gets little: a place in a small pool, of which each source address has a share, and a few seconds in all.
//! Who has no place waits for one, in order, and costs only a descriptor. A source may have no more than a part of all
//! connections waiting. An admitted request takes the connection out of these counts.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::base::source::Source;

/// The part of the pool that one source may have.
const SHARE: usize = 8;
/// The part of all connections that one source may have before they are admitted.
const WAITING: usize = 4;
/// What a source may have in any case.
const FEW: usize = 8;

/// The pool of one gate.
pub struct Unadmitted {
    pool: Arc<Semaphore>,
    /// The most places of one source.
    share: usize,
    /// The most connections of one source, with a place and waiting for one.
    most: usize,
    sources: Mutex<HashMap<Source, OfSource>>,
}

struct OfSource {
    connections: usize,
    places: Arc<Semaphore>,
}

/// A connection that is not admitted; dropping it gives everything back.
pub(super) struct Stranger {
    pool: Arc<Unadmitted>,
    source: Source,
    places: Arc<Semaphore>,
    held: Option<[OwnedSemaphorePermit; 2]>,
}

impl Unadmitted {
    /// A pool of so many places, for a gate with so many connections.
    pub fn new(places: usize, connections: usize) -> Arc<Self> {
        let pool = Arc::new(Semaphore::new(places));
        let (share, most) = ((places / SHARE).max(1), (connections / WAITING).max(FEW));
        Arc::new(Self { pool, share, most, sources: Mutex::default() })
    }

    /// Counts a connection; `None` if its source has too many.
    pub(super) fn arrive(self: &Arc<Self>, source: Source) -> Option<Stranger> {
        let mut sources = self.sources.lock();
        let entry = sources
            .entry(source)
            .or_insert_with(|| OfSource { connections: 0, places: Arc::new(Semaphore::new(self.share)) });
        if entry.connections >= self.most {
            return None;
        }
        entry.connections += 1;
        Some(Stranger { pool: self.clone(), source, places: entry.places.clone(), held: None })
    }
}

impl Stranger {
    /// Waits for a place in the source's share, and then in the pool: a crowd of one source waits before its own share.
    pub(super) async fn place(&mut self) {
        // The semaphores are never closed.
        let Ok(of_source) = self.places.clone().acquire_owned().await else { return };
        let Ok(of_pool) = self.pool.pool.clone().acquire_owned().await else { return };
        self.held = Some([of_source, of_pool]);
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut sources = self.pool.sources.lock();
        if let Some(entry) = sources.get_mut(&self.source) {
            entry.connections -= 1;
            if entry.connections == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use futures_poll::is_ready;

    use super::*;

    mod futures_poll {
        /// Whether a future is ready at its first poll.
        pub(super) fn is_ready(future: impl Future) -> bool {
            let mut future = std::pin::pin!(future);
            future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
        }
    }

    fn source(last: u8) -> Source {
        Source::of(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn a_source_has_a_share_of_the_places_and_a_part_of_the_connections() {
        let pool = Unadmitted::new(16, 40);
        let mut crowd: Vec<_> = (0..10).map(|_| pool.arrive(source(1)).unwrap()).collect();
        assert!(pool.arrive(source(1)).is_none(), "a quarter of 40");
        let placed = crowd.iter_mut().map(|one| is_ready(one.place())).filter(|ready| *ready).count();
        assert_eq!(placed, 2, "an eighth of 16");
        // Seven more sources with two each fill the pool; another one waits.
        let mut others: Vec<_> =
            (2..=8).flat_map(|last| [last, last]).map(|last| pool.arrive(source(last)).unwrap()).collect();
        assert!(others.iter_mut().all(|one| is_ready(one.place())));
        let mut last = pool.arrive(source(9)).unwrap();
        assert!(!is_ready(last.place()));
        others.pop();
        assert!(is_ready(last.place()));
        // One that is admitted, or leaves, gives its place to the next of its source.
        crowd.remove(0);
        drop(last);
        assert!(is_ready(crowd[5].place()));
        drop((crowd, others));
        assert!(pool.sources.lock().is_empty());
        assert_eq!(pool.pool.available_permits(), 16);
    }
}
