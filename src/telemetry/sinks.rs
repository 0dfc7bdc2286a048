//! [`Sinks`]: where records go when they close.

use std::sync::Arc;

use super::metrics::Metrics;
use super::observations::Observations;
use super::refusal_log::RefusalLog;

/// Where records go.
#[derive(Default)]
pub struct Sinks {
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The limit on what is written about refusals before admission.
    pub refusals: RefusalLog,
    /// What is written down off the request's path; `None` if nobody writes it.
    pub observations: Option<Observations>,
}
