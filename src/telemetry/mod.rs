//! What the gate tells its operator: log lines, metrics, and the record of each request. It observes; it never decides.

pub mod logs;
pub mod metrics;
pub mod rarely;
pub mod record;
