//! [`Failure`]: why there is no answer, how far the request came, and whose failure it is.

use std::io;

use crate::base::fault::{Fault, Kind};

#[cfg_attr(unix, path = "exhausted_unix.rs")]
#[cfg_attr(windows, path = "exhausted_windows.rs")]
mod exhausted;

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The breaker is open: Snowflake is known to be unreachable, and the gate did not try.
    Away(String),
    /// The account's in-flight limit is reached, and no request ended in time.
    Busy(String),
    /// Nothing of the request has left the gate.
    Unsent {
        /// Whose failure it is.
        blame: Blame,
        /// For the operator.
        cause: String,
    },
    /// The request, or a part of it, was sent, and the exchange failed.
    Broken {
        /// Whose failure it is.
        blame: Blame,
        /// For the operator.
        cause: String,
    },
    /// The status of the answer says that Snowflake cannot serve now.
    Unready(String),
    /// The request was sent whole, and nothing came back in time.
    Silent,
    /// The client stopped sending the body.
    ClientStalled,
}

/// Whose failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The client's: its body is incomplete or malformed.
    Client,
    /// This machine's: it has no descriptor, port or memory left. It says nothing about Snowflake.
    Machine,
    /// The path's: name resolution, TCP, a forward proxy, TLS.
    Way,
    /// Snowflake's.
    Snowflake,
}

impl Failure {
    pub(super) fn unsent(blame: Blame, cause: String) -> Self {
        Self::Unsent { blame, cause }
    }

    /// The gate cannot write the request.
    pub(super) fn unfit(cause: String) -> Self {
        Self::Unsent { blame: Blame::Machine, cause }
    }

    pub(super) fn broken(blame: Blame, cause: String) -> Self {
        Self::Broken { blame, cause }
    }

    /// Whether Snowflake can have seen nothing of the request.
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::Away(_) | Self::Busy(_) | Self::Unsent { .. } => true,
            Self::Broken { .. } | Self::Unready(_) | Self::Silent | Self::ClientStalled => false,
        }
    }

    /// Whether the client has broken the request.
    pub fn is_the_client_s(&self) -> bool {
        matches!(self, Self::ClientStalled | Self::Broken { blame: Blame::Client, .. })
    }
}

impl From<Failure> for Fault {
    /// The fault for the client of a failed request.
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Away(cause) => Self::new(Kind::SnowflakeUnreachable).with_cause(cause),
            Failure::Unready(cause) => Self::new(Kind::SnowflakeBusy).with_cause(cause),
            Failure::Busy(cause) => Self::new(Kind::AccountBusy).with_cause(cause),
            Failure::Unsent { blame, cause } | Failure::Broken { blame, cause } => match blame {
                Blame::Client => Self::new(Kind::BodyBroken).with_cause(cause),
                Blame::Machine => Self::new(Kind::GateBroken).with_cause(cause),
                Blame::Way | Blame::Snowflake => Self::new(Kind::SnowflakeUnreachable).with_cause(cause),
            },
            Failure::Silent => Self::new(Kind::SnowflakeSilent).with_cause("no first byte within upstream.first_byte"),
            Failure::ClientStalled => Self::new(Kind::RequestSlow).with_cause("the client stopped sending its body"),
        }
    }
}

/// Whether a connection failed because this machine has no resources left for it.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, OutOfMemory};
    matches!(error.kind(), AddrInUse | AddrNotAvailable | OutOfMemory)
        || error.raw_os_error().is_some_and(|code| exhausted::CODES.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_s_failures_are_not_the_way_s() {
        for code in exhausted::CODES {
            assert!(is_exhausted(&io::Error::from_raw_os_error(code)), "{code}");
        }
        assert!(!is_exhausted(&io::Error::from(io::ErrorKind::ConnectionRefused)));
        let fault = |blame| Fault::from(Failure::broken(blame, "x".into())).kind();
        assert_eq!(fault(Blame::Client), Kind::BodyBroken);
        assert_eq!(fault(Blame::Machine), Kind::GateBroken);
        assert_eq!(fault(Blame::Way), Kind::SnowflakeUnreachable);
    }
}
