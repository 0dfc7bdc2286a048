//! The log on stderr: JSON lines for programs, text for a terminal.
//!
//! Nothing that logs ever waits for the reader of stderr, a panic's message included: see [`LogSink`].

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::log_sink::{DroppedLines, LogFlush, LogSink};
use crate::base::text::capped;
use crate::config::{Level, Log, LogFormat};

/// The longest text of a panic.
const PANIC: usize = 1024;

/// Starts logging for this process; a second call changes nothing. Also returns the count of dropped lines.
///
/// The level applies to the gate's own lines. Libraries write only warnings. The stores' clients, and the libraries
/// below them, write nothing: their lines contain tokens and whole answers.
///
/// # Errors
/// If the thread that writes cannot be started.
pub fn start(log: &Log) -> io::Result<(LogFlush, DroppedLines)> {
    let flows = |dropped| tracing::warn!(owner = "gate", dropped, "stderr was not read; lines were dropped");
    let (sink, flush) = LogSink::start(io::stderr(), flows)?;
    let dropped = sink.dropped();
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let base = tracing_subscriber::registry().with(filter(log.level));
    let layer = tracing_subscriber::fmt::layer().with_writer(sink);
    // An error means that there is a subscriber already, as in tests that run in one process.
    let _already = if json {
        base.with(layer.json().flatten_event(true).with_current_span(false).with_span_list(false)).try_init()
    } else {
        base.with(layer.compact().with_ansi(std::io::stderr().is_terminal())).try_init()
    };
    std::panic::set_hook(Box::new(|panic| {
        let (at, payload) = (panic.location().map(tracing::field::display), panic.payload_as_str());
        let cause = payload.map_or("", |text| capped(text, PANIC));
        tracing::error!(owner = "gate", at, cause, "a bug: a task panicked");
    }));
    Ok((flush, dropped))
}

pub(super) fn filter(level: Level) -> EnvFilter {
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    // A directive applies to every target that begins with its name.
    let silent = ["aws", "azure", "google_cloud", "hyper", "reqwest", "rustify", "rustls", "typespec", "vaultrs"];
    let silent: String = silent.iter().map(|name| format!(",{name}=off")).collect();
    EnvFilter::new(format!("warn,patgate={level}{silent}"))
}
