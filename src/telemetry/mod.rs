//! Log lines, metrics, and the record of each request. This module observes; it never decides.

pub mod act;
pub mod audit;
#[cfg(feature = "demo")]
pub mod captured_logs;
pub mod connection_record;
#[cfg(windows)]
#[path = "event_log_windows.rs"]
pub mod event_log;
pub mod facts;
pub mod history;
pub mod log_level;
pub mod log_sink;
pub mod log_throttle;
pub mod logs;
pub mod metrics;
pub mod observations;
pub mod observer;
pub mod otlp_metrics;
pub mod record;
mod record_log;
pub mod refusal_log;
#[cfg(any(windows, test))]
pub mod service_log;
pub mod sinks;
pub mod store_reads;
pub mod story;
pub mod traces;
