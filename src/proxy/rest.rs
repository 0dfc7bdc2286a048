//! A REST request, such as a statement of the SQL API: the client's key in its header is swapped for the PAT, every time.
//!
//! Each of them is, for Snowflake, a login: a PAT that is dead must not be sent without bound. So it takes a place in the same
//! budget, and gives it back when the head of the answer is there, or after [`SETTLED`]: Snowflake refuses a token at once or
//! not at all, and a statement may run for 45 s. A body up to [`KEPT`] is kept for a second try with a newer PAT; a larger one
//! is streamed, and its client is asked to send it again.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, request};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use super::pat::{PatSource, VERSIONS};
use super::read::{self, Caps, Untouched};
use super::trouble::{failed, no_redirect, not_allowed};
use super::{AnswerBody, Peer, Worker, headers};
use crate::admit::{Grant, Turn};
use crate::base::fault::{Fault, Kind};
use crate::base::secret::Secret;
use crate::pat::Permit;
use crate::snowflake::{PAT_AUTHENTICATOR, rest};
use crate::telemetry::record::Record;
use crate::upstream::{Answer, Failure, RequestBody};

/// How long Snowflake may take to refuse a token. It looks at the token before it does anything else.
const SETTLED: Duration = Duration::from_secs(2);
/// The largest body that is kept, in bytes. Statements are a few KB.
const KEPT: usize = 1 << 20;

/// What is sent.
enum Sent {
    /// As the client sent it; it can be sent again.
    Kept(Bytes),
    /// Changed by us, and no longer compressed.
    Written(Bytes),
    /// As it comes.
    Streamed(Option<Incoming>),
}

impl Worker {
    pub(super) async fn rest(
        &self,
        peer: &Peer,
        head: request::Parts,
        body: &mut Untouched,
        record: &mut Record,
    ) -> Result<Response<AnswerBody>, Fault> {
        let key = bearer(&head)?;
        let (grant, turn) = self.gate.admission.rest(peer, key.as_ref()).await?;
        let place = self.lanes(grant.account())?.place(self.gate.config.limits.delay).await?;
        let mut turn = Some(turn.with(place));
        record.client = Some(grant.client().to_string());
        record.login().credential = Some(grant.credential().to_string());
        let mut body = self.body(&head, body.take()?, &grant).await?;
        if let Some(key) = &key {
            nowhere_else(&head, &body, key)?;
        }
        let started = Instant::now();
        let pats = PatSource::new(&self.gate, &grant);
        let mut held = pats.first(started + self.gate.config.login.hold).await?;
        for _ in 0..VERSIONS {
            let permit;
            (held, permit) = pats.permit(held, started).await?;
            record.login().pat = Some(held.id.clone());
            let request = self.request_with(&head, &mut body, &held.pat, &grant)?;
            let (response, permit) = self.exchange(request, permit, &grant).await?;
            let (kind, permit) = match response {
                Looked::Taken(response) => {
                    permit.succeeded();
                    self.gate.pats.accepted(&held);
                    record.streamed(response.status().as_u16());
                    return Ok(passed_on(response, record, turn.take().unwrap_or_default()));
                }
                Looked::Unlooked(response) => {
                    permit.unsent();
                    record.streamed(response.status().as_u16());
                    return Ok(passed_on(response, record, turn.take().unwrap_or_default()));
                }
                Looked::Refused(kind) => (kind, permit),
            };
            let cause = pats.refused(&held, kind, permit.refused(kind), record.trace);
            held = pats.newer(&held, kind, &cause).await?;
            if matches!(body, Sent::Streamed(_)) {
                let cause = "there is a newer PAT, and the body was too large to be kept for it";
                return Err(Fault::new(Kind::SnowflakeBusy).because(cause));
            }
        }
        Err(Fault::new(Kind::PatRefused).because("every version of the store's was refused"))
    }

    /// Reads the body where it is small, or has to be changed.
    async fn body(&self, head: &request::Parts, body: Incoming, grant: &Grant) -> Result<Sent, Fault> {
        let statement = head.method == Method::POST && head.uri.path().trim_end_matches('/') == rest::STATEMENTS;
        let pinned = statement && !grant.pins().are_free();
        let small = body.size_hint().upper().is_some_and(|length| length <= KEPT as u64);
        if !small && !pinned {
            return Ok(Sent::Streamed(Some(body)));
        }
        let caps = Caps { body: KEPT, inflated: 4 * KEPT, deadline: self.gate.config.login.deadline };
        let unread = |why: read::Unread| why.fault(Kind::RestMalformed, Kind::RestMalformed);
        if !pinned {
            return read::as_sent(body, &caps).await.map(Sent::Kept).map_err(unread);
        }
        let read = read::request(head, body, &caps).await.map_err(unread)?;
        let malformed = || {
            let what = "it is not a JSON object";
            Fault::new(Kind::RestMalformed).detail(what).because(what)
        };
        let written = rest::pinned(grant.pins(), &read).ok_or_else(malformed)?;
        Ok(Sent::Written(written.map_err(not_allowed)?.into()))
    }

    fn request_with(
        &self,
        head: &request::Parts,
        body: &mut Sent,
        pat: &Secret,
        grant: &Grant,
    ) -> Result<Request<RequestBody>, Fault> {
        let lanes = self.lanes(grant.account())?;
        let broken =
            || Fault::new(Kind::GateBroken).because("a body that was sent already, or a PAT that fits no header");
        let mut request = Request::new(match body {
            Sent::Kept(bytes) | Sent::Written(bytes) => RequestBody::whole(bytes.clone()),
            Sent::Streamed(body) => RequestBody::Streamed(body.take().ok_or_else(broken)?),
        });
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        let mut headers = head.headers.clone();
        headers::strip_hop(&mut headers);
        if !matches!(body, Sent::Streamed(_)) {
            headers.remove(header::CONTENT_LENGTH);
            headers.remove(header::EXPECT);
        }
        if matches!(body, Sent::Written(_)) {
            headers.remove(header::CONTENT_ENCODING);
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {}", pat.expose())).map_err(|_| broken())?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
        headers.insert(rest::TOKEN_TYPE, HeaderValue::from_static(PAT_AUTHENTICATOR));
        headers.insert(header::HOST, lanes.authority.clone());
        headers.remove(header::COOKIE);
        rest::pin_headers(grant.pins(), &mut headers).map_err(not_allowed)?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// One try; the permit comes back to be told what came of it.
    async fn exchange(
        &self,
        request: Request<RequestBody>,
        mut permit: Permit,
        grant: &Grant,
    ) -> Result<(Looked, Permit), Fault> {
        let lanes = self.lanes(grant.account())?;
        let mut sending = std::pin::pin!(lanes.send(request));
        let sent = match timeout(SETTLED, sending.as_mut()).await {
            Ok(sent) => sent,
            Err(_long) => {
                permit.settle();
                sending.await
            }
        };
        let response = match sent {
            Ok(response) => response,
            Err(failure @ Failure::Unsent(_)) => {
                permit.unsent();
                return Err(failed(failure));
            }
            Err(failure) => return Err(failed(failure)),
        };
        if let Err(fault) = no_redirect(&response) {
            permit.unsent();
            return Err(fault);
        }
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            let (response, body) = read::answer(response).await?;
            return Ok(match rest::refused(status.as_u16(), &body) {
                Some(kind) => (Looked::Refused(kind), permit),
                None => (Looked::Taken(response.map(|()| Body::Whole(body))), permit),
            });
        }
        let looked = !status.is_server_error()
            && ![StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
        let response = response.map(Body::Streamed);
        Ok((if looked { Looked::Taken(response) } else { Looked::Unlooked(response) }, permit))
    }
}

/// What an answer says of the PAT.
enum Looked {
    /// It is good.
    Taken(Response<Body>),
    /// Perhaps nobody has looked at it.
    Unlooked(Response<Body>),
    /// It is not.
    Refused(Kind),
}

/// The body of an answer that is passed on.
enum Body {
    Whole(Bytes),
    Streamed(Answer),
}

fn passed_on(response: Response<Body>, record: &Record, turn: Turn) -> Response<AnswerBody> {
    let (mut head, body) = response.into_parts();
    headers::strip_hop(&mut head.headers);
    head.version = Version::HTTP_11;
    let body = match body {
        Body::Whole(bytes) => {
            head.headers.remove(header::CONTENT_LENGTH);
            AnswerBody::whole(bytes)
        }
        Body::Streamed(answer) => {
            AnswerBody::streamed(answer, Record::new(record.trace, record.peer, record.route), turn)
        }
    };
    Response::from_parts(head, body)
}

/// The client key of a REST request; `None` where it has no Authorization header.
fn bearer(head: &request::Parts) -> Result<Option<Secret>, Fault> {
    let missing = |what: &'static str| Fault::new(Kind::BearerMissing).because(what);
    let mut values = head.headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(missing("more than one Authorization header")),
    };
    // The scheme's name has no case (RFC 9110, section 11.1).
    let text = value.to_str().ok().and_then(|text| text.split_once(' '));
    match text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) {
        Some((_, key)) => Ok(Some(Secret::new(key.trim().to_owned()))),
        None => Err(missing("an Authorization header of another kind")),
    }
}

/// Refuses a request that holds the key in a second place, from where it would be sent on. A body that is streamed is not
/// looked at.
fn nowhere_else(head: &request::Parts, body: &Sent, key: &Secret) -> Result<(), Fault> {
    let holds = |bytes: &[u8]| bytes.windows(key.expose().len()).any(|part| part == key.expose().as_bytes());
    let in_body = matches!(body, Sent::Kept(bytes) | Sent::Written(bytes) if holds(bytes));
    let mut others = head.headers.iter().filter(|(name, _)| *name != header::AUTHORIZATION);
    if in_body || holds(head.uri.to_string().as_bytes()) || others.any(|(_, value)| holds(value.as_bytes())) {
        let what = "the client key stands in more than one place of it";
        return Err(Fault::new(Kind::RestMalformed).detail(what).because(what));
    }
    Ok(())
}
