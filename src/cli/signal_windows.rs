//! Events for the process, on Windows.

use tokio::signal::windows::{CtrlC, CtrlClose, CtrlShutdown, ctrl_c, ctrl_close, ctrl_shutdown};

/// The request of an event, with its name.
pub(super) enum SystemEvent {
    /// Stop the process.
    Stop(&'static str),
    /// Read the configuration again: the service manager's PARAMCHANGE.
    Reload(&'static str),
}

/// The events that arrive after this is made.
pub(super) struct Signals {
    interrupt: CtrlC,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: ctrl_c()?, close: ctrl_close()?, shutdown: ctrl_shutdown()? })
    }

    /// The next event. There is none for a reload: the gate watches the files, and `patgate reload` requests one.
    pub(super) async fn next(&mut self) -> SystemEvent {
        tokio::select! {
            _ = self.interrupt.recv() => SystemEvent::Stop("Ctrl-C"),
            _ = self.close.recv() => SystemEvent::Stop("close"),
            _ = self.shutdown.recv() => SystemEvent::Stop("shutdown"),
        }
    }

    /// Returns at the next event that stops the process.
    pub(super) async fn stop(&mut self) {
        while !matches!(self.next().await, SystemEvent::Stop(_)) {}
    }
}
