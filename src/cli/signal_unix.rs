//! Signals to the process, on Unix.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The request of a signal, with its name.
pub(super) enum SystemEvent {
    /// Stop the process.
    Stop(&'static str),
    /// Read the configuration again.
    Reload(&'static str),
}

/// The signals that arrive after this is made.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub(super) fn new() -> std::io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup: signal(SignalKind::hangup())? })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> SystemEvent {
        tokio::select! {
            _ = self.terminate.recv() => SystemEvent::Stop("SIGTERM"),
            _ = self.interrupt.recv() => SystemEvent::Stop("SIGINT"),
            _ = self.hangup.recv() => SystemEvent::Reload("SIGHUP"),
        }
    }

    /// Returns at the next signal that stops the process.
    pub(super) async fn stop(&mut self) {
        while !matches!(self.next().await, SystemEvent::Stop(_)) {}
    }
}
