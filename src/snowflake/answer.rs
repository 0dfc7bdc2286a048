//! Answers: reads Snowflake's, and writes the gate's in the same envelope.

use std::borrow::Cow;

use super::granted::{self, Granted};
use super::members::{Envelope, quoted};
use super::refusal::Refusal;
use super::route::{Route, Stream};
use crate::base::fault::Said;
use crate::base::trace::TraceId;

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

/// Snowflake's refusal with the gate's trace id behind its text, so that whoever reads it can be helped; `None` if it
/// has no text.
pub fn with_trace(body: &[u8], trace: TraceId) -> Option<String> {
    let mut answer = envelope(body)?;
    let text = format!("{} (patgate, trace {trace})", answer.outer.text("message")?);
    answer.outer.set_text("message", &text);
    Some(answer.write())
}

/// Snowflake's answer to a login.
pub enum LoginAnswer<'a> {
    /// The session is open.
    Success(Granted<'a>),
    /// Snowflake refused; the refusal says whether that concerns the client or the gate.
    Refused(Refusal),
}

impl<'a> LoginAnswer<'a> {
    /// Reads the body of an answer to a login; `None` if it is something else.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let answer = envelope(body)?;
        if answer.outer.is_true("success") {
            return Granted::of(answer, granted::LOGIN).map(Self::Success);
        }
        let message = answer.outer.text("message").unwrap_or_default();
        Some(Self::Refused(Refusal::read(&code(&answer), &message)))
    }
}

/// Snowflake's answer to a renewal.
pub enum RenewalAnswer<'a> {
    /// The session continues, with new tokens.
    Success(Granted<'a>),
    /// The session ends: the gate passes the code on, and the driver understands it.
    Refused(Said),
}

impl<'a> RenewalAnswer<'a> {
    /// Reads the body of an answer to a renewal; `None` if it is something else.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let answer = envelope(body)?;
        if answer.outer.is_true("success") {
            return Granted::of(answer, granted::RENEWAL).map(Self::Success);
        }
        let message = answer.outer.text("message").unwrap_or_default();
        Some(Self::Refused(Refusal::read(&code(&answer), &message).said()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::pins::ContextField;

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
        let (session, role) = (granted.session(), granted.place(ContextField::Role));
        assert_eq!((session.as_deref(), role), (Some("9223372036854775807"), Some(Some("R".to_owned()))));
        assert_eq!(granted.place(ContextField::Warehouse), None);
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
        assert!(matches!(RenewalAnswer::read(over), Some(RenewalAnswer::Refused(said)) if said.code == "390114"));
        assert!(RenewalAnswer::read(br#"{"data":{"token":"t"},"success":true}"#).is_none());
    }

    #[test]
    fn a_refusal_is_read_and_what_is_no_login_answer_is_not() {
        let body = |code: &str| format!(r#"{{"data":null,"code":{code},"message":"m","success":false}}"#).into_bytes();
        for code in ["390189", r#""390189""#] {
            let body = body(code);
            let Some(LoginAnswer::Refused(refusal)) = LoginAnswer::read(&body) else { panic!() };
            assert_eq!((refusal.code.as_str(), refusal.said().text.as_str()), ("390189", "m"));
        }
        for junk in [&b"<html>"[..], b"{}", b"[]", b"", br#"{"success":true}"#, b"\xff"] {
            assert!(LoginAnswer::read(junk).is_none());
        }
    }
}
