//! A REST request, such as a statement of the SQL API: the gate replaces the client's key in the header of each request
//! with the PAT.
//!
//! For Snowflake each request is a login, so the gate must limit how often it sends a dead PAT. A request therefore
//! needs a lease. It takes one when its body is here, so that a client that sends slowly, or breaks off, keeps nobody
//! waiting. It returns the lease when the head of the answer arrives, or after [`SETTLED`]: Snowflake refuses a token
//! at once or not at all, and a statement may run for 45 s. The gate keeps a body up to [`KEPT`] for a second try with
//! a newer PAT. It streams a larger body, and asks the client to send it again.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header, request};
use http_body::Body as _;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::body::Content;
use super::buffered::{self, Begun, Caps};
use super::error_map::{not_allowed, rest_redirect};
use super::{Worker, headers, note_grant};
use crate::admit::{Grant, Peer};
use crate::base::fault::{Fault, Kind};
use crate::base::secret::Secret;
use crate::pat::{Deadlines, Lease, Refused, RequestKind};
use crate::snowflake::{query_id, rest};
use crate::telemetry::record::{Record, Step};
use crate::upstream::{AccountClient, BodySlot, ClientBody, Failure, Held, InFlightPermit, RequestBody, ResponseBody};

/// How long Snowflake may take to refuse a token. It checks the token first.
const SETTLED: Duration = Duration::from_secs(2);
/// The largest body that the gate keeps, in bytes. Statements have a few KB.
const KEPT: usize = 1 << 20;
/// The largest statement whose context the gate tells apart after a refusal, in bytes.
const PARSED: usize = 64 << 10;

/// The body that the gate sends.
enum OutgoingBody {
    /// As the client sent it; the gate can send it again.
    Kept(Bytes),
    /// Changed by the gate, and not compressed.
    Written(Bytes),
    /// A stream from the client, after the part that the gate has read.
    Streamed(Option<(Bytes, ClientBody)>),
}

impl Worker {
    pub(super) async fn rest(
        &self,
        peer: &Peer,
        head: request::Parts,
        body: &BodySlot,
        record: &mut Record,
    ) -> Result<Response<Content>, Fault> {
        let generation = &self.generation;
        let key = bearer(&head)?;
        let (grant, admitted) = generation.admission.rest(peer, key.as_ref()).await?;
        note_grant(record, &grant);
        record.step(Step::Admitted);
        record.note(|facts| facts.query_id = query_id::in_path(head.uri.path()));
        let mut body = self.body(&head, body.lend(), &grant).await?;
        record.step(Step::Received);
        if let Some(key) = &key {
            nowhere_else(&head, &body, key)?;
        }
        let account = self.account(grant.account())?;
        // First all checks that can refuse the request; then it takes a lease.
        let headers = outgoing(&head, &body, &grant, account.authority())?;
        let deadlines = Deadlines::new(tokio::time::Instant::now(), generation.config.login.hold);
        let asks_for = rest::context(&headers, body.statement(&head));
        let trace = record.trace();
        let pats = &generation.pats;
        record.note(|facts| facts.store = pats.store_reads(&grant));
        let wait = async |record: &mut Record| {
            record.step(Step::Asked);
            pats.lease(&grant, trace, RequestKind::Rest, asks_for.clone(), deadlines).await
        };
        let (mut lease, mut tries) = (wait(record).await?, account.hold(Held::Rest, generation.config.login.hold));
        loop {
            record.step(Step::Leased);
            record.note(|facts| facts.pat = Some(lease.version().clone()));
            let mut request = Request::new(body.next()?);
            *request.method_mut() = head.method.clone();
            *request.uri_mut() = head.uri.clone();
            *request.headers_mut() = headers.clone();
            let presented = lease.present(account.account_name())?;
            let headers = request.headers_mut();
            headers.insert(header::AUTHORIZATION, bearer_of(presented.token())?);
            headers.insert(rest::TOKEN_TYPE, HeaderValue::from_static(presented.token_type()));
            // After the lease, so that a request that waits for a lease holds no permit that a request with a lease
            // needs.
            let in_flight = account.in_flight(generation.config.limits.delay).await?;
            let sending = (in_flight, tries.begin());
            let refusal = match exchange(account.clone(), sending, request, lease, record).await? {
                Looked::Streamed(response) => {
                    return Ok(headers::for_client(response).map(|body| Content::Streamed(body, admitted)));
                }
                Looked::Whole(response) => return Ok(headers::for_client(response)),
                Looked::Refused(refusal) => refusal,
                Looked::Failed(failure) if matches!(body, OutgoingBody::Streamed(_)) => return Err(failure.into()),
                Looked::Failed(failure) => {
                    record.again(failure.kind());
                    tries.again(failure, trace).await?;
                    lease = wait(record).await?;
                    continue;
                }
            };
            lease = match body {
                OutgoingBody::Streamed(_) => {
                    return Err(refusal.give_up("the body was too large to keep for a second try").await);
                }
                OutgoingBody::Kept(_) | OutgoingBody::Written(_) => {
                    record.again(refusal.kind());
                    record.step(Step::Asked);
                    refusal.another().await?
                }
            };
        }
    }

    /// Reads the body if it is small, or if the gate has to change it.
    async fn body(&self, head: &request::Parts, body: ClientBody, grant: &Grant) -> Result<OutgoingBody, Fault> {
        let pinned = is_statement(head) && !grant.pins().are_free();
        if !pinned && body.size_hint().lower() > KEPT as u64 {
            return Ok(OutgoingBody::Streamed(Some((Bytes::new(), body))));
        }
        let caps =
            Caps { body: KEPT, inflated: 4 * KEPT, deadline: self.generation.config.login.deadline, budget: None };
        let unread = |why: buffered::Unread| why.fault(Kind::RestMalformed, Kind::TooLarge);
        if !pinned {
            return Ok(match buffered::begin(body, &caps).await.map_err(unread)? {
                Begun::Whole(bytes) => OutgoingBody::Kept(bytes),
                Begun::Part(read, rest) => OutgoingBody::Streamed(Some((read, rest))),
            });
        }
        let read = buffered::request(head, body, &caps).await.map_err(unread)?;
        let malformed = || {
            let what = "it is not a JSON object";
            Fault::new(Kind::RestMalformed).detail(what).with_cause(what)
        };
        let written = rest::pinned(grant.pins(), &read).ok_or_else(malformed)?;
        Ok(OutgoingBody::Written(written.map_err(not_allowed)?.into()))
    }
}

impl OutgoingBody {
    /// A small statement, whose members name its context.
    fn statement(&self, head: &request::Parts) -> Option<&[u8]> {
        match self {
            Self::Kept(bytes) | Self::Written(bytes) if is_statement(head) && bytes.len() <= PARSED => Some(bytes),
            Self::Kept(_) | Self::Written(_) | Self::Streamed(..) => None,
        }
    }

    /// The body of the next try.
    fn next(&mut self) -> Result<RequestBody, Fault> {
        let gone = || Fault::new(Kind::GateBroken).with_cause("the body was sent already");
        Ok(match self {
            Self::Kept(bytes) | Self::Written(bytes) => RequestBody::whole(bytes.clone()),
            Self::Streamed(body) => {
                let (read, rest) = body.take().ok_or_else(gone)?;
                RequestBody::Begun(Some(read).filter(|read| !read.is_empty()), rest)
            }
        })
    }
}

fn is_statement(head: &request::Parts) -> bool {
    head.method == Method::POST && head.uri.path().trim_end_matches('/') == rest::STATEMENTS
}

/// The headers of every try, without the token and its kind.
fn outgoing(
    head: &request::Parts,
    body: &OutgoingBody,
    grant: &Grant,
    authority: &HeaderValue,
) -> Result<HeaderMap, Fault> {
    let mut headers = head.headers.clone();
    headers::for_snowflake(&mut headers);
    match body {
        OutgoingBody::Streamed(Some((read, _))) if read.is_empty() => {}
        OutgoingBody::Streamed(_) | OutgoingBody::Kept(_) | OutgoingBody::Written(_) => {
            headers.remove(header::CONTENT_LENGTH);
            headers.remove(header::EXPECT);
        }
    }
    if matches!(body, OutgoingBody::Written(_)) {
        headers.remove(header::CONTENT_ENCODING);
    }
    headers.insert(header::HOST, authority.clone());
    rest::pin_headers(grant.pins(), &mut headers).map_err(not_allowed)?;
    Ok(headers)
}

fn bearer_of(token: &Secret) -> Result<HeaderValue, Fault> {
    let no_header = |_| Fault::new(Kind::SecretUnusable).with_cause("the token does not fit into a header");
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(no_header)?;
    value.set_sensitive(true);
    Ok(value)
}

type Sending = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Failure>> + Send>>;

/// The state of a try at the time when Snowflake must have checked the token.
enum Phase {
    /// The head of the answer has arrived.
    Judged(Box<Result<Looked, Fault>>),
    /// The answer has not arrived.
    Settled(Sending, Box<Lease>),
}

/// One try; it reports the outcome to the lease. Until then it continues after the client leaves: the gate must know
/// whether Snowflake refused the PAT.
async fn exchange(
    account: Arc<AccountClient>,
    (in_flight, connect): (InFlightPermit, Duration),
    request: Request<RequestBody>,
    mut lease: Lease,
    record: &mut Record,
) -> Result<Looked, Fault> {
    let (tell, mut written) = oneshot::channel();
    let authority = account.authority().clone();
    let judge = async move |sent, lease| judge(sent, lease, &authority).await;
    let mut sending: Sending =
        Box::pin(async move { account.send_held(request, in_flight, Some(tell), connect).await });
    let mut lent = record.lend();
    let judges = judge.clone();
    let begun = tokio::spawn(async move {
        let judge = judges;
        tokio::select! {
            biased;
            Ok(()) = &mut written => {}
            sent = &mut sending => {
                note_way(&mut lent, &sent);
                return (Phase::Judged(Box::new(judge(sent, lease).await)), lent);
            }
        }
        lease.sending();
        lent.step(Step::Sent);
        match timeout(SETTLED, &mut sending).await {
            Ok(sent) => {
                note_way(&mut lent, &sent);
                (Phase::Judged(Box::new(judge(sent, lease).await)), lent)
            }
            Err(_long) => {
                lease.settle();
                (Phase::Settled(sending, Box::new(lease)), lent)
            }
        }
    });
    let (phase, lent) = begun.await.map_err(|ended| Fault::new(Kind::GateBroken).with_source(&ended))?;
    record.take_back(lent);
    let looked = match phase {
        Phase::Judged(looked) => *looked,
        Phase::Settled(sending, lease) => {
            let sent = sending.await;
            note_way(record, &sent);
            judge(sent, *lease).await
        }
    };
    if !matches!(looked, Ok(Looked::Failed(_)) | Err(_)) {
        record.step(Step::Answered);
    }
    looked
}

/// Notes which of the gate's own addresses the request came from.
fn note_way(record: &mut Record, sent: &Result<Response<ResponseBody>, Failure>) {
    if let Ok(response) = sent {
        record.note(|facts| facts.gate_address = response.body().from());
    }
}

/// What an answer says about the PAT.
enum Looked {
    /// Snowflake accepted the PAT or did not check it.
    Streamed(Response<ResponseBody>),
    /// The same, where the body had to be read for it.
    Whole(Response<Content>),
    /// Snowflake refused the PAT.
    Refused(Refused),
    /// There is no answer, or one that passes.
    Failed(Failure),
}

/// Reports to the lease what an answer says about the PAT.
async fn judge(
    sent: Result<Response<ResponseBody>, Failure>,
    lease: Lease,
    authority: &HeaderValue,
) -> Result<Looked, Fault> {
    let response = match sent {
        Ok(response) => response,
        Err(failure) => {
            // What the client broke costs nobody else: Snowflake has not looked at an incomplete request.
            if failure.is_unsent() || failure.is_the_client_s() {
                lease.unsent();
            }
            return Ok(Looked::Failed(failure));
        }
    };
    match rest_redirect(&response, authority) {
        Ok(None) => {}
        Ok(Some(cause)) => {
            lease.unsent();
            return Ok(Looked::Failed(Failure::Unready(cause)));
        }
        Err(fault) => {
            lease.unsent();
            return Err(fault);
        }
    }
    let status = response.status().as_u16();
    if status == 401 || status == 403 {
        let (response, body) = buffered::answer(response).await?;
        return Ok(match rest::refused(status, &body) {
            Some(refusal) => Looked::Refused(lease.refused(refusal)),
            None => {
                lease.unsent();
                Looked::Whole(response.map(|()| Content::whole(body)))
            }
        });
    }
    match rest::taken(status) {
        true => lease.accepted(),
        false => lease.unsent(),
    }
    Ok(Looked::Streamed(response))
}

/// The client key of a REST request; `None` without an Authorization header.
fn bearer(head: &request::Parts) -> Result<Option<Secret>, Fault> {
    let missing = |what: &'static str| Fault::new(Kind::BearerMissing).with_cause(what);
    let mut values = head.headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(missing("more than one Authorization header")),
    };
    // The scheme's name is case-insensitive (RFC 9110, section 11.1).
    let text = value.to_str().ok().and_then(|text| text.split_once(' '));
    match text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) {
        Some((_, key)) => Ok(Some(Secret::new(key.trim().to_owned()))),
        None => Err(missing("an Authorization header of another kind")),
    }
}

/// Refuses a request that has the key in a second place: the gate would send that copy to Snowflake. It does not check
/// a streamed body.
fn nowhere_else(head: &request::Parts, body: &OutgoingBody, key: &Secret) -> Result<(), Fault> {
    let body: &[u8] = match body {
        OutgoingBody::Kept(bytes) | OutgoingBody::Written(bytes) => bytes,
        OutgoingBody::Streamed(_) => &[],
    };
    let mut headers = head.headers.clone();
    headers.remove(header::AUTHORIZATION);
    if headers::hold(&headers, &head.uri.to_string(), body, key) {
        let what = "it contains the client key in a second place";
        return Err(Fault::new(Kind::RestMalformed).detail(what).with_cause(what));
    }
    Ok(())
}
