//! [`Verdict`]: whether a PAT may be risked, in the same words for this process and for all replicas together.

use std::time::Duration;

use super::fault::Kind;

/// How long a lost answer counts as a refusal. That is short, since answers are mostly lost in an outage, when the PAT
/// is good and everybody waits.
pub const UNKNOWN_COUNTS: Duration = Duration::from_secs(15);

/// What is said to a request that wants to send a version of a PAT.
pub enum Verdict<T> {
    /// It may.
    Granted(T),
    /// As many as may are under way: ask again when one of them is answered, or after this time.
    Retry(Duration),
    /// This version has been refused: look for a newer one first, and insist when there is none.
    NeedNewer,
    /// This version has been refused as often as it may be.
    Exhausted,
    /// Snowflake refused a moment ago for a reason that no newer PAT mends.
    Cooldown(Kind),
}

impl<T> Verdict<T> {
    /// What was granted, or the same refusal for a question about something else.
    ///
    /// # Errors
    /// Every verdict but [`Verdict::Granted`].
    pub fn granted<U>(self) -> Result<T, Verdict<U>> {
        match self {
            Self::Granted(granted) => Ok(granted),
            Self::Retry(after) => Err(Verdict::Retry(after)),
            Self::NeedNewer => Err(Verdict::NeedNewer),
            Self::Exhausted => Err(Verdict::Exhausted),
            Self::Cooldown(kind) => Err(Verdict::Cooldown(kind)),
        }
    }
}
