//! [`Story`]: the written form of what happened in one request or connection, for the history, the audit log, spans and
//! `patgate explain`. Every reader and writer of a record uses this one form.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facts::{Attempt, Ending, Facts, Step, Steps};
use super::store_reads::StoreWait;
use crate::base::epoch::EpochMillis;
use crate::base::fault::{Kind, Said};

/// How many reads of a store a story has at most.
const READS: usize = 8;

/// What happened in one request or connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Story {
    /// The trace id: 32 hex digits.
    pub trace: String,
    /// The id of its span: 16 hex digits.
    pub span: String,
    /// The span of the client that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// When it began.
    pub at: EpochMillis,
    /// How long it took, in microseconds.
    pub us: u64,
    /// The route, or `connection`.
    pub route: String,
    /// `success`, `refused` by Snowflake, `failed`, `abandoned` by the client, or `broke_off`.
    pub outcome: String,
    /// The address of the client.
    pub peer: String,
    /// The listener.
    pub listener: String,
    /// The trace and the span of the connection that a request came on, in hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<(String, String)>,
    /// The host and port that the CONNECT of a connection named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The tag of the client key that was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The address of the gate's machine that a login or a REST request went to Snowflake from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate_address: Option<String>,
    /// The credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The version of the PAT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pat: Option<String>,
    /// The gate's id of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The driver's id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Snowflake's id of the statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_id: Option<String>,
    /// The statement's text or fingerprint, if the client's statements are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// The status of the answer; 0 if there was none.
    pub status: u16,
    /// Bytes of the answer that the client took.
    pub bytes: u64,
    /// The steps of the last attempt.
    pub steps: StepTimes,
    /// The attempts before it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierAttempt>,
    /// How many of them are left out, before the last one.
    #[serde(skip_serializing_if = "is_none")]
    pub earlier_left_out: usize,
    /// The reads of a store that it waited for, the first [`READS`] of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub store: Vec<StoreRead>,
    /// How many more there were.
    #[serde(skip_serializing_if = "is_none")]
    pub store_left_out: usize,
    /// What a login says of itself, and what it got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginStory>,
    /// Why it went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultStory>,
    /// Whether its client has had its share of what is kept long.
    #[serde(skip)]
    pub is_beyond_share: bool,
}

/// When the steps of an attempt were done, in microseconds after the beginning.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepTimes {
    /// The request was read, as far as the decision needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// The client was admitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted: Option<u64>,
    /// It asked for a lease of a PAT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<u64>,
    /// It had a lease of a PAT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leased: Option<u64>,
    /// It went to Snowflake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// The head of Snowflake's answer was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<u64>,
}

/// An attempt that another one followed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EarlierAttempt {
    /// Its steps.
    pub steps: StepTimes,
    /// When it was over, in microseconds after the beginning.
    pub ended: u64,
    /// The kind of its failure.
    pub kind: String,
}

/// A read of a store, as far as the request waited for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreRead {
    /// The references that were read.
    pub references: String,
    /// When the wait began, in microseconds after the beginning.
    pub from: u64,
    /// How long it took, in microseconds.
    pub us: u64,
    /// The kind of its failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What a login says of itself, and what it got.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginStory {
    /// The driver.
    pub driver: Option<String>,
    /// Its version.
    pub driver_version: Option<String>,
    /// The application.
    pub application: Option<String>,
    /// The user name that was typed into the tool.
    pub typed_user: Option<String>,
    /// Snowflake's id of the session.
    pub session: Option<String>,
    /// The role that it got.
    pub role: Option<String>,
    /// The warehouse that it got.
    pub warehouse: Option<String>,
    /// What it asked for and did not get: `warehouse WH (got none)`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
}

/// A fault.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultStory {
    /// The name of its kind.
    pub kind: String,
    /// `PG-nnn`.
    pub code: String,
    /// Whose it is.
    pub owner: String,
    /// The cause, for the operator.
    pub cause: String,
    /// Which of the causes behind it it is, and how sure that is: `certain: …`, `likely: …`, `possible: …`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likely: Option<String>,
    /// Snowflake's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snowflake_code: Option<String>,
    /// Snowflake's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snowflake_text: Option<String>,
    /// The id with which Snowflake tells more about a failed login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

impl Story {
    /// The story of these facts, of a request that began at this time.
    pub fn of(facts: &Facts, at: EpochMillis) -> Self {
        let text = |value: &Option<std::sync::Arc<str>>| value.as_deref().map(str::to_owned);
        let attempt = |Attempt { steps, ended, kind }: &Attempt| EarlierAttempt {
            steps: StepTimes::of(steps),
            ended: micros(*ended),
            kind: kind.rule().name.to_owned(),
        };
        Self {
            trace: facts.trace.to_string(),
            span: facts.span.to_string(),
            parent: facts.parent.map(|parent| parent.to_string()),
            at,
            us: micros(facts.took()),
            route: facts.route.as_str().to_owned(),
            outcome: facts.ending.as_str().to_owned(),
            peer: facts.peer.to_string(),
            target: None,
            listener: facts.listener.to_string(),
            connection: facts.connection.map(|(trace, span)| (trace.to_string(), span.to_string())),
            client: facts.client.as_ref().map(ToString::to_string),
            key: facts.key.clone(),
            account: text(&facts.account),
            gate_address: facts.gate_address.map(|address| address.to_string()),
            credential: text(&facts.credential),
            pat: facts.pat.as_ref().map(ToString::to_string),
            session: facts.session.map(|session| session.to_string()),
            request_id: facts.request_id.clone(),
            query_id: facts.query_id(),
            statement: facts.statement(),
            status: facts.status,
            bytes: facts.bytes_down,
            steps: StepTimes::of(&facts.steps),
            earlier: facts.earlier.iter().map(attempt).collect(),
            earlier_left_out: facts.earlier_left_out,
            store: store_reads(facts),
            store_left_out: facts.store_waits().len().saturating_sub(READS),
            login: facts.login.as_ref().map(|login| LoginStory {
                driver: login.driver.clone(),
                driver_version: login.driver_version.clone(),
                application: login.application.clone(),
                typed_user: login.typed_user.clone(),
                session: login.session.clone(),
                role: login.role.clone(),
                warehouse: login.warehouse.clone(),
                unset: login.unset.iter().map(ToString::to_string).collect(),
            }),
            fault: FaultStory::of(&facts.ending),
            is_beyond_share: false,
        }
    }

    /// The kind of its fault; `None` also for a kind of another version of patgate.
    pub fn kind(&self) -> Option<Kind> {
        Kind::named(&self.fault.as_ref()?.kind)
    }

    /// Whether it must not be lost among many others: a login, or a failure.
    pub fn matters(&self) -> bool {
        !self.is_beyond_share && (self.fault.is_some() || self.route == "login")
    }
}

impl StepTimes {
    fn of(steps: &Steps) -> Self {
        let after = |step| steps.after(step).map(micros);
        Self {
            received: after(Step::Received),
            admitted: after(Step::Admitted),
            asked: after(Step::Asked),
            leased: after(Step::Leased),
            sent: after(Step::Sent),
            answered: after(Step::Answered),
        }
    }
}

impl FaultStory {
    /// The fault of a kind with this cause.
    pub fn new(kind: Kind, cause: &str, said: Option<&Said>) -> Self {
        let rule = kind.rule();
        Self {
            kind: rule.name.to_owned(),
            code: rule.code.to_string(),
            owner: rule.owner.as_str().to_owned(),
            cause: cause.to_owned(),
            likely: None,
            snowflake_code: said.map(|said| said.code.clone()),
            snowflake_text: said.map(|said| said.text.clone()),
            uuid: said.and_then(Said::uuid).map(str::to_owned),
        }
    }

    fn of(ending: &Ending) -> Option<Self> {
        let likely = ending.likely().map(str::to_owned);
        Some(Self { likely, ..Self::new(ending.kind()?, ending.cause(), ending.said()) })
    }
}

fn store_reads(facts: &Facts) -> Vec<StoreRead> {
    let Some(store) = &facts.store else { return Vec::new() };
    let read = |wait: StoreWait| StoreRead {
        references: store.references().to_owned(),
        from: micros(wait.from.saturating_duration_since(facts.started)),
        us: micros(wait.time),
        failed: wait.failed.map(|kind| kind.rule().name.to_owned()),
    };
    facts.store_waits().into_iter().take(READS).map(read).collect()
}

/// Whether there are none.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

/// A time in whole microseconds.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
