//! [`Hold`]: a request that is tried again while Snowflake is away, for a bounded time.
//!
//! What may have been carried out is sent once more and no oftener. All tries of one request count as one failure of the
//! account, so that one client which waits does not make an outage for the others.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::Breaker;
use super::failure::{Blame, Failure};

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a request is held, and what its tries have come to.
pub struct Hold {
    breaker: Arc<Breaker>,
    time: Duration,
    since: Option<Instant>,
    /// Whether it waits also while the account is known to be away.
    patient: bool,
    tries: u32,
    broken: u32,
}

impl Hold {
    /// A login's: its time begins with the first failure. Where the account is known to be away it is told at once; its
    /// driver comes again.
    pub(super) fn of_login(time: Duration, breaker: Arc<Breaker>) -> Self {
        Self { breaker, time, since: None, patient: false, tries: 0, broken: 0 }
    }

    /// A renewal's: its time begins now, and it waits through an outage, because its driver gives the session up.
    pub(super) fn of_renewal(time: Duration, breaker: Arc<Breaker>) -> Self {
        Self { breaker, time, since: Some(Instant::now()), patient: true, tries: 0, broken: 0 }
    }

    /// Whether a request that failed like this is to be sent again; the pause before it is over then.
    pub async fn again(&mut self, failure: &Failure) -> bool {
        self.tries += 1;
        let may_be_repeated = match failure {
            Failure::Away(_) => self.patient,
            Failure::Unsent { .. } | Failure::Unready(_) => true,
            Failure::Broken { blame: Blame::Client, .. } => false,
            Failure::Broken { .. } => {
                self.broken += 1;
                true
            }
            Failure::Busy(_) | Failure::Silent | Failure::ClientStalled => false,
        };
        if !may_be_repeated {
            return false;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() + PAUSE >= self.time {
            self.gave_up(failure);
            return false;
        }
        if self.broken > 1 {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
        true
    }

    /// Several tries over the whole time make an outage, one is a failure like any other. What this machine lacked is
    /// neither.
    fn gave_up(&self, failure: &Failure) {
        if let Failure::Unsent { blame: Blame::Way, cause } = failure {
            match self.tries > 1 {
                true => self.breaker.open(cause),
                false => self.breaker.failed(cause),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::breaker::State;
    use super::*;

    fn unsent(blame: Blame) -> Failure {
        Failure::Unsent { blame, cause: "x".into() }
    }

    fn broken() -> Failure {
        Failure::Broken { blame: Blame::Way, cause: "x".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_tried_for_its_time_and_what_may_have_been_carried_out_once_more() {
        let mut hold = Hold::of_login(Duration::from_secs(1), Arc::default());
        tokio::time::advance(Duration::from_secs(60)).await;
        let (mut tries, started) = (0, Instant::now());
        while hold.again(&unsent(Blame::Way)).await {
            tries += 1;
        }
        assert_eq!((tries, started.elapsed()), (3, Duration::from_millis(750)));
        let mut hold = Hold::of_renewal(Duration::from_secs(60), Arc::default());
        assert!(hold.again(&broken()).await);
        assert!(hold.again(&Failure::Unready("x".into())).await);
        assert!(!hold.again(&broken()).await);
        assert!(!Hold::of_renewal(Duration::ZERO, Arc::default()).again(&unsent(Blame::Way)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_waits_through_an_outage_and_a_login_does_not() {
        let (time, away) = (Duration::from_secs(1), Failure::Away("x".into()));
        assert!(Hold::of_renewal(time, Arc::default()).again(&away).await);
        assert!(!Hold::of_login(time, Arc::default()).again(&away).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_that_ends_makes_an_outage_unless_this_machine_was_at_fault() {
        for (blame, state) in [(Blame::Way, State::Open), (Blame::Machine, State::Closed)] {
            let breaker = Arc::<Breaker>::default();
            let mut hold = Hold::of_login(Duration::from_secs(1), breaker.clone());
            while hold.again(&unsent(blame)).await {}
            assert_eq!(breaker.try_acquire(), state, "{blame:?}");
        }
    }
}
