//! The renewal of a session: `POST /session/token-request` with the master token in the header and the old session
//! token in the body (`go:restful.go`). The name of the kind of request is spelt `requestType` by most drivers and
//! `REQUEST_TYPE` by older releases of Node (`node:lib/services/sf.js`); the gate changes only the token. One driver
//! sends its renewal once and drops the session on any answer but 200 (`ud:sf_core/src/rest/snowflake/mod.rs`,
//! `refresh_session`).

use super::members::{Members, string};
use crate::base::secret::Secret;

const OLD: &str = "oldSessionToken";

/// A renewal that was read and not yet rewritten.
pub struct Renewal<'a>(Members<'a>);

impl<'a> Renewal<'a> {
    /// Reads a body; `None` when it is no JSON object.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        Members::parse(std::str::from_utf8(body).ok()?).ok().map(Self)
    }

    /// The session token to replace, as the client holds it.
    pub fn old(&self) -> Option<Secret> {
        self.0.text(OLD).map(|text| Secret::new(text.into_owned()))
    }

    /// Whether it is a renewal and nothing else. Snowflake's server also knows kinds that make new sessions, which no
    /// driver asks for. Every spelling of the name counts, so that no reader finds another kind than the gate.
    pub fn only_renews(&self) -> bool {
        let is_kind = |name: &str| name.replace('_', "").eq_ignore_ascii_case("requestType");
        let mut kinds = self.0.iter().filter(|(name, _)| is_kind(name)).peekable();
        kinds.peek().is_some() && kinds.all(|(_, kind)| string(kind).as_deref() == Some("RENEW"))
    }

    /// The body to send upstream.
    pub fn write(&mut self, old: &Secret) -> String {
        self.0.set_text(OLD, old.expose());
        self.0.write()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_changes_in_both_spellings() {
        for kind in ["requestType", "REQUEST_TYPE"] {
            let body = format!(r#"{{"{kind}":"RENEW","oldSessionToken":"pgs1_x","n":1.50}}"#);
            let mut renewal = Renewal::parse(body.as_bytes()).unwrap();
            assert!(renewal.only_renews());
            assert_eq!(renewal.old().unwrap().expose(), "pgs1_x");
            let written = renewal.write(&Secret::new("ver:3".into()));
            assert_eq!(written, format!(r#"{{"{kind}":"RENEW","oldSessionToken":"ver:3","n":1.50}}"#));
        }
        assert!(Renewal::parse(br#"{"requestType":"RENEW"}"#).unwrap().only_renews());
        for other in [
            r#"{"oldSessionToken":"x"}"#,
            r#"{"requestType":"CLONE"}"#,
            r#"{"requestType":"ISSUE"}"#,
            r#"{"requestType":null}"#,
            r#"{"requestType":"renew"}"#,
            r#"{"requestType":"RENEW","requestType":"CLONE"}"#,
            r#"{"requestType":"RENEW","REQUEST_TYPE":"ISSUE"}"#,
            r#"{"request\u0054ype":"CLONE","REQUEST_TYPE":"RENEW"}"#,
            r#"{"RequestType":"CLONE","requestType":"RENEW"}"#,
        ] {
            assert!(!Renewal::parse(other.as_bytes()).unwrap().only_renews(), "{other}");
        }
        assert!(Renewal::parse(b"[]").is_none() && Renewal::parse(b"\xff").is_none());
        assert!(Renewal::parse(br#"{"oldSessionToken":null}"#).unwrap().old().is_none());
    }
}
