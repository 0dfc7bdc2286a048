//! [`Sinks`]: where records go when they close.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::act::Act;
use super::metrics::Metrics;
use super::observations::{Observation, Observations};
use super::refusal_log::RefusalLog;
use crate::base::clock::Clock;
use crate::base::epoch::EpochMillis;

/// An observer that has not looked for this long hangs.
const LATE: Duration = Duration::from_secs(5);

/// Where records go.
#[derive(Default)]
pub struct Sinks {
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The limit on what is written about refusals before admission.
    pub refusals: RefusalLog,
    /// What is written down off the request's path; `None` if nobody writes it.
    pub observations: Option<Observations>,
    /// The directory with the history, if there is one.
    pub history: Option<PathBuf>,
    /// The part of the traces whose requests are exported in any case; `None` without a collector.
    pub sample: Option<f64>,
    /// Whether the audit log cannot be written now.
    pub audit_fails: AtomicBool,
    /// Whether the history cannot be written now.
    pub history_fails: AtomicBool,
    /// When the observer last looked at the queues.
    pub looked: Mutex<Option<Instant>>,
}

impl Sinks {
    /// Writes an act down.
    pub fn act(&self, act: Act, clock: &dyn Clock) {
        if let Some(observations) = &self.observations {
            observations.add(Observation::Act(EpochMillis::of(clock.wall()), act));
        }
    }

    /// Whether the audit log is written: no write has failed, and none hangs.
    pub fn audit_works(&self, clock: &dyn Clock) -> bool {
        let is_stuck = self.observations.as_ref().is_some_and(Observations::is_stuck);
        let looked = *self.looked.lock();
        let is_late = looked.is_some_and(|at| clock.now().saturating_duration_since(at) > LATE);
        !(self.audit_fails.load(Ordering::Relaxed) || is_stuck || is_late)
    }

    /// The observer is at work.
    pub(super) fn looked(&self, clock: &dyn Clock) {
        *self.looked.lock() = Some(clock.now());
    }
}
