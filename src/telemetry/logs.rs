//! The log on stderr: JSON lines for programs, text for a terminal.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Level, Log, LogFormat};

/// Starts logging for this process; a second call changes nothing.
///
/// The level applies to the gate's own lines. Libraries write only warnings. The stores' clients, and the libraries
/// below them, write nothing: their lines contain tokens and whole answers.
pub fn start(log: &Log) {
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let base = tracing_subscriber::registry().with(filter(log.level));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // An error means that there is a subscriber already, as in tests that run in one process.
    let _already = if json {
        base.with(layer.json().flatten_event(true).with_current_span(false).with_span_list(false)).try_init()
    } else {
        base.with(layer.compact().with_ansi(std::io::stderr().is_terminal())).try_init()
    };
}

fn filter(level: Level) -> EnvFilter {
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

/// The last lines of the log in memory, for the demo, which shows them.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<VecDeque<String>>>);

impl Captured {
    /// Starts logging into memory; as with [`start`], only the first start of a process counts.
    pub fn start() -> Self {
        let captured = Self::default();
        let writer = captured.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
        let _already = tracing_subscriber::registry().with(filter(Level::Info)).with(layer).try_init();
        captured
    }

    /// The lines that contain a text.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        let lines = self.0.lock();
        lines.iter().filter(|line| line.contains(text)).cloned().collect()
    }
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        const KEPT: usize = 10_000;
        let mut lines = self.0.lock();
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(bytes).trim_end().to_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
