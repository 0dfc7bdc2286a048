//! [`Sessions`]: the sessions that this gate has lately served, to be counted and shown.
//!
//! Nothing is decided by whether a session is on this list: a ticket says all that a request needs, and a replica serves
//! sessions that it has never heard of. It is there for the limit on sessions and for the operator's eyes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ticket::{SessionId, Ticket};
use crate::base::names::ClientName;

/// After how long without a request a session counts no more. Drivers that keep one alive say so at least each hour, and one
/// that was only forgotten must not keep its client from another.
const FORGOTTEN: Duration = Duration::from_secs(65 * 60);
/// Locks are per shard, so that workers seldom meet.
const SHARDS: usize = 16;
/// More sessions a shard than any gate has; what is above it is served and not listed.
const MOST: usize = 16 << 10;

/// The sessions.
#[derive(Default)]
pub struct Sessions([Shard; SHARDS]);

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
    pub pat: Arc<str>,
    /// Where its last request came from.
    pub from: IpAddr,
    /// When it was opened, in milliseconds of the Unix epoch.
    pub opened: u64,
    /// When its last request came.
    pub seen: Instant,
}

/// One in a count, for as long as it lives.
#[derive(Debug)]
pub struct Counted(Arc<AtomicUsize>);

impl Counted {
    /// One more, if that makes no more than `most`.
    pub fn up_to(count: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let more = |count: usize| (count < most).then_some(count + 1);
        let counted = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.is_ok().then(|| Self(count.clone()))
    }

    /// One more.
    pub fn more(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sessions {
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
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, entry| now.saturating_duration_since(entry.live.seen) < FORGOTTEN);
        }
    }

    /// All of them.
    pub fn list(&self) -> Vec<(SessionId, Live)> {
        let lock = |shard: &'_ Shard| -> Vec<(SessionId, Live)> {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.iter().map(|(id, entry)| (*id, entry.live.clone())).collect()
        };
        self.0.iter().flat_map(lock).collect()
    }

    fn shard(&self, id: SessionId) -> MutexGuard<'_, HashMap<SessionId, Entry>> {
        self.0[id.spread() % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, ManualClock};
    use crate::session::ticket::tests::ticket;

    #[test]
    fn a_session_counts_once_until_it_ends_or_is_forgotten() {
        let (sessions, count, clock) = (Sessions::default(), Arc::default(), ManualClock::start());
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
