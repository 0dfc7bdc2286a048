//! [`RequestBody`]: the body of a request to Snowflake, streamed from the client or written by the gate.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::client_body::ClientBody;

/// The progress of the running request's body. There is one per connection, so that a request does not allocate it.
#[derive(Default)]
pub(super) struct Progress {
    frames: AtomicU32,
    /// The client's body is incomplete or malformed.
    client_broke: AtomicBool,
}

impl Progress {
    const DONE: u32 = u32::MAX;

    pub(super) fn start(&self) {
        self.client_broke.store(false, Ordering::Relaxed);
        self.frames.store(0, Ordering::Relaxed);
    }

    fn step(&self) {
        self.frames.store(self.frames.load(Ordering::Relaxed).wrapping_add(1) & (Self::DONE >> 1), Ordering::Relaxed);
    }

    fn finish(&self) {
        self.frames.store(Self::DONE, Ordering::Relaxed);
    }

    /// Whether the client's body is why the request failed.
    pub(super) fn client_broke(&self) -> bool {
        self.client_broke.load(Ordering::Relaxed)
    }

    /// How many frames are sent; `None` after the last.
    pub(super) fn frames(&self) -> Option<u32> {
        Some(self.frames.load(Ordering::Relaxed)).filter(|frames| *frames != Self::DONE)
    }
}

/// The body of a request to Snowflake.
pub enum RequestBody {
    /// Streamed as the client sends it.
    Streamed(ClientBody),
    /// The same, after a part that the gate has read.
    Begun(Option<Bytes>, ClientBody),
    /// Written by the gate.
    Whole(Full<Bytes>),
}

impl RequestBody {
    /// A body in one piece.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(bytes.into()))
    }
}

/// A body that reports its progress to its connection.
pub(super) struct ProgressBody {
    body: RequestBody,
    progress: Arc<Progress>,
}

impl ProgressBody {
    pub(super) fn new(body: RequestBody, progress: Arc<Progress>) -> Self {
        progress.start();
        if body.is_end_stream() {
            progress.finish();
        }
        Self { body, progress }
    }

    /// Takes the body back from a request that was not written.
    pub(super) fn into_body(self) -> RequestBody {
        self.body
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Streamed(body) => Pin::new(body).poll_frame(cx),
            Self::Begun(read, rest) => match read.take() {
                Some(read) => Poll::Ready(Some(Ok(Frame::data(read)))),
                None => Pin::new(rest).poll_frame(cx),
            },
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Streamed(body) => body.is_end_stream(),
            Self::Begun(read, rest) => read.is_none() && rest.is_end_stream(),
            Self::Whole(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Streamed(body) => body.size_hint(),
            Self::Begun(..) => SizeHint::default(),
            Self::Whole(body) => body.size_hint(),
        }
    }
}

impl Body for ProgressBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Err(_)) = frame {
            this.progress.client_broke.store(true, Ordering::Relaxed);
        }
        if frame.is_none() || this.body.is_end_stream() {
            this.progress.finish();
        } else {
            this.progress.step();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
