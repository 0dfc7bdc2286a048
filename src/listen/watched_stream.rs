//! [`WatchedStream`]: the client's stream, with a record of what it waits for.
//!
//! With this record [`super::connection`] can close a connection that waits too long: for the rest of a head, for a
//! client that sends nothing, or for a client that does not read. An update is two relaxed stores; a request in time
//! touches no timer.
//!
//! The stream also refuses a head with both Content-Length and Transfer-Encoding. hyper reads such a head in the safe
//! way and hides that both were there; but no driver sends it, so it is probably an attack (RFC 9112, section 6.3). The
//! stream does not check a head that arrives together with the request before it: there the gate relies on hyper, which
//! reads it safely and closes the connection after the answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What a connection is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Waiting {
    /// The next request's first byte.
    Idle = 0,
    /// The rest of a head.
    Head = 1,
    /// The gate's answer: the deadlines inside the gate apply.
    Answer = 2,
}

impl Waiting {
    /// The word for the log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "it waited for a request",
            Self::Head => "it waited for the rest of a head",
            Self::Answer => "it waited for an answer",
        }
    }
}

/// The record, shared between the stream and its watcher.
pub(super) struct Activity {
    start: Instant,
    waiting: AtomicU8,
    since: AtomicU64,
    /// Since when the client reads nothing; 0 while it reads.
    unread: AtomicU64,
}

impl Activity {
    /// A new connection waits for its first head at once.
    pub(super) fn new() -> Arc<Self> {
        let waiting = AtomicU8::new(Waiting::Head as u8);
        Arc::new(Self { start: Instant::now(), waiting, since: AtomicU64::new(0), unread: AtomicU64::new(0) })
    }

    pub(super) fn now(&self, waiting: Waiting) {
        self.since.store(self.millis(), Ordering::Relaxed);
        self.waiting.store(waiting as u8, Ordering::Relaxed);
    }

    pub(super) fn waiting(&self) -> Waiting {
        match self.waiting.load(Ordering::Relaxed) {
            0 => Waiting::Idle,
            1 => Waiting::Head,
            _ => Waiting::Answer,
        }
    }

    /// Since when it waits.
    pub(super) fn since(&self) -> Instant {
        self.at(self.since.load(Ordering::Relaxed))
    }

    /// Since when the client reads nothing; `None` while it reads.
    pub(super) fn unread(&self) -> Option<Instant> {
        Some(self.unread.load(Ordering::Relaxed)).filter(|since| *since != 0).map(|since| self.at(since))
    }

    fn wrote(&self, taken: bool) {
        let unread = self.unread.load(Ordering::Relaxed) != 0;
        if unread == taken {
            self.unread.store(if taken { 0 } else { self.millis().max(1) }, Ordering::Relaxed);
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }
}

/// A stream that updates its record.
pub(super) struct WatchedStream<T> {
    inner: T,
    activity: Arc<Activity>,
    head: Head,
}

impl<T> WatchedStream<T> {
    pub(super) fn new(inner: T, activity: Arc<Activity>) -> Self {
        Self { inner, activity, head: Head::default() }
    }

    pub(super) fn get_ref(&self) -> &T {
        &self.inner
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WatchedStream<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, into))?;
        let got = &into.filled()[before..];
        match this.activity.waiting() {
            Waiting::Idle if !got.is_empty() => {
                this.activity.now(Waiting::Head);
                this.head = Head::default();
                this.head.look(got)?;
            }
            Waiting::Head => this.head.look(got)?,
            Waiting::Idle | Waiting::Answer => {}
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WatchedStream<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.activity.wrote(outcome.is_ready());
        outcome
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.inner).poll_write_vectored(cx, parts);
        this.activity.wrote(outcome.is_ready());
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// Searches one head for the two framing headers.
#[derive(Default)]
struct Head {
    /// Whether there was a line that is not empty; empty lines before it do not count (RFC 9112, section 2.2).
    begun: bool,
    done: bool,
    content_length: bool,
    transfer_encoding: bool,
    /// The unfinished last line of the last piece; heads mostly arrive in one piece.
    rest: Vec<u8>,
}

/// The longest start of a line to keep from piece to piece.
const KEPT: usize = 64;

impl Head {
    fn look(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.done {
            return Ok(());
        }
        let joined;
        let piece = if self.rest.is_empty() {
            piece
        } else {
            self.rest.extend_from_slice(piece);
            joined = std::mem::take(&mut self.rest);
            &joined[..]
        };
        let mut lines = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(line) = lines.next() {
            if lines.peek().is_none() {
                // The line is incomplete; of a very long line only the name matters.
                self.rest = line[..line.len().min(KEPT)].to_vec();
                break;
            }
            match line.first() {
                None | Some(b'\r') if !self.begun => continue,
                None | Some(b'\r') => {
                    self.done = true;
                    break;
                }
                Some(b'c' | b'C') => self.content_length |= named(line, b"content-length"),
                Some(b't' | b'T') => self.transfer_encoding |= named(line, b"transfer-encoding"),
                Some(_) => {}
            }
            self.begun = true;
        }
        if self.content_length && self.transfer_encoding {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "both Content-Length and Transfer-Encoding"));
        }
        Ok(())
    }
}

fn named(line: &[u8], name: &[u8]) -> bool {
    line.len() > name.len()
        && line[..name.len()].eq_ignore_ascii_case(name)
        && matches!(line[name.len()], b':' | b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(pieces: &[&str]) -> bool {
        let mut head = Head::default();
        pieces.iter().try_for_each(|piece| head.look(piece.as_bytes())).is_ok()
    }

    #[test]
    fn two_framings_are_refused_however_the_head_is_cut() {
        assert!(!look(&["\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"]));
        let both = "POST / HTTP/1.1\r\nContent-Length: 5\r\nHost: a\r\ntransfer-ENCODING: chunked\r\n\r\n0\r\n\r\n";
        assert!(!look(&[both]));
        for cut in 0..both.len() - 8 {
            assert!(!look(&[&both[..cut], &both[cut..]]), "{cut}");
        }
        let bytes: Vec<String> = both.chars().map(String::from).collect();
        assert!(!look(&bytes.iter().map(String::as_str).collect::<Vec<_>>()));
    }

    #[test]
    fn one_framing_passes_and_a_body_is_not_looked_at() {
        assert!(look(&["POST / HTTP/1.1\r\nContent-Length: 60\r\n\r\nTransfer-Encoding: chunked\r\n"]));
        assert!(look(&["POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 1\r\n\r\n"]));
    }
}
