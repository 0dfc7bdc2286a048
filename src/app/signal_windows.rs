//! Events that ask the process for something, on Windows.

use tokio::signal::windows::{CtrlC, CtrlClose, CtrlShutdown, ctrl_c, ctrl_close, ctrl_shutdown};

use super::Asked;

/// The events, from the moment on at which this is made.
pub(super) struct Signals {
    interrupt: CtrlC,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl Signals {
    /// Takes the events over.
    ///
    /// # Errors
    /// When the system gives no handler.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: ctrl_c()?, close: ctrl_close()?, shutdown: ctrl_shutdown()? })
    }

    /// The next event. There is none for a reload: the files are looked at, and `patgate reload` asks.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Stop("Ctrl-C"),
            _ = self.close.recv() => Asked::Stop("close"),
            _ = self.shutdown.recv() => Asked::Stop("shutdown"),
        }
    }

    /// Ends with the next one that asks for the end.
    pub(super) async fn stop(&mut self) {
        while !matches!(self.next().await, Asked::Stop(_)) {}
    }
}
