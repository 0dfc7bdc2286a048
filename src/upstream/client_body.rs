//! [`ClientBody`]: the body of a client's request, which comes back if nobody reads it to its end.
//!
//! A connection serves the next request only when this one's body is read. So whoever answers must know whether it is,
//! also where a handler has passed the body on and failed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;

/// Where a body is.
enum Whereabouts {
    Lent,
    Unread(Incoming),
    Ended,
}

/// The place that a body comes back to.
#[derive(Clone)]
pub struct BodySlot(Arc<Mutex<Whereabouts>>);

/// A lent body.
pub struct ClientBody {
    body: Option<Incoming>,
    slot: BodySlot,
    kept: Option<KeptBeginning>,
}

/// The first bytes of a body, for a record. They are there when the body has been read.
pub type KeptBeginning = Arc<Mutex<Vec<u8>>>;

impl BodySlot {
    /// A slot with the body of a request.
    pub fn new(body: Incoming) -> Self {
        let whereabouts = if body.is_end_stream() { Whereabouts::Ended } else { Whereabouts::Unread(body) };
        Self(Arc::new(Mutex::new(whereabouts)))
    }

    /// Lends the body; an empty one if it has ended, or is lent.
    pub fn lend(&self) -> ClientBody {
        let mut whereabouts = self.0.lock();
        let body = match std::mem::replace(&mut *whereabouts, Whereabouts::Lent) {
            Whereabouts::Unread(body) => Some(body),
            Whereabouts::Ended => {
                *whereabouts = Whereabouts::Ended;
                None
            }
            Whereabouts::Lent => None,
        };
        drop(whereabouts);
        ClientBody { body, slot: self.clone(), kept: None }
    }

    /// Whether the body has been read to its end.
    pub fn has_ended(&self) -> bool {
        matches!(*self.0.lock(), Whereabouts::Ended)
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            *self.slot.0.lock() = if body.is_end_stream() { Whereabouts::Ended } else { Whereabouts::Unread(body) };
        }
    }
}

impl ClientBody {
    /// Keeps its first bytes, up to so many, as they pass.
    #[must_use]
    pub fn keeping(mut self, most: usize) -> (Self, KeptBeginning) {
        let kept = KeptBeginning::new(Mutex::new(Vec::with_capacity(most)));
        self.kept = Some(kept.clone());
        (self, kept)
    }

    fn ended(&mut self) {
        self.body = None;
        *self.slot.0.lock() = Whereabouts::Ended;
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if let (Some(kept), Some(Ok(frame))) = (&this.kept, &frame)
            && let Some(data) = frame.data_ref()
        {
            let mut kept = kept.lock();
            let room = kept.capacity() - kept.len();
            kept.extend_from_slice(&data[..data.len().min(room)]);
        }
        if frame.is_none() || this.is_end_stream() {
            this.ended();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
