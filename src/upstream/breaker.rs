//! [`Breaker`]: whether an account is known to be away.
//!
//! The first login of an outage is held and tried again; once its time is up the outage is known, and so it is when several
//! requests in a row could not connect. From then on one request in [`LOOK`] looks whether it is over while all others are told at
//! once. Any answer of Snowflake's ends it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often one login looks whether an account is still away.
pub const LOOK: Duration = Duration::from_secs(2);

/// How many requests in a row that could not connect make an outage.
const FAILURES: u32 = 5;

/// Shared by all workers; one an account. It is asked once a request.
#[derive(Default)]
pub struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    /// When somebody may look again; `None` while nothing is known against the account.
    next: Option<Instant>,
    failures: u32,
    /// Why the last request could not connect.
    cause: String,
}

/// What a login may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nothing is known against it.
    Free,
    /// The account is away: this login looks whether it still is.
    Look,
    /// The account is away, and somebody else is looking.
    Away,
}

impl Breaker {
    /// Asks before a request is sent.
    pub fn ask(&self) -> Way {
        let now = Instant::now();
        match &mut self.lock().next {
            None => Way::Free,
            Some(next) if *next > now => Way::Away,
            Some(next) => {
                *next = now + LOOK;
                Way::Look
            }
        }
    }

    /// A whole hold has passed in which nobody could connect.
    pub fn open(&self, cause: &str) {
        Self::away(&mut self.lock(), cause);
    }

    /// A request could not connect.
    pub fn failed(&self, cause: &str) {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        match state.failures >= FAILURES {
            true => Self::away(&mut state, cause),
            false => cause.clone_into(&mut state.cause),
        }
    }

    fn away(state: &mut State, cause: &str) {
        cause.clone_into(&mut state.cause);
        if state.next.is_none() {
            state.next = Some(Instant::now() + LOOK);
            tracing::error!(
                owner = "snowflake",
                cause,
                "Snowflake cannot be reached; requests are told so at once until it can"
            );
        }
    }

    /// Snowflake answered.
    pub fn close(&self) {
        if std::mem::take(&mut *self.lock()).next.is_some() {
            tracing::info!("Snowflake answers again");
        }
    }

    /// What is known of an account that is away.
    pub fn cause(&self) -> String {
        format!(
            "it is known to be away, and another request looks whether it still is; the last could not connect: {}",
            self.lock().cause
        )
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn while_it_is_away_one_looks_and_the_others_are_told() {
        let breaker = Breaker::default();
        assert_eq!(breaker.ask(), Way::Free);
        breaker.open("x");
        assert_eq!(breaker.ask(), Way::Away);
        tokio::time::advance(LOOK).await;
        assert_eq!((breaker.ask(), breaker.ask()), (Way::Look, Way::Away));
        breaker.close();
        assert_eq!(breaker.ask(), Way::Free);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_make_an_outage_and_an_answer_between_them_does_not() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES - 1 {
            breaker.failed("refused");
        }
        breaker.close();
        for _ in 0..FAILURES {
            assert_eq!(breaker.ask(), Way::Free);
            breaker.failed("refused");
        }
        assert_eq!(breaker.ask(), Way::Away);
        assert!(breaker.cause().ends_with(": refused"));
    }
}
