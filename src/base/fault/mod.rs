//! [`Fault`]: a failure with a kind, an owner, a sentence for the person at the tool, and a cause for the operator.
//!
//! # The table
//! Everything that is decided about a kind of failure stands in one row of the table, which [`Kind::rule`] gives: whose
//! fault it is, its code, what the client is told, what to do next, which reply carries it, and the level of its log
//! line. Drivers show a text of ours only when it comes as HTTP 200 with `success:false` and a code of digits; 400, 401
//! and 403 start retries or hide the text. So a refusal is a [`Reply::Refusal`], and a status is used where a driver is
//! meant to try again or where no driver is at the other end.
//!
//! # Two faces
//! [`Fault::sentence`] is for the client and is put together from the table and from values that the client itself sent
//! or may know. [`Fault::cause`] is for the log. Nothing moves from the second to the first.

mod table;

use std::error::Error;
use std::fmt;
use std::time::Duration;

pub use table::Kind;

use super::names::TraceId;

/// Whose failure it is; the name is also what logs and exit codes use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The tool or the person who set it up.
    Client,
    /// The way between client and gate, or the rule about it.
    Network,
    /// This process, its configuration or its machine.
    Gate,
    /// The secrets manager.
    Store,
    /// Snowflake, or the way to it.
    Snowflake,
    /// A rule that somebody set on purpose: a limit of ours, a policy of Snowflake's.
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

    /// The exit code of a command that ends with a fault of this owner (64 and up are left to the shell's own use).
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
    /// Somebody else has to, and the operator may be asked.
    Warn,
    /// Nobody has to: the client only waits. A storm of such lines would fill a disk.
    Debug,
}

/// `PG-nnn`: what a person types to find out more. The hundreds tell the owner.
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
    /// This status with `Retry-After` in seconds: the driver tries again by itself.
    Retry(u16, u16),
    /// This status: for requests that no driver makes.
    Status(u16),
    /// HTTP 200, `success:false` and the code with which the driver gives the session up at this place: "log in again"
    /// for a query, "the master token is over" for a renewal, "gone" for a logout
    /// (`crate::snowflake::answer::give_up`). Never 401, which starts renewals.
    GiveUp,
}

/// The row of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The name in logs, metrics and `explain`.
    pub name: &'static str,
    /// The stable code, for people and for search.
    pub code: Code,
    /// The level of its log line.
    pub level: Level,
    /// Whose failure it is.
    pub owner: Owner,
    /// The answer to a login.
    pub at_login: Reply,
    /// The answer to any other request.
    pub elsewhere: Reply,
    /// What happened; `{}` stands for the detail.
    pub message: &'static str,
    /// What to do next.
    pub next_step: &'static str,
}

impl Rule {
    /// The answer to a REST request. Its clients read the status, as drivers do not.
    pub fn at_rest(&self) -> Reply {
        match (self.elsewhere, self.owner) {
            (reply @ (Reply::Retry(..) | Reply::Status(_)), _) => reply,
            (Reply::Refusal(390_400), _) => Reply::Status(400),
            (_, Owner::Client) => Reply::Status(401),
            (_, Owner::Network | Owner::Policy) => Reply::Status(403),
            (_, Owner::Gate | Owner::Store | Owner::Snowflake) => Reply::Retry(503, 5),
        }
    }

    /// Snowflake's code that goes with a status.
    pub fn status_code(&self) -> u32 {
        match (self.at_login, self.elsewhere) {
            (Reply::Refusal(code), _) | (_, Reply::Refusal(code)) => code,
            (_, Reply::Retry(..)) => 390_999,
            (Reply::Retry(..) | Reply::Status(_) | Reply::GiveUp, Reply::Status(_) | Reply::GiveUp) => 390_400,
        }
    }
}

/// One failure.
#[derive(Debug)]
pub struct Fault {
    kind: Kind,
    detail: String,
    cause: String,
    after: Option<Duration>,
}

impl Fault {
    /// A fault with nothing more to say than its row.
    pub fn new(kind: Kind) -> Self {
        Self { kind, detail: String::new(), cause: String::new(), after: None }
    }

    /// Adds what stands for `{}` in the sentence. It is shown to the client: only what the client knows or may know.
    #[must_use]
    pub fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = detail.to_string();
        self
    }

    /// Adds after which time another try makes sense, where that is known better than by the row.
    #[must_use]
    pub fn after(mut self, time: Duration) -> Self {
        self.after = Some(time);
        self
    }

    /// After how many seconds a client is to try again, when its row says that it may at all after `usual`.
    pub fn retry_after(&self, usual: u16) -> u16 {
        let whole = |time: Duration| u16::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u16::MAX);
        self.after.map_or(usual, whole).max(1)
    }

    /// Adds the private cause, for the log.
    #[must_use]
    pub fn with_cause(mut self, cause: impl fmt::Display) -> Self {
        self.cause = cause.to_string();
        self
    }

    /// Adds an error and its whole chain of sources as the private cause.
    #[must_use]
    pub fn with_source(self, error: &dyn Error) -> Self {
        self.with_cause(chain(error))
    }

    /// What kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The cause, for the operator; may be empty.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// What the person at the tool reads: who speaks, what happened, what to do, and the trace id, once.
    pub fn sentence(&self, trace: TraceId) -> String {
        let rule = self.kind.rule();
        format!("patgate: {}. {} (trace {trace})", rule.message.replacen("{}", &self.detail, 1), rule.next_step)
    }
}

/// An error and its sources, outermost first.
pub fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// An error and its sources in one line, without the repetition of a source that its parent already quotes.
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
                    // 390112 and 390114 start renewals, 390195, 390303 and 390318 start new logins by themselves.
                    Reply::Refusal(code) => {
                        assert!(![390_112, 390_114, 390_195, 390_303, 390_318].contains(&code), "{kind:?}");
                    }
                    Reply::Retry(status, _) => assert!([429, 502, 503, 504].contains(&status), "{kind:?}"),
                    Reply::GiveUp => {}
                    Reply::Status(status) => assert!(![400, 401, 403].contains(&status), "{kind:?}"),
                }
            }
            assert!(rule.message.matches("{}").count() <= 1 && !rule.message.ends_with('.'), "{kind:?}");
            assert!(rule.next_step.ends_with('.'), "{kind:?}");
        }
        let names: std::collections::HashSet<_> = Kind::ALL.iter().map(|kind| kind.rule().name).collect();
        let codes: std::collections::HashSet<_> = Kind::ALL.iter().map(|kind| kind.rule().code).collect();
        assert_eq!((names.len(), codes.len()), (Kind::ALL.len(), Kind::ALL.len()));
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
