//! [`Captured`]: the log in memory, for the demo, which shows what an operator would find.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::log_level::filter;
use crate::config::Level;

/// The last lines of the log, kept in memory; for the demo, which shows what an operator would find.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<VecDeque<String>>>);

impl Captured {
    /// Starts logging into memory; as with [`super::logs::start`], only the first start of a process counts.
    pub fn start() -> Self {
        let captured = Self::default();
        let writer = captured.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
        let _already = tracing_subscriber::registry().with(filter(Level::Info)).with(layer).try_init();
        captured
    }

    /// The lines that hold a text.
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
