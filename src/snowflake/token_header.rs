//! `Authorization: Snowflake Token="…"`: the token of a session's requests.
//!
//! Fact: connector-python, `network.py` (`HEADER_SNOWFLAKE_TOKEN = 'Snowflake Token="{token}"'`); the other drivers
//! write the same.

use http::HeaderValue;

use crate::base::secret::Secret;

const START: &str = "Snowflake Token=\"";

/// The token in a header; `None` if the header has another form.
pub fn read(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()?.strip_prefix(START)?.strip_suffix('"')
}

/// The header for a token; `None` if the token has characters that no header may have.
pub fn write(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{START}{}\"", token.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Whether a header begins like one with a token.
pub fn is(value: &HeaderValue) -> bool {
    value.as_bytes().starts_with(START.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_written() {
        let header = write(&Secret::new("ver:3-hint:1".into())).unwrap();
        assert_eq!((read(&header), is(&header), header.is_sensitive()), (Some("ver:3-hint:1"), true, true));
        assert!(write(&Secret::new("a\nb".into())).is_none());
        let bearer = HeaderValue::from_static("Bearer x");
        assert!(read(&bearer).is_none() && !is(&bearer));
    }
}
