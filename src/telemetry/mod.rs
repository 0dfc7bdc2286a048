//! What the gate tells its operator: log lines, and the record of each request. It observes; it never decides.

pub mod logs;
pub mod rarely;
pub mod record;
