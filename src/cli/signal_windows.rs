//! Events that ask the process for something, on Windows.

use tokio::signal::windows::{CtrlC, CtrlClose, CtrlShutdown, ctrl_c, ctrl_close, ctrl_shutdown};

/// What an event of the system asks for, with its name.
pub(super) enum SystemEvent {
    /// The end of the process.
    Stop(&'static str),
    /// Another look at the configuration. Windows has no such event.
    #[expect(dead_code, reason = "there is no such event")]
    Reload(&'static str),
}

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
    pub(super) async fn next(&mut self) -> SystemEvent {
        tokio::select! {
            _ = self.interrupt.recv() => SystemEvent::Stop("Ctrl-C"),
            _ = self.close.recv() => SystemEvent::Stop("close"),
            _ = self.shutdown.recv() => SystemEvent::Stop("shutdown"),
        }
    }

    /// Ends with the next one that asks for the end.
    pub(super) async fn stop(&mut self) {
        while !matches!(self.next().await, SystemEvent::Stop(_)) {}
    }
}
