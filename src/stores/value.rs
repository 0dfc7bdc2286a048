//! Makes a PAT, or a private key, of a store's value, by one rule for all stores.
//!
//! With `#FIELD` it takes that member of a JSON object and ignores the others; without it, the whole value. It removes
//! blanks and a byte order mark around it. It refuses values that cannot be a token, before Snowflake counts them as
//! bad logins.
//!
//! A managed secret of the type *SnowflakePat* is known by its member `patTokenValue` (AWS Secrets Manager user guide,
//! managed external secrets, Snowflake Programmatic Access Token). It needs no `#FIELD`. The secret also has the
//! private key that rotates the token; the gate never takes that key for a PAT, also if a reference names it.

use super::StoreError;
use crate::base::names::CLIENT_KEY_PREFIX;
use crate::base::secret::Secret;
use crate::base::text::bare;
use crate::snowflake::members::Members;

/// Placeholders that people write until they have the real token.
const PLACEHOLDERS: [&str; 15] = [
    "change-me",
    "change_me",
    "changeme",
    "dummy",
    "example",
    "none",
    "null",
    "placeholder",
    "replace-me",
    "replace_me",
    "replaceme",
    "secret",
    "todo",
    "token",
    "xxx",
];
/// The token in a managed secret.
const MANAGED: &str = "patTokenValue";
/// The other members, which can make new tokens.
const TOXIC: [&str; 2] = ["privateKey", "passphrase"];

/// The member that a reference names, or the whole value.
///
/// # Errors
/// [`StoreError::Unusable`], which names the error in the form and quotes nothing.
pub fn member(value: &Secret, field: Option<&str>) -> Result<Secret, StoreError> {
    let whole = bare(value.expose());
    match field {
        Some(field) => {
            let Ok(members) = Members::parse(whole) else {
                return unusable("the reference names a #FIELD, and the value is no JSON object");
            };
            match members.text(field) {
                Some(text) => Ok(Secret::new(text.into_owned())),
                None if members.raw(field).is_some() => unusable("the member that #FIELD names is no string"),
                None => unusable("the value has no member of the name that #FIELD gives"),
            }
        }
        None => Ok(value.clone()),
    }
}

fn unusable<T>(why: &str) -> Result<T, StoreError> {
    Err(StoreError::Unusable(why.to_owned()))
}

/// The private key in a store's value, without blanks around it: the same key has the same fingerprint in all stores.
///
/// # Errors
/// Like [`member`].
pub fn key(value: &Secret, field: Option<&str>) -> Result<Secret, StoreError> {
    let text = member(value, field)?;
    match bare(text.expose()) {
        "" => unusable("the value is empty"),
        pem if pem.starts_with('{') => {
            unusable("the value is a JSON object; name its member with #FIELD in the reference")
        }
        pem => Ok(Secret::new(pem.to_owned())),
    }
}

/// The passphrase in a store's value: one line.
///
/// # Errors
/// Like [`member`].
pub fn line(value: &Secret, field: Option<&str>) -> Result<Secret, StoreError> {
    let text = member(value, field)?;
    match text.expose().trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']) {
        "" => unusable("the value is empty"),
        line if line.contains(['\r', '\n']) => unusable("the value has more than one line"),
        line => Ok(Secret::new(line.to_owned())),
    }
}

/// The value with a new token in it, and with everything else that it holds.
///
/// # Errors
/// Like [`member`], if the value has no place for a token.
pub fn replaced(value: &Secret, field: Option<&str>, token: &Secret) -> Result<Secret, StoreError> {
    // What could not be read as a token is nothing to write one into.
    pat(value, field)?;
    let whole = bare(value.expose());
    let members = Members::parse(whole).ok().filter(|_| whole.starts_with('{'));
    Ok(Secret::new(match (field.or(members.is_some().then_some(MANAGED)), members) {
        (Some(field), Some(mut members)) => {
            members.set_text(field, token.expose());
            members.write()
        }
        _ if value.expose().ends_with('\n') => format!("{}\n", token.expose()),
        _ => token.expose().to_owned(),
    }))
}

/// Whether it is a line of an environment file or of YAML, such as `SNOWFLAKE_PAT=…`, `export pat=…`, `token: …`.
fn is_assignment(line: &str) -> bool {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let is_name = |name: &str| {
        let name = name.trim_end();
        let words = || name.split(['_', '-']).filter(|word| !word.is_empty());
        let upper = name.contains('_') && !name.contains(|c: char| c.is_ascii_lowercase());
        let telling = |word: &str| ["pat", "token", "password", "secret"].contains(&word.to_ascii_lowercase().as_str());
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
            && (upper || words().any(telling))
    };
    let of = |separator: &str| {
        line.split_once(separator).is_some_and(|(name, value)| is_name(name) && !value.trim_matches('=').is_empty())
    };
    of("=") || of(": ")
}

/// The PAT in a store's value.
///
/// # Errors
/// Like [`member`].
pub fn pat(value: &Secret, field: Option<&str>) -> Result<Secret, StoreError> {
    if field.is_some_and(|field| TOXIC.contains(&field)) {
        return unusable("the member that #FIELD names is no token but a key");
    }
    let whole = bare(value.expose());
    let managed = whole.starts_with('{') && Members::parse(whole).is_ok_and(|members| members.raw(MANAGED).is_some());
    let text = member(value, field.or(managed.then_some(MANAGED)))?;
    let token = bare(text.expose());
    match token {
        "" => unusable("the value is empty"),
        _ if token.contains(['\r', '\n']) => unusable("the value has more than one line"),
        _ if token.starts_with('{') => {
            unusable("the value is a JSON object; name its member with #FIELD in the reference")
        }
        _ if is_assignment(token) => unusable("the value is a line NAME=TOKEN; store the token alone"),
        _ if token.bytes().any(|b| !(0x21..0x7f).contains(&b)) => {
            unusable("the value holds spaces or characters that no token has")
        }
        _ if token.starts_with(CLIENT_KEY_PREFIX) => {
            unusable("the value is a client key of patgate, not a Snowflake token")
        }
        _ if token.starts_with("your") || token.contains(['<', '>', '$', '%', '*', '"', '\'', '`', '[', ']']) => {
            unusable("the value is a placeholder, or has quotes or brackets that no token has")
        }
        // What every token that is a JWT begins with, encoded once more.
        _ if token.starts_with("ZXlK") => unusable("the value is a token in base64; store the token itself"),
        _ if PLACEHOLDERS.contains(&token.to_ascii_lowercase().as_str()) => unusable("the value is a placeholder"),
        _ => Ok(Secret::new(token.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str, field: Option<&str>) -> Result<String, String> {
        pat(&Secret::new(value.into()), field).map(|pat| pat.expose().to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn plain_and_json_values_give_their_token() {
        for surrounded in ["tok.en-1\r\n", "\u{feff}tok.en-1", " \ttok.en-1 \n\n"] {
            assert_eq!(read(surrounded, None).unwrap(), "tok.en-1");
        }
        assert_eq!(read("\u{feff}{\"token\":\" t1 \"}", Some("token")).unwrap(), "t1");
        assert_eq!(read("a_b=c==", None).unwrap(), "a_b=c==");
        assert_eq!(read("{\"token\":\"t\\u0031\",\"key\":\"toxic\"}\n", Some("token")).unwrap(), "t1");
        let managed =
            "{\"privateKey\":\"-----\",\"passphrase\":\"p\",\"patTokenName\":\"N\",\"patTokenValue\":\"tok\"}";
        assert_eq!(read(managed, None).unwrap(), "tok");
        assert_eq!(read(managed, Some("patTokenValue")).unwrap(), "tok");
        assert!(read(managed, Some("passphrase")).unwrap_err().contains("no token but a key"));
    }

    #[test]
    fn a_new_token_leaves_everything_else_as_it_is() {
        let new = |value: &str, field| {
            let (value, token) = (Secret::new(value.into()), Secret::new("new\"".into()));
            replaced(&value, field, &token).map(|value| value.expose().to_owned())
        };
        assert_eq!(new("old\n", None).unwrap(), "new\"\n");
        assert_eq!(new("old", None).unwrap(), "new\"");
        let wanted = r#"{"user":"U","token":"new\"","n":12345678901234567890}"#;
        assert_eq!(new(r#"{"user":"U", "token":"old","n":12345678901234567890}"#, Some("token")).unwrap(), wanted);
        assert_eq!(new(r#"{"patTokenValue":"old"}"#, None).unwrap(), r#"{"patTokenValue":"new\""}"#);
        assert!(new(r#"{"other":"old"}"#, Some("token")).is_err() && new(r#"{"a":"b"}"#, None).is_err());
    }

    #[test]
    fn keys_and_passphrases_come_without_what_surrounds_them() {
        let managed = Secret::new("{\"privateKey\":\"\\n---\\nx\\n---\\n\",\"passphrase\":\" p \"}".into());
        assert_eq!(key(&managed, Some("privateKey")).unwrap().expose(), "---\nx\n---");
        assert_eq!(line(&managed, Some("passphrase")).unwrap().expose(), " p ");
        assert_eq!(line(&Secret::new("p\r\n".into()), None).unwrap().expose(), "p");
        assert!(key(&managed, None).is_err() && line(&Secret::new("a\nb".into()), None).is_err());
    }

    #[test]
    fn a_pasted_line_is_named_as_that() {
        for line in [
            "SNOWFLAKE_PAT=canary",
            "PAT=canary",
            "snowflake_pat=canary",
            "export SNOWFLAKE_PAT=canary",
            "SNOWFLAKE_PAT: canary",
            "token: canary",
        ] {
            let why = read(line, None).unwrap_err();
            assert!(why.contains("NAME=TOKEN") && !why.contains("canary"), "{line}: {why}");
        }
        for token in ["pat==", "a-token==", "abc=def"] {
            assert_eq!(read(token, None).unwrap(), token);
        }
    }

    #[test]
    fn what_cannot_be_a_token_is_refused_without_being_quoted() {
        for (value, field) in [
            ("", None),
            ("\n", None),
            ("canary\ncanary", None),
            ("canary canary", None),
            ("{\"canary\":1}", None),
            ("changeme", None),
            ("<canary>", None),
            ("${CANARY_canary}", None),
            ("%canary%", None),
            ("\"canary\"", None),
            ("your-canary-here", None),
            ("REPLACE_ME", None),
            ("pgk_canary", None),
            ("SNOWFLAKE_PAT=canary", None),
            ("ZXlKcanary", None),
            ("canary", Some("token")),
            ("{\"canary\":1}", Some("token")),
            ("{\"token\":7}", Some("token")),
            ("{\"token\":\"\"}", Some("token")),
        ] {
            assert!(!read(value, field).unwrap_err().contains("canary"), "{value}");
        }
    }
}
