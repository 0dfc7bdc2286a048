//! Bodies that the stand-in generates while it sends them: large, slow, cut.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::Sleep;

use super::state::State;

/// The size of the pieces of a generated body.
const PIECE: usize = 64 << 10;

/// How long the bytes before a cut have to leave the machine.
const FLUSH: Duration = Duration::from_millis(50);

/// A body of the stand-in.
pub(super) struct Made {
    source: Source,
    left_to_send: Option<usize>,
    pace: Option<Duration>,
    pause: Option<Pin<Box<Sleep>>>,
    state: Arc<State>,
    whole: bool,
}

/// The source of the bytes.
pub(super) enum Source {
    /// One piece.
    Whole(Bytes),
    /// A head, a row many times over, a tail.
    Rows {
        /// The text before the rows.
        head: Bytes,
        /// One row, with the comma after it.
        row: Bytes,
        /// How many are left.
        left: u64,
        /// The text after the last row, which has no comma.
        tail: Bytes,
    },
    /// Nothing more.
    Empty,
}

/// The stand-in was told to break the connection here.
#[derive(Debug, thiserror::Error)]
#[error("cut on purpose")]
pub(super) struct Cut;

impl Made {
    pub(super) fn new(source: Source, state: Arc<State>) -> Self {
        Self { source, left_to_send: None, pace: None, pause: None, state, whole: false }
    }

    pub(super) fn cut_after(&mut self, bytes: usize) {
        self.left_to_send = Some(bytes);
    }

    pub(super) fn pace(&mut self, pause: Duration) {
        self.pace = Some(pause);
    }

    fn next(&mut self) -> Option<Bytes> {
        match &mut self.source {
            Source::Empty => None,
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::Empty;
                (!bytes.is_empty()).then_some(bytes)
            }
            Source::Rows { head, row, left, tail } => {
                let mut piece = Vec::with_capacity(PIECE + row.len() + tail.len());
                piece.extend_from_slice(&std::mem::take(head));
                while *left > 0 && piece.len() < PIECE {
                    *left -= 1;
                    piece.extend_from_slice(row);
                }
                if *left == 0 {
                    if piece.last() == Some(&b',') {
                        piece.pop();
                    }
                    piece.extend_from_slice(tail);
                    self.source = Source::Empty;
                }
                Some(piece.into())
            }
        }
    }
}

impl Body for Made {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        if let Some(pace) = this.pace {
            ready!(this.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(pace))).as_mut().poll(cx));
            this.pause = None;
        }
        if this.left_to_send == Some(0) {
            // The written bytes need time to leave the machine; otherwise the other side sees no answer at all.
            ready!(this.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(FLUSH))).as_mut().poll(cx));
            this.whole = true;
            return Poll::Ready(Some(Err(Cut)));
        }
        let Some(mut piece) = this.next() else {
            this.whole = true;
            return Poll::Ready(None);
        };
        match &mut this.left_to_send {
            Some(left) => {
                piece.truncate(*left);
                *left -= piece.len();
            }
            // The body is complete with its last piece: a reader that knows the length does not poll again.
            None => this.whole = matches!(this.source, Source::Empty),
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.whole {
            self.state.count_drop();
        }
    }
}
