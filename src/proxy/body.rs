//! [`AnswerBody`]: what goes down to the client.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::admit::Turn;
use crate::base::fault::chain;
use crate::base::names::TraceId;
use crate::telemetry::record::Record;
use crate::upstream::Answer;

/// A body of ours, or Snowflake's as it comes.
pub enum AnswerBody {
    /// Ours.
    Whole(Full<Bytes>),
    /// Snowflake's.
    Streamed(Streamed),
}

/// Snowflake's body, with what is needed to tell the operator when it breaks off.
pub struct Streamed {
    answer: Answer,
    record: Record,
    /// Given back with the last byte.
    _turn: Turn,
}

impl AnswerBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }

    pub(super) fn streamed(answer: Answer, record: Record, turn: Turn) -> Self {
        Self::Streamed(Streamed { answer, record, _turn: turn })
    }
}

/// The body broke off; the connection to the client must be reset, so that the client does not take a part for the whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off (trace {0})")]
pub struct BrokeOff(TraceId);

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Streamed(body) => {
                let record = &body.record;
                Pin::new(&mut body.answer).poll_frame(cx).map_err(|error| {
                    record.broke_off(&chain(&error));
                    BrokeOff(record.trace)
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Streamed(body) => body.answer.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Streamed(body) => body.answer.size_hint(),
        }
    }
}
