//! The text of a statement, for records, where the operator asks for it: from the beginning of the request's body
//! (`sqlText` of `/queries/v1/query-request`, `statement` of the SQL API).
//!
//! A fingerprint tells statements of one form apart from others, and says nothing of their values: names and structure
//! are hashed, literals are not.

use std::io::Read;

use aws_lc_rs::digest::{SHA256, digest};
use flate2::read::GzDecoder;

/// How many bytes of a body are kept for it.
pub const KEPT: usize = 16 << 10;
/// How many bytes they may have when they are inflated.
const INFLATED: u64 = 64 << 10;
/// The longest text in a record.
const TEXT: usize = 4 << 10;
const MEMBERS: [&str; 2] = ["\"sqlText\"", "\"statement\""];

/// The text of a statement, from the first bytes of a body; a longer one is cut.
pub fn of_body(first: &[u8], gzip: bool) -> Option<String> {
    let mut inflated = Vec::new();
    let body = match gzip {
        true => {
            // Only the beginning may be there.
            let _cut_off = GzDecoder::new(first).take(INFLATED).read_to_end(&mut inflated);
            &inflated
        }
        false => first,
    };
    let body = String::from_utf8_lossy(body);
    let rest = MEMBERS.iter().find_map(|member| body.split_once(member).map(|(_, rest)| rest))?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start();
    let whole = serde_json::Deserializer::from_str(value).into_iter::<String>().next()?;
    let mut text = whole.ok().or_else(|| {
        // Cut off: what is there is closed, if that makes a text.
        let cut = value.trim_end_matches(['\\', char::REPLACEMENT_CHARACTER]);
        serde_json::from_str::<String>(&format!("{cut}\"")).ok()
    })?;
    text.truncate(text.floor_char_boundary(TEXT));
    Some(text)
}

/// 16 hex digits that are the same for statements that differ only in literals, comments, case and blanks.
pub fn fingerprint(sql: &str) -> String {
    hex::encode(&digest(&SHA256, shape(sql).as_bytes()).as_ref()[..8])
}

/// Whether a text has the form of a fingerprint.
pub fn is_fingerprint(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A statement without its literals and comments.
fn shape(sql: &str) -> String {
    let mut out = String::new();
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let (taken, put) = if rest.starts_with("--") || rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), " ")
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), " ")
        } else if c == '\'' {
            (literal(rest), "?")
        } else if let Some(inner) = rest.strip_prefix("$$") {
            (inner.find("$$").map_or(rest.len(), |end| end + 4), "?")
        } else if c.is_ascii_digit() && !out.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"') {
            let number = |c: char| !(c.is_ascii_alphanumeric() || c == '.');
            (rest.find(number).unwrap_or(rest.len()), "?")
        } else if c.is_whitespace() {
            (c.len_utf8(), " ")
        } else {
            out.extend(c.to_lowercase());
            rest = &rest[c.len_utf8()..];
            continue;
        };
        if put != " " || !(out.is_empty() || out.ends_with(' ')) {
            out.push_str(put);
        }
        rest = &rest[taken..];
    }
    // A list of literals is one, however long.
    let mut shape = out.trim().trim_end_matches(';').trim().to_owned();
    for list in ["?, ?", "?,?"] {
        while shape.contains(list) {
            shape = shape.replace(list, "?");
        }
    }
    shape
}

/// The length of a text in quotes; a doubled quote and a backslash belong to it.
fn literal(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_text_is_found_in_whole_cut_and_compressed_bodies() {
        let body = r#"{"sequenceId":1,"sqlText":"select \"a\" from t","x":1}"#;
        assert_eq!(of_body(body.as_bytes(), false).as_deref(), Some("select \"a\" from t"));
        assert_eq!(of_body(&body.as_bytes()[..38], false).as_deref(), Some("select \"a"));
        assert_eq!(of_body(br#"{"statement": "select 1"}"#, false).as_deref(), Some("select 1"));
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(body.as_bytes()).unwrap();
        assert_eq!(of_body(&packed.finish().unwrap(), true).as_deref(), Some("select \"a\" from t"));
        for none in [&b"{}"[..], br#"{"sqlText":1}"#, b"\xff\xfe"] {
            assert_eq!(of_body(none, false), None);
        }
        let long = format!(r#"{{"sqlText":"{}"}}"#, "é".repeat(5_000));
        assert!(of_body(long.as_bytes(), false).unwrap().len() <= TEXT);
    }

    #[test]
    fn statements_that_differ_in_values_alone_have_one_fingerprint() {
        let one = fingerprint("SELECT a1, 'it''s' FROM t WHERE b = 42 AND c IN (1, 2, 3) -- canary");
        for same in [
            "select a1, 'other' from t where b = 7.5 and c in (9)",
            "select  a1,\n'x\\'y' from t /* canary */ where b=1 and c in (1,2)".replace("b=1", "b = 1").as_str(),
        ] {
            assert_eq!(fingerprint(same), one, "{}", shape(same));
        }
        assert_ne!(fingerprint("select a2, 'x' from t where b = 1 and c in (1)"), one);
        assert_eq!(shape("insert into t values ($$canary$$, 'canary"), "insert into t values (?");
    }
}
