//! The user of a local peer's socket, on Windows: not implemented, so the gate refuses clients with `users`.

use std::net::SocketAddr;

use crate::admit::LocalUser;

/// Always `None`.
pub fn of(_peer: SocketAddr, _ours: SocketAddr) -> Option<LocalUser> {
    None
}
