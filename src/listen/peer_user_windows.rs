//! Whose socket the other end of a loopback connection is, on Windows: not found out yet, so that who asks for named
//! users is refused.

use std::net::SocketAddr;

use crate::admit::LocalUser;

/// Nobody.
pub(super) fn of(_peer: SocketAddr, _ours: SocketAddr) -> Option<LocalUser> {
    None
}
