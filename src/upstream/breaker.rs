//! [`Breaker`]: whether an account is known to be away.
//!
//! The first login of an outage is held and tried again; once its time is up the outage is known, and the next logins are
//! told after one try instead of being held in their turn. Any answer of Snowflake's ends it.

use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by all workers; one an account.
#[derive(Default)]
pub struct Breaker(AtomicBool);

impl Breaker {
    /// Whether the account is known to be away.
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A whole hold has passed without an answer.
    pub fn open(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Snowflake answered.
    pub fn close(&self) {
        // A read first: the flag is shared, and a store would take its cache line from the other workers each time.
        if self.is_open() {
            self.0.store(false, Ordering::Relaxed);
        }
    }
}
