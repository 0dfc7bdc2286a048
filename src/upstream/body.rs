//! [`RequestBody`]: what goes up, streamed from the client or written by us.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

/// How far the body of the running request has come; one a connection, so that a request allocates nothing for it.
#[derive(Default)]
pub(super) struct Progress(AtomicU32);

impl Progress {
    const DONE: u32 = u32::MAX;

    pub(super) fn start(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn step(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1) & (Self::DONE >> 1), Ordering::Relaxed);
    }

    fn finish(&self) {
        self.0.store(Self::DONE, Ordering::Relaxed);
    }

    /// How many frames have gone up; `None` once all have.
    pub(super) fn frames(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|frames| *frames != Self::DONE)
    }
}

/// The body of a request to Snowflake.
pub enum RequestBody {
    /// Streamed as the client sends it.
    Streamed(Incoming),
    /// Written by the gate.
    Whole(Full<Bytes>),
}

impl RequestBody {
    /// A body in one piece.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(bytes.into()))
    }
}

/// A body that tells its connection how far it has come.
pub(super) struct Tracked {
    body: RequestBody,
    progress: Arc<Progress>,
}

impl Tracked {
    pub(super) fn new(body: RequestBody, progress: Arc<Progress>) -> Self {
        progress.start();
        if body.is_end_stream() {
            progress.finish();
        }
        Self { body, progress }
    }

    /// Takes the body back from a request that was never written.
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
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Streamed(body) => body.is_end_stream(),
            Self::Whole(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Streamed(body) => body.size_hint(),
            Self::Whole(body) => body.size_hint(),
        }
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
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
