//! [`Transport`]: a TCP stream that reads large answers in large pieces.
//!
//! rustls reads 4 KiB from its socket at a time. For a small request that is one system call, and there is nothing to
//! improve. For a result of many megabytes it makes sixteen calls in place of one. While answers fit, the transport
//! passes rustls's buffer to the socket and needs no memory. After a read that filled the buffer it uses a buffer of
//! its own, and frees it when the stream becomes quiet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The first buffer, for an answer that is just larger than rustls's own.
const FIRST: usize = 16 << 10;
/// The buffer for bulk.
const BULK: usize = 64 << 10;

/// A stream with adaptive reads.
pub struct Transport<T> {
    inner: T,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The size of the next buffer; 0 while reads go directly to the socket.
    wanted: usize,
    has_read: bool,
}

impl<T> Transport<T> {
    /// Wraps a stream.
    pub fn new(inner: T) -> Self {
        Self { inner, buffer: Vec::new(), start: 0, end: 0, wanted: 0, has_read: false }
    }

    /// Whether a byte has come.
    pub fn has_read(&self) -> bool {
        self.has_read
    }

    /// The stream below.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Transport<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.start == this.end {
            if this.wanted == 0 {
                let (room, before) = (into.remaining(), into.filled().len());
                ready!(Pin::new(&mut this.inner).poll_read(cx, into))?;
                this.has_read |= into.filled().len() > before;
                if room >= 4096 && into.filled().len() - before == room {
                    this.wanted = FIRST;
                }
                return Poll::Ready(Ok(()));
            }
            this.buffer.resize(this.wanted, 0);
            let mut bulk = ReadBuf::new(&mut this.buffer);
            let outcome = Pin::new(&mut this.inner).poll_read(cx, &mut bulk);
            let got = bulk.filled().len();
            if !matches!(outcome, Poll::Ready(Ok(()))) || got == 0 {
                // The stream is quiet, ended or failed: an idle stream keeps no buffer.
                this.buffer = Vec::new();
                this.wanted = 0;
                return outcome;
            }
            (this.start, this.end) = (0, got);
            this.wanted = if got == this.wanted { BULK } else { this.wanted };
        }
        let length = into.remaining().min(this.end - this.start);
        into.put_slice(&this.buffer[this.start..this.start + length]);
        this.start += length;
        Poll::Ready(Ok(()))
    }
}

/// The writing of a stream that only reads in a way of its own: the stream in this field does it.
macro_rules! writes_to {
    ($inner:ident) => {
        fn poll_write(
            self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            bytes: &[u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::pin::Pin::new(&mut self.get_mut().$inner).poll_write(cx, bytes)
        }

        fn poll_write_vectored(
            self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            parts: &[std::io::IoSlice<'_>],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::pin::Pin::new(&mut self.get_mut().$inner).poll_write_vectored(cx, parts)
        }

        fn is_write_vectored(&self) -> bool {
            self.$inner.is_write_vectored()
        }

        fn poll_flush(
            self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::pin::Pin::new(&mut self.get_mut().$inner).poll_flush(cx)
        }

        fn poll_shutdown(
            self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::pin::Pin::new(&mut self.get_mut().$inner).poll_shutdown(cx)
        }
    };
}
pub(crate) use writes_to;

impl<T: AsyncWrite + Unpin> AsyncWrite for Transport<T> {
    writes_to!(inner);
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_come_through_in_order_whatever_the_sizes() {
        let (mut near, far) = tokio::io::duplex(200_000);
        let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move { near.write_all(&sent).await });
        let mut transport = Transport::new(far);
        let mut got = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let n = transport.read(&mut piece).await.unwrap();
            if n == 0 {
                break;
            }
            got.extend_from_slice(&piece[..n]);
        }
        writer.await.unwrap().unwrap();
        assert!(got == expected);
        assert_eq!(transport.buffer.capacity(), 0, "an ended stream holds no buffer");
    }
}
