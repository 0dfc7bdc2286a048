//! The service manager, on Windows: it holds no sockets for a service, and the gate does not notify it yet.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

/// The notifications to the service manager.
pub(super) enum Phase {
    /// The gate serves.
    Ready,
    /// It reads its configuration again.
    Reloading,
    /// It stops.
    Stopping,
    /// It is still at work.
    Alive,
}

/// It does not ask.
pub(super) fn watchdog() -> Option<Duration> {
    None
}

/// None.
///
/// # Errors
/// Never.
pub(super) fn sockets() -> io::Result<[Option<TcpListener>; 2]> {
    Ok([None, None])
}

/// Does nothing.
pub(super) fn tell(_phase: &Phase) {}
