//! The service manager, on Windows: it holds no sockets for a service, and there is nothing to tell it yet.

use std::io;
use std::net::TcpListener;

/// What the service manager is told.
pub(super) enum Phase {
    /// The gate serves.
    Ready,
    /// It reads its configuration again.
    Reloading,
    /// It comes to its end.
    Stopping,
}

/// None.
///
/// # Errors
/// Never.
pub(super) fn sockets() -> io::Result<[Option<TcpListener>; 2]> {
    Ok([None, None])
}

/// Nobody listens.
pub(super) fn tell(_phase: &Phase) {}
