//! The service manager, on Unix: systemd's sockets and its notifications (`sd_listen_fds(3)`, `sd_notify(3)`).

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

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

/// How often the service manager wants to hear that the gate is at work; `None` if it does not. Half of what it waits,
/// as `sd_watchdog_enabled(3)` has it.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| patience / 2).filter(|every| !every.is_zero())
}

/// The sockets from the service manager: the first for drivers, the second for the operator.
///
/// # Errors
/// If one of them is not a TCP listener.
pub(super) fn sockets() -> io::Result<[Option<TcpListener>; 2]> {
    let mut given = ListenFd::from_env();
    let sockets = [given.take_tcp_listener(0)?, given.take_tcp_listener(1)?];
    sockets.iter().flatten().try_for_each(|socket| socket.set_nonblocking(true))?;
    Ok(sockets)
}

/// Notifies the service manager, if there is one.
pub(super) fn tell(phase: &Phase) {
    let told = match phase {
        Phase::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Phase::Reloading => {
            let now = NotifyState::monotonic_usec_now();
            now.and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now]))
        }
        Phase::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        Phase::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
    };
    if let Err(error) = told {
        tracing::warn!(cause = %error, "cannot notify the service manager");
    }
}
