//! The login: the gate reads it, admits the client, replaces the key with the PAT, and sends it. If Snowflake refuses
//! the PAT, the gate sends the login again with a newer one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header, request};
use http_body_util::Full;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::body::Content;
use super::buffered::{self, Caps, passed_on};
use super::error_map::{is_unready, not_allowed, redirect};
use super::logout::Logout;
use super::{Worker, headers, note_grant};
use crate::admit::{Counted, Grant, Peer, Shown};
use crate::base::fault::{Fault, Kind};
use crate::base::pins::{ContextField, Pin};
use crate::pat::{Deadlines, Lease, Refused, RequestKind};
use crate::session::Sessions;
use crate::snowflake::answer::{LoginAnswer, with_trace};
use crate::snowflake::granted::Granted;
use crate::snowflake::login::{Injection, Login, Mark, NotALogin};
use crate::snowflake::query::{context, pinned, unset};
use crate::snowflake::refusal::{About, Refusal};
use crate::telemetry::record::{Record, Step, Unset, fact};
use crate::ticket::Ticket;
use crate::upstream::{AccountClient, BodySlot, Failure, Held, InFlightPermit, RequestBody};

/// How long Snowflake may take to answer a login. A login uses up one of the few leases of its service user, and
/// drivers give up after 60 s.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// The longest role, warehouse, database or schema, in bytes: two quoted names of 255 characters and a dot.
const CONTEXT: usize = 2_100;
/// How long a login with a lease waits for an in-flight permit of the account.
const IN_FLIGHT_WAIT: Duration = Duration::from_secs(1);

impl Worker {
    pub(super) async fn login(
        &self,
        peer: &Peer,
        head: request::Parts,
        body: &BodySlot,
        record: &mut Record,
    ) -> Result<Response<Content>, Fault> {
        let admission = &self.generation.admission;
        admission.arrives_to_log_in(peer).await?;
        record.step(Step::Arrived);
        if self.generation.config.audit.required && !self.generation.services.audit_works() {
            return Err(Fault::new(Kind::AuditUnwritable).with_cause("audit.required is set"));
        }
        let limits = &self.generation.config.login;
        let budget = (!peer.is_admitted()).then_some(&*self.generation.services.inflating);
        let caps = Caps { body: limits.body, inflated: limits.inflated, deadline: limits.deadline, budget };
        let unread = |why: buffered::Unread| why.fault(Kind::LoginMalformed, Kind::TooLarge);
        let body = buffered::request(&head, body.lend(), &caps).await.map_err(unread)?;
        let mut login = Login::parse(&body).map_err(refused)?;
        record.step(Step::Received);
        record.note(|facts| {
            let facts = facts.login();
            facts.driver = login.fact("CLIENT_APP_ID").and_then(fact);
            facts.driver_version = login.fact("CLIENT_APP_VERSION").and_then(fact);
            facts.application = login.environment("APPLICATION").and_then(fact);
            facts.typed_user = login.fact("LOGIN_NAME").and_then(fact);
        });
        let typed = login.typed_user();
        let shown = Shown { secret: login.presented.as_ref(), login_name: typed.as_deref() };
        let grant = match admission.log_in(peer, &shown) {
            Ok(grant) => grant,
            Err(refusal) => {
                // The answer may be slow; until then nothing of the request stays in memory.
                drop(login);
                drop(body);
                return Err(refusal.in_time().await);
            }
        };
        note_grant(record, &grant);
        admission.login_in_time(&grant).await?;
        // Counted from here on, so that logins at the same time do not all pass the same session limit.
        let counted = admission.session_to_open(&grant)?;
        record.step(Step::Admitted);
        let account = self.account(grant.account())?;
        let mut login = AdmittedLogin { worker: self, peer, grant: &grant, account, head: &head, login: &mut login };
        login.serve(record, counted).await
    }
}

/// An admitted login on its way to Snowflake.
struct AdmittedLogin<'a, 'b> {
    worker: &'a Worker,
    peer: &'a Peer,
    grant: &'a Grant,
    account: &'a Arc<AccountClient>,
    head: &'a request::Parts,
    login: &'a mut Login<'b>,
}

impl AdmittedLogin<'_, '_> {
    async fn serve(&mut self, record: &mut Record, counted: Counted) -> Result<Response<Content>, Fault> {
        let generation = &self.worker.generation;
        let hold = generation.config.login.hold;
        let deadlines = Deadlines::new(record.started(), hold);
        let mut tries = self.account.hold(Held::Login, hold);
        let target = self.head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let target = pinned(self.grant.pins(), target).map_err(not_allowed)?;
        if self.grant.pins().role != Pin::Free {
            self.login.pin_role_alone();
        }
        let (grant, trace, asks_for) = (self.grant, record.trace(), context(&target));
        if asks_for.iter().any(|asked| asked.len() > CONTEXT) {
            return Err(malformed("its role, warehouse, database or schema is too long for a name of Snowflake's"));
        }
        let pats = &generation.pats;
        record.note(|facts| facts.store = pats.store_reads(grant));
        let wait = async |record: &mut Record| {
            record.step(Step::Asked);
            pats.lease(grant, trace, RequestKind::Login, asks_for.clone(), deadlines).await
        };
        let mut lease = wait(record).await?;
        loop {
            record.step(Step::Leased);
            record.note(|facts| facts.pat = Some(lease.version().clone()));
            match self.try_once(lease, (&target, &asks_for), tries.begin(), record).await? {
                LoginOutcome::Success { response, body, ticket, logout } => {
                    if let (Some(ticket), Some(sessions)) = (&ticket, &generation.services.sessions) {
                        sessions.opened(ticket, self.peer.ip, counted);
                    }
                    let answer = passed_on(response, Bytes::new());
                    return Ok(answer.map(|_empty| Content::Granted(Full::new(body), logout)));
                }
                LoginOutcome::Other { response, body } => return Ok(passed_on(response, body)),
                LoginOutcome::Refused(refusal) => {
                    record.again(refusal.kind());
                    record.step(Step::Asked);
                    lease = refusal.another().await?;
                }
                LoginOutcome::Failed(failure) => {
                    record.again(failure.kind());
                    tries.again(failure, record.trace()).await?;
                    lease = wait(record).await?;
                }
            }
        }
    }

    /// Sends the login with this lease, once. The exchange continues after the client leaves: the gate must know
    /// whether Snowflake refused the PAT.
    async fn try_once(
        &mut self,
        mut lease: Lease,
        (target, asks_for): (&str, &[String]),
        connect: Duration,
        record: &mut Record,
    ) -> Result<LoginOutcome, Fault> {
        // A failure between here and the exchange drops the lease unsent.
        let injection = Injection {
            account: self.account.account_name(),
            user: self.grant.user(),
            presented: lease.present(self.account.account_name())?,
            mark: Mark {
                client: self.grant.client().as_str(),
                trace: record.trace(),
                query_tag: self.grant.query_tag(),
            },
        };
        let body = self.login.write(&injection);
        let request = self.request(body, target)?;
        let generation = &self.worker.generation;
        // Other requests may hold permits and wait for leases, so a login with a lease waits only briefly.
        let in_flight = self.account.in_flight(IN_FLIGHT_WAIT.min(generation.config.login.hold)).await?;
        let exchange = Exchange {
            account: self.account.clone(),
            sessions: generation.services.sessions.clone(),
            grant: self.grant.clone(),
            asks_for: asks_for.to_owned(),
            record: record.lend(),
        };
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            let ended = exchange.carry_out(request, (in_flight, connect), lease).await;
            // If the client has left, what comes back here is dropped, and with it the session.
            let _left = tell.send(ended);
        });
        let (sent, lent) = told.await.map_err(|ended| Fault::new(Kind::GateBroken).with_source(&ended))?;
        record.take_back(lent);
        sent
    }

    fn request(&self, body: String, target: &str) -> Result<Request<RequestBody>, Fault> {
        let broken = |cause: &str| Fault::new(Kind::GateBroken).with_cause(cause);
        let key = self.login.presented.as_ref();
        if key.is_some_and(|key| headers::hold(&self.head.headers, target, body.as_bytes(), key)) {
            return Err(malformed("it contains the client key in a second place"));
        }
        let mut request = Request::new(RequestBody::whole(body));
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = target.parse().map_err(|_| broken("the pinned target is not a URI"))?;
        let mut headers = headers::for_whole_body(&self.head.headers, self.account.authority());
        headers.remove(header::AUTHORIZATION);
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// The outcome of one try.
enum LoginOutcome {
    /// The session is open.
    Success { response: Response<()>, body: Bytes, ticket: Option<Box<Ticket>>, logout: Box<Logout> },
    /// Snowflake refused for a reason that concerns the client.
    Other { response: Response<()>, body: Bytes },
    /// Snowflake refused the PAT, or the gate.
    Refused(Refused),
    /// There is no answer to the login. The gate may send the login again: in the worst case Snowflake has an unused
    /// session.
    Failed(Failure),
}

/// One login over one connection.
struct Exchange {
    account: Arc<AccountClient>,
    sessions: Option<Arc<Sessions>>,
    grant: Grant,
    /// The context of the session.
    asks_for: Vec<String>,
    record: Record,
}

impl Exchange {
    /// Sends the login and reports the outcome to the lease. It returns the record with the outcome; if the client has
    /// left, the record closes here.
    async fn carry_out(
        mut self,
        request: Request<RequestBody>,
        sending: (InFlightPermit, Duration),
        mut lease: Lease,
    ) -> (Result<LoginOutcome, Fault>, Record) {
        lease.sending();
        self.record.step(Step::Sent);
        let sent = self.exchange(request, sending, lease).await;
        if !matches!(sent, Ok(LoginOutcome::Failed(_)) | Err(_)) {
            self.record.step(Step::Answered);
        }
        (sent, self.record)
    }

    async fn exchange(
        &mut self,
        request: Request<RequestBody>,
        (in_flight, connect): (InFlightPermit, Duration),
        lease: Lease,
    ) -> Result<LoginOutcome, Fault> {
        // The answer is lost: drop the lease without a report.
        let late = |_| {
            let cause = format_args!("no answer to a login in {} s", ANSWER_TIME.as_secs());
            Fault::new(Kind::SnowflakeSilent).with_cause(cause)
        };
        let sent = self.account.send_held(request, in_flight, None, connect);
        let response = match timeout(ANSWER_TIME, sent).await.map_err(late)? {
            Ok(response) => response,
            Err(failure) => {
                if failure.is_unsent() {
                    lease.unsent();
                }
                return Ok(LoginOutcome::Failed(failure));
            }
        };
        self.record.note(|facts| facts.gate_address = response.body().from());
        match redirect(&response, self.account.authority()) {
            Ok(None) => {}
            Ok(Some(cause)) => {
                lease.unsent();
                return Ok(LoginOutcome::Failed(Failure::Unready(cause)));
            }
            Err(fault) => {
                lease.unsent();
                return Err(fault);
            }
        }
        let (response, body) = buffered::answer(response).await?;
        let status = response.status();
        let Some(answer) = LoginAnswer::read(&body) else {
            // The answer is complete but not a login answer: Snowflake has not checked the PAT.
            lease.unsent();
            let cause = format!("HTTP {} without a login answer", status.as_u16());
            if is_unready(status) {
                return Ok(LoginOutcome::Failed(Failure::Unready(cause)));
            }
            // So answers a host of Snowflake's behind which there is no account.
            let kind = match status {
                StatusCode::NOT_FOUND => Kind::AccountUnknown,
                _ => Kind::SnowflakeGarbled,
            };
            return Err(Fault::new(kind).with_cause(cause));
        };
        Ok(match answer {
            LoginAnswer::Success(granted) => {
                let logout = Box::new(Logout::new(self.account.clone(), granted.token()));
                let (written, ticket) = self.opened(granted, lease)?;
                LoginOutcome::Success { response, body: written.map_or(body, Bytes::from), ticket, logout }
            }
            LoginAnswer::Refused(refusal) if self.is_the_client_s(&refusal) => {
                let refusal = lease.answered(refusal);
                lease.unsent();
                let told = with_trace(&body, self.record.trace());
                self.record.refused(refusal.client_kind(), refusal.said());
                LoginOutcome::Other { response, body: told.map_or(body, Bytes::from) }
            }
            LoginAnswer::Refused(refusal) => LoginOutcome::Refused(lease.refused(refusal)),
        })
    }

    /// Whether a refusal concerns what the client asks for. A context that the operator pins is none of its doing.
    fn is_the_client_s(&self, refusal: &Refusal) -> bool {
        let pins = self.grant.pins();
        match refusal.about {
            About::Gate(_) => false,
            About::Role => !matches!(pins.role, Pin::Fixed(_)),
            About::Context => [&pins.warehouse, &pins.database, &pins.schema].iter().any(|pin| **pin == Pin::Free),
            About::Request => true,
        }
    }

    /// Snowflake has opened a session: seals its tokens. Returns the body where it differs from Snowflake's, and the
    /// ticket of a sealed session.
    fn opened(&mut self, granted: Granted<'_>, lease: Lease) -> Result<(Option<String>, Option<Box<Ticket>>), Fault> {
        let version = lease.version().clone();
        lease.accepted();
        let unset = unset(&self.asks_for, |place| granted.place(place), Unset::new);
        self.record.note(|facts| {
            let facts = facts.login();
            facts.session = granted.session().and_then(fact);
            facts.role = granted.place(ContextField::Role).flatten().and_then(fact);
            facts.warehouse = granted.place(ContextField::Warehouse).flatten().and_then(fact);
            facts.unset = unset;
        });
        let Some(sessions) = &self.sessions else { return Ok((granted.written(), None)) };
        let (written, ticket) = sessions.seal_login(granted, &self.grant, &version, &self.asks_for)?;
        self.record.note(|facts| facts.session = Some(ticket.session));
        Ok((Some(written), Some(Box::new(ticket))))
    }
}

fn malformed(what: &str) -> Fault {
    Fault::new(Kind::LoginMalformed).detail(what).with_cause(what)
}

fn refused(why: NotALogin) -> Fault {
    match why {
        NotALogin::Malformed(what) => malformed(what),
        NotALogin::NoKey(what) => Fault::new(Kind::KeyMissing).detail(what),
        NotALogin::Authenticator(name) => Fault::new(Kind::AuthenticatorForeign).detail(name),
    }
}
