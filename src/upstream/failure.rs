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
    Away {
        /// Where the last try failed.
        hop: Hop,
        /// For the operator.
        cause: String,
    },
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
    /// That of a part of the path.
    Way(Hop),
    /// Snowflake's.
    Snowflake,
}

/// A part of the path to Snowflake, in the order of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// The name has no address.
    Resolve,
    /// TCP, to the account's address or to the forward proxy's.
    Connect,
    /// The forward proxy, once it is connected.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// The exchange, on a connection that was good.
    Exchange,
}

impl Hop {
    /// Where an error under way there belongs: a connection that broke in the handshake says nothing about trust.
    pub(super) fn of(self, error: &io::Error) -> Self {
        let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        if self == Self::Tls && !is_tls { Self::Connect } else { self }
    }

    /// Where silence under way there belongs.
    pub(super) fn silent(self) -> Self {
        if self == Self::Tls { Self::Connect } else { self }
    }

    /// The kind of a failure there.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Resolve => Kind::NameUnresolved,
            Self::Connect => Kind::ConnectFailed,
            Self::Proxy => Kind::ForwardProxy,
            Self::Tls => Kind::UpstreamTls,
            Self::Exchange => Kind::SnowflakeUnreachable,
        }
    }
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

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Away { hop, .. } => hop.kind(),
            Self::Unready(_) => Kind::SnowflakeBusy,
            Self::Busy(_) => Kind::AccountBusy,
            Self::Unsent { blame, .. } | Self::Broken { blame, .. } => match blame {
                Blame::Client => Kind::BodyBroken,
                Blame::Machine => Kind::MachineExhausted,
                Blame::Way(hop) => hop.kind(),
                Blame::Snowflake => Kind::SnowflakeUnreachable,
            },
            Self::Silent => Kind::SnowflakeSilent,
            Self::ClientStalled => Kind::RequestSlow,
        }
    }

    /// Whether Snowflake can have seen nothing of the request.
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::Away { .. } | Self::Busy(_) | Self::Unsent { .. } => true,
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
        let kind = failure.kind();
        Self::new(kind).with_cause(match failure {
            Failure::Unready(cause) | Failure::Busy(cause) => cause,
            Failure::Away { cause, .. } | Failure::Unsent { cause, .. } | Failure::Broken { cause, .. } => cause,
            Failure::Silent => "no first byte within upstream.first_byte".to_owned(),
            Failure::ClientStalled => "the client stopped sending its body".to_owned(),
        })
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
        assert_eq!(fault(Blame::Machine), Kind::MachineExhausted);
        assert_eq!(fault(Blame::Way(Hop::Tls)), Kind::UpstreamTls);
    }
}
