//! [`Fault`]: a failure with a kind, an owner, a sentence for the user of the tool, and a cause for the operator.
//!
//! # The table
//! One row of the table has every decision about a kind of failure; [`Kind::rule`] returns it: the owner, the code, the
//! message for the client, the client's next step, the reply, and the level of the log line. The operator's next step,
//! and what may hide behind a kind, are its page in the runbook ([`Kind::page`]). Drivers show the gate's text only
//! in HTTP 200 with `success:false` and a code of digits; 400, 401 and 403 start retries or hide the text. A refusal is
//! therefore a [`Reply::Refusal`]. The gate uses a status if a driver should retry, or if the client is not a driver.
//!
//! # Two texts
//! [`Fault::sentence`] is for the client. It consists of the table's texts, and of values that the client has sent or
//! may know. [`Fault::cause`] is for the log. Nothing of the cause goes into the sentence.

mod runbook;
mod table;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
pub use table::Kind;

use super::text::cut;
use super::trace::TraceId;

/// The longest detail and cause: parts of both may come from the wire.
const DETAIL: usize = 256;
const CAUSE: usize = 1024;

/// The owner of a failure; logs and exit codes use the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The tool, or the person who set it up.
    Client,
    /// The network between client and gate, or the client's networks.
    Network,
    /// This process, its configuration or its machine.
    Gate,
    /// The secrets manager.
    Store,
    /// Snowflake, or the network to it.
    Snowflake,
    /// A rule of an operator: a limit of the gate, a policy of Snowflake.
    Policy,
}

impl Owner {
    /// The word for logs and for `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Network => "network",
            Self::Gate => "gate",
            Self::Store => "store",
            Self::Snowflake => "snowflake",
            Self::Policy => "policy",
        }
    }

    /// The exit code of a command that fails with this owner (64 and up are for the shell).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Client => 2,
            Self::Network => 3,
            Self::Gate => 4,
            Self::Store => 5,
            Self::Snowflake => 6,
            Self::Policy => 7,
        }
    }
}

/// The level of a fault's log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The operator has to act.
    Error,
    /// Someone else has to act, and may ask the operator.
    Warn,
    /// Nobody has to act: the client only waits. Many such lines would fill the disk.
    Debug,
}

/// `PG-nnn`: the code to search for. The hundreds show the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PG-{:03}", self.0)
    }
}

/// How a fault travels to the client. The body is driver JSON in all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// HTTP 200, `success:false` and this code: the driver shows the text at once and does not retry.
    Refusal(u32),
    /// This status with `Retry-After` in seconds: the driver retries.
    Retry(u16, u16),
    /// This status: for requests that no driver makes.
    Status(u16),
    /// This status, in plain text, for a CONNECT: no driver has spoken yet.
    Proxy(u16),
    /// HTTP 200, `success:false` and the code that makes the driver drop the session here: "log in again" for a query,
    /// "the master token has expired" for a renewal, "gone" for a logout (`crate::snowflake::answer::give_up`). Never
    /// 401, which starts renewals.
    GiveUp,
}

/// The row of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The name in logs and metrics. The journal of bad logins has it too, so it never changes.
    pub name: &'static str,
    /// The stable code, for people and for search.
    pub code: Code,
    /// The level of its log line.
    pub level: Level,
    /// The owner.
    pub owner: Owner,
    /// The answer to a login.
    pub at_login: Reply,
    /// The answer to any other request.
    pub elsewhere: Reply,
    /// What happened; `{}` stands for the detail.
    pub message: &'static str,
    /// What the client does next.
    pub client_step: &'static str,
    /// What the kind is, for the runbook.
    pub meaning: &'static str,
}

impl Rule {
    /// The answer to a REST request. Its clients read the status; drivers do not.
    pub fn at_rest(&self) -> Reply {
        match (self.elsewhere, self.owner) {
            (reply @ (Reply::Retry(..) | Reply::Status(_) | Reply::Proxy(_)), _) => reply,
            (Reply::Refusal(390_400), _) => Reply::Status(400),
            (_, Owner::Client) => Reply::Status(401),
            (_, Owner::Network | Owner::Policy) => Reply::Status(403),
            (_, Owner::Gate | Owner::Store | Owner::Snowflake) => Reply::Retry(503, 5),
        }
    }

    /// Snowflake's code for a status.
    pub fn status_code(&self) -> u32 {
        match (self.at_login, self.elsewhere) {
            (Reply::Refusal(code), _) | (_, Reply::Refusal(code)) => code,
            (_, Reply::Retry(..)) => 390_999,
            _ => 390_400,
        }
    }
}

/// What Snowflake said when it refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its code.
    pub code: String,
    /// Its text, without secrets and shortened.
    pub text: String,
}

impl Said {
    /// The id of the failed login, which ends some texts in brackets. `SYSTEM$GET_LOGIN_FAILURE_DETAILS` resolves it
    /// (Snowflake's page on key-pair troubleshooting).
    pub fn uuid(&self) -> Option<&str> {
        let id = self.text.trim_end().trim_end_matches('.').strip_suffix(']')?.rsplit_once('[')?.1;
        let lengths = [8, 4, 4, 4, 12];
        let fits = id.split('-').map(str::len).eq(lengths);
        (fits && id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())).then_some(id)
    }
}

impl Kind {
    /// The kind with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.rule().name == name)
    }

    /// The kind that a sentence of the gate tells of (see [`Fault::sentence`]). Of kinds that say the same, the first.
    pub fn of_sentence(text: &str) -> Option<Self> {
        let said = text.strip_prefix("patgate: ")?;
        let tells = |kind: &&Self| {
            let rule = kind.rule();
            let begin = rule.message.split("{}").next().unwrap_or_default();
            // A long sentence may have been cut behind that.
            let step: String = rule.client_step.chars().take(24).collect();
            said.starts_with(begin) && said.contains(&step)
        };
        Self::ALL.iter().find(tells).copied()
    }

    /// Whether the verdict is about the PAT itself, which no other request can change.
    pub fn condemns_pat(self) -> bool {
        matches!(self, Self::PatRefused | Self::PatExpired | Self::PatRevoked)
    }

    /// Whether it is about the service user or the account, whatever a request asks for, and may have ended meanwhile.
    pub fn is_about_the_user(self) -> bool {
        self.is_network_policy() || matches!(self, Self::UserLocked | Self::UserDisabled | Self::AccountUnknown)
    }

    /// Whether a network policy is the reason.
    pub fn is_network_policy(self) -> bool {
        matches!(self, Self::PatPolicy | Self::PolicyMissing)
    }
}

/// One failure.
#[derive(Debug)]
pub struct Fault {
    kind: Kind,
    detail: String,
    cause: String,
    said: Option<Box<Said>>,
    likely: Option<Box<str>>,
    after: Option<Duration>,
}

impl Fault {
    /// A fault with only the texts of its row.
    pub fn new(kind: Kind) -> Self {
        Self { kind, detail: String::new(), cause: String::new(), said: None, likely: None, after: None }
    }

    /// Adds the text for `{}` in the sentence. The client sees it: use only what the client knows or may know.
    #[must_use]
    pub fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = cut(detail.to_string(), DETAIL);
        self
    }

    /// Adds the time after which a retry makes sense, if the caller knows it better than the row.
    #[must_use]
    pub fn after(mut self, time: Duration) -> Self {
        self.after = Some(time);
        self
    }

    /// After how many seconds a client should retry, if its row allows a retry after `usual`.
    pub fn retry_after(&self, usual: u16) -> u16 {
        let whole = |time: Duration| u16::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u16::MAX);
        self.after.map_or(usual, whole).max(1)
    }

    /// Adds the private cause, for the log.
    #[must_use]
    pub fn with_cause(mut self, cause: impl fmt::Display) -> Self {
        self.cause = cut(cause.to_string(), CAUSE);
        self
    }

    /// Adds Snowflake's words.
    #[must_use]
    pub fn with_said(mut self, said: Said) -> Self {
        self.said = Some(Box::new(said));
        self
    }

    /// Adds which of the causes behind it it is, and how sure that is.
    #[must_use]
    pub fn with_likely(mut self, likely: Option<String>) -> Self {
        self.likely = likely.map(|likely| cut(likely, CAUSE).into_boxed_str());
        self
    }

    /// Adds an error and its whole chain of sources as the private cause.
    #[must_use]
    pub fn with_source(self, error: &dyn Error) -> Self {
        self.with_cause(chain(error))
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Snowflake's words, if Snowflake refused this very request.
    pub fn said(&self) -> Option<&Said> {
        self.said.as_deref()
    }

    /// Which of the causes behind it it is, and how sure that is.
    pub fn likely(&self) -> Option<&str> {
        self.likely.as_deref()
    }

    /// The cause, for the operator; may be empty.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// The sentence for the user of the tool: the program, the message, the next step, and the trace id, once.
    pub fn sentence(&self, trace: TraceId) -> String {
        format!("patgate: {}. {} (trace {trace})", self.message(), self.kind.rule().client_step)
    }

    /// What happened, without a next step: for places that hold a few words.
    pub fn message(&self) -> String {
        self.kind.rule().message.replacen("{}", &self.detail, 1)
    }
}

/// An error and its sources, outermost first.
pub fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// An error and its sources in one line, without a source that its parent already quotes.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for source in error.source().into_iter().flat_map(sources) {
        let said = source.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_obeys_the_laws_of_the_drivers() {
        for &kind in Kind::ALL {
            let rule = kind.rule();
            for reply in [rule.at_login, rule.elsewhere] {
                match reply {
                    // 390112 and 390114 start renewals; 390195, 390303 and 390318 start new logins.
                    Reply::Refusal(code) => {
                        assert!(![390_112, 390_114, 390_195, 390_303, 390_318].contains(&code), "{kind:?}");
                    }
                    Reply::Retry(status, _) => assert!([429, 502, 503, 504].contains(&status), "{kind:?}"),
                    Reply::GiveUp => {}
                    Reply::Status(status) => assert!(![400, 401, 403].contains(&status), "{kind:?}"),
                    Reply::Proxy(status) => assert!([403, 407, 502, 503, 504].contains(&status), "{kind:?}"),
                }
            }
            assert!(rule.message.matches("{}").count() <= 1 && !rule.message.ends_with('.'), "{kind:?}");
            assert!(rule.client_step.ends_with('.') && kind.page().next_step.ends_with('.'), "{kind:?}");
            let hundreds = match rule.owner {
                Owner::Client => 1,
                Owner::Network => 2,
                Owner::Policy => 3,
                Owner::Gate => 4,
                Owner::Store => 5,
                Owner::Snowflake => 6,
            };
            assert_eq!(rule.code.0 / 100, hundreds, "{kind:?}");
        }
        let names: std::collections::HashSet<_> = Kind::ALL.iter().map(|kind| kind.rule().name).collect();
        let codes: std::collections::HashSet<_> = Kind::ALL.iter().map(|kind| kind.rule().code).collect();
        assert_eq!((names.len(), codes.len()), (Kind::ALL.len(), Kind::ALL.len()));
    }

    #[test]
    fn a_text_from_the_wire_fills_neither_the_log_nor_the_answer() {
        let long = "x".repeat(60_000);
        let fault = Fault::new(Kind::AuthenticatorForeign).detail(&long).with_cause(&long);
        let sentence = fault.sentence(TraceId::from_bytes([7; 16]));
        assert!(fault.cause().len() < 1100 && sentence.len() < 700, "{sentence}");
        assert!(sentence.ends_with(&format!("(trace {})", TraceId::from_bytes([7; 16]))));
    }

    #[test]
    fn the_id_of_a_failed_login_is_found_at_the_end_of_snowflake_s_text() {
        let uuid = |text: &str| Said { code: String::new(), text: text.to_owned() }.uuid().map(str::to_owned);
        let id = "0ce9eb56-821d-4ca9-a774-04ae89a0cf5a";
        assert_eq!(uuid(&format!("JWT token is invalid. [{id}]")).as_deref(), Some(id));
        for none in ["", "no id", "[x]", &format!("[{id}] first"), "a role [0ce9eb56-821d-4ca9-a774-04ae89a0cf5!]"] {
            assert_eq!(uuid(none), None, "{none}");
        }
    }

    #[test]
    fn a_kind_is_found_by_its_sentence() {
        for &kind in Kind::ALL {
            let found = Kind::of_sentence(&Fault::new(kind).detail("x").sentence(TraceId::from_bytes([7; 16])));
            let (found, rule) = (found.unwrap().rule(), kind.rule());
            assert_eq!((found.owner, found.message), (rule.owner, rule.message), "{kind:?}");
        }
        assert_eq!(Kind::of_sentence("patgate: who knows"), None);
    }

    #[test]
    fn nobody_can_tell_an_unknown_client_from_a_wrong_key() {
        let trace = TraceId::from_bytes([7; 16]);
        let said = |kind| Fault::new(kind).with_cause("private").sentence(trace);
        assert_eq!(said(Kind::ClientUnknown), said(Kind::KeyWrong));
        assert_eq!(said(Kind::KeyWrong).matches(&trace.to_string()).count(), 1);
        assert!(!said(Kind::KeyWrong).contains("private"));
    }
}
