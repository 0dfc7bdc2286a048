//! Power Query's M: a host of Snowflake's in a literal, wherever it stands, and connection strings of ODBC.

use std::ops::Range;

use super::pairs;
use crate::cli::adopt::login::is_snowflake;
use crate::cli::adopt::settings::{Form, Settings, Spot};

/// The calls that open Snowflake.
const CALL: &str = "Snowflake.Databases";

pub(super) fn read(text: &str, label: &str) -> Vec<Settings> {
    let mut found = Vec::new();
    for range in literals(text) {
        let spot = Spot::of(text, range.clone());
        let value = spot.value.expose();
        let host = value.split_once(':').map_or(value, |(host, _)| host);
        let called = text[..range.start - 1].trim_end().strip_suffix('(').is_some_and(|before| before.ends_with(CALL));
        if called || is_snowflake(host) && !value.contains(['/', ';', '=']) {
            let entries = vec![("server".to_owned(), spot)];
            found.push(Settings { label: label.to_owned(), entries, known: true, at: range.start, form: Form::Fixed });
        } else if value.contains('=') {
            found.extend(pairs::read(label, &spot));
        }
    }
    if let (true, Some(at)) = (found.is_empty(), text.find(CALL)) {
        // The host comes from elsewhere: a parameter, or another file.
        found.push(Settings { label: label.to_owned(), entries: Vec::new(), known: true, at, form: Form::Fixed });
    }
    found
}

/// The texts in quotes, without their quotes; comments and names in quotes (`#"…"`) are none.
fn literals(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let skip_to = |end: &str| text[at..].find(end).map_or(text.len(), |found| at + found + end.len());
        match &bytes[at..] {
            [b'/', b'/', ..] => at = skip_to("\n"),
            [b'/', b'*', ..] => at = skip_to("*/"),
            [b'"', ..] => {
                let start = at + 1;
                let end = closing(bytes, start);
                if at == 0 || bytes[at - 1] != b'#' {
                    found.push(start..end);
                }
                at = end + 1;
            }
            _ => at += 1,
        }
    }
    found
}

/// The quote that closes a text; two of them stand for one inside it.
fn closing(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'"', Some(b'"')) => at += 2,
            (b'"', _) => return at,
            _ => at += 1,
        }
    }
    bytes.len()
}
