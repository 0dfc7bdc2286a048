//! Secrets that are known by their form, taken out of texts that are written down: a tool may send a key in any field,
//! and Snowflake may quote what it was sent.
//!
//! | form | what it is |
//! |---|---|
//! | `pgk_…` | a client key |
//! | `pgs1_…` | a sealed token |
//! | `eyJ…` | a JWT: the beginning of a JSON object in base64url, as Snowflake's PATs and key-pair tokens have it |
//!
//! What has no form, such as a password, is known only by the one who holds it.

use std::borrow::Cow;

use super::names::{CLIENT_KEY_PREFIX, SEALED_PREFIX};

/// What stands in place of a secret.
pub const TAKEN_OUT: &str = "***";
/// The beginning of a JWT.
const JWT: &str = "eyJ";
/// A shorter word with that beginning is no JWT.
const LEAST_JWT: usize = 20;

/// The text without secrets that are known by their form.
pub fn redacted(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut from = 0;
    while let Some((start, end)) = next(text, from) {
        clean.push_str(&text[from..start]);
        clean.push_str(TAKEN_OUT);
        from = end;
    }
    if from == 0 {
        return Cow::Borrowed(text);
    }
    clean.push_str(&text[from..]);
    Cow::Owned(clean)
}

/// Whether a text holds a secret that is known by its form.
pub fn holds_secret(text: &str) -> bool {
    next(text, 0).is_some()
}

/// The next secret from this place on: where it begins and ends.
fn next(text: &str, from: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    (from..bytes.len()).find_map(|at| {
        let rest = &bytes[at..];
        let is_key = [CLIENT_KEY_PREFIX, SEALED_PREFIX].iter().any(|prefix| rest.starts_with(prefix.as_bytes()));
        let begins = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
        let is_one = is_key || (begins && rest.starts_with(JWT.as_bytes()));
        is_one.then(|| (at, end_of(text, at))).filter(|(start, end)| is_key || end - start >= LEAST_JWT)
    })
}

fn end_of(text: &str, start: usize) -> usize {
    text[start..].bytes().position(|byte| !is_of_token(byte)).map_or(text.len(), |length| start + length)
}

/// What keys and tokens are written in: base64, base64url, and what separates their parts.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.+/=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_full_of_them_is_read_once() {
        let many = "pgk_ eyJ ".repeat(200_000);
        assert_eq!(redacted(&many).len(), "*** eyJ ".len() * 200_000);
    }

    #[test]
    fn each_form_is_found_wherever_it_stands() {
        let jwt = format!("eyJraWQiOiI{}.e30.c2ln", "x".repeat(300));
        for (text, clean) in [
            ("nothing here, eyJ alone is a word", "nothing here, eyJ alone is a word"),
            ("pgk_bi_AAAA-BB_cc", "***"),
            ("select 'pgk_bi_x', 'pgs1_abc=='", "select '***', '***'"),
            ("password=pgk_bi_x;", "password=***;"),
            (&format!("token <{jwt}> is invalid: {jwt}"), "token <***> is invalid: ***"),
            ("xeyJraWQiOiIxxxxxxxxxxxxxxxx", "xeyJraWQiOiIxxxxxxxxxxxxxxxx"),
            (&format!("call f('token={jwt}', '/{jwt}', 'a-{jwt}')"), "call f('token=***', '/***', 'a-***')"),
            ("Jürgen: pgk_é", "Jürgen: ***é"),
        ] {
            assert_eq!(redacted(text), clean);
            assert_eq!(holds_secret(text), text != clean, "{text}");
        }
    }
}
