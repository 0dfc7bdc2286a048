//! [`ResponseBody`]: the body of Snowflake's answer. It drives its connection and returns it at the end.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::connect::Connection;
use super::idle_pool::IdlePool;
use super::in_flight::InFlightPermit;

/// A streamed answer.
pub struct ResponseBody {
    body: Incoming,
    connection: Option<Box<Connection>>,
    idle: Arc<IdlePool>,
    silence: Duration,
    /// The timer for silence. The first wait starts it, and only its expiry moves it, so a busy body has no cost for
    /// it.
    watch: Option<Pin<Box<Sleep>>>,
    last: Instant,
    from: Option<IpAddr>,
    _place: InFlightPermit,
}

/// Why an answer is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum BrokeOff {
    /// Snowflake's connection failed, or its body is invalid.
    #[error("the upstream body is incomplete")]
    Upstream(#[source] hyper::Error),
    /// No byte for too long.
    #[error("the upstream body was silent for too long")]
    Silent,
}

impl ResponseBody {
    pub(super) fn new(body: Incoming, connection: Box<Connection>, idle: Arc<IdlePool>, silence: Duration) -> Self {
        let from = connection.from;
        let mut response_body = Self {
            body,
            connection: Some(connection),
            idle,
            silence,
            watch: None,
            last: Instant::now(),
            from,
            _place: InFlightPermit::exempt(),
        };
        if response_body.body.is_end_stream() {
            response_body.finish(None);
        }
        response_body
    }

    /// The address of this machine that its connection comes from.
    pub fn from(&self) -> Option<IpAddr> {
        self.from
    }

    /// The same body, which holds the in-flight permit of its request until it is dropped.
    pub(super) fn holding(self, place: InFlightPermit) -> Self {
        Self { _place: place, ..self }
    }

    /// Returns the connection if it can serve another request.
    fn finish(&mut self, cx: Option<&mut Context<'_>>) {
        self.watch = None;
        let Some(mut connection) = self.connection.take() else { return };
        // One more poll tells the connection that its message is complete.
        if let Some(cx) = cx
            && !connection.is_ready()
            && connection.poll(cx).is_ready()
        {
            return;
        }
        self.idle.give_back(connection);
    }

    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let silence = self.silence;
        loop {
            let watch = self.watch.get_or_insert_with(|| Box::pin(tokio::time::sleep(silence)));
            ready!(watch.as_mut().poll(cx));
            let due = self.last + silence;
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            watch.as_mut().reset(due);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let this = self.get_mut();
        let mut polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_pending()
            && let Some(connection) = &mut this.connection
        {
            // If the connection ends, the body ends or fails too.
            let _ended = connection.poll(cx);
            polled = Pin::new(&mut this.body).poll_frame(cx);
        }
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.last = Instant::now();
                if this.body.is_end_stream() {
                    this.finish(Some(cx));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.finish(Some(cx));
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                this.connection = None;
                Poll::Ready(Some(Err(BrokeOff::Upstream(error))))
            }
            Poll::Pending => {
                ready!(this.watch(cx));
                this.connection = None;
                Poll::Ready(Some(Err(BrokeOff::Silent)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
