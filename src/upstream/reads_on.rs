//! [`ReadsOn`]: a stream that is still read when it can no longer be written.
//!
//! A server may refuse a large body before it has come, and close its socket. Then the next write fails, although the
//! answer is here already; hyper would report the write's failure and drop the answer. So this stream takes what is
//! written after such a failure and discards it: the reads have the answer, or the same failure.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The stream.
pub(super) struct ReadsOn<T> {
    inner: T,
    /// Whether a write has failed.
    deaf: bool,
}

impl<T> ReadsOn<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, deaf: false }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ReadsOn<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ReadsOn<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.deaf {
            match ready!(Pin::new(&mut this.inner).poll_write(cx, bytes)) {
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(_gone) => this.deaf = true,
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.deaf {
            match ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, parts)) {
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(_gone) => this.deaf = true,
            }
        }
        Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.deaf {
            true => Poll::Ready(Ok(())),
            false => Pin::new(&mut this.inner).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_although_the_other_side_takes_no_more() {
        let (near, mut far) = tokio::io::duplex(1024);
        far.write_all(b"413").await.unwrap();
        drop(far);
        let mut stream = ReadsOn::new(near);
        for _ in 0..3 {
            stream.write_all(&[0; 4096]).await.unwrap();
            stream.flush().await.unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "413");
    }
}
