//! The query string of a login: it has the context of the new session, not the body (`go:auth.go`,
//! `py:auth/_auth.py`, `jdbc:SessionUtil.java`, `ud:sf_core/src/rest/snowflake/mod.rs`). One driver always sends all
//! four parameters, empty where unset (`ud`).

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::base::pins::{ContextField, NotAllowed, Pin, Pins};

/// Everything but the unreserved characters is encoded (RFC 3986, section 2.3).
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The parameter of a place.
fn name(place: ContextField) -> &'static str {
    match place {
        ContextField::Role => "roleName",
        ContextField::Warehouse => "warehouse",
        ContextField::Database => "databaseName",
        ContextField::Schema => "schemaName",
    }
}

/// Names that could ask for the user's other roles. No driver sends one; where a role is pinned, none is sent on.
const SECONDARY: [&str; 2] = ["secondaryRoles", "secondary_roles"];

/// The path and query to send: every parameter unchanged, except the pinned ones.
///
/// # Errors
/// [`NotAllowed`], if the client asks for something that the pins do not list.
pub fn pinned<'a>(pins: &Pins, path_and_query: &'a str) -> Result<Cow<'a, str>, NotAllowed> {
    if pins.are_free() {
        return Ok(Cow::Borrowed(path_and_query));
    }
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let pairs: Vec<(&str, Vec<u8>)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| (pair, decoded(pair.split_once('=').map_or(pair, |(name, _)| name))))
        .collect();
    let mut put = Vec::new();
    for (place, pin) in pins.places() {
        let value = |pair: &str| text(pair.split_once('=').map_or("", |(_, value)| value));
        let asked: Vec<String> =
            pairs.iter().filter(|(_, key)| is(key, name(place))).map(|(pair, _)| value(pair)).collect();
        if let Some(value) = pin.settle(&asked).map_err(|asked| NotAllowed { place, asked })? {
            put.push((name(place), value));
        }
    }
    let mut out = String::with_capacity(path_and_query.len() + 64);
    out.push_str(path);
    let mut separator = '?';
    for (pair, key) in &pairs {
        let pinned = put.iter().any(|(name, _)| is(key, name));
        let secondary = pins.role != Pin::Free && SECONDARY.iter().any(|name| is(key, name));
        if pinned || secondary {
            continue;
        }
        out.push(separator);
        out.push_str(pair);
        separator = '&';
    }
    for (name, value) in put {
        out.push(separator);
        out.push_str(name);
        out.push('=');
        out.extend(utf8_percent_encode(value, VALUE));
        separator = '&';
    }
    Ok(Cow::Owned(out))
}

/// The context that a login asks for, in the order of [`Pins::places`]; an empty text where it asks for none.
pub fn context(path_and_query: &str) -> Vec<String> {
    let query = path_and_query.split_once('?').map_or("", |(_, query)| query);
    let value = |(place, _): (ContextField, _)| {
        let asked = query.split('&').filter_map(|pair| pair.split_once('='));
        let asked = asked.filter(|(key, _)| is(&decoded(key), name(place)));
        let values: Vec<String> = asked.map(|(_, value)| text(value)).filter(|value| !value.is_empty()).collect();
        values.join("\n")
    };
    Pins::default().places().map(value).to_vec()
}

/// What a login asked for and its session did not get. A name counts without case and quotes, as Snowflake folds names
/// that are not quoted. A text with a line break was asked for twice, and is nobody's mistake here.
pub fn unset<T>(
    asked: &[String],
    got: impl Fn(ContextField) -> Option<Option<String>>,
    made: impl Fn(ContextField, &str, Option<String>) -> T,
) -> Vec<T> {
    let bare = |name: &str| name.trim_matches('"').to_ascii_uppercase();
    let places = Pins::default().places().map(|(place, _)| place);
    let pairs = places.into_iter().zip(asked).filter(|(_, asked)| !asked.is_empty() && !asked.contains('\n'));
    let missing = pairs.filter_map(|(place, asked)| match got(place)? {
        Some(got) if bare(&got) == bare(asked) => None,
        // `DB.SCHEMA` as the schema.
        Some(got) if asked.rsplit_once('.').is_some_and(|(_, last)| bare(last) == bare(&got)) => None,
        other => Some(made(place, asked, other)),
    });
    missing.collect()
}

/// A parameter's value as text.
fn text(value: &str) -> String {
    String::from_utf8_lossy(&decoded(&value.replace('+', " "))).into_owned()
}

/// Whether a decoded name is this one, however its letters are written: the server may not tell them apart.
fn is(decoded: &[u8], name: &str) -> bool {
    decoded.eq_ignore_ascii_case(name.as_bytes())
}

/// Percent-decodes a parameter's name or value, so that `role%4eame` does not slip past a pin.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_pins_nothing_changes() {
        let target = "/session/v1/login-request?requestId=1&roleName=&warehouse=a%20b";
        assert_eq!(pinned(&Pins::default(), target).unwrap(), target);
    }

    #[test]
    fn the_context_is_read_from_every_spelling() {
        assert_eq!(context("/l?a=1&role%4eame=BI+R&warehouse=W%2fH&schemaName="), ["BI R", "W/H", "", ""]);
        assert_eq!(context("/l?roleName=A&roleName=B"), ["A\nB", "", "", ""]);
        assert_eq!(context("/l"), [""; 4]);
    }

    #[test]
    fn what_a_session_did_not_get_is_told_and_what_was_folded_is_not() {
        let asked = ["bi", "WH", "DB", "db.PUBLIC"].map(str::to_owned);
        let told = |asked: &[String], got: [Option<Option<&str>>; 4]| {
            let got = |place: ContextField| got[place as usize].map(|got| got.map(str::to_owned));
            unset(asked, got, |place, asked, got| format!("{} {asked} {got:?}", place.as_str()))
        };
        assert_eq!(told(&asked, [Some(Some("BI")), None, Some(Some("DB")), Some(Some("PUBLIC"))]), [""; 0]);
        assert_eq!(
            told(&asked, [Some(Some("PUBLIC")), Some(None), None, None]),
            ["role bi Some(\"PUBLIC\")", "warehouse WH None"]
        );
        assert_eq!(told(&[""; 4].map(str::to_owned), [Some(None); 4]), [""; 0]);
    }

    #[test]
    fn a_pin_replaces_what_the_client_asked_for() {
        let pins = Pins { role: Pin::Fixed("BI ROLE".into()), warehouse: Pin::Fixed("WH".into()), ..Pins::default() };
        assert_eq!(
            pinned(&pins, "/l?requestId=1&roleName=ADMIN&databaseName=D&role%4eame=ADMIN&warehouse=").unwrap(),
            "/l?requestId=1&databaseName=D&roleName=BI%20ROLE&warehouse=WH"
        );
        assert_eq!(pinned(&pins, "/l").unwrap(), "/l?roleName=BI%20ROLE&warehouse=WH");
    }

    #[test]
    fn a_list_is_held_against_every_spelling_of_what_is_asked_for() {
        let pins = Pins { role: Pin::OneOf(["BI ROLE".to_owned()].into()), ..Pins::default() };
        assert_eq!(pinned(&pins, "/l?a=1&roleName=").unwrap(), "/l?a=1&roleName=BI%20ROLE");
        for asked in ["/l?roleName=bi+role", "/l?role%4eame=BI%20ROLE"] {
            assert_eq!(pinned(&pins, asked).unwrap(), "/l?roleName=BI%20ROLE", "{asked}");
        }
        // One value goes, as the list spells it, whatever is sent beside it.
        for asked in [
            "/l?roleName=BI+ROLE&roleName=",
            "/l?roleName=&roleName=bi%20role",
            "/l?rolename=BI+ROLE&ROLENAME=bi+role&rolename",
            "/l?secondaryRoles=ALL&roleName=bi+role&secondary%5froles=ALL",
        ] {
            assert_eq!(pinned(&pins, asked).unwrap(), "/l?roleName=BI%20ROLE", "{asked}");
        }
        for asked in ["/l?roleName=ADMIN", "/l?roleName=bi+role&roleName=%41DMIN", "/l?RoleName=ADMIN"] {
            assert_eq!(pinned(&pins, asked).unwrap_err().asked, "ADMIN");
        }
    }
}
