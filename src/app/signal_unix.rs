//! Signals that ask the process for something, on Unix.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Asked;

/// The signals, from the moment on at which this is made.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over.
    ///
    /// # Errors
    /// When the system gives no handler.
    pub(super) fn new() -> std::io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup: signal(SignalKind::hangup())? })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Asked::Stop("SIGINT"),
            _ = self.hangup.recv() => Asked::Reload("SIGHUP"),
        }
    }

    /// Ends with the next one that asks for the end.
    pub(super) async fn stop(&mut self) {
        while !matches!(self.next().await, Asked::Stop(_)) {}
    }
}
