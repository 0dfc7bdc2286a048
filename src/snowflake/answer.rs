//! Answers: reads Snowflake's, and writes the gate's in the same envelope.

use std::borrow::Cow;

use super::granted::{self, Granted};
use super::members::{Envelope, quoted};
use super::route::{Route, Stream};
use crate::base::fault::Kind;

/// `Content-Type` of every answer of the gate. Node reads a body as JSON only with exactly this, without a charset
/// (`node:lib/services/sf.js`).
pub const CONTENT_TYPE: &str = "application/json";

/// The envelope of a failure. `data` is an object, because Python indexes it (`py:auth/_auth.py`) and Node reads
/// members of it unchecked (`node:lib/services/sf.js`); `code` is digits in a string, because Go converts it
/// (`go:auth.go`).
pub fn failure(code: u32, message: &str) -> String {
    format!(r#"{{"data":{{}},"code":"{code}","message":{},"success":false,"headers":null}}"#, quoted(message))
}

/// The code that makes a driver drop its session at once, without a renewal or a retry: `go:restful.go`,
/// `py:network.py`, `c:lib/client_int.h`; for a logout 390111 means success
/// (`ud:sf_core/src/rest/snowflake/logout.rs`).
pub fn give_up(route: Route) -> u32 {
    match route {
        // The master token has expired.
        Route::Renew => 390_114,
        // The session is gone, as a logout expects.
        Route::Stream(Stream::Logout) => 390_111,
        // Log in again.
        Route::Login | Route::Rest | Route::Foreign | Route::WrongMethod | Route::Unknown => 390_104,
        Route::Stream(
            Stream::Query | Stream::Result | Stream::Abort | Stream::Monitoring | Stream::Heartbeat | Stream::Telemetry,
        ) => 390_104,
    }
}

/// Snowflake's answer to a login.
pub enum LoginAnswer<'a> {
    /// The session is open.
    Success(Granted<'a>),
    /// Snowflake refused the gate's credential; the gate handles it, not the client.
    Credential(Kind),
    /// Another refusal (a missing role, a wrong warehouse): it concerns the client, and the gate passes it on.
    Other {
        /// Snowflake's code.
        code: String,
    },
}

impl<'a> LoginAnswer<'a> {
    /// Reads the body of an answer to a login; `None` if it is something else.
    ///
    /// The codes of a refused credential: 390100 for a wrong name or password (`c:lib/client_int.h`), 394400 for a PAT
    /// (`go:auth_with_pat_test.go`, `ud:odbc_tests/tests/e2e/authentication/pat.cpp`) and its family, 390422 and 390432
    /// for a network policy. Where codes vary the text decides.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let answer = envelope(body)?;
        if answer.outer.is_true("success") {
            return Granted::of(answer, granted::LOGIN).map(Self::Success);
        }
        let code = code(&answer);
        let message = answer.outer.text("message").unwrap_or_default();
        Some(match refused_credential(&code, &message) {
            Some(kind) => Self::Credential(kind),
            None => Self::Other { code },
        })
    }
}

/// Snowflake's answer to a renewal.
pub enum RenewalAnswer<'a> {
    /// The session continues, with new tokens.
    Success(Granted<'a>),
    /// The session ends: the gate passes the code on, and the driver understands it.
    Refused {
        /// Snowflake's code.
        code: String,
    },
}

impl<'a> RenewalAnswer<'a> {
    /// Reads the body of an answer to a renewal; `None` if it is something else.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let answer = envelope(body)?;
        if answer.outer.is_true("success") {
            return Granted::of(answer, granted::RENEWAL).map(Self::Success);
        }
        Some(Self::Refused { code: code(&answer) })
    }
}

/// An answer in Snowflake's envelope.
fn envelope(body: &[u8]) -> Option<Envelope<'_>> {
    let answer = Envelope::parse(std::str::from_utf8(body).ok()?).ok()?;
    answer.outer.raw("success")?;
    Some(answer)
}

fn code(answer: &Envelope<'_>) -> String {
    let outer = &answer.outer;
    let code = outer.text("code").map(Cow::into_owned).or_else(|| outer.raw("code").map(str::to_owned));
    code.unwrap_or_default()
}

/// A refusal for a role, an object or a request of the client.
pub(super) fn is_the_client_s(code: &str) -> bool {
    matches!(code, "390189" | "390201" | "390400" | "390144")
}

/// The code decides. For unknown codes the beginning of the text decides; the rest of it may quote what the client
/// sent.
pub(super) fn refused_credential(code: &str, message: &str) -> Option<Kind> {
    let begins = |starts: &[&str]| starts.iter().any(|start| message.starts_with(start));
    match code {
        "390422" | "390432" => Some(Kind::PatPolicy),
        "390100" => Some(Kind::PatRefused),
        _ if code.starts_with("3944") => Some(Kind::PatRefused),
        _ if is_the_client_s(code) => None,
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
        let body = concat!(
            r#"{"data":{"token":"t","idToken":"i","sessionId":9223372036854775807,"mfaToken":null,"#,
            r#""sessionInfo":{"roleName":"R"},"x":1.50},"success":true}"#
        );
        let Some(LoginAnswer::Success(granted)) = LoginAnswer::read(body.as_bytes()) else { panic!() };
        let (session, role) = (granted.session(), granted.role());
        assert_eq!((session.as_deref(), role.as_deref()), (Some("9223372036854775807"), Some("R")));
        assert_eq!(
            granted.written().as_deref(),
            Some(concat!(
                r#"{"data":{"token":"t","sessionId":9223372036854775807,"#,
                r#""sessionInfo":{"roleName":"R"},"x":1.50},"success":true}"#
            ))
        );
        let plain = br#"{"data":{"token":"t"},"success":true}"#;
        let Some(LoginAnswer::Success(granted)) = LoginAnswer::read(plain) else { panic!() };
        assert!(granted.master().is_none() && granted.lasts().is_none());
        assert!(granted.written().is_none());
    }

    #[test]
    fn tokens_are_found_and_replaced_in_both_kinds_of_answer() {
        let login =
            r#"{"data":{"masterToken":"m\u002f","token":"t","masterValidityInSeconds":14400,"x":null},"success":true}"#;
        let renewal = r#"{"data":{"sessionToken":"t","masterToken":"m/","validityInSecondsMT":14400},"success":true}"#;
        let Some(LoginAnswer::Success(login)) = LoginAnswer::read(login.as_bytes()) else { panic!() };
        let Some(RenewalAnswer::Success(renewal)) = RenewalAnswer::read(renewal.as_bytes()) else { panic!() };
        for (mut granted, written) in [
            (
                login,
                r#"{"data":{"masterToken":"M","token":"T","masterValidityInSeconds":14400,"x":null},"success":true}"#,
            ),
            (renewal, r#"{"data":{"sessionToken":"T","masterToken":"M","validityInSecondsMT":14400},"success":true}"#),
        ] {
            assert_eq!((granted.token().expose(), granted.master().unwrap().expose()), ("t", "m/"));
            assert_eq!(granted.lasts(), Some(std::time::Duration::from_secs(14_400)));
            granted.put("T", Some("M"));
            assert_eq!(granted.written().unwrap(), written);
        }
        let over = br#"{"data":null,"code":"390114","message":"x","success":false}"#;
        assert!(matches!(RenewalAnswer::read(over), Some(RenewalAnswer::Refused { code }) if code == "390114"));
        assert!(RenewalAnswer::read(br#"{"data":{"token":"t"},"success":true}"#).is_none());
    }

    #[test]
    fn refusals_are_sorted_by_code_then_by_text() {
        let body = |code: &str, message: &str| {
            format!(r#"{{"data":null,"code":{code},"message":"{message}","success":false}}"#).into_bytes()
        };
        let kind = |code: &str, message: &str| match LoginAnswer::read(&body(code, message)) {
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
        let no_role = body(r#""390189""#, "Role 'X' does not exist");
        assert!(matches!(LoginAnswer::read(&no_role), Some(LoginAnswer::Other { code }) if code == "390189"));
        for junk in [&b"<html>"[..], b"{}", b"[]", b"", br#"{"success":true}"#, b"\xff"] {
            assert!(LoginAnswer::read(junk).is_none());
        }
    }
}
