//! What the gate tells its operator: log lines, metrics, and the record of each request. It observes; it never decides.

#[cfg(feature = "demo")]
pub mod captured_logs;
pub mod log_throttle;
pub mod logs;
pub mod metrics;

pub mod record;
