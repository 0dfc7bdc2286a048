//! [`Observations`]: the way of finished records from the requests to whoever writes them down.
//!
//! A request pays for one push into memory. A thread of its own takes what has come, every few milliseconds; a request
//! does not wake it, for the same reason as in [`super::log_sink`]. What does not fit is dropped and counted. Logins
//! and failures have a queue of their own, so that a client with many queries pushes no other client's login out.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::act::Act;
use super::facts::Facts;
use super::story::Story;
use crate::base::epoch::EpochMillis;

/// How many records of each queue may wait: those of a second of a very busy gate. One of a statement may take 8 KiB.
const HELD: usize = 4 << 10;

/// The queues.
#[derive(Default)]
pub struct Observations {
    important: Mutex<Vec<Observation>>,
    routine: Mutex<Vec<Observation>>,
    /// Of the important and of the routine.
    dropped: (AtomicU64, AtomicU64),
}

/// What did not fit.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Logins, failures and acts.
    pub important: u64,
    /// Other requests.
    pub routine: u64,
}

/// What is to be written down.
pub enum Observation {
    /// A finished request.
    Request(Box<Facts>),
    /// A connection that was refused, in its written form.
    Connection(Box<Story>),
    /// Something that happened to the gate itself.
    Act(EpochMillis, Act),
}

impl Observations {
    /// Adds one, unless its queue is full.
    pub fn add(&self, observation: Observation) {
        let (queue, dropped) = match observation.matters() {
            true => (&self.important, &self.dropped.0),
            false => (&self.routine, &self.dropped.1),
        };
        let mut queue = queue.lock();
        if queue.len() < HELD {
            queue.push(observation);
        } else {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes all that has come, and how much was dropped since the last time.
    pub fn take(&self) -> (Vec<Observation>, Dropped) {
        let mut all = std::mem::take(&mut *self.important.lock());
        all.append(&mut self.routine.lock());
        let [important, routine] = [&self.dropped.0, &self.dropped.1].map(|count| count.swap(0, Ordering::Relaxed));
        (all, Dropped { important, routine })
    }

    /// Whether so much waits that the writer must be stuck.
    pub fn is_stuck(&self) -> bool {
        self.important.lock().len() >= HELD / 2
    }
}

impl Observation {
    fn matters(&self) -> bool {
        match self {
            Self::Request(facts) => facts.login.is_some() || facts.ending.kind().is_some(),
            Self::Connection(_) | Self::Act(..) => true,
        }
    }
}
