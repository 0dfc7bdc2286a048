//! One request, from head to last byte.
//!
//! [`Worker::answer`] names the request, sends it down its way ([`login`], [`renew`], [`rest`] or [`stream`]) and is the only place where a
//! [`Fault`] becomes an answer and a log line.

mod body;
mod gate;
mod headers;
mod login;
mod pat;
mod read;
mod renew;
mod rest;
mod sealing;
mod stream;
mod target;
mod trouble;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request};
use hyper::body::Incoming;

pub use body::{AnswerBody, BrokeOff};
pub use gate::{Current, Gate, Parts, Post, Worker};
use read::Untouched;
pub use sealing::Sealing;

use crate::admit::Peer;
use crate::base::fault::{Answer, Fault, Kind};
use crate::base::names::TraceId;
use crate::snowflake::answer;
use crate::snowflake::route::Route;
use crate::telemetry::record::Record;

/// The header that carries the trace id on every answer.
pub const TRACE_HEADER: HeaderName = HeaderName::from_static("x-patgate-trace");

impl Worker {
    /// Answers a request. It never fails: what goes wrong becomes an answer.
    pub async fn answer(self: Arc<Self>, peer: Arc<Peer>, request: Request<Incoming>) -> Response<AnswerBody> {
        let trace = self.trace_of(&request);
        let route = Route::of(request.method(), request.uri().path());
        let mut record = Record::new(trace, peer.ip, route.as_str());
        let (head, body) = request.into_parts();
        let mut body = Untouched::new(body);
        match self.dispatch(&peer, route, head, &mut body, &mut record).await {
            Ok(mut response) => {
                response.headers_mut().insert(TRACE_HEADER, trace_value(trace));
                response
            }
            Err(fault) => {
                record.failed(&fault);
                self.gate.metrics.failed(fault.kind());
                body.read_away().await;
                refusal(&fault, route, trace)
            }
        }
    }

    async fn dispatch(
        &self,
        peer: &Peer,
        route: Route,
        head: request::Parts,
        body: &mut Untouched,
        record: &mut Record,
    ) -> Result<Response<AnswerBody>, Fault> {
        if head.method == Method::CONNECT {
            return Err(Fault::new(Kind::TargetForm).because("CONNECT"));
        }
        target::check(&head, peer)?;
        match route {
            Route::Login => self.login(peer, head, body, record).await,
            Route::Renew if let Some(sealing) = &self.gate.sealing => {
                self.renew(peer, head, body, sealing, record).await
            }
            Route::Renew | Route::Stream(_) => self.stream(peer, head, body, route, record).await,
            Route::Rest => self.rest(peer, head, body, record).await,
            Route::Foreign => Err(Fault::new(Kind::FlowForeign).because(head.uri.path())),
            Route::WrongMethod => Err(Fault::new(Kind::MethodWrong).because(head.method)),
            Route::Unknown => Err(Fault::new(Kind::RouteUnknown)),
        }
    }

    /// The client's own trace id where it sends one, or a new one.
    fn trace_of(&self, request: &Request<Incoming>) -> TraceId {
        let theirs = request.headers().get("traceparent").and_then(|value| TraceId::from_traceparent(value.as_bytes()));
        theirs.unwrap_or_else(|| self.new_trace())
    }
}

fn refusal(fault: &Fault, route: Route, trace: TraceId) -> Response<AnswerBody> {
    let rule = fault.kind().rule();
    let told = match route {
        Route::Login | Route::Foreign => rule.at_login,
        Route::Rest => rule.at_rest(),
        _ => rule.elsewhere,
    };
    let (status, code, retry) = match told {
        Answer::Refusal(code) => (StatusCode::OK, code, None),
        Answer::GiveUp => (StatusCode::OK, answer::give_up(route), None),
        Answer::Retry(status, usual) => (status_of(status), 390_999, Some(fault.retry_after(usual))),
        Answer::Status(status) => (status_of(status), rule.code(), None),
    };
    let mut response = json(answer::failure(code, &fault.sentence(trace)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(TRACE_HEADER, trace_value(trace));
    if let Some(seconds) = retry {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn json(body: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(answer::CONTENT_TYPE));
    response
}

fn status_of(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn trace_value(trace: TraceId) -> HeaderValue {
    // Hex digits are always a valid value.
    HeaderValue::from_bytes(&trace.to_hex()).unwrap_or(HeaderValue::from_static(""))
}
