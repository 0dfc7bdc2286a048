//! [`Step`]: one step of the chain, and what came of it.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::base::clock::Clock;
use crate::base::fault::{Kind, Owner};
use crate::base::trial::Trial;

/// Makes the links of the chain, and what each proves, from one row for each.
macro_rules! links {
    ($($link:ident = $name:literal, $proves:literal;)+) => {
        /// A link of the chain.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Link {
            $(#[doc = $proves] $link,)+
        }

        impl Link {
            /// Its name in `--json`.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$link => $name,)+ }
            }

            /// What it proves, and what it cannot.
            fn proves(self) -> &'static str {
                match self { $(Self::$link => $proves,)+ }
            }
        }
    };
}

links! {
    File = "file", "The file is valid. Whether the running gate has read it is not known: compare `patgate status`.";
    Files = "files", "What the file names can be read by this user. Run it as the gate's user to know it for the gate.";
    Certificate = "certificate", "Key, names, time and order of the chain fit. Whether a tool's machine trusts the \
        issuer only that machine knows: run `patgate doctor --client` there.";
    Port = "port", "The address can be bound, or the gate answers there with this certificate. Firewalls before it are \
        seen only from the tool's machine.";
    Descriptors = "descriptors", "The limit of this process. A service manager may give the gate another one.";
    State = "state", "The directory can be written by this user. A full disk is not seen.";
    Gate = "gate", "A gate answers the operator. What it needs is looked at in the other steps.";
    Clock = "clock", "This machine's clock is that of the server that answers for Snowflake.";
    StoreReach = "store_reach", "The store answers. It is read from here, not by the running gate.";
    StoreLogin = "store_login", "The store accepts the credentials of the configuration.";
    StoreRead = "store_read", "The reference gives a secret. Whether that is a valid PAT only Snowflake knows.";
    Pat = "pat", "What the PAT says of itself. Snowflake may have disabled it, or may end it earlier.";
    Dns = "dns", "The name has these addresses for this machine, now. A proxy or a tool may ask another resolver.";
    Tcp = "tcp", "Something accepts connections at these addresses. Who it is shows the next step.";
    Proxy = "proxy", "The forward proxy lets the gate through to the account.";
    Tls = "tls", "Who answers has a certificate for the host from a trusted root. A proxy that opens TLS and whose \
        root is trusted passes too: look who issued it.";
    Login = "login", "Snowflake accepts the PAT, from this machine. It counts in the gate's guard; what Snowflake has \
        refused before is not sent.";
    Context = "context", "The session has the role, warehouse, database and schema that the credential asks for.";
    Address = "address", "The address that Snowflake sees. The network policy of the service user must list it, \
        and that of every other gate.";
    Select = "select", "A statement runs in the session. A warehouse is not needed for it, and so not proven.";
    Hosts = "hosts", "The hosts that results and stages come from are reached from this machine. Tools fetch results \
        themselves: their machines must reach them too.";
    ClientLogin = "login", "The gate lets this key in from this machine, and Snowflake the gate's PAT.";
    Key = "key", "The file holds a whole client key. Whether it is valid only the gate knows.";
    Rotator = "rotator", "Snowflake lets the rotator see the token that it is to rotate. Only a rotation shows \
        whether it may change it.";
    SqlApi = "sql_api", "The SQL API accepts the PAT, from this machine.";
}

/// One step.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    /// The link of the chain.
    pub name: &'static str,
    /// Which listener, store, account or credential; empty if there is one of the kind only.
    pub subject: String,
    /// Whether it is good; `None` where it cannot tell.
    pub ok: Option<bool>,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// The code of a failure that the gate knows, for `patgate explain`.
    pub code: Option<String>,
    /// Whose it is to act, after a failure.
    pub owner: Option<&'static str>,
    /// What was found.
    pub what: String,
    /// More lines of that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// What to do.
    pub next_step: Option<String>,
    /// What the step proves, and what it cannot.
    pub proves: &'static str,
    #[serde(skip)]
    whose: Option<Owner>,
}

impl Step {
    /// A step that cannot tell, or that was not tried.
    pub(super) fn unknown(link: Link, subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            name: link.name(),
            subject: subject.into(),
            ok: None,
            ms: 0,
            code: None,
            owner: None,
            what: what.into(),
            details: Vec::new(),
            next_step: None,
            proves: link.proves(),
            whose: None,
        }
    }

    /// A good step.
    pub(super) fn good(link: Link, subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self { ok: Some(true), ..Self::unknown(link, subject, what) }
    }

    /// A failure that has no kind of its own.
    pub(super) fn bad(link: Link, subject: impl Into<String>, owner: Owner, what: impl Into<String>) -> Self {
        let step = Self::unknown(link, subject, what);
        Self { ok: Some(false), owner: Some(owner.as_str()), whose: Some(owner), ..step }
    }

    /// A failure of this kind.
    pub(super) fn failed(link: Link, subject: impl Into<String>, kind: Kind, what: impl Into<String>) -> Self {
        let step = Self::bad(link, subject, kind.rule().owner, what);
        Self { code: Some(kind.rule().code.to_string()), ..step }.next(kind.page().next_step)
    }

    /// What came of a trial.
    pub(super) fn of(link: Link, subject: impl Into<String>, trial: &Trial) -> Self {
        let step = match (trial.ok, trial.kind) {
            (Some(true), _) => Self::good(link, subject, &*trial.what),
            (_, Some(kind)) => Self::failed(link, subject, kind, &*trial.what),
            (Some(false), None) => Self::bad(link, subject, Owner::Gate, &*trial.what),
            (None, None) => Self::unknown(link, subject, &*trial.what),
        };
        Self { ms: trial.ms, ..step }
    }

    /// The same with this next step; an empty one is none.
    #[must_use]
    pub(super) fn next(self, next_step: impl Into<String>) -> Self {
        Self { next_step: Some(next_step.into()).filter(|next| !next.is_empty()), ..self }
    }

    /// The same with more lines.
    #[must_use]
    pub(super) fn with(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }

    /// The same, since then.
    #[must_use]
    pub(super) fn since(self, clock: &dyn Clock, begun: Instant) -> Self {
        self.took(clock.now().saturating_duration_since(begun))
    }

    /// The same, after that time.
    #[must_use]
    pub(super) fn took(self, took: Duration) -> Self {
        Self { ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX), ..self }
    }

    /// Who has to act; `None` if it has not failed.
    pub(super) fn fails(&self) -> Option<Owner> {
        self.whose.filter(|_| self.ok == Some(false))
    }

    /// The text for people.
    pub(super) fn text(&self) -> String {
        let mark = match self.ok {
            Some(true) => "✓",
            Some(false) => "✗",
            None => "–",
        };
        let whose = match (&self.code, self.owner) {
            (Some(code), Some(owner)) => format!(" {code}, owner {owner}:"),
            (None, Some(owner)) => format!(" owner {owner}:"),
            _ => String::new(),
        };
        let name = format!("{} {}", self.name, self.subject);
        let mut text = format!("{mark} {:<24} {:>6} ms {whose} {}", name.trim_end(), self.ms, self.what);
        self.details.iter().for_each(|line| text.push_str(&format!("\n      {line}")));
        if let Some(next) = &self.next_step {
            text.push_str(&format!("\n    next: {next}"));
        }
        text + "\n    proves: " + self.proves
    }
}
