//! [`Breaker`]: whether an account is known to be unreachable.
//!
//! The breaker opens when a held request could not connect for its whole time, or when several requests in a row could
//! not connect. While it is open, one request per [`LOOK`] tests whether Snowflake is back, and all others fail at
//! once. Any answer of Snowflake closes it.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::failure::{Failure, Hop};

/// How often one request tests whether an account is still unreachable.
pub const LOOK: Duration = Duration::from_secs(2);

/// How long an outage is known after the last request that tested it. On an idle gate nobody knows.
const KNOWN: Duration = Duration::from_secs(120);
/// How many failed connects in a row open the breaker.
const FAILURES: u32 = 5;

/// One per account, shared by all workers. Each request asks it once.
#[derive(Default)]
pub struct Breaker(Mutex<Outage>);

#[derive(Default)]
struct Outage {
    /// When the next request may test the account; `None` while the breaker is closed.
    next: Option<Instant>,
    /// Since when it is open.
    since: Option<Instant>,
    failures: u32,
    /// Whether Snowflake has ever answered.
    reached: bool,
    /// Where, and why, the last request could not connect.
    last: Option<(Hop, String)>,
}

/// The breaker's decision about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// The breaker is closed.
    Closed,
    /// The breaker is open: this request tests the account.
    Probe,
    /// The breaker is open, and another request tests the account.
    Open,
}

impl Breaker {
    /// Whether requests fail now. Unlike [`Breaker::try_acquire`] it takes no probe.
    pub fn is_open(&self) -> bool {
        self.lock().next.is_some_and(|next| next > Instant::now())
    }

    /// Whether the account can be reached, as far as the last requests show; `None` if there was none, or a failed one
    /// is too long ago.
    pub fn is_up(&self) -> Option<bool> {
        let outage = self.lock();
        match outage.next {
            None => outage.reached.then_some(true),
            Some(next) => (next + KNOWN > Instant::now()).then_some(false),
        }
    }

    /// Asks before a request is sent.
    pub fn try_acquire(&self) -> BreakerState {
        let now = Instant::now();
        match &mut self.lock().next {
            None => BreakerState::Closed,
            Some(next) if *next > now => BreakerState::Open,
            Some(next) => {
                *next = now + LOOK;
                BreakerState::Probe
            }
        }
    }

    /// A held request could not connect during its whole hold.
    pub fn open(&self, hop: Hop, cause: &str) {
        Self::begins(&mut self.lock(), hop, cause);
    }

    /// A request could not connect.
    pub fn failed(&self, hop: Hop, cause: &str) {
        let mut outage = self.lock();
        outage.failures = outage.failures.saturating_add(1);
        match outage.failures >= FAILURES {
            true => Self::begins(&mut outage, hop, cause),
            false => outage.last = Some((hop, cause.to_owned())),
        }
    }

    fn begins(outage: &mut Outage, hop: Hop, cause: &str) {
        outage.last = Some((hop, cause.to_owned()));
        if outage.next.is_none() {
            outage.next = Some(Instant::now() + LOOK);
            outage.since = Some(Instant::now());
            tracing::error!(
                owner = "snowflake",
                cause,
                "the gate cannot reach Snowflake; until it can, requests fail at once"
            );
        }
    }

    /// Snowflake answered.
    pub fn close(&self) {
        let answered = Outage { reached: true, ..Outage::default() };
        if std::mem::replace(&mut *self.lock(), answered).next.is_some() {
            tracing::info!("Snowflake answers again");
        }
    }

    /// For how long it is open, and why; `None` while it is closed.
    pub fn outage(&self) -> Option<(Duration, String)> {
        let outage = self.lock();
        let cause = outage.last.as_ref().map(|(_, cause)| cause.clone()).unwrap_or_default();
        Some((outage.since?.elapsed(), cause))
    }

    /// The failure of a request that is not sent because the breaker is open.
    pub fn away(&self) -> Failure {
        let (hop, cause) = self.lock().last.clone().unwrap_or((Hop::Connect, String::new()));
        let known = "it is known to be unreachable, and another request tests it now; the last connect failed";
        Failure::Away { hop, cause: format!("{known}: {cause}") }
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
        assert_eq!(breaker.try_acquire(), BreakerState::Closed);
        assert_eq!(breaker.outage(), None);
        breaker.open(Hop::Connect, "x");
        assert_eq!(breaker.try_acquire(), BreakerState::Open);
        tokio::time::advance(LOOK).await;
        breaker.open(Hop::Connect, "y");
        assert_eq!(breaker.outage(), Some((LOOK, "y".to_owned())));
        assert_eq!((breaker.try_acquire(), breaker.try_acquire()), (BreakerState::Probe, BreakerState::Open));
        breaker.close();
        assert_eq!((breaker.try_acquire(), breaker.outage()), (BreakerState::Closed, None));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_make_an_outage_and_an_answer_between_them_does_not() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES - 1 {
            breaker.failed(Hop::Connect, "refused");
        }
        breaker.close();
        for _ in 0..FAILURES {
            assert_eq!(breaker.try_acquire(), BreakerState::Closed);
            breaker.failed(Hop::Connect, "refused");
        }
        assert_eq!(breaker.try_acquire(), BreakerState::Open);
        let Failure::Away { hop: Hop::Connect, cause } = breaker.away() else { panic!() };
        assert!(cause.ends_with(": refused"));
    }
}
