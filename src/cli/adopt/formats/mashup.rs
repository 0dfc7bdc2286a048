//! Power Query's M: a host of Snowflake's in a literal, wherever it stands, and connection strings of ODBC.

use std::ops::Range;

use super::pairs;
use crate::cli::adopt::login::is_host;
use crate::cli::adopt::settings::{Form, Settings, Spot};

/// The calls that open Snowflake.
const CALL: &str = "Snowflake.Databases";

/// `gate` is the gate's host, which a query that was moved has in a parameter.
pub(super) fn read(text: &str, label: &str, gate: Option<&str>) -> Vec<Settings> {
    let mut found = Vec::new();
    // A record of ODBC has its user and password beside the host.
    let record = text.contains("Odbc.") && ["UID", "PWD", "uid", "pwd"].iter().any(|word| text.contains(word));
    let unfit = record.then_some("user and password may stand elsewhere in the query");
    let mut add = |entries, at| {
        found.push(Settings { label: label.to_owned(), entries, known: true, at, form: Form::Fixed, unfit });
    };
    let mut strings = Vec::new();
    for range in literals(text) {
        let spot = Spot::spelt(text, range.clone(), &text[range.clone()].replace("\"\"", "\""));
        let value = spot.value.expose();
        let called = text[..range.start - 1].trim_end().strip_suffix('(').is_some_and(|before| before.ends_with(CALL));
        if called || is_host(value, gate) && !value.contains(['/', ';', '=']) {
            add(vec![("server".to_owned(), spot)], range.start);
        } else if value.contains('=') {
            let (before, after) =
                (text[..range.start - 1].trim_end(), text[range.end..].trim_start_matches('"').trim_start());
            let joined = before.ends_with('&') || after.starts_with('&');
            let read = pairs::read(label, &spot, gate);
            strings.extend(read.map(|one| match joined {
                true => Settings { unfit: Some("it is put together of several texts"), ..one },
                false => one,
            }));
        }
    }
    for (at, _) in text.match_indices(CALL) {
        // A host that comes from elsewhere: a parameter, or another file. One in this text is told where it stands.
        let argument = text[at + CALL.len()..].trim_start().strip_prefix('(').map(str::trim_start);
        if argument.is_some_and(|argument| !argument.starts_with('"') && !is_defined(text, argument)) {
            add(Vec::new(), at);
        }
    }
    found.extend(strings);
    found
}

/// Whether the name at the start of an argument is defined in the same text, by a literal.
fn is_defined(text: &str, argument: &str) -> bool {
    let name: String = argument.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let defined = |(at, _): (usize, &str)| {
        let after = text[at + name.len()..].trim_start();
        after.strip_prefix('=').is_some_and(|value| value.trim_start().starts_with('"'))
    };
    !name.is_empty() && text.match_indices(name.as_str()).any(defined)
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
