//! [`Verdict`]: what all replicas together say of a request that wants to send a version of a PAT; [`Widths`]: how many
//! may.

use std::time::Duration;

/// How many requests may be at risk at once with one version of a PAT, the gate's own login included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Widths {
    /// With a version that has not lately proven itself.
    pub budget: usize,
    /// With one that has.
    pub in_flight: usize,
}

/// The decision about a request that wants to send a version of a PAT.
pub enum Verdict<T> {
    /// It may.
    Granted(T),
    /// The places are in use: ask again after this time.
    Retry(Duration),
    /// Another gate's request was refused, and there is no verdict yet.
    Suspect,
    /// The version is condemned.
    Condemned,
}
