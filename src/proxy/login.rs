//! The login: read, admit, put the PAT in the key's place, send, and once more with a newer PAT when that one is refused.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode, header, request};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use super::gate::Lanes;
use super::read::{self, Caps, passed_on};
use super::sealing::Sealing;
use super::trouble::{failed, no_redirect, store_fault};
use super::{AnswerBody, Peer, Worker, headers};
use crate::admit::Grant;
use crate::base::fault::{Fault, Kind};
use crate::pat::{Permit, ServiceUser, Verdict};
use crate::secrets::Held;
use crate::session::Ticket;
use crate::snowflake::answer::LoginAnswer;
use crate::snowflake::login::{Injection, Login, Refused};
use crate::snowflake::query::pinned;
use crate::telemetry::record::Record;
use crate::upstream::{Breaker, Failure, LOOK, Pool, RequestBody, Way};

/// How long Snowflake has for its answer to a login. It holds one of the few places of its service user, and drivers give up at 60 s.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// The pause between two tries while a login is held.
pub(super) const PAUSE: Duration = Duration::from_millis(250);
/// The first such pause when a store is asked for a newer PAT; each is twice as long as the one before, up to [`PAUSE`].
const SHORT_PAUSE: Duration = Duration::from_millis(25);
/// How long a login may wait for others of the same user; drivers wait for 60 s and more.
const QUEUE: Duration = Duration::from_secs(30);
/// How many versions of a PAT one login may try, each newer than the one before. Two rotations can overtake a login.
const VERSIONS: u32 = 8;

impl Worker {
    pub(super) async fn login(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
        record: &mut Record,
    ) -> Result<Response<AnswerBody>, Fault> {
        let started = Instant::now();
        self.gate.admission.address(peer.ip)?;
        let (head, body) = request.into_parts();
        let limits = &self.gate.config.login;
        let caps = Caps { body: limits.body, inflated: limits.inflated, deadline: limits.deadline };
        let unread = |why: read::Unread| why.fault(Kind::LoginMalformed, Kind::LoginTooLarge);
        let body = read::request(&head, body, &caps).await.map_err(unread)?;
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
        let mut upstream = Upstream { worker: self, peer, grant: &grant, user, lanes, head: &head, login: &mut login };
        upstream.run(record, started).await
    }
}

/// An admitted login on its way to Snowflake.
struct Upstream<'a, 'b> {
    worker: &'a Worker,
    peer: &'a Peer,
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
                Sent::Success { response, body, session, role, ticket } => {
                    self.worker.gate.pats.accepted(&held);
                    if let (Some(ticket), Some(sealing)) = (&ticket, &self.worker.gate.sealing) {
                        let count = self.worker.gate.admission.session(self.peer.ip, ticket)?;
                        sealing.sessions.seen(ticket, self.peer.ip, sealing.clock.now(), count);
                    }
                    let facts = record.login();
                    (facts.session, facts.role, facts.sealed) =
                        (session, role, ticket.map(|ticket| ticket.session.to_string()));
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
        let gate = self.worker.gate.clone();
        let exchange = Exchange {
            pool: self.lanes.pool.clone(),
            breaker: self.lanes.breaker.clone(),
            connect,
            seal: gate.sealing.clone().map(|sealing| (sealing, gate.longest())),
            grant: self.grant.clone(),
            pat: held.id.clone(),
        };
        let exchange = tokio::spawn(exchange.run(request, permit));
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
        let mut headers = headers::for_whole_body(&self.head.headers, &self.lanes.authority);
        for name in [header::AUTHORIZATION, header::COOKIE, HeaderName::from_static("dpop")] {
            headers.remove(name);
        }
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// What became of one try.
enum Sent {
    /// The session stands.
    Success {
        response: Response<()>,
        body: Bytes,
        session: Option<String>,
        role: Option<String>,
        ticket: Option<Ticket>,
    },
    /// Snowflake refused for a reason of the client's.
    Other { response: Response<()>, body: Bytes, code: String },
    /// Snowflake refused the PAT, or the gate.
    Refused { kind: Kind, times: usize },
    /// Snowflake was not reached, cannot serve now, or the connection broke. The login may be tried again: the worst that
    /// comes of it is a session that nobody uses.
    Away { fault: Fault, connected: bool },
}

/// One login over one connection.
struct Exchange {
    pool: Arc<Pool>,
    breaker: Arc<Breaker>,
    connect: Duration,
    /// How the tokens are sealed, and how long they may live.
    seal: Option<(Arc<Sealing>, Duration)>,
    grant: Grant,
    pat: String,
}

impl Exchange {
    /// Sends the login; the permit is told what came of it.
    async fn run(self, request: Request<RequestBody>, permit: Permit) -> Result<Sent, Fault> {
        // The answer is lost: the permit is dropped without a word.
        let late = |_| {
            Fault::new(Kind::SnowflakeSilent)
                .because(format_args!("no answer to a login in {} s", ANSWER_TIME.as_secs()))
        };
        let response = match timeout(ANSWER_TIME, self.pool.send_within(self.connect, request)).await.map_err(late)? {
            Ok(response) => response,
            Err(failure @ Failure::Unsent(_)) => {
                permit.unsent();
                return Ok(Sent::Away { fault: failed(failure), connected: false });
            }
            // So it is here.
            Err(failure @ Failure::Broken(_)) => return Ok(Sent::Away { fault: failed(failure), connected: true }),
            Err(failure) => return Err(failed(failure)),
        };
        self.breaker.close();
        if let Err(fault) = no_redirect(&response) {
            permit.unsent();
            return Err(fault);
        }
        let (response, body) = read::answer(response).await?;
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
            LoginAnswer::Success(granted) => {
                permit.succeeded();
                let (session, role) = (granted.session(), granted.role());
                let (written, ticket) = match &self.seal {
                    Some((sealing, longest)) => {
                        let (written, ticket) = sealing.login(granted, &self.grant, &self.pat, *longest)?;
                        (Some(written), Some(ticket))
                    }
                    None => (granted.written(), None),
                };
                Sent::Success { response, body: written.map_or(body, Bytes::from), session, role, ticket }
            }
            LoginAnswer::Other { code } => {
                permit.unsent();
                Sent::Other { response, body, code }
            }
            LoginAnswer::Credential(kind) => Sent::Refused { kind, times: permit.refused(kind) },
        })
    }
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
