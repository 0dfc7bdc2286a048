//! [`Facts`]: what is known of one request. None of it is secret, and all of it is bounded.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::base::fault::{Fault, Kind, Said};
use crate::base::ids::{PatId, SessionId};
use crate::base::names::ClientName;
use crate::base::pins::ContextField;
use crate::base::redact::{holds_secret, redacted};
use crate::base::text::cut;
use crate::base::trace::{SpanId, TraceId};
use crate::config::SqlRecord;
use crate::snowflake::query_id::{self, Edges};
use crate::snowflake::route::Route;
use crate::snowflake::sql_text;
use crate::telemetry::store_reads::{StoreReads, StoreWait};

/// The longest text of a login's facts; its client may send any.
const FACT: usize = 128;
/// The longest cause.
const CAUSE: usize = 1024;
/// How many earlier attempts are kept.
const ATTEMPTS: usize = 16;

/// The facts of one request.
pub struct Facts {
    /// The trace id of everything about this request.
    pub trace: TraceId,
    /// The request's own span; Snowflake gets it as the parent of what it does.
    pub span: SpanId,
    /// The client's span, if it sent one.
    pub parent: Option<SpanId>,
    /// Where the request came from.
    pub peer: IpAddr,
    /// The listener.
    pub listener: Arc<str>,
    /// The trace and the span of the connection that it came on.
    pub connection: Option<(TraceId, SpanId)>,
    /// What was asked.
    pub route: Route,
    /// The client, once its key or its ticket is known.
    pub client: Option<ClientName>,
    /// The tag of the client key that was shown, as hex digits.
    pub key: Option<String>,
    /// The account, once the client or the session is known.
    pub account: Option<Arc<str>>,
    /// The address of this machine that the request went to Snowflake from; a network policy lists it, or what stands
    /// for it behind a NAT.
    pub gate_address: Option<IpAddr>,
    /// The credential used.
    pub credential: Option<Arc<str>>,
    /// The PAT version used, or the one that opened the session.
    pub pat: Option<PatId>,
    /// The gate's own id of the session, if its tokens are sealed.
    pub session: Option<SessionId>,
    /// The id that the driver gave the request, and repeats with each try.
    pub request_id: Option<String>,
    /// Snowflake's id of the statement that the path names.
    pub query_id: Option<String>,
    /// The beginning of a statement's request, if the client's statements are recorded.
    pub statement: Option<Box<Statement>>,
    /// The edges of the answer, which may have that id.
    pub edges: Option<Box<Edges>>,
    /// The HTTP status of the answer; 0 while there is none.
    pub status: u16,
    /// Facts of a login; boxed, since most requests have none.
    pub login: Option<Box<LoginFacts>>,
    /// Bytes of the answer's body that the client's connection took.
    pub bytes_down: u64,
    /// What came of it.
    pub ending: Ending,
    /// When the head arrived.
    pub started: Instant,
    /// When the last byte was sent, or the request was given up.
    pub ended: Option<Instant>,
    /// The steps of the last attempt.
    pub steps: Steps,
    /// The attempts before the last one.
    pub earlier: Vec<Attempt>,
    /// How many of them are not among these.
    pub earlier_left_out: usize,
    /// The reads of the store that it may have waited for.
    pub store: Option<Arc<StoreReads>>,
}

/// The beginning of a statement's request.
pub struct Statement {
    /// The first bytes of its body.
    pub first: Arc<Mutex<Vec<u8>>>,
    /// Whether the body is compressed.
    pub gzip: bool,
    /// What of it is recorded.
    pub wanted: SqlRecord,
}

impl Statement {
    /// What is recorded of the statement: its text, or its fingerprint.
    fn told(&self) -> Option<String> {
        let text = sql_text::of_body(&self.first.lock(), self.gzip)?;
        match self.wanted {
            SqlRecord::Off => None,
            SqlRecord::Fingerprint => Some(sql_text::fingerprint(&text)),
            SqlRecord::Full => Some(redacted(&text).into_owned()),
        }
    }
}

/// What a login says about itself, and what it got.
#[derive(Debug, Default)]
pub struct LoginFacts {
    /// `CLIENT_APP_ID`.
    pub driver: Option<String>,
    /// `CLIENT_APP_VERSION`.
    pub driver_version: Option<String>,
    /// `CLIENT_ENVIRONMENT.APPLICATION`.
    pub application: Option<String>,
    /// The user name that was typed into the tool. The gate does not use it; it tells apart tools that share a key.
    pub typed_user: Option<String>,
    /// Snowflake's session id.
    pub session: Option<String>,
    /// The role that the session got.
    pub role: Option<String>,
    /// The warehouse that the session got.
    pub warehouse: Option<String>,
    /// What the login asked for and the session did not get.
    pub unset: Vec<Unset>,
}

/// A role, warehouse, database or schema that a login asked for and the session did not get. Snowflake opens the
/// session without it, and the first query fails later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unset {
    /// Which of them.
    place: ContextField,
    /// What the login asked for.
    asked: String,
    /// What the session has instead.
    got: Option<String>,
}

/// The steps of a request. The record notes each when it is done; a waiting request is in the step after the last noted
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A login is let in by the limits of its source.
    Arrived,
    /// The gate has read as much of the request as it needs for its decision.
    Received,
    /// The gate admitted the client, within its limits.
    Admitted,
    /// The request asks for a lease of a PAT.
    Asked,
    /// The request has a lease of a PAT.
    Leased,
    /// The request goes to Snowflake.
    Sent,
    /// The head of Snowflake's answer has arrived.
    Answered,
}

/// When the steps were done, in microseconds after the beginning; 0 where a step was not reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Steps([u32; 7]);

/// One attempt that did not give the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its steps.
    pub steps: Steps,
    /// When it was over, after the beginning.
    pub ended: Duration,
    /// Why another one followed.
    pub kind: Kind,
}

/// What came of a request.
#[derive(Debug)]
pub enum Ending {
    /// Nothing yet.
    Open,
    /// Snowflake's answer, or the gate's, is on its way to the client.
    Answered,
    /// Snowflake refused, for a reason of the client's.
    Refused(Kind, Said),
    /// The gate could not serve it.
    Failed(Fault),
    /// The whole answer was sent.
    Complete,
    /// The answer's body is incomplete, for this reason.
    BrokeOff(String),
}

impl Unset {
    /// What was asked for and what was got, bounded.
    pub fn new(place: ContextField, asked: &str, got: Option<String>) -> Self {
        Self { place, asked: fact(asked.to_owned()).unwrap_or_default(), got: got.and_then(fact) }
    }
}

impl std::fmt::Display for Unset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let got = self.got.as_deref().unwrap_or("none");
        write!(f, "{} {} (got {got})", self.place.as_str(), self.asked)
    }
}

impl Steps {
    /// When a step was done, after the beginning.
    pub fn after(&self, step: Step) -> Option<Duration> {
        let micros = self.0[step.index()];
        (micros != 0).then(|| Duration::from_micros(micros.into()))
    }

    /// The next attempt has its own lease, and is sent by itself.
    fn forget_sending(&mut self) {
        for step in [Step::Asked, Step::Leased, Step::Sent, Step::Answered] {
            self.0[step.index()] = 0;
        }
    }

    pub(super) fn done(&mut self, step: Step, after: Duration) {
        // 0 means that the request did not reach the step.
        self.0[step.index()] = u32::try_from(after.as_micros()).unwrap_or(u32::MAX).max(1);
    }
}

impl Step {
    fn index(self) -> usize {
        match self {
            Self::Arrived => 0,
            Self::Received => 1,
            Self::Admitted => 2,
            Self::Asked => 3,
            Self::Leased => 4,
            Self::Sent => 5,
            Self::Answered => 6,
        }
    }
}

impl Ending {
    /// The word for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::Refused(..) => "refused",
            Self::Complete => "success",
            Self::Open | Self::Answered => "abandoned",
            Self::BrokeOff(_) => "broke_off",
        }
    }

    /// The kind of failure; `None` if it went well.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Failed(fault) => Some(fault.kind()),
            Self::Refused(kind, _) => Some(*kind),
            Self::Open | Self::Answered => Some(Kind::ClientLeft),
            Self::BrokeOff(_) => Some(Kind::AnswerBroken),
            Self::Complete => None,
        }
    }

    /// The cause for the operator; empty if there is nothing more to say.
    pub fn cause(&self) -> &str {
        match self {
            Self::Failed(fault) => fault.cause(),
            Self::BrokeOff(cause) => cause,
            Self::Refused(..) | Self::Open | Self::Answered | Self::Complete => "",
        }
    }

    /// Which of the causes behind it it is, and how sure that is.
    pub fn likely(&self) -> Option<&str> {
        if let Self::Failed(fault) = self { fault.likely() } else { None }
    }

    /// Snowflake's words.
    pub fn said(&self) -> Option<&Said> {
        match self {
            Self::Failed(fault) => fault.said(),
            Self::Refused(_, said) => Some(said),
            Self::BrokeOff(_) | Self::Open | Self::Answered | Self::Complete => None,
        }
    }
}

impl Facts {
    /// The login's part, made on first use.
    pub fn login(&mut self) -> &mut LoginFacts {
        self.login.get_or_insert_default()
    }

    /// Whether its client is known, and was within its limits.
    pub fn is_admitted(&self) -> bool {
        self.client.is_some() && self.steps.after(Step::Admitted).is_some()
    }

    /// How long it took.
    pub fn took(&self) -> Duration {
        self.ended.unwrap_or_else(Instant::now).saturating_duration_since(self.started)
    }

    /// Snowflake's id of the statement, from the path or from the answer.
    pub fn query_id(&self) -> Option<String> {
        self.query_id.clone().or_else(|| query_id::find(self.edges.as_ref()?))
    }

    /// The statement, as far as it is recorded.
    pub fn statement(&self) -> Option<String> {
        self.statement.as_ref()?.told()
    }

    /// The reads of a store that it waited for.
    pub fn store_waits(&self) -> Vec<StoreWait> {
        let Some(reads) = &self.store else { return Vec::new() };
        let waits = self.all_attempts().filter_map(|(steps, ended)| {
            let (from, until) = (steps.after(Step::Asked)?, steps.after(Step::Leased).unwrap_or(ended));
            Some(reads.within(self.started + from, self.started + until))
        });
        waits.flatten().collect()
    }

    /// The steps of each attempt, and when it was over.
    fn all_attempts(&self) -> impl Iterator<Item = (&Steps, Duration)> {
        let earlier = self.earlier.iter().map(|attempt| (&attempt.steps, attempt.ended));
        earlier.chain([(&self.steps, self.took())])
    }

    /// How many times the gate tried to send it upstream.
    pub fn attempts(&self) -> usize {
        self.earlier.len() + self.earlier_left_out + usize::from(self.steps.after(Step::Sent).is_some())
    }

    pub(super) fn step(&mut self, step: Step) {
        self.steps.done(step, self.started.elapsed());
    }

    /// Notes why the attempt under way is followed by another.
    pub(super) fn again(&mut self, kind: Kind) {
        let attempt = Attempt { steps: self.steps, ended: self.started.elapsed(), kind };
        let full = self.earlier.len() >= ATTEMPTS;
        match self.earlier.last_mut() {
            // Of very many the last stands for all that follow the first ones.
            Some(last) if full => {
                *last = attempt;
                self.earlier_left_out += 1;
            }
            _ => self.earlier.push(attempt),
        }
        self.steps.forget_sending();
    }

    /// Whose time it was: the part of a request that took longest, and how long.
    pub fn longest(&self) -> (&'static str, Duration) {
        let all = self.took();
        let arrived = self.steps.after(Step::Arrived).unwrap_or_default();
        let received = self.steps.after(Step::Received).unwrap_or(arrived);
        let admitted = self.steps.after(Step::Admitted).unwrap_or(all);
        let (mut waited, mut away, mut before) = (Duration::ZERO, Duration::ZERO, None::<Duration>);
        for (steps, ended) in self.all_attempts() {
            let (asked, leased) = (steps.after(Step::Asked), steps.after(Step::Leased));
            let Some(began) = asked.or(steps.after(Step::Sent)) else { break };
            // Between two attempts it waits until Snowflake can be reached again.
            away += before.map_or(Duration::ZERO, |before| began.saturating_sub(before));
            let sending = leased.or(if asked.is_none() { Some(began) } else { None }).unwrap_or(ended);
            waited += sending.saturating_sub(began);
            let answered = steps.after(Step::Answered).unwrap_or(ended);
            away += answered.saturating_sub(sending);
            before = Some(answered);
        }
        let taken = self.steps.after(Step::Answered).map_or(Duration::ZERO, |answered| all.saturating_sub(answered));
        let store = self.store_waits().iter().map(|wait| wait.time).sum::<Duration>().min(waited);
        let parts = [
            ("the gate's limits for this address", arrived),
            ("the client, which sent its request slowly", received.saturating_sub(arrived)),
            ("the gate's limits for this client", admitted.saturating_sub(received)),
            ("the secrets manager, which gave the PAT late", store),
            ("the gate, where the login waited for its turn", waited - store),
            ("Snowflake and the way to it", away),
            ("the client, which took the answer slowly", taken),
        ];
        parts.into_iter().max_by_key(|(_, time)| *time).unwrap_or(("the gate", all))
    }
}

/// A fact of the client's own, bounded; `None` if it could hold a key.
pub fn fact(text: String) -> Option<String> {
    // Somebody may have pasted the key, or a token, into the wrong field.
    if holds_secret(&text) {
        return None;
    }
    // A terminal may show it, and a line of the log must stay one.
    Some(cut(text, FACT).replace(char::is_control, " "))
}

/// A cause, bounded.
pub fn cause(text: String) -> String {
    cut(text, CAUSE)
}
