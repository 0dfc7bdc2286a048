//! One request, from head to last byte.
//!
//! [`Worker::answer`] opens the record, finds the route and calls one of the four handlers ([`login`], [`renew`],
//! [`rest`] or [`stream`]). It is the only place where a [`Fault`] becomes an answer. The record travels with the
//! answer's body and closes with its last byte.
//!
//! | file | what it does |
//! |---|---|
//! | `generation`, `services` | shared state: of one configuration, and of the process |
//! | `worker` | the state of one thread |
//! | `login`, `renew`, `rest`, `stream` | the four handlers |
//! | `target`, `headers`, `buffered`, `error_map` | what the handlers share |
//! | `body`, `logout` | the body of an answer; a session that no client gets |
//! | `inflate_budget` | what is inflated for strangers |

mod body;
mod buffered;
mod error_map;
mod generation;
mod headers;
mod inflate_budget;
mod login;
mod logout;
mod renew;
mod rest;
mod services;
mod stream;
mod target;
mod trace_ids;
mod worker;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request};
use hyper::body::Incoming;

use body::Content;
pub use body::{AnswerBody, BrokeOff};
pub use generation::{Current, Generation};
pub use inflate_budget::InflateBudget;
pub use services::Services;
pub use worker::{Worker, WorkerSlot};

use crate::admit::{Grant, Peer};
use crate::base::fault::{Fault, Kind, Reply};
use crate::base::ids::KeyTag;
use crate::base::trace::{TraceId, TraceParent};
use crate::snowflake::route::{Route, Stream};
use crate::snowflake::{answer, query_id};
use crate::telemetry::record::{Opening, Record};
use crate::upstream::BodySlot;

/// The header that carries the trace id on every answer.
pub const TRACE_HEADER: HeaderName = HeaderName::from_static("x-patgate-trace");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

impl Worker {
    /// Answers a request. It never fails: a fault becomes an answer.
    pub async fn answer(self: Arc<Self>, peer: Arc<Peer>, request: Request<Incoming>) -> Response<AnswerBody> {
        let parent = request.headers().get(TRACEPARENT).and_then(|value| TraceParent::parse(value.as_bytes()));
        let (fresh, span) = self.new_ids();
        let trace = parent.map_or(fresh, |parent| parent.trace);
        let route = Route::of(request.method(), request.uri().path());
        let opening = Opening {
            ids: (trace, span),
            parent: parent.map(|parent| parent.span),
            peer: peer.ip,
            listener: &peer.listener,
            connection: peer.connection,
            route,
        };
        let mut record = Record::open(opening, &self.generation.services.sinks);
        let (mut head, body) = request.into_parts();
        record.note(|facts| facts.request_id = head.uri.query().and_then(query_id::of_request));
        // What Snowflake does for the request belongs to the gate's span of it.
        let sample = self.generation.services.sinks.sample;
        let sampled = sample.map_or(parent.is_some_and(|parent| parent.sampled), |part| trace.falls_within(part));
        head.headers.insert(TRACEPARENT, traceparent(TraceParent { trace, span, sampled }));
        let body = BodySlot::new(body);
        let mut response = match self.dispatch(&peer, route, head, &body, &mut record).await {
            Ok(response) => {
                record.answered(response.status().as_u16());
                response
            }
            Err(fault) => {
                let response = refusal(&fault, route, trace);
                record.failed(fault, response.status().as_u16());
                buffered::drain(&body).await;
                response
            }
        };
        response.headers_mut().insert(TRACE_HEADER, trace_value(trace));
        if !body.has_ended() {
            // What is left of it stands where the next request should begin.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let is_statement = matches!(route, Route::Stream(Stream::Query | Stream::Result));
        let gzip = response.headers().get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
        response.map(|content| {
            let body = AnswerBody::new(content, record);
            if is_statement { body.keeping_edges(gzip) } else { body }
        })
    }

    async fn dispatch(
        &self,
        peer: &Peer,
        route: Route,
        head: request::Parts,
        body: &BodySlot,
        record: &mut Record,
    ) -> Result<Response<Content>, Fault> {
        if head.method == Method::CONNECT {
            return Err(Fault::new(Kind::TargetForm).with_cause("CONNECT"));
        }
        target::check(&head, peer)?;
        match route {
            Route::Login => self.login(peer, head, body, record).await,
            Route::Renew if let Some(sessions) = &self.generation.services.sessions => {
                self.renew(peer, head, body, sessions, record).await
            }
            Route::Renew | Route::Stream(_) => self.stream(peer, head, body, route, record).await,
            Route::Rest => self.rest(peer, head, body, record).await,
            Route::Foreign => Err(Fault::new(Kind::FlowForeign).with_cause(head.uri.path())),
            Route::WrongMethod => Err(Fault::new(Kind::MethodWrong).with_cause(head.method)),
            Route::Unknown => Err(Fault::new(Kind::RouteUnknown)),
        }
    }
}

/// Notes whose request it is.
fn note_grant(record: &mut Record, grant: &Grant) {
    record.note(|facts| {
        facts.client = Some(grant.client().clone());
        facts.account = Some(grant.account().clone());
        facts.credential = Some(grant.credential().clone());
        facts.key = (grant.key() != KeyTag::NONE).then(|| hex::encode(grant.key().0));
    });
}

fn refusal(fault: &Fault, route: Route, trace: TraceId) -> Response<Content> {
    let rule = fault.kind().rule();
    let reply = match route {
        Route::Login | Route::Foreign => rule.at_login,
        Route::Rest => rule.at_rest(),
        Route::Renew | Route::Stream(_) | Route::WrongMethod | Route::Unknown => rule.elsewhere,
    };
    let (status, code, retry) = match reply {
        Reply::Refusal(code) => (StatusCode::OK, code, None),
        Reply::GiveUp => (StatusCode::OK, answer::give_up(route), None),
        Reply::Retry(status, usual) => (status_of(status), 390_999, Some(fault.retry_after(usual))),
        Reply::Status(status) | Reply::Proxy(status) => (status_of(status), rule.status_code(), None),
    };
    let mut response = json(answer::failure(code, &fault.sentence(trace)));
    *response.status_mut() = status;
    if let Some(seconds) = retry {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn json(body: impl Into<Bytes>) -> Response<Content> {
    let mut response = Response::new(Content::whole(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(answer::CONTENT_TYPE));
    response
}

fn status_of(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn traceparent(of: TraceParent) -> HeaderValue {
    // Hex digits and dashes are always a valid value.
    HeaderValue::from_bytes(&of.write()).unwrap_or(HeaderValue::from_static(""))
}

fn trace_value(trace: TraceId) -> HeaderValue {
    // Hex digits are always a valid value.
    HeaderValue::from_bytes(&trace.to_hex()).unwrap_or(HeaderValue::from_static(""))
}
