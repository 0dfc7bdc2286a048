//! The login: read, admit, put the PAT in the key's place, send, and once more with a newer PAT when that one is refused.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header, request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use super::gate::Lanes;
use super::trouble::{failed, no_redirect, store_fault};
use super::{AnswerBody, Peer, Worker, headers, json};
use crate::admit::Grant;
use crate::base::fault::{Fault, Kind};
use crate::pat::{Permit, ServiceUser, Verdict};
use crate::secrets::Held;
use crate::snowflake::answer::LoginAnswer;
use crate::snowflake::body::{NotInflated, gunzip};
use crate::snowflake::login::{Injection, Login, Refused};
use crate::snowflake::query::pinned;
use crate::telemetry::record::Record;
use crate::upstream::{Answer, Breaker, Failure, LOOK, Pool, RequestBody, Way};

/// How long Snowflake has for its answer to a login. It holds one of the few places of its service user, and drivers give up at 60 s.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// The largest answer to a login that is read. Real ones are some KB, most of it parameters.
const ANSWER_CAP: usize = 4 << 20;
/// The pause between two tries while a login is held.
const PAUSE: Duration = Duration::from_millis(250);
/// The first such pause when a store is asked for a newer PAT; each is twice as long as the one before, up to [`PAUSE`].
const SHORT_PAUSE: Duration = Duration::from_millis(25);
/// How long a login may wait for others of the same user; drivers wait for 60 s and more.
const QUEUE: Duration = Duration::from_secs(30);
/// How many versions of a PAT one login may try, each newer than the one before. Two rotations can overtake a login.
const VERSIONS: u32 = 8;

impl Worker {
    pub(super) async fn login(
        &self,
        peer: Peer,
        request: Request<Incoming>,
        record: &mut Record,
    ) -> Result<Response<AnswerBody>, Fault> {
        let started = Instant::now();
        self.gate.admission.address(peer.ip)?;
        let (head, body) = request.into_parts();
        let body = self.read(&head, body).await?;
        let mut login = Login::parse(&body).map_err(refused)?;
        let facts = record.login();
        facts.driver = login.fact("CLIENT_APP_ID");
        facts.driver_version = login.fact("CLIENT_APP_VERSION");
        facts.application = login.environment("APPLICATION");
        let grant = self.gate.admission.login(peer.ip, &login.presented)?;
        record.client = Some(grant.client().to_string());
        record.login().credential = Some(grant.credential().to_string());
        let lanes = self.lanes(grant.account())?;
        let user = ServiceUser::new(grant.account(), grant.user());
        let mut upstream = Upstream { worker: self, grant: &grant, user, lanes, head: &head, login: &mut login };
        upstream.run(record, started).await
    }

    /// Reads the body up to its caps, inflated.
    async fn read(&self, head: &request::Parts, body: Incoming) -> Result<Vec<u8>, Fault> {
        let limits = &self.gate.config.login;
        let too_large = |cap: usize| Fault::new(Kind::LoginTooLarge).detail(format_args!("{cap} bytes"));
        let gzip = is_gzip(&head.headers)?;
        let read = timeout(limits.deadline, Limited::new(body, limits.body).collect()).await;
        let read = read.map_err(|_late| Fault::new(Kind::RequestSlow).because("login.deadline has passed"))?;
        let sent = read.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(broken) => malformed("it is not whole").source(&*broken),
            Err(_limit) => too_large(limits.body).because("login.body, as sent"),
        })?;
        let sent = Vec::from(sent.to_bytes());
        if !gzip {
            return Ok(sent);
        }
        gunzip(&sent, limits.inflated).map_err(|why| match why {
            NotInflated::Damaged => malformed("its gzip is damaged"),
            NotInflated::TooLarge => too_large(limits.inflated).because("login.inflated, after inflating"),
        })
    }
}

/// An admitted login on its way to Snowflake.
struct Upstream<'a, 'b> {
    worker: &'a Worker,
    grant: &'a Grant,
    user: ServiceUser,
    lanes: &'a Lanes,
    head: &'a request::Parts,
    login: &'a mut Login<'b>,
}

impl Upstream<'_, '_> {
    async fn run(&mut self, record: &mut Record, started: Instant) -> Result<Response<AnswerBody>, Fault> {
        let hold = self.worker.gate.config.login.hold;
        let mut held = self.first_pat(Instant::now() + hold).await?;
        let (mut away_since, mut broken, mut versions) = (None, 0, 0);
        loop {
            let permit;
            (held, permit) = self.permit(held, started).await?;
            record.login().pat = Some(held.id.clone());
            record.login().attempts += 1;
            match self.send(&held, permit).await? {
                Sent::Success { response, body, session, role } => {
                    self.worker.gate.pats.accepted(&held);
                    let facts = record.login();
                    (facts.session, facts.role) = (session, role);
                    record.logged_in("success", started.elapsed());
                    return Ok(passed_on(response, body));
                }
                Sent::Other { response, body, code } => {
                    record.logged_in(&format!("refused by Snowflake with {code}"), started.elapsed());
                    return Ok(passed_on(response, body));
                }
                Sent::Refused { kind, times } => {
                    let (id, version) = (&held.id, &held.version);
                    let cause = format!("Snowflake refused PAT {id} ({version} of the store), {times} times by now");
                    let name = kind.rule().name;
                    self.worker.gate.metrics.pat_refused(self.grant.credential());
                    tracing::warn!(trace = %record.trace, credential = %self.grant.credential(), kind = name, cause, "PAT refused");
                    versions += 1;
                    if versions >= VERSIONS {
                        return Err(Fault::new(kind).because(cause));
                    }
                    held = self.newer(&held, kind, &cause).await?;
                }
                Sent::Away { fault, connected } => {
                    // What was sent may have been counted as a bad login, so it is sent once more and no oftener.
                    broken += u32::from(connected);
                    let since: Instant = *away_since.get_or_insert_with(Instant::now);
                    let over = since.elapsed() + PAUSE >= hold;
                    if over && !connected {
                        self.lanes.breaker.open();
                    }
                    if over || broken > 1 {
                        return Err(fault);
                    }
                    tracing::debug!(cause = fault.cause(), "a login waits for Snowflake");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Waits for the right to risk a login. The PAT may have been replaced meanwhile, by another login that was refused.
    async fn permit(&self, mut held: Arc<Held>, started: Instant) -> Result<(Arc<Held>, Permit), Fault> {
        let gate = &self.worker.gate;
        let mut without_another = None;
        loop {
            let insists = without_another.as_ref() == Some(&held.id);
            match gate.budget.ask(&self.user, &held.id, insists) {
                Verdict::Go(permit) => return Ok((held, permit)),
                Verdict::Suspect => match self.newer(&held, Kind::PatRefused, "it has been refused before").await {
                    Ok(newer) => held = newer,
                    Err(_none) => without_another = Some(held.id.clone()),
                },
                Verdict::Spent => {
                    held = self.newer(&held, Kind::PatRefused, "it has been refused as often as may be risked and is not sent again before a new one comes, or `patgate pat retry`").await?;
                }
                Verdict::Resting(kind) => {
                    return Err(Fault::new(kind).because("Snowflake refused a moment ago; nothing is sent for now"));
                }
                Verdict::Busy(freed, time) if started.elapsed() < QUEUE => {
                    let _asked_again = timeout(time, freed).await;
                    held = self.first_pat(started).await?;
                }
                Verdict::Busy(..) => {
                    let cause = "other logins of the same service user were under way all the time";
                    return Err(Fault::new(Kind::GateBusy).because(cause));
                }
            }
        }
    }

    /// The PAT in memory; while there is none, the login is held and the store asked again.
    async fn first_pat(&self, deadline: Instant) -> Result<Arc<Held>, Fault> {
        loop {
            match self.worker.gate.pats.current(self.grant).await {
                Ok(held) => return Ok(held),
                Err(error) if error.passes() && Instant::now() + PAUSE < deadline => {
                    tracing::debug!(cause = %error, "a login waits for the store");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(store_fault(error)),
            }
        }
    }

    /// A PAT newer than the refused one, or the fault that says there is none. For as long as a login is held, counted from
    /// the first refusal of that version, the store is asked again: in a rotation it may be a moment behind Snowflake.
    async fn newer(&self, refused: &Held, kind: Kind, cause: &str) -> Result<Arc<Held>, Fault> {
        if kind != Kind::PatRefused {
            // A policy, or a lock: no other PAT mends it.
            return Err(Fault::new(kind).because(cause));
        }
        let gate = &self.worker.gate;
        let refused_for = gate.budget.refused_for(&self.user, &refused.id);
        let left = refused_for.and_then(|refused_for| gate.config.login.hold.checked_sub(refused_for));
        let until = left.map(|left| Instant::now() + left);
        let mut pause = SHORT_PAUSE;
        loop {
            let why = match gate.pats.newer_than(self.grant, refused).await {
                Ok(Some(newer)) => return Ok(newer),
                Ok(None) => "the store has no newer one".to_owned(),
                Err(error) => format!("a newer one cannot be read: {error}"),
            };
            if until.is_none_or(|until| Instant::now() + pause >= until) {
                return Err(Fault::new(kind).because(format_args!("{cause}; {why}")));
            }
            tokio::time::sleep(pause).await;
            pause = PAUSE.min(pause * 2);
        }
    }

    /// Sends the login with this PAT, once. It runs to its end even when the client goes away: whether the PAT was refused
    /// has to be known.
    async fn send(&mut self, held: &Held, permit: Permit) -> Result<Sent, Fault> {
        let connect = match self.lanes.breaker.ask() {
            Way::Free => self.worker.gate.config.upstream.connect,
            Way::Look => LOOK,
            Way::Away => {
                permit.unsent();
                let cause = "it is known to be away, and another login looks whether it still is";
                return Err(Fault::new(Kind::SnowflakeUnreachable).because(cause));
            }
        };
        let injection = Injection { account: &self.lanes.account.name, user: self.grant.user(), pat: &held.pat };
        let body = self.login.write(&injection);
        let request = match self.request(body) {
            Ok(request) => request,
            Err(fault) => {
                permit.unsent();
                return Err(fault);
            }
        };
        let (pool, breaker) = (self.lanes.pool.clone(), self.lanes.breaker.clone());
        let exchange = tokio::spawn(async move { exchange(&pool, &breaker, connect, request, permit).await });
        exchange.await.unwrap_or_else(|_| Err(Fault::new(Kind::GateBroken).because("the exchange was cancelled")))
    }

    fn request(&self, body: String) -> Result<Request<RequestBody>, Fault> {
        let broken = |cause: &str| Fault::new(Kind::GateBroken).because(cause);
        let target = self.head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let target = pinned(self.grant.pins(), target);
        let key = self.login.presented.expose();
        let elsewhere = |bytes: &[u8]| bytes.windows(key.len()).any(|part| part == key.as_bytes());
        let in_headers = self.head.headers.iter().any(|(_, value)| elsewhere(value.as_bytes()));
        if body.contains(key) || target.contains(key) || in_headers {
            return Err(malformed("the client key stands in more than one place of it"));
        }
        let mut request = Request::new(RequestBody::whole(body));
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = target.as_ref().parse().map_err(|_| broken("the pinned target is no URI"))?;
        let mut headers = self.head.headers.clone();
        headers::strip_hop(&mut headers);
        for name in
            [header::AUTHORIZATION, header::COOKIE, header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::EXPECT]
        {
            headers.remove(name);
        }
        headers.remove("dpop");
        headers.insert(header::HOST, self.lanes.authority.clone());
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// What became of one try.
enum Sent {
    /// The session stands.
    Success { response: Response<()>, body: Bytes, session: Option<String>, role: Option<String> },
    /// Snowflake refused for a reason of the client's.
    Other { response: Response<()>, body: Bytes, code: String },
    /// Snowflake refused the PAT, or the gate.
    Refused { kind: Kind, times: usize },
    /// Snowflake was not reached, cannot serve now, or the connection broke. The login may be tried again: the worst that
    /// comes of it is a session that nobody uses.
    Away { fault: Fault, connected: bool },
}

/// One login over one connection; the permit is told what came of it.
async fn exchange(
    pool: &Arc<Pool>,
    breaker: &Breaker,
    connect: Duration,
    request: Request<RequestBody>,
    permit: Permit,
) -> Result<Sent, Fault> {
    // The answer is lost: the permit is dropped without a word.
    let late = |_| {
        Fault::new(Kind::SnowflakeSilent).because(format_args!("no answer to a login in {} s", ANSWER_TIME.as_secs()))
    };
    let response = match timeout(ANSWER_TIME, pool.send_within(connect, request)).await.map_err(late)? {
        Ok(response) => response,
        Err(failure @ Failure::Unsent(_)) => {
            permit.unsent();
            return Ok(Sent::Away { fault: failed(failure), connected: false });
        }
        // So it is here.
        Err(failure @ Failure::Broken(_)) => return Ok(Sent::Away { fault: failed(failure), connected: true }),
        Err(failure) => return Err(failed(failure)),
    };
    breaker.close();
    if let Err(fault) = no_redirect(&response) {
        permit.unsent();
        return Err(fault);
    }
    let (response, body) = read_answer(response).await?;
    let status = response.status();
    let Some(answer) = LoginAnswer::read(&body) else {
        // Whole, and not Snowflake's answer to a login: nobody has looked at the PAT.
        permit.unsent();
        let cause = format!("HTTP {} and no login answer in it", status.as_u16());
        let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
        if later || status.is_server_error() {
            let fault = Fault::new(Kind::SnowflakeBusy).because(cause);
            return Ok(Sent::Away { fault, connected: false });
        }
        return Err(Fault::new(Kind::SnowflakeGarbled).because(cause));
    };
    Ok(match answer {
        LoginAnswer::Success { rewritten, session, role } => {
            permit.succeeded();
            Sent::Success { response, body: rewritten.map_or(body, Bytes::from), session, role }
        }
        LoginAnswer::Other { code } => {
            permit.unsent();
            Sent::Other { response, body, code }
        }
        LoginAnswer::Credential(kind) => Sent::Refused { kind, times: permit.refused(kind) },
    })
}

/// Reads the answer whole, up to a cap.
async fn read_answer(response: Response<Answer>) -> Result<(Response<()>, Bytes), Fault> {
    let (mut head, body) = response.into_parts();
    let garbled = |cause: &str| Fault::new(Kind::SnowflakeGarbled).because(cause);
    let body = Limited::new(body, ANSWER_CAP)
        .collect()
        .await
        .map_err(|_| garbled("the login's answer broke off or is too large"))?;
    let mut body = body.to_bytes();
    if head.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip") {
        // Not asked for, and yet it happens behind some middleboxes.
        body = gunzip(&body, ANSWER_CAP).map_err(|_| garbled("the login's answer has damaged gzip"))?.into();
        head.headers.remove(header::CONTENT_ENCODING);
    }
    Ok((Response::from_parts(head, ()), body))
}

/// Whether a body is gzip; the name of an encoding has no case (RFC 9110, section 8.4.1).
fn is_gzip(headers: &HeaderMap) -> Result<bool, Fault> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let (first, None) = (encodings.next(), encodings.next()) else {
        return Err(malformed("it has more than one Content-Encoding"));
    };
    let named = |name: &str| first.is_some_and(|first| first.as_bytes().eq_ignore_ascii_case(name.as_bytes()));
    match first {
        None => Ok(false),
        Some(_) if named("") || named("identity") => Ok(false),
        Some(_) if named("gzip") || named("x-gzip") => Ok(true),
        Some(_) => Err(malformed("its Content-Encoding is neither gzip nor identity")),
    }
}

/// Snowflake's answer with the body that the client may see: headers as they came, framing ours. The status is 200 even for a
/// refusal that came with another: drivers show a text only then.
fn passed_on(response: Response<()>, body: Bytes) -> Response<AnswerBody> {
    let (mut head, ()) = response.into_parts();
    headers::strip_hop(&mut head.headers);
    head.headers.remove(header::CONTENT_LENGTH);
    head.version = Version::HTTP_11;
    head.status = StatusCode::OK;
    let ours = json(body);
    head.headers.insert(header::CONTENT_TYPE, ours.headers()[header::CONTENT_TYPE].clone());
    Response::from_parts(head, ours.into_body())
}

fn malformed(what: &str) -> Fault {
    Fault::new(Kind::LoginMalformed).detail(what).because(what)
}

fn refused(why: Refused) -> Fault {
    match why {
        Refused::Malformed(what) => malformed(what),
        Refused::NoKey(what) => Fault::new(Kind::KeyMissing).detail(what),
        Refused::Authenticator(name) => Fault::new(Kind::AuthenticatorForeign).detail(name),
    }
}
