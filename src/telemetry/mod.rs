//! Log lines, metrics, and the record of each request. This module observes; it never decides.

#[cfg(feature = "demo")]
pub mod captured_logs;
pub mod connection_record;
pub mod facts;
pub mod log_sink;
pub mod log_throttle;
pub mod logs;
pub mod metrics;
pub mod observations;
pub mod record;
mod record_log;
pub mod refusal_log;
pub mod sinks;
pub mod story;
