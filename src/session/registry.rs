//! [`Registry`]: the sessions that this gate has lately served, to be counted and shown.
//!
//! Nothing is decided by whether a session is on this list: a ticket says all that a request needs, and a replica
//! serves sessions that it has never heard of. It is there for the limit on sessions and for the operator's eyes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::admit::Counted;
use crate::base::epoch::EpochMillis;
use crate::base::ids::{PatId, SessionId};
use crate::base::names::ClientName;
use crate::ticket::Ticket;

/// After how long without a request a session counts no more. Drivers that keep one alive say so at least each hour,
/// and one that was only forgotten must not keep its client from another.
const FORGOTTEN: Duration = Duration::from_secs(65 * 60);
/// Locks are per shard, so that workers seldom meet.
const SHARDS: usize = 16;
/// More sessions a shard than any gate has; what is above it is served and not listed.
const MOST: usize = 16 << 10;

/// The sessions.
#[derive(Default)]
pub struct Registry([Shard; SHARDS]);

type Shard = Mutex<HashMap<SessionId, Entry>>;

struct Entry {
    live: Live,
    _counted: Counted,
}

/// What is known of a session.
#[derive(Debug, Clone)]
pub struct Live {
    /// Its client.
    pub client: ClientName,
    /// The account it is at.
    pub account: Arc<str>,
    /// The PAT version that opened it.
    pub pat: PatId,
    /// Where its last request came from.
    pub from: IpAddr,
    /// When it was opened.
    pub opened: EpochMillis,
    /// When its last request came.
    pub seen: Instant,
}

impl Registry {
    /// Notes that a session has been opened, which has been counted already.
    pub fn opened(&self, ticket: &Ticket, from: IpAddr, now: Instant, counted: Counted) {
        Self::insert(&mut self.shard(ticket.session), ticket, from, now, counted);
    }

    /// Notes that a session is in use; `count` is that of its client's sessions.
    pub fn seen(&self, ticket: &Ticket, from: IpAddr, now: Instant, count: &Arc<AtomicUsize>) {
        let mut shard = self.shard(ticket.session);
        match shard.get_mut(&ticket.session) {
            Some(entry) => (entry.live.seen, entry.live.from) = (now, from),
            None => Self::insert(&mut shard, ticket, from, now, Counted::more(count)),
        }
    }

    fn insert(shard: &mut HashMap<SessionId, Entry>, ticket: &Ticket, from: IpAddr, now: Instant, counted: Counted) {
        if shard.len() >= MOST {
            return;
        }
        let live = Live {
            client: ticket.client.clone(),
            account: ticket.account.clone(),
            pat: ticket.pat.clone(),
            from,
            opened: ticket.opened,
            seen: now,
        };
        shard.insert(ticket.session, Entry { live, _counted: counted });
    }

    /// A session has ended.
    pub fn ended(&self, session: SessionId) {
        self.shard(session).remove(&session);
    }

    /// Forgets what nobody uses any more.
    pub fn sweep(&self, now: Instant) {
        for shard in &self.0 {
            let mut shard = shard.lock();
            shard.retain(|_, entry| now.saturating_duration_since(entry.live.seen) < FORGOTTEN);
        }
    }

    /// All of them.
    pub fn list(&self) -> Vec<(SessionId, Live)> {
        let lock = |shard: &'_ Shard| -> Vec<(SessionId, Live)> {
            let shard = shard.lock();
            shard.iter().map(|(id, entry)| (*id, entry.live.clone())).collect()
        };
        self.0.iter().flat_map(lock).collect()
    }

    fn shard(&self, id: SessionId) -> MutexGuard<'_, HashMap<SessionId, Entry>> {
        self.0[usize::from(id.0[0]) % SHARDS].lock()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::base::clock::{Clock, ManualClock};
    use crate::ticket::tests::ticket;

    #[test]
    fn a_session_counts_once_until_it_ends_or_is_forgotten() {
        let (sessions, count, clock) = (Registry::default(), Arc::default(), ManualClock::start());
        let from = IpAddr::from([127, 0, 0, 1]);
        let counted = |count: &Arc<AtomicUsize>| count.load(Ordering::Relaxed);
        sessions.seen(&ticket(), from, clock.now(), &count);
        sessions.seen(&ticket(), from, clock.now(), &count);
        assert_eq!((counted(&count), sessions.list().len()), (1, 1));
        sessions.ended(ticket().session);
        assert_eq!(counted(&count), 0);
        sessions.seen(&ticket(), from, clock.now(), &count);
        clock.advance(FORGOTTEN / 2);
        sessions.sweep(clock.now());
        assert_eq!(counted(&count), 1);
        clock.advance(FORGOTTEN / 2);
        sessions.sweep(clock.now());
        assert_eq!(counted(&count), 0);
    }
}
