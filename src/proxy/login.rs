//! The login: read, admit, put the PAT in the key's place, send, and once more with a newer PAT when that one is refused.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode, header, request};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::gate::Lanes;
use super::pat::{PAUSE, PatSource, VERSIONS};
use super::read::{self, Caps, Untouched, passed_on};
use super::sealing::Sealing;
use super::trouble::{failed, no_redirect, not_allowed};
use super::{AnswerBody, Peer, Worker, headers};
use crate::admit::Grant;
use crate::base::fault::{Fault, Kind};
use crate::pat::Permit;
use crate::secrets::Held;
use crate::session::{Counted, Ticket};
use crate::snowflake::answer::LoginAnswer;
use crate::snowflake::login::{Injection, Login, Refused};
use crate::snowflake::query::pinned;
use crate::telemetry::record::Record;
use crate::upstream::{Breaker, Failure, Pool, RequestBody, Way};

/// How long Snowflake has for its answer to a login. It holds one of the few places of its service user, and drivers give up at 60 s.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// How long a login that may be sent waits for a place at the account.
const PLACE: Duration = Duration::from_secs(1);

impl Worker {
    pub(super) async fn login(
        &self,
        peer: &Peer,
        head: request::Parts,
        body: &mut Untouched,
        record: &mut Record,
    ) -> Result<Response<AnswerBody>, Fault> {
        let started = Instant::now();
        self.gate.admission.arrives_to_log_in(peer).await?;
        let limits = &self.gate.config.login;
        let caps = Caps { body: limits.body, inflated: limits.inflated, deadline: limits.deadline };
        let unread = |why: read::Unread| why.fault(Kind::LoginMalformed, Kind::TooLarge);
        let body = read::request(&head, body.take()?, &caps).await.map_err(unread)?;
        let mut login = Login::parse(&body).map_err(refused)?;
        let facts = record.login();
        facts.driver = login.fact("CLIENT_APP_ID");
        facts.driver_version = login.fact("CLIENT_APP_VERSION");
        facts.application = login.environment("APPLICATION");
        let grant = self.gate.admission.login(peer, login.presented.as_ref()).await?;
        record.client = Some(grant.client().to_string());
        record.login().credential = Some(grant.credential().to_string());
        // Counted from here on, so that logins that come together do not all find the last place free.
        let counted = self.gate.admission.session_to_open(&grant)?;
        let lanes = self.lanes(grant.account())?;
        let pats = PatSource::new(&self.gate, &grant);
        let mut upstream = Upstream { worker: self, peer, grant: &grant, pats, lanes, head: &head, login: &mut login };
        upstream.run(record, started, counted).await
    }
}

/// An admitted login on its way to Snowflake.
struct Upstream<'a, 'b> {
    worker: &'a Worker,
    peer: &'a Peer,
    grant: &'a Grant,
    pats: PatSource<'a>,
    lanes: &'a Lanes,
    head: &'a request::Parts,
    login: &'a mut Login<'b>,
}

impl Upstream<'_, '_> {
    async fn run(
        &mut self,
        record: &mut Record,
        started: Instant,
        counted: Counted,
    ) -> Result<Response<AnswerBody>, Fault> {
        let hold = self.worker.gate.config.login.hold;
        let mut held = self.pats.first(Instant::now() + hold).await?;
        let (mut away_since, mut broken, mut versions) = (None, 0, 0);
        loop {
            let permit;
            (held, permit) = self.pats.permit(held, started).await?;
            record.login().pat = Some(held.id.clone());
            record.login().attempts += 1;
            match self.send(&held, permit).await? {
                Sent::Success { response, body, session, role, ticket } => {
                    self.worker.gate.pats.accepted(&held);
                    if let (Some(ticket), Some(sealing)) = (&ticket, &self.worker.gate.sealing) {
                        sealing.sessions.opened(ticket, self.peer.ip, sealing.clock.now(), counted);
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
                    let cause = self.pats.refused(&held, kind, times, record.trace);
                    versions += 1;
                    if versions >= VERSIONS {
                        return Err(Fault::new(kind).because(cause));
                    }
                    held = self.pats.newer(&held, kind, &cause).await?;
                }
                Sent::Away { fault, reach } => {
                    // What was sent may have been counted as a bad login, so it is sent once more and no oftener.
                    broken += u32::from(reach == Reach::Broke);
                    let since: Instant = *away_since.get_or_insert_with(Instant::now);
                    let over = since.elapsed() + PAUSE >= hold;
                    // One login's own tries are one failure: it is held for its whole time.
                    if over && reach == Reach::None {
                        match hold.is_zero() {
                            true => self.lanes.breaker.failed(fault.cause()),
                            false => self.lanes.breaker.open(fault.cause()),
                        }
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

    /// Sends the login with this PAT, once. It runs to its end even when the client goes away: whether the PAT was refused
    /// has to be known.
    async fn send(&mut self, held: &Held, permit: Permit) -> Result<Sent, Fault> {
        let connect = match self.lanes.breaker.ask() {
            Way::Free | Way::Look => self.worker.gate.config.upstream.connect,
            Way::Away => {
                permit.unsent();
                return Err(Fault::new(Kind::SnowflakeUnreachable).because(self.lanes.breaker.cause()));
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
        // Others may hold the places and wait for permits: whoever has a permit does not wait long.
        let place = match self.lanes.place(PLACE.min(gate.config.login.hold)).await {
            Ok(place) => place,
            Err(fault) => {
                permit.unsent();
                return Err(fault);
            }
        };
        let exchange = Exchange {
            _place: place,
            pool: self.lanes.pool.clone(),
            breaker: self.lanes.breaker.clone(),
            connect,
            seal: gate.sealing.clone(),
            grant: self.grant.clone(),
            pat: held.id.clone(),
        };
        let exchange = tokio::spawn(exchange.run(request, permit));
        exchange.await.unwrap_or_else(|_| Err(Fault::new(Kind::GateBroken).because("the exchange was cancelled")))
    }

    fn request(&self, body: String) -> Result<Request<RequestBody>, Fault> {
        let broken = |cause: &str| Fault::new(Kind::GateBroken).because(cause);
        let target = self.head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let target = pinned(self.grant.pins(), target).map_err(not_allowed)?;
        let key = self.login.presented.as_ref();
        if key.is_some_and(|key| headers::hold(&self.head.headers, &target, body.as_bytes(), key)) {
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
        ticket: Option<Box<Ticket>>,
    },
    /// Snowflake refused for a reason of the client's.
    Other { response: Response<()>, body: Bytes, code: String },
    /// Snowflake refused the PAT, or the gate.
    Refused { kind: Kind, times: usize },
    /// Snowflake was not reached, cannot serve now, or the connection broke. The login may be tried again: the worst that
    /// comes of it is a session that nobody uses.
    Away { fault: Fault, reach: Reach },
}

/// How far a try came that may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Snowflake was not reached.
    None,
    /// Something was sent, and the connection broke.
    Broke,
    /// Snowflake answered that it cannot serve now.
    Answered,
}

/// One login over one connection.
struct Exchange {
    /// Among the requests that may be under way at the account.
    _place: Option<OwnedSemaphorePermit>,
    pool: Arc<Pool>,
    breaker: Arc<Breaker>,
    connect: Duration,
    seal: Option<Arc<Sealing>>,
    grant: Grant,
    pat: String,
}

impl Exchange {
    /// Sends the login; the permit is told what came of it.
    async fn run(self, request: Request<RequestBody>, mut permit: Permit) -> Result<Sent, Fault> {
        permit.sending();
        // The answer is lost: the permit is dropped without a word.
        let late = |_| {
            Fault::new(Kind::SnowflakeSilent)
                .because(format_args!("no answer to a login in {} s", ANSWER_TIME.as_secs()))
        };
        let response = match timeout(ANSWER_TIME, self.pool.send_within(self.connect, request)).await.map_err(late)? {
            Ok(response) => response,
            Err(failure @ Failure::Unsent(_)) => {
                permit.unsent();
                return Ok(Sent::Away { fault: failed(failure), reach: Reach::None });
            }
            // So it is here.
            Err(failure @ Failure::Broken(_)) => return Ok(Sent::Away { fault: failed(failure), reach: Reach::Broke }),
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
                return Ok(Sent::Away { fault, reach: Reach::Answered });
            }
            return Err(Fault::new(Kind::SnowflakeGarbled).because(cause));
        };
        Ok(match answer {
            LoginAnswer::Success(granted) => {
                permit.succeeded();
                let (session, role) = (granted.session(), granted.role());
                let (written, ticket) = match &self.seal {
                    Some(sealing) => {
                        let (written, ticket) = sealing.login(granted, &self.grant, &self.pat)?;
                        (Some(written), Some(Box::new(ticket)))
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
