//! Signals that ask the process for something, on Unix.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for, with its name.
pub(super) enum SystemEvent {
    /// The end of the process.
    Stop(&'static str),
    /// Another look at the configuration.
    Reload(&'static str),
}

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
    pub(super) async fn next(&mut self) -> SystemEvent {
        tokio::select! {
            _ = self.terminate.recv() => SystemEvent::Stop("SIGTERM"),
            _ = self.interrupt.recv() => SystemEvent::Stop("SIGINT"),
            _ = self.hangup.recv() => SystemEvent::Reload("SIGHUP"),
        }
    }

    /// Ends with the next one that asks for the end.
    pub(super) async fn stop(&mut self) {
        while !matches!(self.next().await, SystemEvent::Stop(_)) {}
    }
}
