//! Signals that ask the process to stop, on Unix.

use tokio::signal::unix::{SignalKind, signal};

/// Ends with the name of the signal that came.
///
/// # Errors
/// When the system gives no handler.
pub(super) async fn stop() -> std::io::Result<&'static str> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // A closed terminal, or an operator who expects a reload: neither may cut running answers.
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        _ = hangup.recv() => "SIGHUP",
    })
}
