//! Snowflake's REST APIs (`/api/v2/…`, the SQL API among them): stateless, with a bearer token in every request.
//!
//! Facts: protocol facts 2.2, and Snowflake's pages "Snowflake SQL API reference" and "Authenticating Snowflake REST APIs".

use http::HeaderName;

use super::answer::refused_credential;
use super::members::Members;
use crate::base::fault::Kind;
use crate::base::pins::Pins;

/// The header that says what kind of token the bearer is.
pub const TOKEN_TYPE: HeaderName = HeaderName::from_static("x-snowflake-authorization-token-type");
/// Where statements are sent.
pub const STATEMENTS: &str = "/api/v2/statements";

/// Members of a statement that choose its context, each with what a pin puts there.
fn context(pins: &Pins) -> [(&'static str, &Option<String>); 4] {
    [("role", &pins.role), ("warehouse", &pins.warehouse), ("database", &pins.database), ("schema", &pins.schema)]
}

/// What a refused credential looks like here: 401, or 403 for a network policy, with a code in a small body. `None` when the
/// answer is about something else.
pub fn refused(status: u16, body: &[u8]) -> Option<Kind> {
    if status != 401 && status != 403 {
        return None;
    }
    let answer = std::str::from_utf8(body).ok().and_then(|text| Members::parse(text).ok());
    let text = |name: &str| {
        let raw = answer.as_ref()?.raw(name)?;
        Some(raw.trim_matches('"').to_owned())
    };
    let (code, message) = (text("code").unwrap_or_default(), text("message").unwrap_or_default());
    // 401 says that nobody is known by that token, whatever the code.
    refused_credential(&code, &message).or((status == 401).then_some(Kind::PatRefused))
}

/// Headers with which the other APIs choose their context, as far as it is pinned. (Not confirmed for all of them; where one
/// is not known it does no harm.)
pub fn pinned_headers(pins: &Pins) -> impl Iterator<Item = (HeaderName, &str)> {
    let names = ["x-snowflake-role", "x-snowflake-warehouse", "x-snowflake-database", "x-snowflake-schema"];
    let pinned = names.into_iter().zip(context(pins));
    pinned.filter_map(|(name, (_, value))| Some((HeaderName::from_static(name), value.as_deref()?)))
}

/// The body of a statement with the pinned context in it; `None` when it is no JSON object.
pub fn pinned(pins: &Pins, body: &[u8]) -> Option<String> {
    let mut members = Members::parse(std::str::from_utf8(body).ok()?).ok()?;
    for (name, value) in context(pins) {
        if let Some(value) = value {
            members.set_text(name, value);
        }
    }
    Some(members.write())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_token_is_told_from_a_refused_request() {
        let body = |code: &str| format!(r#"{{"code":"{code}","message":"m"}}"#).into_bytes();
        assert_eq!(refused(401, &body("394400")), Some(Kind::PatRefused));
        assert_eq!(refused(401, b"<html>"), Some(Kind::PatRefused));
        assert_eq!(refused(403, &body("390432")), Some(Kind::PatPolicy));
        assert_eq!(refused(403, &body("003001")), None, "a privilege that the role has not");
        assert_eq!(refused(422, &body("390100")), None);
        assert_eq!(refused(200, b"{}"), None);
    }

    #[test]
    fn pins_stand_whatever_the_statement_says() {
        let pins = Pins { role: Some("R".into()), ..Pins::default() };
        let written = pinned(&pins, br#"{"statement":"select 1","role":"ADMIN","role":"X","timeout":1.50}"#);
        assert_eq!(written.unwrap(), r#"{"statement":"select 1","role":"R","timeout":1.50}"#);
        assert!(pinned(&pins, b"[]").is_none());
    }
}
