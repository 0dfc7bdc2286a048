//! [`StoreReads`]: the last reads of one credential's references for which requests had to wait. A record takes from
//! them those that fall into its own wait for a lease: so each of many waiting requests has them, also one whose client
//! leaves, and the pauses between two reads count as no store's time.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::base::fault::Kind;

/// How many reads are kept: a request may wait for a minute while a store refuses each read at once.
const MOST: usize = 128;

/// The reads of the last time.
#[derive(Debug)]
pub struct StoreReads {
    references: String,
    reads: Mutex<VecDeque<Read>>,
}

#[derive(Debug)]
struct Read {
    began: Instant,
    ended: Option<(Instant, Option<Kind>)>,
    /// How many requests wait for it.
    waiting: usize,
}

/// The part of a read that a request waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreWait {
    /// When it began.
    pub from: Instant,
    /// How long it took.
    pub time: Duration,
    /// Why it gave nothing; `None` also while it goes on.
    pub failed: Option<Kind>,
}

/// The wait of a request for a read. Dropped, it is over; with the last of them the read is.
pub struct Reading<'a> {
    reads: &'a StoreReads,
    began: Instant,
    failed: Option<Kind>,
}

impl StoreReads {
    /// No reads yet of these references.
    pub fn of(references: impl ToString) -> Self {
        Self { references: references.to_string(), reads: Mutex::default() }
    }

    /// The references that are read.
    pub fn references(&self) -> &str {
        &self.references
    }

    /// A request begins to wait for a read. Those that wait at the same time wait for the same one.
    #[must_use]
    pub fn begin(&self) -> Reading<'_> {
        let mut reads = self.reads.lock();
        if let Some(last) = reads.back_mut().filter(|last| last.ended.is_none()) {
            last.waiting += 1;
            return Reading { reads: self, began: last.began, failed: None };
        }
        if reads.len() == MOST {
            reads.pop_front();
        }
        let began = Instant::now();
        reads.push_back(Read { began, ended: None, waiting: 1 });
        Reading { reads: self, began, failed: None }
    }

    /// What of the reads fell between two times, the oldest first.
    pub fn within(&self, from: Instant, until: Instant) -> Vec<StoreWait> {
        let part = |read: &Read| {
            let (ended, failed) = read.ended.unwrap_or((until, None));
            let (from, until) = (read.began.max(from), ended.min(until));
            let time = until.checked_duration_since(from).filter(|time| !time.is_zero())?;
            Some(StoreWait { from, time, failed })
        };
        self.reads.lock().iter().filter_map(part).collect()
    }
}

impl Reading<'_> {
    /// It gave nothing.
    pub fn failed(&mut self, kind: Kind) {
        self.failed = Some(kind);
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let ended = Some((Instant::now(), self.failed));
        let mut reads = self.reads.reads.lock();
        let Some(read) = reads.back_mut().filter(|read| read.ended.is_none() && read.began == self.began) else {
            return;
        };
        read.waiting -= 1;
        if read.waiting == 0 {
            read.ended = ended;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_gets_the_part_of_each_read_that_it_waited_for() {
        let (reads, start) = (StoreReads::of("vault:kv/bi"), Instant::now());
        let second = Duration::from_secs(1);
        let mut first = reads.begin();
        tokio::time::advance(4 * second).await;
        first.failed(Kind::StoreUnavailable);
        drop(first);
        tokio::time::advance(second).await;
        let (_goes_on, _another) = (reads.begin(), reads.begin());
        tokio::time::advance(2 * second).await;
        let parts = |from: u32, until: u32| {
            let waits = reads.within(start + from * second, start + until * second);
            waits.iter().map(|wait| (wait.from - start, wait.time, wait.failed)).collect::<Vec<_>>()
        };
        let failed = Some(Kind::StoreUnavailable);
        assert_eq!(parts(1, 7), [(second, 3 * second, failed), (5 * second, 2 * second, None)]);
        assert_eq!(parts(4, 5), []);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let (reads, start) = (StoreReads::of(""), Instant::now());
        for _read in 0..2 * MOST {
            drop(reads.begin());
        }
        assert!(reads.within(start, Instant::now()).len() <= MOST && reads.reads.lock().len() == MOST);
    }
}
