//! The log on stderr: JSON lines for programs, text for a terminal. A service of Windows has a writer of its own.
//!
//! Nothing that logs ever waits for the reader of stderr, a panic's message included: see [`LogSink`].

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::log_level::LogLevel;
use super::log_sink::{DroppedLines, LogFlush, LogSink};
use crate::base::text::capped;
use crate::config::{Log, LogFormat};

/// The longest text of a panic.
const PANIC: usize = 1024;

/// What a running gate knows of its log.
#[derive(Clone, Default)]
pub struct LogControl {
    /// How many lines were dropped.
    pub dropped: DroppedLines,
    /// Which lines are written.
    pub level: LogLevel,
}

/// Where the log goes.
pub enum Output {
    /// To stderr.
    Stderr,
    /// To this writer, as lines of JSON whatever `log.format` says. It is called with whole lines.
    Lines(Box<dyn Write + Send>),
}

/// Starts logging for this process; a second call changes nothing.
///
/// # Errors
/// If the thread that writes cannot be started.
pub fn start(log: &Log, output: Output) -> io::Result<(LogFlush, LogControl)> {
    let json = match (&output, log.format) {
        (Output::Lines(_), _) | (Output::Stderr, LogFormat::Json) => true,
        (Output::Stderr, LogFormat::Text) => false,
        (Output::Stderr, LogFormat::Auto) => !std::io::stderr().is_terminal(),
    };
    let to: Box<dyn Write + Send> = match output {
        Output::Stderr => Box::new(io::stderr()),
        Output::Lines(writer) => writer,
    };
    let flows = |dropped| tracing::warn!(owner = "gate", dropped, "the log was not read; lines were dropped");
    let (sink, flush) = LogSink::start(to, flows)?;
    let dropped = sink.dropped();
    let (filter, level) = LogLevel::new(log.level);
    let base = tracing_subscriber::registry().with(filter);
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
    Ok((flush, LogControl { dropped, level }))
}
