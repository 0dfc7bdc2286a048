//! [`OwnAddress`]: the address that the gate has for an account's Snowflake. A network policy lists it, so that a
//! change of it breaks every login.

use std::net::IpAddr;

use parking_lot::Mutex;

/// What is known of the gate's address towards one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The address of this machine that the last connection came from.
    pub local: Option<IpAddr>,
    /// The address that Snowflake last named: behind a gateway it is another one.
    pub seen: Option<IpAddr>,
}

/// The same, as it is now.
#[derive(Debug, Default)]
pub struct OwnAddress(Mutex<Addresses>);

impl OwnAddress {
    pub(super) fn connected_from(&self, local: IpAddr) {
        self.0.lock().local = Some(local);
    }

    pub(super) fn seen_as(&self, address: IpAddr) {
        self.0.lock().seen = Some(address);
    }

    pub(super) fn now(&self) -> Addresses {
        *self.0.lock()
    }
}

impl std::fmt::Display for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.local, self.seen) {
            (Some(local), Some(seen)) => write!(f, "from {local}, which Snowflake sees as {seen}"),
            (Some(local), None) => write!(f, "from {local}"),
            (None, Some(seen)) => write!(f, "Snowflake sees {seen}"),
            (None, None) => write!(f, "not known"),
        }
    }
}
