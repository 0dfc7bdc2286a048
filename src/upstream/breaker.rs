//! [`Breaker`]: whether an account is known to be away.
//!
//! The first login of an outage is held and tried again; once its time is up the outage is known, and so it is when
//! several requests in a row could not connect. From then on one request in [`LOOK`] looks whether it is over while all
//! others are told at once. Any answer of Snowflake's ends it.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

/// How often one login looks whether an account is still away.
pub const LOOK: Duration = Duration::from_secs(2);

/// How many requests in a row that could not connect make an outage.
const FAILURES: u32 = 5;

/// Shared by all workers; one an account. It is asked once a request.
#[derive(Default)]
pub struct Breaker(Mutex<Outage>);

#[derive(Default)]
struct Outage {
    /// When somebody may look again; `None` while nothing is known against the account.
    next: Option<Instant>,
    failures: u32,
    /// Why the last request could not connect.
    cause: String,
}

/// What a login may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing is known against it.
    Closed,
    /// The account is away: this login looks whether it still is.
    Probe,
    /// The account is away, and somebody else is looking.
    Open,
}

impl Breaker {
    /// Asks before a request is sent.
    pub fn try_acquire(&self) -> State {
        let now = Instant::now();
        match &mut self.lock().next {
            None => State::Closed,
            Some(next) if *next > now => State::Open,
            Some(next) => {
                *next = now + LOOK;
                State::Probe
            }
        }
    }

    /// A whole hold has passed in which nobody could connect.
    pub fn open(&self, cause: &str) {
        Self::away(&mut self.lock(), cause);
    }

    /// A request could not connect.
    pub fn failed(&self, cause: &str) {
        let mut outage = self.lock();
        outage.failures = outage.failures.saturating_add(1);
        match outage.failures >= FAILURES {
            true => Self::away(&mut outage, cause),
            false => cause.clone_into(&mut outage.cause),
        }
    }

    fn away(outage: &mut Outage, cause: &str) {
        cause.clone_into(&mut outage.cause);
        if outage.next.is_none() {
            outage.next = Some(Instant::now() + LOOK);
            tracing::error!(
                owner = "snowflake",
                cause,
                "the gate cannot reach Snowflake; until it can, requests fail at once"
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
            "it is known to be unreachable, and another request tests it now; the last connect failed: {}",
            self.lock().cause
        )
    }

    fn lock(&self) -> MutexGuard<'_, Outage> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn while_it_is_away_one_looks_and_the_others_are_told() {
        let breaker = Breaker::default();
        assert_eq!(breaker.try_acquire(), State::Closed);
        breaker.open("x");
        assert_eq!(breaker.try_acquire(), State::Open);
        tokio::time::advance(LOOK).await;
        assert_eq!((breaker.try_acquire(), breaker.try_acquire()), (State::Probe, State::Open));
        breaker.close();
        assert_eq!(breaker.try_acquire(), State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_make_an_outage_and_an_answer_between_them_does_not() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES - 1 {
            breaker.failed("refused");
        }
        breaker.close();
        for _ in 0..FAILURES {
            assert_eq!(breaker.try_acquire(), State::Closed);
            breaker.failed("refused");
        }
        assert_eq!(breaker.try_acquire(), State::Open);
        assert!(breaker.cause().ends_with(": refused"));
    }
}
