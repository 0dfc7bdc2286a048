//! The login: read, admit, put the PAT in the key's place, send, and once more with a newer PAT when that one is refused.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header, request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use super::gate::Lanes;
use super::trouble::{failed, no_redirect, store_fault};
use super::{AnswerBody, Peer, Worker, headers, json};
use crate::admit::Grant;
use crate::base::fault::{Fault, Kind};
use crate::pat::{Permit, Verdict};
use crate::secrets::{Held, StoreError};
use crate::snowflake::answer::LoginAnswer;
use crate::snowflake::body::{NotInflated, gunzip};
use crate::snowflake::login::{Injection, Login, Refused};
use crate::snowflake::query::pinned;
use crate::telemetry::record::Record;
use crate::upstream::{Answer, Failure, RequestBody, Way};

/// The largest answer to a login that is read. Real ones are some KB, most of it parameters.
const ANSWER_CAP: usize = 4 << 20;
/// The pause between two tries while a login is held.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a login may wait for others with the same credential; drivers wait for 60 s and more.
const QUEUE: Duration = Duration::from_secs(30);
/// How long a login waits for its turn before it looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long connecting may take while Snowflake is known to be away.
const KNOWN_AWAY: Duration = Duration::from_secs(2);

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
        let mut upstream = Upstream { worker: self, grant: &grant, lanes, head: &head, login: &mut login };
        upstream.run(record, started).await
    }

    /// Reads the body up to its caps, inflated.
    async fn read(&self, head: &request::Parts, body: Incoming) -> Result<Vec<u8>, Fault> {
        let limits = &self.gate.config.login;
        let too_large = |cap: usize| Fault::new(Kind::LoginTooLarge).detail(format_args!("{cap} bytes"));
        let gzip = match head.headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"" | b"identity") => false,
            Some(b"gzip") => true,
            Some(_) => return Err(malformed("its Content-Encoding is neither gzip nor identity")),
        };
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

/// What became of one try.
enum Sent {
    /// Snowflake answered; the body is whole.
    Answered(Response<()>, Bytes),
    /// Snowflake was not reached, or the connection broke. The login may be tried again: the worst that comes of it is a
    /// session that nobody uses.
    Away(Failure),
}

/// An admitted login on its way to Snowflake.
struct Upstream<'a, 'b> {
    worker: &'a Worker,
    grant: &'a Grant,
    lanes: &'a Lanes,
    head: &'a request::Parts,
    login: &'a mut Login<'b>,
}

impl Upstream<'_, '_> {
    async fn run(&mut self, record: &mut Record, started: Instant) -> Result<Response<AnswerBody>, Fault> {
        let deadline = started + self.worker.gate.config.login.hold;
        let mut held = self.first_pat(deadline).await?;
        let mut broken = 0;
        loop {
            let permit;
            (held, permit) = self.permit(held, started).await?;
            record.login().pat = Some(held.id.clone());
            record.login().attempts += 1;
            let (response, body) = match self.send(&held, deadline).await? {
                Sent::Answered(response, body) => (response, body),
                Sent::Away(failure) => {
                    drop(permit);
                    // What was sent may have been counted as a bad login, so it is sent once more and no oftener.
                    broken += u32::from(matches!(failure, Failure::Broken(_)));
                    if broken > 1 || Instant::now() + PAUSE >= deadline {
                        self.lanes.breaker.open();
                        return Err(failed(failure));
                    }
                    tracing::debug!(cause = ?failure, "a login waits for Snowflake");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(answer) = LoginAnswer::read(&body) else {
                let status = response.status().as_u16();
                return Err(
                    Fault::new(Kind::SnowflakeGarbled).because(format_args!("HTTP {status} and no login answer in it"))
                );
            };
            match answer {
                LoginAnswer::Success { rewritten, session, role } => {
                    let facts = record.login();
                    (facts.session, facts.role) = (session, role);
                    record.logged_in("success", started.elapsed());
                    return Ok(passed_on(response, rewritten.map_or(body, Bytes::from)));
                }
                LoginAnswer::Other { code } => {
                    record.logged_in(&format!("refused by Snowflake with {code}"), started.elapsed());
                    return Ok(passed_on(response, body));
                }
                LoginAnswer::Credential(kind) => {
                    let times = permit.refused(kind);
                    let cause = format!(
                        "Snowflake refused PAT {} ({} of the store), {times} times by now",
                        held.id, held.version
                    );
                    tracing::warn!(trace = %record.trace, credential = %self.grant.credential(), kind = kind.rule().name, cause, "PAT refused");
                    // Only ever with a newer version. More than one can be needed, where rotations follow each other fast.
                    if Instant::now() >= deadline {
                        return Err(Fault::new(kind).because(cause));
                    }
                    held = self.newer(&held, kind, &cause).await?;
                }
            }
        }
    }

    /// Waits for the right to risk a login. The PAT may have been replaced meanwhile, by another login that was refused.
    async fn permit(&self, mut held: Arc<Held>, started: Instant) -> Result<(Arc<Held>, Permit), Fault> {
        let gate = &self.worker.gate;
        loop {
            match gate.budget.ask(self.grant.credential(), &held.id) {
                Verdict::Go(permit) => return Ok((held, permit)),
                Verdict::Spent => {
                    held = self.newer(&held, Kind::PatRefused, "the budget of bad logins is spent").await?
                }
                Verdict::Resting(kind) => {
                    return Err(Fault::new(kind).because("Snowflake refused a moment ago; nothing is sent for now"));
                }
                Verdict::Busy(freed) if started.elapsed() < QUEUE => {
                    // A place may also come free by time alone, which rings no bell.
                    let _asked_again = timeout(LOOK_AGAIN, freed).await;
                    held = self.first_pat(started).await?;
                }
                Verdict::Busy(_) => {
                    let cause = "other logins with this credential were under way all the time";
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
                Err(error @ StoreError::Unavailable(_)) if Instant::now() + PAUSE < deadline => {
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
        let gate = &self.worker.gate;
        let credential = self.grant.credential();
        let since = gate.budget.refused_since(credential, &refused.id);
        let until = since.map(|since| since + gate.config.login.hold);
        loop {
            let why = match gate.pats.newer_than(self.grant, refused).await {
                Ok(Some(newer)) => return Ok(newer),
                Ok(None) => "the store has no newer one".to_owned(),
                Err(error) => format!("a newer one cannot be read: {error}"),
            };
            if kind != Kind::PatRefused || until.is_none_or(|until| Instant::now() + PAUSE >= until) {
                return Err(Fault::new(kind).because(format_args!("{cause}; {why}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends the login with this PAT, once.
    async fn send(&mut self, held: &Held, deadline: Instant) -> Result<Sent, Fault> {
        let breaker = &self.lanes.breaker;
        let away = |cause: &str| Fault::new(Kind::SnowflakeUnreachable).because(cause);
        let (connect, look) = match breaker.ask() {
            Way::Free => (deadline.saturating_duration_since(Instant::now()).max(PAUSE), None),
            Way::Look(look) => (KNOWN_AWAY, Some(look)),
            Way::Away => return Err(away("it is known to be away, and another login looks whether it still is")),
        };
        let injection = Injection { account: &self.lanes.account.name, user: self.grant.user(), pat: &held.pat };
        let request = self.login.write(&injection);
        match self.lanes.pool.send_within(connect, self.request(Bytes::from(request))?).await {
            Ok(response) => {
                breaker.close();
                no_redirect(&response)?;
                let (response, body) = read_answer(response).await?;
                Ok(Sent::Answered(response, body))
            }
            Err(failure @ (Failure::Unsent(_) | Failure::Broken(_))) if look.is_none() => Ok(Sent::Away(failure)),
            Err(failure) => Err(failed(failure)),
        }
    }

    fn request(&self, body: Bytes) -> Result<Request<RequestBody>, Fault> {
        let broken = |cause: &str| Fault::new(Kind::GateBroken).because(cause);
        let target = self.head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let target = pinned(self.grant.pins(), target);
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

/// Snowflake's answer with the body that the client may see: status and headers as they came, framing ours.
fn passed_on(response: Response<()>, body: Bytes) -> Response<AnswerBody> {
    let (mut head, ()) = response.into_parts();
    headers::strip_hop(&mut head.headers);
    head.headers.remove(header::CONTENT_LENGTH);
    head.version = Version::HTTP_11;
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
