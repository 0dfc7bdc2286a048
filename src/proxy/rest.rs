//! A REST request, such as a statement of the SQL API: the client's key in its header is swapped for the PAT, every time.
//!
//! Each of them is, for Snowflake, a login: a PAT that is dead must not be sent without bound. So it takes a place in the same
//! budget, and gives it back when the head of the answer is there, or after [`SETTLED`]: Snowflake refuses a token at once or
//! not at all, and a statement may run for 45 s. A body up to [`KEPT`] is kept for a second try with a newer PAT; a larger one
//! is streamed, and its client is asked to send it again.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header, request};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout};

use super::gate::Lanes;
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
const SETTLED: Duration = Duration::from_millis(500);
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
        let mut turn = Some(turn);
        record.client = Some(grant.client().to_string());
        record.login().credential = Some(grant.credential().to_string());
        let mut body = self.body(&head, body.take()?, &grant).await?;
        if let Some(key) = &key {
            nowhere_else(&head, &body, key)?;
        }
        let lanes = self.lanes(grant.account())?;
        // Everything that may be refused before a place in the budget is taken for it.
        let headers = outgoing(&head, &body, &grant, &lanes.authority)?;
        let started = Instant::now();
        let pats = PatSource::new(&self.gate, &grant);
        let mut held = pats.first(started + self.gate.config.login.hold).await?;
        for _ in 0..VERSIONS {
            let permit;
            (held, permit) = pats.permit(held, started).await?;
            record.login().pat = Some(held.id.clone());
            let mut request = Request::new(body.next()?);
            *request.method_mut() = head.method.clone();
            *request.uri_mut() = head.uri.clone();
            *request.headers_mut() = headers.clone();
            request.headers_mut().insert(header::AUTHORIZATION, bearer_of(&held.pat)?);
            // Only now: who waits for a permit holds no place that another with a permit waits for.
            let place = lanes.place(self.gate.config.limits.delay).await?;
            let (kind, times) = match exchange(lanes.clone(), place, request, permit).await? {
                Looked::Taken(response, place) => {
                    self.gate.pats.accepted(&held);
                    record.rest(response.status().as_u16());
                    return Ok(passed_on(response, record, turn.take().unwrap_or_default().with(place)));
                }
                Looked::Unlooked(response, place) => {
                    record.rest(response.status().as_u16());
                    return Ok(passed_on(response, record, turn.take().unwrap_or_default().with(place)));
                }
                Looked::Refused(kind, times) => (kind, times),
            };
            let cause = pats.refused(&held, kind, times, record.trace);
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
        let unread = |why: read::Unread| why.fault(Kind::RestMalformed, Kind::TooLarge);
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
}

impl Sent {
    /// The body of the next try.
    fn next(&mut self) -> Result<RequestBody, Fault> {
        let gone = || Fault::new(Kind::GateBroken).because("a body that was sent already");
        Ok(match self {
            Self::Kept(bytes) | Self::Written(bytes) => RequestBody::whole(bytes.clone()),
            Self::Streamed(body) => RequestBody::Streamed(body.take().ok_or_else(gone)?),
        })
    }
}

/// The headers of every try, but for the token.
fn outgoing(head: &request::Parts, body: &Sent, grant: &Grant, authority: &HeaderValue) -> Result<HeaderMap, Fault> {
    let mut headers = head.headers.clone();
    headers::strip_hop(&mut headers);
    if !matches!(body, Sent::Streamed(_)) {
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::EXPECT);
    }
    if matches!(body, Sent::Written(_)) {
        headers.remove(header::CONTENT_ENCODING);
    }
    headers.insert(rest::TOKEN_TYPE, HeaderValue::from_static(PAT_AUTHENTICATOR));
    headers.insert(header::HOST, authority.clone());
    headers.remove(header::COOKIE);
    rest::pin_headers(grant.pins(), &mut headers).map_err(not_allowed)?;
    Ok(headers)
}

fn bearer_of(pat: &Secret) -> Result<HeaderValue, Fault> {
    let no_header = |_| Fault::new(Kind::SecretUnusable).because("a PAT that fits no header");
    let mut value = HeaderValue::from_str(&format!("Bearer {}", pat.expose())).map_err(no_header)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A place among the requests that may be under way at the account.
type Place = Option<OwnedSemaphorePermit>;
type Sending = Pin<Box<dyn Future<Output = (Result<Response<Answer>, Failure>, Place)> + Send>>;

/// How far a try has come when Snowflake must have looked at the token.
enum Phase {
    /// The head of its answer is there.
    Judged(Result<Looked, Fault>),
    /// Not yet.
    Settled(Sending, Permit),
}

/// One try; the permit is told what came of it. Until it is settled it goes on even when the client goes away: whether the PAT
/// was refused has to be known.
async fn exchange(
    lanes: Arc<Lanes>,
    place: Place,
    request: Request<RequestBody>,
    mut permit: Permit,
) -> Result<Looked, Fault> {
    let (tell, mut written) = oneshot::channel();
    let mut sending: Sending = Box::pin(async move { (lanes.send_noting(request, tell).await, place) });
    let begun = tokio::spawn(async move {
        tokio::select! {
            biased;
            Ok(()) = &mut written => {}
            sent = &mut sending => return Phase::Judged(judge(sent, permit).await),
        }
        permit.sending();
        match timeout(SETTLED, &mut sending).await {
            Ok(sent) => Phase::Judged(judge(sent, permit).await),
            Err(_long) => {
                permit.settle();
                Phase::Settled(sending, permit)
            }
        }
    });
    match begun.await {
        Ok(Phase::Judged(looked)) => looked,
        Ok(Phase::Settled(sending, permit)) => judge(sending.await, permit).await,
        Err(_) => Err(Fault::new(Kind::GateBroken).because("the exchange was cancelled")),
    }
}

/// What an answer says of the PAT.
async fn judge((sent, place): (Result<Response<Answer>, Failure>, Place), permit: Permit) -> Result<Looked, Fault> {
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
    let status = response.status().as_u16();
    if status == 401 || status == 403 {
        let (response, body) = read::answer(response).await?;
        return Ok(match rest::refused(status, &body) {
            Some(kind) => Looked::Refused(kind, permit.refused(kind)),
            None => {
                permit.unsent();
                Looked::Unlooked(response.map(|()| Body::Whole(body)), place)
            }
        });
    }
    let response = response.map(Body::Streamed);
    if rest::taken(status) {
        permit.succeeded();
        return Ok(Looked::Taken(response, place));
    }
    permit.unsent();
    Ok(Looked::Unlooked(response, place))
}

/// What an answer says of the PAT.
enum Looked {
    /// It is good.
    Taken(Response<Body>, Place),
    /// Perhaps nobody has looked at it.
    Unlooked(Response<Body>, Place),
    /// It is not; how often this version has been refused by now.
    Refused(Kind, usize),
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
    let body: &[u8] = match body {
        Sent::Kept(bytes) | Sent::Written(bytes) => bytes,
        Sent::Streamed(_) => &[],
    };
    let mut headers = head.headers.clone();
    headers.remove(header::AUTHORIZATION);
    if headers::hold(&headers, &head.uri.to_string(), body, key) {
        let what = "the client key stands in more than one place of it";
        return Err(Fault::new(Kind::RestMalformed).detail(what).because(what));
    }
    Ok(())
}
