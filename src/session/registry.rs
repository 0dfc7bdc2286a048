//! [`Registry`]: the sessions that this gate has recently served, for counting and listing.
//!
//! The gate serves a session whether or not it is on this list: a ticket has everything that a request needs, and a
//! replica serves sessions that are new to it. The list is only for the limit on sessions and for the operator.

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

/// How long a session counts without a request. Drivers that keep a session alive send a heartbeat at least each hour,
/// and an abandoned session must not block a new one of its client.
const FORGOTTEN: Duration = Duration::from_secs(65 * 60);
/// Locks are per shard, so that workers rarely wait for each other.
const SHARDS: usize = 16;
/// More sessions per shard than any gate has; the gate serves more, but does not list them.
const MOST: usize = 16 << 10;

/// The sessions.
#[derive(Default)]
pub struct Registry([Shard; SHARDS]);

type Shard = Mutex<HashMap<SessionId, Entry>>;

struct Entry {
    live: Live,
    _counted: Counted,
}

/// One session.
#[derive(Debug, Clone)]
pub struct Live {
    /// Its client.
    pub client: ClientName,
    /// Its account.
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
    /// Adds a session that a login opened; it is counted already.
    pub fn opened(&self, ticket: &Ticket, from: IpAddr, now: Instant, counted: Counted) {
        Self::insert(&mut self.shard(ticket.session), ticket, from, now, counted);
    }

    /// Records that a session is in use; `count` counts its client's sessions.
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

    /// A session has ended; returns what was known of it.
    pub fn ended(&self, session: SessionId) -> Option<Live> {
        self.shard(session).remove(&session).map(|entry| entry.live)
    }

    /// Forgets unused sessions, and returns them.
    pub fn sweep(&self, now: Instant) -> Vec<(SessionId, Live)> {
        let old = |_: &SessionId, entry: &mut Entry| now.saturating_duration_since(entry.live.seen) >= FORGOTTEN;
        let take =
            |shard: &Shard| -> Vec<_> { shard.lock().extract_if(old).map(|(id, entry)| (id, entry.live)).collect() };
        self.0.iter().flat_map(take).collect()
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
