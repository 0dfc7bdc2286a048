//! Connection strings: `name=value;…` of ODBC and .NET, URLs of JDBC and SQLAlchemy. They stand in values of other
//! formats.

use std::ops::Range;

use crate::cli::adopt::settings::{Form, Settings, Spot};

const JDBC: &str = "jdbc:snowflake://";
const ALCHEMY: &str = "snowflake://";

/// The settings in a value, if it is a connection string to Snowflake.
pub(super) fn read(label: &str, spot: &Spot) -> Option<Settings> {
    let value = spot.value.expose();
    let entries = if let Some(at) = value.find(JDBC) {
        url(spot, at + JDBC.len(), "server")
    } else if let Some(at) = value.find(ALCHEMY) {
        // What others have as a host is the account here: <https://github.com/snowflakedb/snowflake-sqlalchemy>.
        url(spot, at + ALCHEMY.len(), "account")
    } else if value.to_ascii_lowercase().contains("snowflake") && value.contains(';') && value.contains('=') {
        pairs(spot)
    } else {
        return None;
    };
    let form = if value.contains("://") { Form::Fixed } else { Form::Pairs };
    Some(Settings { label: label.to_owned(), entries, known: true, at: spot.range.start, form })
}

/// `[USER:PASSWORD@]HOST[:PORT]/…?NAME=VALUE&…`; `host_name` is what the host is here.
fn url(spot: &Spot, from: usize, host_name: &str) -> Vec<(String, Spot)> {
    let value = spot.value.expose();
    let end = value[from..].find(['/', '?']).map_or(value.len(), |at| from + at);
    let mut entries = Vec::new();
    let mut add = |name: &str, range: Range<usize>| {
        if !range.is_empty() {
            entries.push((name.to_owned(), spot.part(range)));
        }
    };
    let host = match value[from..end].rfind('@') {
        Some(at) => {
            let user = value[from..from + at].find(':').unwrap_or(at);
            add("user", from..from + user);
            add("password", (from + user + 1).min(from + at)..from + at);
            from + at + 1
        }
        None => from,
    };
    let port = value[host..end].find(':').map_or(end, |at| host + at);
    add(host_name, host..port);
    add("port", (port + 1).min(end)..end);
    if let Some(query) = value[end..].find('?') {
        each(value, end + query + 1..value.len(), '&', |name, range| add(&name, range));
    }
    entries
}

fn pairs(spot: &Spot) -> Vec<(String, Spot)> {
    let mut entries = Vec::new();
    let value = spot.value.expose();
    each(value, 0..value.len(), ';', |name, range| entries.push((name, spot.part(range))));
    entries
}

/// Each `name=value`; braces and quotes around a value are not part of it.
fn each(value: &str, within: Range<usize>, between: char, mut add: impl FnMut(String, Range<usize>)) {
    let mut from = within.start;
    for pair in value[within].split(between) {
        if let Some((name, text)) = pair.split_once('=') {
            let start = from + name.len() + 1;
            let blank = text.len() - text.trim_start().len();
            let (mut start, mut end) = (start + blank, start + text.trim_end().len());
            let framed = |open, close| {
                value
                    .get(start..end)
                    .is_some_and(|text| text.len() > 1 && text.starts_with(open) && text.ends_with(close))
            };
            if framed('{', '}') || framed('"', '"') || framed('\'', '\'') {
                (start, end) = (start + 1, end - 1);
            }
            add(name.trim().to_ascii_lowercase(), start..end.max(start));
        }
        from += pair.len() + between.len_utf8();
    }
}
