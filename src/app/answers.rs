//! What the operator's commands answer: typed values, which the service writes as JSON and the commands read.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::base::rfc3339;
use crate::pat::PatStatus;
use crate::telemetry::story::Story;

/// Whether logins are served.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether every PAT was looked for, at least one credential works, and no drain has begun.
    pub ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The credentials without a usable PAT.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<String>,
    /// The credentials whose PAT should have been read again by now.
    #[serde(default)]
    pub stale: Vec<String>,
    /// The credentials whose PAT Snowflake has refused.
    #[serde(default)]
    pub refused: Vec<String>,
    /// The credentials whose logins Snowflake refuses for another reason, such as a network policy or a locked user.
    #[serde(default)]
    pub paused: Vec<String>,
}

/// The PATs of all credentials.
#[derive(Debug, Serialize, Deserialize)]
pub struct PatList {
    /// One for each credential, by name.
    pub pats: Vec<PatStatus>,
    /// The last login of every client, where it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientLogin>,
}

/// The last login of a client that went well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientLogin {
    /// Its credential.
    pub credential: String,
    /// The client.
    pub client: String,
    /// The version of the PAT that it used; `None` if it has not logged in, as far as the history goes back.
    pub version: Option<String>,
    /// When.
    #[serde(with = "rfc3339::option")]
    pub at: Option<SystemTime>,
    /// The tool, as it names itself.
    pub tool: Option<String>,
    /// Whether that was the version in use.
    pub current: bool,
    /// How many sessions it has open at this gate.
    pub sessions: usize,
}

/// The outcome of reading PATs.
#[derive(Debug)]
pub struct Refreshed {
    /// Whether any reference gave nothing; the PAT in memory still serves.
    pub failed: bool,
    /// What is held now.
    pub pats: PatList,
}

/// The sessions that this gate has recently served.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionList {
    /// The oldest first.
    pub sessions: Vec<SessionStatus>,
}

/// One session. Never a token.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionStatus {
    /// The gate's own id of it.
    pub session: String,
    /// Its client.
    pub client: String,
    /// Its account.
    pub account: String,
    /// The PAT version that opened it.
    pub pat: String,
    /// Where its last request came from.
    pub from: IpAddr,
    /// When it was opened.
    #[serde(with = "rfc3339::option")]
    pub opened: Option<SystemTime>,
    /// How long ago its last request came, in seconds.
    pub idle_s: u64,
}

/// The outcome of ending sessions.
#[derive(Debug, Serialize, Deserialize)]
pub struct EndedSessions {
    /// How many of them this gate has recently served.
    pub ended: usize,
    /// Whether this gate knows anything of that name.
    pub known: bool,
    /// What failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A token for the console.
#[derive(Serialize, Deserialize)]
pub struct ConsoleToken {
    /// Where the page is.
    pub address: SocketAddr,
    /// The token, good once.
    pub token: String,
}

/// What failed last.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct FailureList {
    /// The newest first.
    pub failures: Vec<FailureEntry>,
}

/// A request or a connection that failed.
#[derive(Debug, Serialize, Deserialize)]
pub struct FailureEntry {
    /// When it began.
    #[serde(with = "rfc3339::option")]
    pub at: Option<SystemTime>,
    /// The trace id.
    pub trace: String,
    /// The code.
    pub code: String,
    /// The name of the kind.
    pub kind: String,
    /// Whose it is.
    pub owner: String,
    /// What happened.
    pub sentence: String,
    /// What the operator does next.
    pub next_step: String,
    /// The client, if it is known.
    pub client: Option<String>,
    /// Where it came from.
    pub peer: String,
}

impl FailureEntry {
    /// The entry of a story; `None` if nothing failed.
    pub fn of(story: &Story) -> Option<Self> {
        let (kind, fault) = (story.kind()?, story.fault.as_ref()?);
        let cause = if fault.cause.is_empty() { String::new() } else { format!(": {}", fault.cause) };
        Some(Self {
            at: Some(story.at.to_system_time()),
            trace: story.trace.clone(),
            code: fault.code.clone(),
            kind: fault.kind.clone(),
            owner: fault.owner.clone(),
            sentence: format!("{}{cause}", kind.rule().message.replace("{}", "…")),
            next_step: kind.page().next_step.to_owned(),
            client: story.client.clone(),
            peer: story.peer.clone(),
        })
    }
}

/// What is written to the log.
#[derive(Debug, Serialize, Deserialize)]
pub struct LogLevels {
    /// The levels: `info`, or `info,pat=debug`.
    pub level: String,
}

/// The outcome of adding a key to the ring.
#[derive(Debug, Serialize, Deserialize)]
pub struct RotatedKeys {
    /// How many keys open now.
    pub keys: usize,
}
