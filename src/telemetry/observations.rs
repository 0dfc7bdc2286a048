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

/// How many records of each queue may wait: those of some seconds of a busy gate.
const HELD: usize = 16 << 10;

/// The queues.
#[derive(Default)]
pub struct Observations {
    important: Mutex<Vec<Observation>>,
    routine: Mutex<Vec<Observation>>,
    dropped: AtomicU64,
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
        let queue = if observation.matters() { &self.important } else { &self.routine };
        let mut queue = queue.lock();
        if queue.len() < HELD {
            queue.push(observation);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes all that has come.
    pub fn take(&self) -> Vec<Observation> {
        let mut all = std::mem::take(&mut *self.important.lock());
        all.append(&mut self.routine.lock());
        all
    }

    /// How many were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
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
