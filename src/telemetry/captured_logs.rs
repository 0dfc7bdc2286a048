//! [`Captured`]: the log in memory, for the demo, which shows what an operator would find.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::log_level::filter;
use crate::config::Level;

/// The last lines of the log, kept in memory; for the demo, which shows what an operator would find.
#[derive(Clone, Default)]
pub struct Captured(Arc<Shared>);

#[derive(Default)]
struct Shared {
    lines: Mutex<Lines>,
    added: Notify,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<String>,
    /// How many there were before the kept ones.
    gone: usize,
}

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

    /// How many lines there were so far.
    pub fn count(&self) -> usize {
        let lines = self.0.lines.lock();
        lines.gone + lines.kept.len()
    }

    /// The line with this number, from 0, as soon as it is there; `None` if it is kept no more.
    pub async fn line(&self, number: usize) -> Option<String> {
        loop {
            let added = self.0.added.notified();
            {
                let lines = self.0.lines.lock();
                if number < lines.gone + lines.kept.len() {
                    return number.checked_sub(lines.gone).map(|at| lines.kept[at].clone());
                }
            }
            added.await;
        }
    }

    /// The lines that hold a text.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        let lines = self.0.lines.lock();
        lines.kept.iter().filter(|line| line.contains(text)).cloned().collect()
    }
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        const KEPT: usize = 10_000;
        let mut lines = self.0.lines.lock();
        if lines.kept.len() == KEPT {
            lines.kept.pop_front();
            lines.gone += 1;
        }
        lines.kept.push_back(String::from_utf8_lossy(bytes).trim_end().to_owned());
        drop(lines);
        self.0.added.notify_waiters();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
