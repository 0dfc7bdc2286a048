//! The service manager, on Unix: systemd's sockets and its notifications (`sd_listen_fds(3)`, `sd_notify(3)`).

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use super::signal::SystemEvent;
use crate::config::Config;
use crate::telemetry::logs::Output;

/// The notifications to the service manager.
pub(super) enum Phase {
    /// The gate serves.
    Ready,
    /// It reads its configuration again.
    Reloading,
    /// It stops, and may take so long.
    Stopping(#[expect(dead_code, reason = "systemd has its own limit for it, in the unit")] Duration),
    /// It is still at work.
    Alive,
}

/// The service manager of this process; without one, nothing that is said here goes anywhere.
pub(super) struct ServiceManager;

impl ServiceManager {
    /// That of this process.
    pub(super) fn of_this_process() -> Self {
        Self
    }

    /// Where the log goes.
    ///
    /// # Errors
    /// Never.
    #[expect(clippy::unused_self, reason = "that of Windows knows whether there is a stderr")]
    pub(super) fn log(&self, _config: &Config) -> io::Result<Output> {
        Ok(Output::Stderr)
    }

    /// How often the service manager wants to hear that the gate is at work; `None` if it does not. Half of what it
    /// waits, as `sd_watchdog_enabled(3)` has it.
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

    /// What it wants of the gate: nothing but by signals.
    pub(super) async fn next(&mut self) -> SystemEvent {
        std::future::pending().await
    }

    /// Notifies the service manager, if there is one.
    #[expect(clippy::unused_self, reason = "that of Windows has a handle")]
    pub(super) fn tell(&self, phase: &Phase) {
        let told = match phase {
            Phase::Ready => sd_notify::notify(&[NotifyState::Ready]),
            Phase::Reloading => {
                let now = NotifyState::monotonic_usec_now();
                now.and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now]))
            }
            Phase::Stopping(_) => sd_notify::notify(&[NotifyState::Stopping]),
            Phase::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
        };
        if let Err(error) = told {
            tracing::warn!(cause = %error, "cannot notify the service manager");
        }
    }
}
