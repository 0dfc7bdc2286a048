//! The query string of a login: the context of the new session stands there, not in the body (protocol facts 1.1).

use std::borrow::Cow;
use std::fmt::Write;

use crate::base::pins::Pins;

/// The path and query to send: every parameter as it came, but for the pinned ones.
pub fn pinned<'a>(pins: &Pins, path_and_query: &'a str) -> Cow<'a, str> {
    if *pins == Pins::default() {
        return Cow::Borrowed(path_and_query);
    }
    let pinned = [
        ("roleName", &pins.role),
        ("warehouse", &pins.warehouse),
        ("databaseName", &pins.database),
        ("schemaName", &pins.schema),
    ];
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let is_pinned = |pair: &str| {
        let name = decoded(pair.split_once('=').map_or(pair, |(name, _)| name));
        pinned.iter().any(|(pin, value)| value.is_some() && name == pin.as_bytes())
    };
    let mut out = String::with_capacity(path_and_query.len() + 64);
    out.push_str(path);
    let mut separator = '?';
    for pair in query.split('&').filter(|pair| !pair.is_empty() && !is_pinned(pair)) {
        out.push(separator);
        out.push_str(pair);
        separator = '&';
    }
    for (name, value) in pinned {
        if let Some(value) = value {
            out.push(separator);
            out.push_str(name);
            out.push('=');
            push_encoded(&mut out, value);
            separator = '&';
        }
    }
    Cow::Owned(out)
}

/// Percent-decodes a parameter's name, so that `role%4eame` does not slip past a pin.
fn decoded(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                out.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

fn push_encoded(out: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_pins_nothing_changes() {
        let target = "/session/v1/login-request?requestId=1&roleName=&warehouse=a%20b";
        assert_eq!(pinned(&Pins::default(), target), target);
    }

    #[test]
    fn a_pin_replaces_what_the_client_asked_for() {
        let pins = Pins { role: Some("BI ROLE".into()), warehouse: Some("WH".into()), ..Pins::default() };
        assert_eq!(
            pinned(&pins, "/l?requestId=1&roleName=ADMIN&databaseName=D&role%4eame=ADMIN&warehouse="),
            "/l?requestId=1&databaseName=D&roleName=BI%20ROLE&warehouse=WH"
        );
        assert_eq!(pinned(&pins, "/l"), "/l?roleName=BI%20ROLE&warehouse=WH");
    }
}
