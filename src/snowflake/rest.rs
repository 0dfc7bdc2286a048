//! Snowflake's REST APIs (`/api/v2/…`, the SQL API among them): stateless, with a bearer token in every request.
//!
//! Facts: `docs` "Snowflake SQL API reference" and "Authenticating Snowflake REST APIs to Snowflake". A statement is
//! answered with 200, 202 while it runs, 408, 422 for an error in the SQL, or 429.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::members::{self, Members};
use super::refusal::{About, Refusal};
use crate::base::pins::{ContextField, NotAllowed, Pins};

/// The header with the kind of the bearer token.
pub const TOKEN_TYPE: HeaderName = HeaderName::from_static("x-snowflake-authorization-token-type");
/// The path of statements.
pub const STATEMENTS: &str = "/api/v2/statements";

/// Reads a refusal: any 401, or 403 for a reason that the table of refusals knows as the gate's, with a code in a small
/// body. `None` if the answer is about something else, or concerns the client.
pub fn refused(status: u16, body: &[u8]) -> Option<Refusal> {
    if status != 401 && status != 403 {
        return None;
    }
    let answer = std::str::from_utf8(body).ok().and_then(|text| Members::parse(text).ok());
    let text = |name: &str| {
        let answer = answer.as_ref()?;
        answer.text(name).map(Cow::into_owned).or_else(|| answer.raw(name).map(str::to_owned))
    };
    let refusal = Refusal::read(&text("code").unwrap_or_default(), &text("message").unwrap_or_default());
    let gate_s = match refusal.about {
        // 401 means that the token is not valid, unless its code names another reason; 403 is mostly about a privilege.
        About::Gate(_) => status == 401 || refusal.is_known(),
        About::Role | About::Context | About::Request => false,
    };
    gate_s.then_some(refusal)
}

/// Whether an answer shows that Snowflake has checked and accepted the token. A proxy between may answer too, but it
/// does not run statements.
pub fn taken(status: u16) -> bool {
    matches!(status, 200..=299 | 422)
}

/// The header by which APIs other than that of statements choose a place of the context. (Not confirmed for all of
/// them; an unknown header does no harm.)
fn header(place: ContextField) -> HeaderName {
    HeaderName::from_static(match place {
        ContextField::Role => "x-snowflake-role",
        ContextField::Warehouse => "x-snowflake-warehouse",
        ContextField::Database => "x-snowflake-database",
        ContextField::Schema => "x-snowflake-schema",
    })
}

/// Puts the pinned context into the headers of a request.
///
/// # Errors
/// [`NotAllowed`].
pub fn pin_headers(pins: &Pins, headers: &mut HeaderMap) -> Result<(), NotAllowed> {
    for (place, pin) in pins.places() {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let asked: Vec<String> = headers.get_all(header(place)).iter().map(text).collect();
        let value = pin.settle(&asked).map_err(|asked| NotAllowed { place, asked })?;
        if let Some(value) = value {
            // A name that fits into no header cannot be asked for, nor left to the client.
            let fits = HeaderValue::from_bytes(value.as_bytes());
            let value = fits.map_err(|_| NotAllowed { place, asked: value.to_owned() })?;
            headers.insert(header(place), value);
        }
    }
    Ok(())
}

/// The context that a request asks for, in the order of [`Pins::places`]: in the members of a statement's body, or in
/// headers.
pub fn context(headers: &HeaderMap, statement: Option<&[u8]>) -> Vec<String> {
    let members = statement.and_then(|body| Members::parse(std::str::from_utf8(body).ok()?).ok());
    let value = |(place, _): (ContextField, _)| {
        let of_header = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let in_body = members.iter().filter_map(|members| members.text(place.as_str())).map(Cow::into_owned);
        let all: Vec<String> = headers.get_all(header(place)).iter().map(of_header).chain(in_body).collect();
        all.join("\n")
    };
    Pins::default().places().map(value).to_vec()
}

/// The body of a statement with the pinned context in it; `None` when it is no JSON object.
///
/// # Errors
/// [`NotAllowed`].
pub fn pinned(pins: &Pins, body: &[u8]) -> Option<Result<String, NotAllowed>> {
    let mut members = Members::parse(std::str::from_utf8(body).ok()?).ok()?;
    for (place, pin) in pins.places() {
        let name = place.as_str();
        // A value that is not a string cannot be a name, so no list has it.
        let text = |raw: &str| members::string(raw).map_or_else(|| raw.to_owned(), Cow::into_owned);
        let asked: Vec<String> = members.all_like(name).filter(|raw| *raw != "null").map(text).collect();
        match pin.settle(&asked) {
            Ok(Some(value)) => members.put_text(name, value),
            Ok(None) => {}
            Err(asked) => return Some(Err(NotAllowed { place, asked })),
        }
    }
    Some(Ok(members.write()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fault::Kind;
    use crate::base::pins::Pin;

    #[test]
    fn a_refused_token_is_told_from_a_refused_request() {
        let body = |code: &str| format!(r#"{{"code":"{code}","message":"m"}}"#).into_bytes();
        let kind = |status, body: &[u8]| refused(status, body).map(|refusal| refusal.kind());
        assert_eq!(kind(401, &body("394400")), Some(Kind::PatRefused));
        assert_eq!(kind(401, b"<html>"), Some(Kind::LoginRefused), "no verdict about the PAT");
        assert_eq!(kind(401, &body("390189")), None, "a role that is not to be had");
        assert_eq!(kind(403, &body("390432")), Some(Kind::PolicyMissing));
        assert_eq!(kind(403, &body("003001")), None, "a privilege that the role does not have");
        assert_eq!(kind(422, &body("390100")), None);
        assert_eq!(kind(200, b"{}"), None);
    }

    #[test]
    fn pins_stand_whatever_the_statement_says() {
        let pins = Pins { role: Pin::Fixed("R".into()), ..Pins::default() };
        let written = pinned(&pins, br#"{"statement":"select 1","role":"ADMIN","role":"X","timeout":1.50}"#);
        assert_eq!(written.unwrap().unwrap(), r#"{"statement":"select 1","role":"R","timeout":1.50}"#);
        assert!(pinned(&pins, b"[]").is_none());
        let list = Pins { role: Pin::OneOf(["R".to_owned()].into()), ..Pins::default() };
        for body in [
            r#"{"role":"r"}"#,
            r#"{"role":"R","role":null}"#,
            r#"{"role":null,"role":"\u0052"}"#,
            r#"{"ROLE":"r","r\u006fle":""}"#,
        ] {
            assert_eq!(pinned(&list, body.as_bytes()).unwrap().unwrap(), r#"{"role":"R"}"#, "{body}");
        }
        assert!(pinned(&list, br#"{"role":"r","Role":"ADMIN"}"#).unwrap().is_err());
        let mut headers = HeaderMap::new();
        for value in ["r", "", "R"] {
            headers.append("x-snowflake-role", HeaderValue::from_static(value));
        }
        pin_headers(&list, &mut headers).unwrap();
        assert_eq!(headers.get_all("x-snowflake-role").iter().collect::<Vec<_>>(), ["R"]);
        headers.append("x-snowflake-role", HeaderValue::from_static("ADMIN"));
        assert!(pin_headers(&list, &mut headers).is_err());
        assert_eq!(pinned(&list, br#"{"role":null}"#).unwrap().unwrap(), r#"{"role":"R"}"#);
        assert!(pinned(&list, br#"{"role":"r","role":"\u0041"}"#).unwrap().is_err());
    }
}
