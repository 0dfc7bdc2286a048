//! Answers: reading Snowflake's, and writing ours in the same envelope.

use std::borrow::Cow;

use super::members::{Envelope, quoted};
use crate::base::fault::Kind;

/// `Content-Type` of every answer of ours. Node reads a body as JSON only when it is exactly this, without a charset.
pub const CONTENT_TYPE: &str = "application/json";

/// Members of a successful login's `data` that hand the client a credential of another kind.
const FOREIGN_TOKENS: [&str; 6] = [
    "idToken",
    "idTokenValidityInSeconds",
    "mfaToken",
    "mfaTokenValidityInSeconds",
    "remMeToken",
    "remMeValidityInSeconds",
];

/// The envelope of a failure. `data` is an object, because Python indexes it and Node reads members of it unchecked;
/// `code` is digits in a string, because Go converts it.
pub fn failure(code: u32, message: &str) -> String {
    format!(r#"{{"data":{{}},"code":"{code}","message":{},"success":false,"headers":null}}"#, quoted(message))
}

/// What Snowflake said to a login.
#[derive(Debug)]
pub enum LoginAnswer {
    /// The session stands.
    Success {
        /// The answer without tokens of other kinds; `None` when there was nothing to take out.
        rewritten: Option<String>,
        /// `data.sessionId` as it was written.
        session: Option<String>,
        /// `data.sessionInfo.roleName`.
        role: Option<String>,
    },
    /// Our credential was refused: it is the gate's business, not the client's.
    Credential(Kind),
    /// Some other refusal (a missing role, a wrong warehouse): it concerns the client and is passed on.
    Other {
        /// Snowflake's code.
        code: String,
    },
}

impl LoginAnswer {
    /// Reads the body of an answer to a login; `None` when it is no such thing.
    ///
    /// The codes and texts of a refused credential: protocol facts 1.6. The code decides first, the text where codes vary.
    pub fn read(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let mut answer = Envelope::parse(text).ok()?;
        let outer = &answer.outer;
        outer.raw("success")?;
        if !outer.is_true("success") {
            let code = outer.text("code").map(Cow::into_owned).or_else(|| outer.raw("code").map(str::to_owned));
            let code = code.unwrap_or_default();
            let message = outer.text("message").unwrap_or_default();
            return Some(match refused_credential(&code, &message) {
                Some(kind) => Self::Credential(kind),
                None => Self::Other { code },
            });
        }
        let data = answer.data.as_mut()?;
        data.text("token")?;
        let session = data.raw("sessionId").map(str::to_owned);
        let role = data.object("sessionInfo").and_then(|info| info.text("roleName").map(Cow::into_owned));
        let removed = FOREIGN_TOKENS.map(|name| data.remove(name));
        let rewritten = removed.contains(&true).then(|| answer.write());
        Some(Self::Success { rewritten, session, role })
    }
}

/// The code decides; a text does only for codes that are not known, and only by how it begins: further on Snowflake quotes
/// what the client sent.
fn refused_credential(code: &str, message: &str) -> Option<Kind> {
    let begins = |starts: &[&str]| starts.iter().any(|start| message.starts_with(start));
    match code {
        "390422" | "390432" => Some(Kind::PatPolicy),
        "390100" => Some(Kind::PatRefused),
        _ if code.starts_with("3944") => Some(Kind::PatRefused),
        // A role, an object, a request that does not fit: the client's own.
        "390189" | "390201" | "390400" | "390144" => None,
        _ if begins(&["Network policy is required", "Incoming request with IP", "IP "]) => Some(Kind::PatPolicy),
        _ if begins(&["Your user account has been temporarily locked"]) => Some(Kind::UserLocked),
        _ if begins(&["Programmatic access token"]) => Some(Kind::PatRefused),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_of_a_failure_is_what_drivers_read() {
        let text = failure(390_100, "say \"no\"\n");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["code"], "390100");
        assert_eq!(value["message"], "say \"no\"\n");
        assert_eq!(value["success"], false);
        assert!(value["data"].is_object() && value["headers"].is_null());
    }

    #[test]
    fn a_success_loses_the_tokens_of_other_kinds_and_nothing_else() {
        let body = r#"{"data":{"token":"t","idToken":"i","sessionId":9223372036854775807,"mfaToken":null,"sessionInfo":{"roleName":"R"},"x":1.50},"success":true}"#;
        let Some(LoginAnswer::Success { rewritten, session, role }) = LoginAnswer::read(body.as_bytes()) else {
            panic!()
        };
        assert_eq!(
            rewritten.as_deref(),
            Some(
                r#"{"data":{"token":"t","sessionId":9223372036854775807,"sessionInfo":{"roleName":"R"},"x":1.50},"success":true}"#
            )
        );
        assert_eq!((session.as_deref(), role.as_deref()), (Some("9223372036854775807"), Some("R")));
        let plain = br#"{"data":{"token":"t"},"success":true}"#;
        assert!(matches!(LoginAnswer::read(plain), Some(LoginAnswer::Success { rewritten: None, .. })));
    }

    #[test]
    fn refusals_are_sorted_by_code_then_by_text() {
        let read = |code: &str, message: &str| {
            LoginAnswer::read(
                format!(r#"{{"data":null,"code":{code},"message":"{message}","success":false}}"#).as_bytes(),
            )
        };
        let kind = |code: &str, message: &str| match read(code, message) {
            Some(LoginAnswer::Credential(kind)) => Some(kind),
            _ => None,
        };
        assert_eq!(kind(r#""394400""#, "Programmatic access token is invalid."), Some(Kind::PatRefused));
        assert_eq!(kind("394401", ""), Some(Kind::PatRefused));
        assert_eq!(kind(r#""390432""#, "Network policy is required."), Some(Kind::PatPolicy));
        assert_eq!(
            kind(r#""1""#, "Incoming request with IP/Token 1.2.3.4 is not allowed to access Snowflake."),
            Some(Kind::PatPolicy)
        );
        assert_eq!(kind(r#""390102""#, "Your user account has been temporarily locked"), Some(Kind::UserLocked));
        assert!(
            matches!(read(r#""390189""#, "Role 'X' does not exist"), Some(LoginAnswer::Other { code }) if code == "390189")
        );
        for junk in [&b"<html>"[..], b"{}", b"[]", b"", br#"{"success":true}"#, b"\xff"] {
            assert!(LoginAnswer::read(junk).is_none());
        }
    }
}
