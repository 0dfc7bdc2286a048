//! [`Record`]: the facts of one request, from its first byte to its last.
//!
//! The gate opens the record when the head arrives, adds facts during the request, lends it to spawned tasks
//! ([`Record::lend`]), and moves it into the answer's body. The record closes with the body's last byte, when the body
//! fails, or when the client leaves. Closing writes the log line and counts; nothing is formatted before. The record
//! only observes: no code path may depend on its content.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::metrics::Metrics;
use super::refusal_log::RefusalLog;
use crate::base::epoch::millis;
use crate::base::fault::{Fault, Kind, Level};
use crate::base::ids::{PatId, SessionId};
use crate::base::names::{ClientName, TraceId};
use crate::base::text::{capped, cut};
use crate::snowflake::route::Route;

/// The longest text of a login's facts in the log; its client may send any.
const FACT: usize = 128;
/// The longest cause.
const CAUSE: usize = 1024;

/// The record of one request. Dropping it closes it.
pub struct Record {
    trace: TraceId,
    /// Empty while it is lent; otherwise one allocation, so that the record moves through tasks and bodies as a
    /// pointer.
    facts: Option<Box<Facts>>,
}

/// The facts. None of them is secret.
pub struct Facts {
    /// Where the request came from.
    pub peer: IpAddr,
    /// What was asked.
    pub route: Route,
    /// The client, once its key or its ticket is known.
    pub client: Option<ClientName>,
    /// The account, once the client or the session is known.
    pub account: Option<Arc<str>>,
    /// The credential used.
    pub credential: Option<Arc<str>>,
    /// The PAT version used, or the one that opened the session.
    pub pat: Option<PatId>,
    /// The gate's own id of the session, if its tokens are sealed.
    pub session: Option<SessionId>,
    /// How many times the gate tried to send the request upstream.
    pub attempts: u32,
    /// The HTTP status of the answer; 0 while there is none.
    pub status: u16,
    /// Facts of a login; boxed, since most requests have none.
    pub login: Option<Box<LoginFacts>>,
    /// Bytes of the answer's body that the client's connection took.
    pub bytes_down: u64,
    outcome: Ending,
    started: Instant,
    steps: [u32; STEPS],
    metrics: Arc<Metrics>,
    refusals: Arc<RefusalLog>,
}

/// What a login says about itself.
#[derive(Debug, Default)]
pub struct LoginFacts {
    /// `CLIENT_APP_ID`.
    pub driver: Option<String>,
    /// `CLIENT_APP_VERSION`.
    pub driver_version: Option<String>,
    /// `CLIENT_ENVIRONMENT.APPLICATION`.
    pub application: Option<String>,
    /// Snowflake's session id.
    pub session: Option<String>,
    /// The role that the session got.
    pub role: Option<String>,
}

/// The steps of a request. The record notes each when it is done; a waiting request is in the step after the last noted
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The gate has read as much of the request as it needs for its decision.
    Received,
    /// The gate admitted the client, within its limits.
    Admitted,
    /// The request has a lease of a PAT.
    Leased,
    /// The request goes to Snowflake.
    Sent,
    /// The head of Snowflake's answer has arrived.
    Answered,
}

const STEPS: usize = 5;

/// The outcome of a request.
#[derive(Debug)]
enum Ending {
    /// Nothing yet.
    Open,
    /// Snowflake's answer, or the gate's, is on its way to the client.
    Answered,
    /// Snowflake refused, for a reason of the client's, with this code.
    Refused(String),
    /// The gate could not serve it.
    Failed(Fault),
    /// The whole answer was sent.
    Complete,
    /// The answer's body is incomplete.
    BrokeOff(String),
}

impl Record {
    /// The record of a request whose head has arrived.
    pub fn open(
        trace: TraceId,
        peer: IpAddr,
        route: Route,
        (metrics, refusals): (&Arc<Metrics>, &Arc<RefusalLog>),
    ) -> Self {
        let facts = Facts {
            peer,
            route,
            client: None,
            account: None,
            credential: None,
            pat: None,
            session: None,
            attempts: 0,
            status: 0,
            login: None,
            bytes_down: 0,
            outcome: Ending::Open,
            started: Instant::now(),
            steps: [0; STEPS],
            metrics: metrics.clone(),
            refusals: refusals.clone(),
        };
        Self { trace, facts: Some(Box::new(facts)) }
    }

    /// The trace id of everything about this request.
    pub fn trace(&self) -> TraceId {
        self.trace
    }

    /// When the request began.
    pub fn started(&self) -> Instant {
        self.facts.as_ref().map_or_else(Instant::now, |facts| facts.started)
    }

    /// Notes facts.
    pub fn note(&mut self, note: impl FnOnce(&mut Facts)) {
        if let Some(facts) = &mut self.facts {
            note(facts);
        }
    }

    /// Notes that a step is done.
    pub fn step(&mut self, step: Step) {
        self.note(|facts| {
            let micros = u32::try_from(facts.started.elapsed().as_micros()).unwrap_or(u32::MAX);
            // 0 means that the request did not reach the step.
            facts.steps[step.index()] = micros.max(1);
            facts.attempts += u32::from(step == Step::Sent);
        });
    }

    /// The same record for a separate task, which continues when the client leaves. Until it is returned, its holder
    /// closes it.
    #[must_use]
    pub fn lend(&mut self) -> Self {
        Self { trace: self.trace, facts: self.facts.take() }
    }

    /// Takes a lent record back.
    pub fn take_back(&mut self, mut lent: Self) {
        self.facts = lent.facts.take();
    }

    /// Snowflake refused, for a reason of the client's.
    pub fn refused(&mut self, code: String) {
        self.note(|facts| facts.outcome = Ending::Refused(cut(code, FACT)));
    }

    /// The gate could not serve the request; the answer says so.
    pub fn failed(&mut self, fault: Fault, status: u16) {
        self.note(|facts| {
            facts.status = status;
            facts.outcome = Ending::Failed(fault);
        });
    }

    /// An answer is on its way.
    pub fn answered(&mut self, status: u16) {
        self.note(|facts| {
            facts.status = status;
            if let Ending::Open = facts.outcome {
                facts.outcome = Ending::Answered;
            }
        });
    }

    /// Adds bytes of the answer's body that the client's connection took.
    pub fn sent_down(&mut self, bytes: usize) {
        self.note(|facts| facts.bytes_down += bytes as u64);
    }

    /// The last byte of the answer was sent.
    pub fn complete(&mut self) {
        self.note(|facts| {
            if let Ending::Open | Ending::Answered = facts.outcome {
                facts.outcome = Ending::Complete;
            }
        });
        self.close();
    }

    /// The answer's body failed after its head was sent.
    pub fn broke_off(&mut self, cause: String) {
        self.note(|facts| facts.outcome = Ending::BrokeOff(cut(cause, CAUSE)));
        self.close();
    }

    fn close(&mut self) {
        if let Some(facts) = self.facts.take() {
            facts.close(self.trace);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failed(Fault::new(Kind::GateBroken).with_cause("a bug: the task that served the request panicked"), 0);
        }
        self.close();
    }
}

impl Step {
    fn index(self) -> usize {
        match self {
            Self::Received => 0,
            Self::Admitted => 1,
            Self::Leased => 2,
            Self::Sent => 3,
            Self::Answered => 4,
        }
    }
}

impl Facts {
    /// The login's part, made on first use.
    pub fn login(&mut self) -> &mut LoginFacts {
        self.login.get_or_insert_default()
    }

    /// The time from the beginning to the end of a step.
    fn after(&self, step: Step) -> Option<Duration> {
        let micros = self.steps[step.index()];
        (micros != 0).then(|| Duration::from_micros(micros.into()))
    }

    fn ms(&self, step: Step) -> Option<u64> {
        self.after(step).map(millis)
    }

    /// Writes the log line, and counts.
    fn close(&self, trace: TraceId) {
        if let (Route::Login, Some(client)) = (self.route, &self.client) {
            let outcome = match &self.outcome {
                Ending::Failed(_) => "failed",
                Ending::Refused(_) => "refused",
                Ending::Complete => "success",
                Ending::Open | Ending::Answered | Ending::BrokeOff(_) => "abandoned",
            };
            self.metrics.login(client.as_str(), outcome);
        }
        match &self.outcome {
            Ending::Failed(fault) => {
                self.metrics.failed(fault.kind());
                // Whoever is not admitted can cause as many of them as he likes.
                let stranger = self.client.is_none();
                let kind = fault.kind().rule().name;
                if !stranger || self.refusals.keeps(kind, self.peer, Instant::now().into_std()) {
                    self.log_failure(trace, fault);
                }
            }
            Ending::BrokeOff(cause) => {
                let (client, route) = (self.client.as_ref().map(ClientName::as_str), self.route.as_str());
                let (account, ms) = (self.account.as_deref(), millis(self.started.elapsed()));
                tracing::warn!(
                    %trace, peer = %self.peer, client, account, route, bytes = self.bytes_down, cause, ms,
                    "answer broke off"
                );
            }
            Ending::Open | Ending::Answered => {
                let stranger = self.client.is_none();
                if !stranger || self.refusals.keeps("left", self.peer, Instant::now().into_std()) {
                    self.log_served(trace, "the client left");
                }
            }
            Ending::Complete => self.log_served(trace, "success"),
            Ending::Refused(code) => self.log_served(trace, &format!("refused by Snowflake with {code}")),
        }
    }

    /// One line about a served request. Logins and REST requests have lines with the credential; the others are many,
    /// so their level is debug.
    fn log_served(&self, trace: TraceId, outcome: &str) {
        let (client, account) = (self.client.as_ref().map(ClientName::as_str), self.account.as_deref());
        let (credential, pat) = (self.credential.as_deref(), self.pat.as_ref().map(PatId::as_str));
        let ms = millis(self.started.elapsed());
        match self.route {
            Route::Login => {
                let none = LoginFacts::default();
                let login = self.login.as_deref().unwrap_or(&none);
                tracing::info!(
                    %trace,
                    peer = %self.peer,
                    client,
                    account,
                    credential,
                    pat,
                    session = fact(&login.session),
                    sealed = self.session.map(tracing::field::display),
                    role = fact(&login.role),
                    driver = fact(&login.driver),
                    driver_version = fact(&login.driver_version),
                    application = fact(&login.application),
                    attempts = self.attempts,
                    outcome,
                    admitted_ms = self.ms(Step::Admitted),
                    leased_ms = self.ms(Step::Leased),
                    answered_ms = self.ms(Step::Answered),
                    ms,
                    "login"
                );
            }
            Route::Rest => {
                tracing::info!(
                    %trace,
                    peer = %self.peer,
                    client,
                    account,
                    credential,
                    pat,
                    status = self.status,
                    outcome,
                    leased_ms = self.ms(Step::Leased),
                    answered_ms = self.ms(Step::Answered),
                    bytes = self.bytes_down,
                    ms,
                    "rest"
                );
            }
            Route::Renew | Route::Stream(_) | Route::Foreign | Route::WrongMethod | Route::Unknown => {
                tracing::debug!(
                    %trace,
                    peer = %self.peer,
                    client,
                    account,
                    sealed = self.session.map(tracing::field::display),
                    route = self.route.as_str(),
                    status = self.status,
                    outcome,
                    answered_ms = self.ms(Step::Answered),
                    bytes = self.bytes_down,
                    ms,
                    "request"
                );
            }
        }
    }

    /// One line about a request that the gate could not serve.
    fn log_failure(&self, trace: TraceId, fault: &Fault) {
        let (rule, ms) = (fault.kind().rule(), millis(self.started.elapsed()));
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    %trace,
                    kind = rule.name,
                    code = %rule.code,
                    owner = rule.owner.as_str(),
                    cause = fault.cause(),
                    peer = %self.peer,
                    route = self.route.as_str(),
                    client = self.client.as_ref().map(ClientName::as_str),
                    account = self.account.as_deref(),
                    credential = self.credential.as_deref(),
                    pat = self.pat.as_ref().map(PatId::as_str),
                    driver = self.login.as_ref().and_then(|login| fact(&login.driver)),
                    ms,
                    next_step = rule.next_step,
                    "request failed"
                )
            };
        }
        match rule.level {
            Level::Error => line!(error),
            Level::Warn => line!(warn),
            Level::Debug => line!(debug),
        }
    }
}

/// A fact in the log, which may come from the wire.
fn fact(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(|text| capped(text, FACT))
}
