//! The log on stderr: JSON lines for programs, text for a terminal.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Level, Log, LogFormat};

/// Starts logging for this process; a second call changes nothing.
///
/// The level holds for our own lines. Of the libraries only warnings are let through, and nothing at all of the Vault client
/// and what is below it: their trace lines carry tokens.
pub fn start(log: &Log) {
    let level = match log.level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let filter = EnvFilter::new(format!("warn,patgate={level},vaultrs=off,rustify=off,reqwest=off,hyper=off,hyper_util=off,rustls=off"));
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let base = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // An error means that a subscriber is there already, as in tests that run in one process.
    let _already = if json {
        base.with(layer.json().flatten_event(true).with_current_span(false).with_span_list(false)).try_init()
    } else {
        base.with(layer.compact().with_ansi(std::io::stderr().is_terminal())).try_init()
    };
}
