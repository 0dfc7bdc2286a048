//! [`Act`]: something that happened to the gate itself, or that an operator did.

use serde::{Deserialize, Serialize};

use crate::base::epoch::EpochMillis;

/// What happened, for the history and the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// One of the words below.
    pub event: String,
    /// What it was about.
    pub detail: String,
    /// Who asked for it; `None` if the gate did it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The session that it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// When that session was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<EpochMillis>,
    /// The client whose session it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// The gate started.
pub const STARTED: &str = "started";
/// The gate stopped.
pub const STOPPED: &str = "stopped";
/// A key of the configuration changed.
pub const CONFIGURATION: &str = "configuration";
/// A listener got another certificate.
pub const CERTIFICATE: &str = "certificate";
/// The operator ended sessions.
pub const SESSIONS_ENDED: &str = "sessions_ended";
/// A session ended.
pub const SESSION_ENDED: &str = "session_ended";
/// The operator had PATs read again.
pub const PAT_REFRESH: &str = "pat_refresh";
/// The operator had the gate forget bad logins.
pub const PAT_RETRY: &str = "pat_retry";
/// The operator had the gate log in.
pub const PAT_LOGIN: &str = "pat_login";
/// A PAT was rotated.
pub const PAT_ROTATED: &str = "pat_rotated";
/// A PAT was to be rotated, and was not.
pub const PAT_NOT_ROTATED: &str = "pat_not_rotated";
/// A PAT that somebody else rotated is in use.
pub const PAT_TAKEN_OVER: &str = "pat_taken_over";
/// The operator revoked a PAT.
pub const PAT_REVOKED: &str = "pat_revoked";
/// The operator drained the gate.
pub const DRAIN: &str = "drain";
/// The operator made a token for the console.
pub const CONSOLE_TOKEN: &str = "console_token";
/// The operator changed what is logged.
pub const LOG_LEVEL: &str = "log_level";
/// The operator added a key to the ring.
pub const RING_ROTATED: &str = "ring_rotated";

impl Act {
    /// An act of the gate's own.
    pub fn of(event: &str, detail: impl Into<String>) -> Self {
        Self { event: event.to_owned(), detail: detail.into(), by: None, session: None, opened: None, client: None }
    }

    /// An act that somebody asked for.
    #[must_use]
    pub fn by(mut self, who: &str) -> Self {
        self.by = Some(who.to_owned());
        self
    }

    /// An act on a session.
    #[must_use]
    pub fn on_session(mut self, session: impl ToString, client: impl ToString) -> Self {
        (self.session, self.client) = (Some(session.to_string()), Some(client.to_string()));
        self
    }
}
