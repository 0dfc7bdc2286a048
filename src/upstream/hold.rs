//! [`Hold`]: retries of a request while Snowflake is unreachable, for a limited time.
//!
//! If Snowflake may have executed a request, the gate sends it once more at most. The tries of one request count only
//! when its time is over: several that could not connect open the breaker, a single one counts as one failure.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::Breaker;
use super::failure::{Blame, Failure};
use crate::base::fault::Fault;
use crate::base::trace::TraceId;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a try may connect at least, also without a hold.
const LEAST: Duration = Duration::from_secs(1);

/// How long the gate holds a request, and the outcome of its tries. Connecting, pauses and failed tries spend its time;
/// waiting for a lease does not.
pub struct Hold {
    breaker: Arc<Breaker>,
    left: Duration,
    /// When the try under way began.
    begun: Option<Instant>,
    request: Held,
    /// How many tries in a row could not connect, through no fault of this machine.
    unreached: u32,
    broken: u32,
}

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// A login. Its hold ends at once while the breaker is open; the driver tries again.
    Login,
    /// A renewal. It waits while the breaker is open too, because a driver gives up a session whose renewal fails.
    Renewal,
    /// A REST request, whose body the gate has kept. Its client reads the status, so it is told at once while the
    /// breaker is open.
    Rest,
}

impl Hold {
    /// The hold of a request: at most `time`.
    pub(super) fn of(request: Held, time: Duration, breaker: Arc<Breaker>) -> Self {
        Self { breaker, left: time, begun: None, request, unreached: 0, broken: 0 }
    }

    /// A try begins; returns how long it may take to connect.
    pub fn begin(&mut self) -> Duration {
        self.begun = Some(Instant::now());
        self.left.max(LEAST)
    }

    /// Returns, after the pause, if the request may be sent again.
    ///
    /// # Errors
    /// The failure, if not.
    pub async fn again(&mut self, failure: Failure, trace: TraceId) -> Result<(), Fault> {
        let again = self.may_be_repeated(&failure).await;
        let fault = Fault::from(failure);
        if !again {
            return Err(fault);
        }
        match self.request {
            Held::Login => tracing::debug!(%trace, cause = fault.cause(), "a login waits for Snowflake"),
            Held::Renewal => tracing::debug!(%trace, cause = fault.cause(), "a renewal waits for Snowflake"),
            Held::Rest => tracing::debug!(%trace, cause = fault.cause(), "a REST request waits for Snowflake"),
        }
        Ok(())
    }

    /// Whether to send a request again after this failure. If so, it returns after the pause.
    async fn may_be_repeated(&mut self, failure: &Failure) -> bool {
        let may_be_repeated = match failure {
            Failure::Away { .. } => self.request == Held::Renewal,
            Failure::Unsent { blame: Blame::Way(_), .. } => {
                self.unreached += 1;
                true
            }
            Failure::Unsent { .. } => true,
            Failure::Unready(_) => {
                self.unreached = 0;
                true
            }
            // What may have been carried out is not a login's or a renewal's to repeat alone.
            Failure::Broken { .. } if self.request == Held::Rest => false,
            Failure::Broken { blame: Blame::Client, .. } => false,
            Failure::Broken { .. } => {
                (self.unreached, self.broken) = (0, self.broken + 1);
                true
            }
            Failure::Busy(_) | Failure::Silent | Failure::ClientStalled => false,
        };
        if !may_be_repeated {
            return false;
        }
        let spent = self.begun.take().map_or(Duration::ZERO, |begun| begun.elapsed());
        self.left = self.left.saturating_sub(spent);
        if self.left <= PAUSE {
            self.gave_up(failure);
            return false;
        }
        if self.broken > 1 {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
        self.left = self.left.saturating_sub(PAUSE);
        true
    }

    /// Several failed tries over the whole time open the breaker; a single try counts as one failure. A failure of this
    /// machine counts as none.
    fn gave_up(&self, failure: &Failure) {
        if let Failure::Unsent { blame: Blame::Way(hop), cause } = failure {
            match self.unreached > 1 {
                true => self.breaker.open(*hop, cause),
                false => self.breaker.failed(*hop, cause),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::breaker::BreakerState;
    use super::super::failure::Hop;
    use super::*;

    fn unsent(blame: Blame) -> Failure {
        Failure::Unsent { blame, cause: "x".into() }
    }

    fn broken() -> Failure {
        Failure::Broken { blame: Blame::Way(Hop::Connect), cause: "x".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_tried_for_its_time_and_what_may_have_been_carried_out_once_more() {
        let mut hold = Hold::of(Held::Login, Duration::from_secs(1), Arc::default());
        tokio::time::advance(Duration::from_secs(60)).await;
        let (mut tries, started) = (0, Instant::now());
        while hold.may_be_repeated(&unsent(Blame::Way(Hop::Connect))).await {
            tries += 1;
        }
        assert_eq!((tries, started.elapsed()), (3, Duration::from_millis(750)));
        let mut hold = Hold::of(Held::Renewal, Duration::from_secs(60), Arc::default());
        assert!(hold.may_be_repeated(&broken()).await);
        assert!(hold.may_be_repeated(&Failure::Unready("x".into())).await);
        assert!(!hold.may_be_repeated(&broken()).await);
        assert!(
            !Hold::of(Held::Renewal, Duration::ZERO, Arc::default())
                .may_be_repeated(&unsent(Blame::Way(Hop::Connect)))
                .await
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_waits_through_an_outage_and_a_login_does_not() {
        let (time, away) = (Duration::from_secs(1), Failure::Away { hop: Hop::Connect, cause: "x".into() });
        assert!(Hold::of(Held::Renewal, time, Arc::default()).may_be_repeated(&away).await);
        assert!(!Hold::of(Held::Login, time, Arc::default()).may_be_repeated(&away).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_that_ends_makes_an_outage_unless_this_machine_was_at_fault() {
        for (blame, state) in [(Blame::Way(Hop::Connect), BreakerState::Open), (Blame::Machine, BreakerState::Closed)] {
            let breaker = Arc::<Breaker>::default();
            let mut hold = Hold::of(Held::Login, Duration::from_secs(1), breaker.clone());
            while hold.may_be_repeated(&unsent(blame)).await {}
            assert_eq!(breaker.try_acquire(), state, "{blame:?}");
        }
        // Snowflake answers that it cannot serve now; only the last try does not reach it.
        let breaker = Arc::<Breaker>::default();
        let mut hold = Hold::of(Held::Login, Duration::from_secs(1), breaker.clone());
        for _ in 0..3 {
            assert!(hold.may_be_repeated(&Failure::Unready("x".into())).await);
        }
        assert!(!hold.may_be_repeated(&unsent(Blame::Way(Hop::Connect))).await);
        assert_eq!(breaker.try_acquire(), BreakerState::Closed);
    }
}
