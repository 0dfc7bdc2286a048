//! Log lines, metrics, and the record of each request. This module observes; it never decides.

pub mod log_throttle;
pub mod logs;
pub mod metrics;

pub mod record;
