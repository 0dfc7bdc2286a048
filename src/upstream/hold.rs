//! [`Hold`]: retries of a request while Snowflake is unreachable, for a limited time.
//!
//! If Snowflake may have executed a request, the gate sends it once more at most.

use std::time::Duration;

use tokio::time::Instant;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// How long the gate holds a request, and the outcome of its tries.
#[derive(Debug)]
pub struct Hold {
    hold: Duration,
    since: Option<Instant>,
    broken: u32,
}

/// How far a try came that the gate may repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Snowflake was not reached.
    Unsent,
    /// The gate sent something, and the connection failed.
    Broken,
    /// Snowflake answered that it cannot serve now.
    Answered,
}

/// Whether to send a request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Yes; the pause is over.
    Yes,
    /// No: Snowflake may have executed it twice already.
    No,
    /// No: its time is over.
    Over,
}

impl Hold {
    /// A hold that begins with the first failure.
    pub fn from_first_failure(hold: Duration) -> Self {
        Self { hold, since: None, broken: 0 }
    }

    /// A hold that begins now.
    pub fn from_now(hold: Duration) -> Self {
        Self { hold, since: Some(Instant::now()), broken: 0 }
    }

    /// Waits before the next try, if another try is allowed.
    pub async fn again(&mut self, reach: Reach) -> Again {
        self.broken += u32::from(reach == Reach::Broken);
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() + PAUSE >= self.hold {
            return Again::Over;
        }
        if self.broken > 1 {
            return Again::No;
        }
        tokio::time::sleep(PAUSE).await;
        Again::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_is_tried_for_its_time_and_what_may_have_been_carried_out_once_more() {
        let mut hold = Hold::from_first_failure(Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(60)).await;
        let (mut tries, started) = (0, Instant::now());
        while hold.again(Reach::Unsent).await == Again::Yes {
            tries += 1;
        }
        assert_eq!((tries, started.elapsed()), (3, Duration::from_millis(750)));
        let mut hold = Hold::from_now(Duration::from_secs(60));
        assert_eq!(hold.again(Reach::Broken).await, Again::Yes);
        assert_eq!(hold.again(Reach::Answered).await, Again::Yes);
        assert_eq!(hold.again(Reach::Broken).await, Again::No);
        assert_eq!(Hold::from_now(Duration::ZERO).again(Reach::Unsent).await, Again::Over);
    }
}
