//! [`AnswerBody`]: the body of an answer to the client. It carries the request's record until the last byte.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::logout::Logout;
use crate::admit::RequestPermit;
use crate::base::fault::chain;
use crate::base::trace::TraceId;
use crate::snowflake::query_id::{EDGE, Edges};
use crate::telemetry::record::Record;
use crate::upstream::ResponseBody;

/// A body, with the record of its request.
pub struct AnswerBody {
    content: Content,
    record: Record,
    /// What of a statement's answer the record keeps.
    edges: Option<Box<Ends>>,
}

/// The first bytes of an answer, and its last piece.
struct Ends {
    first: Vec<u8>,
    last: Bytes,
    gzip: bool,
}

/// The gate's own body, or Snowflake's body as a stream.
pub(super) enum Content {
    /// The gate's own.
    Whole(Full<Bytes>),
    /// The answer to a login that has opened a session, which ends if nobody gets it.
    Granted(Full<Bytes>, Box<Logout>),
    /// Snowflake's, with the permit of its request, which the gate releases after the last byte.
    Streamed(ResponseBody, #[expect(dead_code, reason = "it is given back when it is dropped")] RequestPermit),
}

impl Content {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(bytes.into()))
    }
}

impl AnswerBody {
    pub(super) fn new(content: Content, record: Record) -> Self {
        Self { content, record, edges: None }
    }

    /// Keeps the edges of the answer to a statement for the record, which is where its id stands.
    pub(super) fn keeping_edges(mut self, gzip: bool) -> Self {
        self.edges = Some(Box::new(Ends { first: Vec::new(), last: Bytes::new(), gzip }));
        self
    }

    fn sent(&mut self, piece: &Bytes) {
        self.record.sent_down(piece.len());
        if let Some(ends) = &mut self.edges {
            let room = EDGE - ends.first.len();
            ends.first.extend_from_slice(&piece[..piece.len().min(room)]);
            ends.last = piece.clone();
        }
    }

    fn complete(&mut self) {
        if let Some(ends) = self.edges.take() {
            let Ends { first, last, gzip } = *ends;
            let last = last[last.len().saturating_sub(EDGE)..].to_vec();
            self.record.note(|facts| facts.edges = Some(Box::new(Edges { first, last, gzip })));
        }
        self.record.complete();
    }
}

/// The body is incomplete. The gate must reset the connection, so that the client does not take a part for the whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off (trace {0})")]
pub struct BrokeOff(TraceId);

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let this = self.get_mut();
        let polled = match &mut this.content {
            Content::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Content::Granted(body, logout) => {
                let polled = Pin::new(body).poll_frame(cx).map_err(|never| match never {});
                // The connection has it.
                if polled.is_ready() {
                    logout.disarm();
                }
                polled
            }
            Content::Streamed(body, _) => Pin::new(body).poll_frame(cx).map_err(|error| {
                this.record.broke_off(chain(&error));
                BrokeOff(this.record.trace())
            }),
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(piece) = frame.data_ref() {
                    this.sent(piece);
                }
            }
            Poll::Ready(None) => this.complete(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(body) | Content::Granted(body, _) => body.is_end_stream(),
            Content::Streamed(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(body) | Content::Granted(body, _) => body.size_hint(),
            Content::Streamed(body, _) => body.size_hint(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        // hyper drops a body after its last frame, or when the connection closes in the middle of it.
        if self.is_end_stream() {
            self.complete();
        }
    }
}
