//! [`Entry`]: one line of the audit log, and its link to the line before it.

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;

use crate::base::epoch::EpochMillis;
use crate::base::rfc3339;
use crate::telemetry::act::Act;
use crate::telemetry::story::Story;

/// What stands before a line's own hash.
const HASH: &str = ",\"hash\":\"";

/// What a line says.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Entry {
    at: String,
    event: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    /// The tag of the client key that was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pat: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snowflake_session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    typed_user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
}

/// A line's place in the chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// Its number, from 1.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// A line as it is written.
#[derive(Serialize)]
struct Line<'a> {
    number: u64,
    previous: String,
    #[serde(flatten)]
    entry: &'a Entry,
}

/// The kind of whoever leaves before the answer.
const LEFT: &str = "client_left";

impl Entry {
    /// What a record is in the audit log; `None` for the many requests of a session that go well.
    pub fn of_story(story: &Story) -> Option<Self> {
        let event = match (story.route.as_str(), &story.fault) {
            ("login", None) => "session_opened",
            // Snowflake had opened a session that nobody has used: the gate has ended it.
            ("login", Some(fault)) if fault.kind == LEFT && story.login.iter().any(|login| login.session.is_some()) => {
                "session_abandoned"
            }
            ("login", Some(fault)) if fault.kind == LEFT => "login_abandoned",
            ("login", Some(_)) => "login_refused",
            ("rest", None) => "rest",
            ("connection", Some(_)) => "connection_refused",
            // Whoever leaves before the answer has done nothing that an auditor asks for.
            (_, Some(fault)) if fault.kind != LEFT => "request_refused",
            _ => return None,
        };
        let login = story.login.as_ref();
        Some(Self {
            at: rfc3339::show(story.at.to_system_time()),
            event: event.to_owned(),
            trace: Some(story.trace.clone()),
            client: story.client.clone(),
            key: story.key.clone(),
            peer: Some(story.peer.clone()),
            account: story.account.clone(),
            credential: story.credential.clone(),
            pat: story.pat.clone(),
            session: story.session.clone(),
            snowflake_session: login.and_then(|login| login.session.clone()),
            role: login.and_then(|login| login.role.clone()),
            driver: login.and_then(|login| login.driver.clone()),
            application: login.and_then(|login| login.application.clone()),
            typed_user: login.and_then(|login| login.typed_user.clone()),
            route: Some(story.route.clone()),
            code: story.fault.as_ref().map(|fault| fault.code.clone()),
            kind: story.fault.as_ref().map(|fault| fault.kind.clone()),
            cause: story.fault.as_ref().map(|fault| fault.cause.clone()).filter(|cause| !cause.is_empty()),
            detail: None,
            by: None,
        })
    }

    /// An act.
    pub fn of_act(at: EpochMillis, act: &Act) -> Self {
        Self {
            at: rfc3339::show(at.to_system_time()),
            event: act.event.clone(),
            client: act.client.clone(),
            session: act.session.clone(),
            detail: Some(act.detail.clone()),
            by: act.by.clone(),
            ..Self::default()
        }
    }

    /// How many entries could not be written.
    pub fn gap(at: EpochMillis, lost: u64) -> Self {
        Self::of_act(at, &Act::of("gap", format!("{lost} entries could not be written before this one")))
    }

    pub(super) fn checkpoint(at: EpochMillis) -> Self {
        Self::of_act(at, &Act::of("checkpoint", "its number and hash are in the gate's log too"))
    }
}

impl Link {
    /// Writes the next line.
    pub(super) fn then(self, entry: &Entry, to: &mut String) -> Self {
        let line = Line { number: self.number + 1, previous: hex::encode(self.hash), entry };
        let begin = to.len();
        to.push_str(&serde_json::to_string(&line).unwrap_or_default());
        // Its closing brace follows the hash.
        to.pop();
        let hash = hash(&to[begin..]);
        to.push_str(HASH);
        to.push_str(&hex::encode(hash));
        to.push_str("\"}\n");
        Self { number: self.number + 1, hash }
    }

    /// The link of a written line, and the hash of the line before it; the error says what is wrong with the line.
    pub(super) fn read(line: &str) -> Result<(Self, [u8; 32]), &'static str> {
        let (text, rest) = line.rsplit_once(HASH).ok_or("it has no hash")?;
        let mut told = [0; 32];
        let digits = rest.strip_suffix("\"}").ok_or("its hash has no end")?;
        hex::decode_to_slice(digits, &mut told).map_err(|_| "its hash is no hash")?;
        if hash(text) != told {
            return Err("its text was changed: the hash does not fit");
        }
        let value: serde_json::Value = serde_json::from_str(line).map_err(|_| "it is no JSON")?;
        let number = value["number"].as_u64().ok_or("it has no number")?;
        let mut previous = [0; 32];
        let before = value["previous"].as_str().ok_or("it names no line before it")?;
        hex::decode_to_slice(before, &mut previous).map_err(|_| "it names no line before it")?;
        Ok((Self { number, hash: told }, previous))
    }
}

/// The link of the last whole line of a text.
pub(super) fn tail(text: &str) -> Option<Link> {
    text.lines().rev().find_map(|line| Link::read(line).ok()).map(|(link, _)| link)
}

fn hash(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}
