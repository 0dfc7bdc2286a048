//! [`Verdict`]: whether a request may send a version of a PAT; the same type serves this process and all replicas
//! together.

use std::time::Duration;

use super::fault::Kind;

/// How long a lost answer counts as a refusal. The time is short, since answers are mostly lost in an outage, when the
/// PAT is good and all requests wait.
pub const UNKNOWN_COUNTS: Duration = Duration::from_secs(15);

/// The decision about a request that wants to send a version of a PAT.
pub enum Verdict<T> {
    /// It may.
    Granted(T),
    /// The budget is in use: ask again when a request under way has its answer, or after this time.
    Retry(Duration),
    /// Snowflake has refused this version: look for a newer one first, and insist if there is none.
    NeedNewer,
    /// The budget of this version is spent.
    Exhausted,
    /// Snowflake has just refused a login for a reason that a newer PAT does not change.
    Cooldown(Kind),
}

impl<T> Verdict<T> {
    /// The granted value, or the same refusal with another type.
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
