//! [`RefusalLog`]: limits the lines about refusals before admission, which anybody can cause, and a client that goes on
//! beyond its limit too.
//!
//! In a minute the first ten of each kind and source are written; the source is the client where it is known. The
//! others are counted, and one line at the end of the minute sums them up. The number of sources that it remembers is
//! bounded; the sources beyond it share one count.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::base::names::ClientName;
use crate::base::source::Source;

/// How many lines of a kind and a source are written in a minute.
const WHOLE: u64 = 10;
/// How many pairs of a kind and a source it remembers; an entry takes some 50 bytes.
const PAIRS: usize = 4096;
const MINUTE: Duration = Duration::from_secs(60);

/// The refusals of the minute.
#[derive(Default)]
pub struct RefusalLog(Mutex<Minute>);

#[derive(Default)]
struct Minute {
    began: Option<Instant>,
    /// By kind and source; `None` is all sources that are not remembered.
    seen: HashMap<(&'static str, Option<Whose>), u64>,
}

/// Whose refusals they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whose {
    /// Those of an address that nobody answers for.
    Source(Source),
    /// Those of a client.
    Client(ClientName),
}

impl From<IpAddr> for Whose {
    fn from(address: IpAddr) -> Self {
        Self::Source(Source::of(address))
    }
}

impl std::fmt::Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Source(source) => source.fmt(f),
            Self::Client(client) => write!(f, "client {client}"),
        }
    }
}

/// What was not written in a minute.
#[derive(Debug, PartialEq, Eq)]
struct Unwritten {
    count: u64,
    /// The counts by kind.
    kinds: String,
    /// How many sources; those that were not remembered are one.
    sources: usize,
    /// The source with the most, and its count.
    most: String,
}

impl RefusalLog {
    /// Whether the line about this refusal is to be written.
    pub fn keeps(&self, kind: &'static str, whose: impl Into<Whose>, now: Instant) -> bool {
        let mut minute = self.0.lock();
        let ended = minute.end(now);
        minute.began.get_or_insert(now);
        let mut key = (kind, Some(whose.into()));
        // There are only as many clients as the configuration has.
        let is_client = matches!(key.1, Some(Whose::Client(_)));
        if minute.seen.len() >= PAIRS && !is_client && !minute.seen.contains_key(&key) {
            key.1 = None;
        }
        let count = minute.seen.entry(key).or_default();
        *count += 1;
        let keeps = *count <= WHOLE;
        drop(minute);
        tell(ended);
        keeps
    }

    /// Ends a minute that is over.
    pub fn tidy(&self, now: Instant) {
        let ended = self.0.lock().end(now);
        tell(ended);
    }
}

fn tell(ended: Option<Unwritten>) {
    if let Some(Unwritten { count, kinds, sources, most }) = ended {
        tracing::warn!(count, kinds, sources, most, "more refusals in the last minute, not written one by one");
    }
}

impl Minute {
    fn end(&mut self, now: Instant) -> Option<Unwritten> {
        let began = self.began?;
        if now.saturating_duration_since(began) < MINUTE {
            return None;
        }
        let seen = std::mem::take(self).seen;
        let (mut kinds, mut sources) = (BTreeMap::<_, u64>::new(), HashMap::<_, u64>::new());
        for ((kind, source), count) in seen {
            let unwritten = count.saturating_sub(WHOLE);
            if unwritten > 0 {
                *kinds.entry(kind).or_default() += unwritten;
                *sources.entry(source).or_default() += unwritten;
            }
        }
        let (most, count) = sources.iter().max_by_key(|(source, count)| (**count, *source))?;
        let mut text = String::new();
        for (kind, count) in &kinds {
            // Writing to memory does not fail.
            let _written = write!(text, "{}{kind} {count}", if text.is_empty() { "" } else { ", " });
        }
        let name = most.as_ref().map_or("other sources".to_owned(), |source| source.to_string());
        let most = format!("{name} {count}");
        Some(Unwritten { count: kinds.values().sum(), kinds: text, sources: sources.len(), most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, ManualClock};

    fn source(last: u32) -> IpAddr {
        IpAddr::from((10u32 << 24 | last).to_be_bytes())
    }

    fn written(log: &RefusalLog, kind: &'static str, from: IpAddr, count: usize, now: Instant) -> usize {
        (0..count).filter(|_| log.keeps(kind, from, now)).count()
    }

    #[test]
    fn the_first_ten_of_each_kind_and_source_are_written_and_the_rest_is_one_line_a_minute() {
        let (log, clock) = (RefusalLog::default(), ManualClock::start());
        assert_eq!(written(&log, "key_missing", source(1), 200, clock.now()), 10);
        assert_eq!(written(&log, "key_wrong", source(1), 12, clock.now()), 10, "another kind");
        assert_eq!(written(&log, "key_missing", source(2), 11, clock.now()), 10, "another source");
        clock.advance(MINUTE - Duration::from_millis(1));
        assert_eq!(log.0.lock().end(clock.now()), None);
        clock.advance(Duration::from_millis(1));
        let told = log.0.lock().end(clock.now()).unwrap();
        assert_eq!((told.count, &*told.kinds), (193, "key_missing 191, key_wrong 2"));
        assert_eq!((told.sources, &*told.most), (2, "10.0.0.1 192"));
        assert_eq!(log.0.lock().end(clock.now()), None, "once");
        let client = Whose::Client(ClientName::parse("excel").unwrap());
        assert_eq!((0..20).filter(|_| log.keeps("login_limit", client.clone(), clock.now())).count(), 10, "a client");
        assert_eq!(written(&log, "key_missing", source(1), 200, clock.now()), 10, "the next minute");
    }

    #[test]
    fn a_flood_of_sources_is_remembered_up_to_a_bound() {
        let (log, clock) = (RefusalLog::default(), ManualClock::start());
        let kept = (0..50_000).filter(|last| log.keeps("key_missing", source(*last), clock.now())).count();
        assert_eq!(kept, PAIRS + 10);
        assert_eq!(log.0.lock().seen.len(), PAIRS + 1);
        clock.advance(MINUTE);
        let told = log.0.lock().end(clock.now()).unwrap();
        assert_eq!((told.count, told.most), (50_000 - PAIRS as u64 - 10, "other sources 45894".to_owned()));
        // Addresses of one IPv6 network are one source.
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        assert_eq!((0..100).filter(|last| log.keeps("key_missing", v6(*last), clock.now())).count(), 10);
    }
}
