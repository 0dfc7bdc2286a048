//! [`Breaker`]: whether an account is known to be away.
//!
//! The first login of an outage is held and tried again; once its time is up the outage is known, and from then on one login
//! at a time looks whether it is over while all others are told at once. Any answer of Snowflake's ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by all workers; one an account.
#[derive(Default)]
pub struct Breaker {
    away: AtomicBool,
    looking: AtomicBool,
}

/// What a login may do.
pub enum Way {
    /// Nothing is known against it.
    Free,
    /// The account is away: this login looks whether it still is.
    Look(Look),
    /// The account is away, and somebody else is looking.
    Away,
}

/// The one that looks; another may when it is dropped.
pub struct Look(Arc<Breaker>);

impl Drop for Look {
    fn drop(&mut self) {
        self.0.looking.store(false, Ordering::Relaxed);
    }
}

impl Breaker {
    /// Asks before a login is sent.
    pub fn ask(self: &Arc<Self>) -> Way {
        if !self.away.load(Ordering::Relaxed) {
            return Way::Free;
        }
        if self.looking.swap(true, Ordering::Relaxed) { Way::Away } else { Way::Look(Look(self.clone())) }
    }

    /// A whole hold has passed without an answer.
    pub fn open(&self) {
        self.away.store(true, Ordering::Relaxed);
    }

    /// Snowflake answered.
    pub fn close(&self) {
        // A read first: the flag is shared, and a store would take its cache line from the other workers each time.
        if self.away.load(Ordering::Relaxed) {
            self.away.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_it_is_away_one_looks_and_the_others_are_told() {
        let breaker: Arc<Breaker> = Arc::default();
        assert!(matches!(breaker.ask(), Way::Free));
        breaker.open();
        let look = breaker.ask();
        assert!(matches!(look, Way::Look(_)) && matches!(breaker.ask(), Way::Away));
        drop(look);
        assert!(matches!(breaker.ask(), Way::Look(_)));
        breaker.close();
        assert!(matches!(breaker.ask(), Way::Free));
    }
}
