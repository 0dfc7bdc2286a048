//! [`Refusal`]: why Snowflake refused a login or a REST request, in one table of codes and texts.
//!
//! The table lists what is the client's own: a role, a warehouse, a database or a request of its own choice. All else
//! is the gate's: its PAT, its user, its address, or a reason that the table does not know. The code decides; where
//! codes vary, the beginning of the text decides, because the rest of a text may quote what the client sent.
//!
//! The codes are from the drivers' sources and from Snowflake's pages: 390100 for a wrong name or password
//! (`c:lib/client_int.h`), 394400 and its family for a PAT (`go:auth_with_pat_test.go`,
//! `ud:odbc_tests/tests/e2e/authentication/pat.cpp`), 390422 and 390432 for a network policy, 390186, 390189 and 390201
//! for a role, a database or a warehouse (`go:errors.go`, `c:lib/client_int.h`), 390400 for a malformed request
//! (`ud:sf_core/src/rest/snowflake/mod.rs`), 390144 for the token of a key pair, 390101 and 390202 for a disabled user
//! and an authentication policy, 290404 for a host without an account (Snowflake's troubleshooting pages).

use std::net::IpAddr;

use super::login_secret::Presented;
use crate::base::fault::{Kind, Said};
use crate::base::redact::{TAKEN_OUT, redacted};
use crate::base::secret::Secret;

/// The most characters of Snowflake's text that the gate keeps for its log.
const TEXT: usize = 300;

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The role.
    Role,
    /// The warehouse, the database or the schema.
    Context,
    /// The form of the request.
    Request,
    /// The gate, its user or its PAT; the kind says which. [`Kind::LoginRefused`] is a reason that the table lacks.
    Gate(Kind),
}

/// Snowflake's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What it is about.
    pub about: About,
    /// Snowflake's code.
    pub code: String,
    /// Snowflake's text, whole: a secret in it can be found only before it is cut.
    text: String,
    /// Whether it answers a token of a key pair; of PATs until something else is known.
    to_key_pair: bool,
}

/// One row of the table.
enum Row {
    /// A code.
    Code(&'static str, About),
    /// The beginning of a code.
    Family(&'static str, About),
    /// The beginning of a text under a code that the rows above do not have.
    Text(&'static str, About),
}

const PAT: About = About::Gate(Kind::PatRefused);
const EXPIRED: About = About::Gate(Kind::PatExpired);
const POLICY: About = About::Gate(Kind::PatPolicy);
const NO_POLICY: About = About::Gate(Kind::PolicyMissing);
const METHOD: About = About::Gate(Kind::AuthenticationPolicy);
const DISABLED: About = About::Gate(Kind::UserDisabled);
const LOCKED: About = About::Gate(Kind::UserLocked);

/// The first row that fits decides.
const TABLE: &[Row] = &[
    Row::Code("390186", About::Role),
    Row::Code("390189", About::Role),
    Row::Code("390201", About::Context),
    Row::Code("390400", About::Request),
    Row::Code("390144", About::Gate(Kind::KeyPairRefused)),
    Row::Code("390422", POLICY),
    Row::Code("390432", NO_POLICY),
    Row::Code("390202", METHOD),
    Row::Code("390101", DISABLED),
    Row::Code("290404", About::Gate(Kind::AccountUnknown)),
    Row::Code("390100", PAT),
    Row::Code("394401", EXPIRED),
    Row::Family("3944", PAT),
    Row::Text("Network policy is required", NO_POLICY),
    Row::Text("Incoming request with IP", POLICY),
    Row::Text("IP ", POLICY),
    Row::Text("Your user account has been temporarily locked", LOCKED),
    Row::Text("User access disabled", DISABLED),
    Row::Text("Programmatic access token is expired", EXPIRED),
    Row::Text("Programmatic access token", PAT),
];

impl Refusal {
    /// Reads a refusal.
    pub fn read(code: &str, message: &str) -> Self {
        // Snowflake writes some texts with this word before them.
        let begin = message.strip_prefix("Fail : ").unwrap_or(message);
        let about = TABLE.iter().find_map(|row| match row {
            Row::Code(known, about) => (*known == code).then_some(*about),
            Row::Family(known, about) => code.starts_with(known).then_some(*about),
            Row::Text(known, about) => begin.starts_with(known).then_some(*about),
        });
        let about = about.unwrap_or(About::Gate(Kind::LoginRefused));
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        Self {
            about,
            code: code.chars().take(20).collect(),
            text: redacted(message).chars().map(printable).collect(),
            to_key_pair: false,
        }
    }

    /// The kind of failure, if it is the gate's. What is the client's in general may be none of its doing, such as a
    /// role that the operator pins.
    pub fn kind(&self) -> Kind {
        match self.about {
            About::Gate(kind) => kind,
            About::Role | About::Context | About::Request => Kind::CredentialContext,
        }
    }

    /// The kind of failure, if it is the client's.
    pub fn client_kind(&self) -> Kind {
        match self.about {
            About::Gate(kind) => kind,
            About::Role => Kind::RoleRefused,
            About::Context => Kind::PlaceRefused,
            About::Request => Kind::RequestRefused,
        }
    }

    /// Snowflake's words, for the record.
    pub fn said(&self) -> Said {
        Said { code: self.code.clone(), text: self.short().collect() }
    }

    /// The address of the gate that Snowflake's network policy refuses, as the text names it.
    pub fn address(&self) -> Option<IpAddr> {
        let named = || self.text.split([' ', '/', ',']).find_map(|word| word.parse().ok());
        (self.about == POLICY).then(named).flatten()
    }

    /// Whether the reason is the gate's. Others concern what was asked for: Snowflake has accepted the PAT before.
    pub fn is_the_gate_s(&self) -> bool {
        matches!(self.about, About::Gate(_))
    }

    /// Whether the table knows the reason, and the reason is the gate's alone. An authentication policy may be about
    /// the client's driver; a login with a PAT has no token of a key pair, and one with a key pair has no PAT.
    pub fn is_known(&self) -> bool {
        let foreign: &[Kind] = match self.to_key_pair {
            true => &[Kind::PatRefused, Kind::PatExpired],
            false => &[Kind::KeyPairRefused],
        };
        let open = [Kind::LoginRefused, Kind::AuthenticationPolicy];
        matches!(self.about, About::Gate(kind) if !open.contains(&kind) && !foreign.contains(&kind))
    }

    /// Whether the verdict is about the PAT or the key pair itself, which no other request can change.
    pub fn condemns(&self) -> bool {
        match self.kind() {
            Kind::KeyPairRefused => self.to_key_pair,
            kind => kind.condemns_pat() && !self.to_key_pair,
        }
    }

    /// The same refusal, as the answer to this: without its token in the text.
    #[must_use]
    pub fn to(mut self, presented: &Presented) -> Self {
        self.without(presented.token());
        Self { to_key_pair: presented.is_key_pair(), ..self }
    }

    /// Takes a secret out of Snowflake's text.
    pub fn without(&mut self, secret: &Secret) {
        if self.text.contains(secret.expose()) {
            self.text = self.text.replace(secret.expose(), TAKEN_OUT);
        }
    }

    /// For the log.
    pub fn cause(&self) -> String {
        format!("Snowflake says {} \"{}\"", self.code, self.short().collect::<String>())
    }

    /// As much of the text as is written down.
    fn short(&self) -> impl Iterator<Item = char> {
        self.text.chars().take(TEXT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_as_the_client_s_is_the_gate_s() {
        let about = |code: &str, text: &str| Refusal::read(code, text).about;
        assert_eq!(about("394400", "Programmatic access token is invalid."), PAT);
        assert_eq!(about("394401", ""), EXPIRED);
        assert_eq!(about("390432", "Fail : Network policy is required."), NO_POLICY);
        assert_eq!(about("1", "Fail : Network policy is required."), NO_POLICY, "a known text under another code");
        assert_eq!(about("1", "Incoming request with IP/Token 1.2.3.4 is not allowed to access Snowflake."), POLICY);
        let policy =
            Refusal::read("390422", "Incoming request with IP/Token 1.2.3.4 is not allowed to access Snowflake.");
        assert_eq!(policy.address(), "1.2.3.4".parse().ok());
        assert_eq!(Refusal::read("394400", "IP 1.2.3.4").address(), None);
        assert_eq!(about("390102", "Your user account has been temporarily locked"), LOCKED);
        assert_eq!(about("390189", "Role 'Programmatic access token' does not exist"), About::Role);
        assert_eq!(about("390202", "Authentication attempt rejected by the current authentication policy."), METHOD);
        assert_eq!(about("390999", "who knows"), About::Gate(Kind::LoginRefused));
        assert!(!Refusal::read("390999", "").is_known() && Refusal::read("394400", "").is_known());
        let (pat, key) = (Presented::pat(Secret::new("p".into())), Presented::key_pair(Secret::new("k".into())));
        for (code, presented, known) in
            [("390144", &pat, false), ("390144", &key, true), ("394400", &pat, true), ("394400", &key, false)]
        {
            let refusal = Refusal::read(code, "").to(presented);
            assert_eq!((refusal.is_known(), refusal.condemns()), (known, known), "{code}");
        }
        assert_eq!(Refusal::read("390144", "JWT k is invalid").to(&key).text, "JWT *** is invalid");
        assert_eq!(Refusal::read("1", &"x\n".repeat(1000)).said().text.len(), TEXT);
        // A long token goes whole, wherever the text is cut afterwards, and so does what has the form of a secret.
        let long = Presented::pat(Secret::new("p".repeat(400)));
        let refusal = Refusal::read("394400", &format!("token {} of pgk_bi_xyz is no good", "p".repeat(400))).to(&long);
        assert_eq!(refusal.said().text, "token *** of *** is no good");
    }
}
