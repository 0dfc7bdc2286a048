//! Events that ask the process to stop, on Windows.

use tokio::signal::windows::{ctrl_c, ctrl_close, ctrl_shutdown};

/// Ends with the name of the event that came.
///
/// # Errors
/// When the system gives no handler.
pub(super) async fn stop() -> std::io::Result<&'static str> {
    let (mut interrupt, mut close, mut shutdown) = (ctrl_c()?, ctrl_close()?, ctrl_shutdown()?);
    Ok(tokio::select! {
        _ = interrupt.recv() => "Ctrl-C",
        _ = close.recv() => "close",
        _ = shutdown.recv() => "shutdown",
    })
}
