//! [`Sinks`]: where records go when they close.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::act::Act;
use super::metrics::Metrics;
use super::observations::{Observation, Observations};
use super::refusal_log::RefusalLog;
use crate::base::clock::Clock;
use crate::base::epoch::EpochMillis;

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
    /// Whether the audit log cannot be written now.
    pub audit_fails: AtomicBool,
}

impl Sinks {
    /// Writes an act down.
    pub fn act(&self, act: Act, clock: &dyn Clock) {
        if let Some(observations) = &self.observations {
            observations.add(Observation::Act(EpochMillis::of(clock.wall()), act));
        }
    }

    /// Whether the audit log is written.
    pub fn audit_works(&self) -> bool {
        !self.audit_fails.load(Ordering::Relaxed)
    }
}
