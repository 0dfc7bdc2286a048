//! [`LogSink`]: a bounded buffer between the log and stderr, with a writer thread of its own.
//!
//! A line costs its writer one copy into memory. When the reader of stderr stalls and the buffer is full, lines are
//! dropped and counted; when it reads again, one line says how many. The writer looks at the buffer every few
//! milliseconds and is not woken by a line: to wake a thread takes several times as long as to format the line, which
//! is also why this is not tracing-appender's writer.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

/// How many bytes of lines may wait, some thousands of lines. The writer has as many again in its hands.
const HELD: usize = 4 << 20;
/// How often the writer looks for lines.
const LOOK: Duration = Duration::from_millis(20);
/// How long the end of the process waits for a reader that stalls.
const FLUSH: Duration = Duration::from_secs(1);

/// How many lines of the log were dropped; a process has one log.
pub type DroppedLines = Counter;

/// The way of a line to stderr.
#[derive(Clone)]
pub struct LogSink {
    shared: Arc<Shared>,
    dropped: DroppedLines,
}

struct Shared {
    most: usize,
    waiting: Mutex<Vec<u8>>,
    closing: AtomicBool,
}

/// Writes what is left when it is dropped, for a second at most.
pub struct LogFlush {
    shared: Arc<Shared>,
    writer: Thread,
    ended: Receiver<()>,
}

impl LogSink {
    /// A sink before this writer, which may block. `flows_again` is called on the writer's thread with the number of
    /// lines that were dropped since the last call, once all lines that were not dropped are written.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start<W, F>(to: W, flows_again: F) -> io::Result<(Self, LogFlush)>
    where
        W: Write + Send + 'static,
        F: Fn(u64) + Send + 'static,
    {
        Self::holding(HELD, to, flows_again)
    }

    fn holding<W, F>(most: usize, mut to: W, flows_again: F) -> io::Result<(Self, LogFlush)>
    where
        W: Write + Send + 'static,
        F: Fn(u64) + Send + 'static,
    {
        let shared = Arc::new(Shared { most, waiting: Mutex::default(), closing: AtomicBool::new(false) });
        let (sink, (tell, ended)) = (Self { shared: shared.clone(), dropped: Counter::default() }, channel());
        let (theirs, dropped) = (shared.clone(), sink.dropped.clone());
        let write = move || {
            let (mut lines, mut told) = (Vec::new(), 0);
            loop {
                // Asked before the buffer is taken: what was logged before the end is then in it.
                let closing = theirs.closing.load(Ordering::Acquire);
                std::mem::swap(&mut *theirs.waiting.lock(), &mut lines);
                if !lines.is_empty() {
                    // Where stderr is gone there is nobody to tell.
                    let _gone = to.write_all(&lines).and_then(|()| to.flush());
                    lines.clear();
                    continue;
                }
                let now = dropped.get();
                if now > told {
                    flows_again(now - told);
                    told = now;
                } else if closing {
                    break;
                } else {
                    std::thread::park_timeout(LOOK);
                }
            }
            let _nobody_waits = tell.send(());
        };
        let writer = std::thread::Builder::new().name("log".to_owned()).spawn(write)?.thread().clone();
        Ok((sink, LogFlush { shared, writer, ended }))
    }

    /// The count of dropped lines.
    pub fn dropped(&self) -> DroppedLines {
        self.dropped.clone()
    }
}

/// One line; the log writes each with one call.
impl Write for &LogSink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.shared.waiting.lock();
        if waiting.len() + line.len() > self.shared.most {
            drop(waiting);
            self.dropped.inc();
        } else {
            waiting.extend_from_slice(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogSink {
    type Writer = &'a LogSink;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Drop for LogFlush {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.writer.unpark();
        let _late = self.ended.recv_timeout(FLUSH);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender};

    use super::*;

    /// A reader of the log that reads when the test says so.
    struct Stalled {
        writes: Sender<String>,
        go_on: Receiver<()>,
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.writes.send(String::from_utf8_lossy(bytes).into_owned()).map_err(io::Error::other)?;
            self.go_on.recv().map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_no_time_and_is_told_how_many() {
        let ((writes, written), (go, go_on), (tell, told)) = (channel(), channel(), channel());
        let told_of = move |count| tell.send(count).unwrap();
        let (sink, flush) = LogSink::holding(10, Stalled { writes, go_on }, told_of).unwrap();
        (&sink).write_all(b"first\n").unwrap();
        assert_eq!(written.recv().unwrap(), "first\n");
        // The reader holds the first line now; two more fit, and all others are dropped at once.
        for line in [b"two-\n", b"three", b"four\n", b"five\n"] {
            (&sink).write_all(line).unwrap();
        }
        assert_eq!((sink.dropped().get(), told.try_recv().ok()), (2, None));
        go.send(()).unwrap();
        assert_eq!(written.recv().unwrap(), "two-\nthree");
        go.send(()).unwrap();
        assert_eq!(told.recv().unwrap(), 2, "one word about all of them");
        (&sink).write_all(b"last\n").unwrap();
        go.send(()).unwrap();
        drop(flush);
        assert_eq!(written.try_iter().collect::<String>(), "last\n", "the end of the process writes what is left");
        assert_eq!(told.try_recv().ok(), None);
    }
}
