//! Faults on demand.

use std::time::Duration;

use crate::snowflake::route::Route;

/// What to do with the next request to a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Knob {
    /// Never answer.
    Stall,
    /// Close the connection without an answer.
    Drop,
    /// Send this many bytes of the body, then break the connection.
    CutAfter(usize),
    /// Wait before each piece of the body.
    Slow(Duration),
    /// Wait before the head.
    Late(Duration),
    /// Answer this instead.
    Canned {
        /// HTTP status.
        status: u16,
        /// The body.
        body: String,
        /// `Location`, for redirects.
        location: Option<String>,
    },
    /// Answer this status at once, without waiting for the body.
    Early {
        /// HTTP status.
        status: u16,
        /// Whether the rest of the body is read then; otherwise the connection is reset.
        reads_on: bool,
    },
    /// Answer in gzip, whether it was asked for or not.
    Gzip,
}

/// Which requests a knob is for: the route's name in records, such as `login` or `query`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteName(pub String);

impl RouteName {
    /// The name of a route.
    pub fn of(route: Route) -> Self {
        Self(route.as_str().to_owned())
    }
}
