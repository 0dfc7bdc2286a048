//! [`Rewound`]: a stream whose first bytes were read already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tls::transport::writes_to;

/// A stream with the bytes that another reader took from it too early.
pub(super) struct Rewound<T> {
    first: Bytes,
    inner: T,
}

impl<T> Rewound<T> {
    pub(super) fn new(first: Bytes, inner: T) -> Self {
        Self { first, inner }
    }

    pub(super) fn get_ref(&self) -> &T {
        &self.inner
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewound<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.is_empty() {
            return Pin::new(&mut this.inner).poll_read(cx, into);
        }
        let length = this.first.len().min(into.remaining());
        into.put_slice(&this.first[..length]);
        this.first.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rewound<T> {
    writes_to!(inner);
}
