//! Connection strings: `name=value;…` of ODBC and .NET, URLs of JDBC and SQLAlchemy. They stand in values of other
//! formats.

use std::ops::Range;

use crate::cli::adopt::login::is_host;
use crate::cli::adopt::settings::{Form, Settings, Spot};

const JDBC: &str = "jdbc:snowflake://";
const ALCHEMY: &str = "snowflake://";

/// The settings in a value, if it is a connection string to Snowflake, or to the gate at this host.
pub(super) fn read(label: &str, spot: &Spot, gate: Option<&str>) -> Option<Settings> {
    let value = spot.value.expose();
    let (entries, form) = if let Some(at) = value.find(JDBC) {
        (url(spot, at + JDBC.len(), "server"), Form::Fixed)
    } else if let Some(at) = value.find(ALCHEMY) {
        // What others have as a host is the account here: <https://github.com/snowflakedb/snowflake-sqlalchemy>.
        (url(spot, at + ALCHEMY.len(), "account"), Form::Fixed)
    } else if let Some(at) = value.find("://").map(|at| at + "://".len()).filter(|at| is_http(value, *at, gate)) {
        (url(spot, at, "server"), Form::Fixed)
    } else if value.contains(';') && value.contains('=') {
        let entries = pairs(spot);
        let has = |names: &[&str]| entries.iter().any(|(name, _)| names.contains(&name.as_str()));
        // .NET's string names an account and a user, and nobody else's does.
        let by_names = has(&["account"]) && has(&["user", "uid"]);
        if !by_names
            && !value.to_ascii_lowercase().contains("snowflake")
            && !gate.is_some_and(|gate| value.contains(gate))
        {
            return None;
        }
        (entries, Form::Pairs)
    } else {
        return None;
    };
    let unfit = (value.matches("://").count() > 1).then_some("it has more than one URL");
    Some(Settings { label: label.to_owned(), entries, known: true, at: spot.range.start, form, unfit })
}

/// Whether it is an address of the web that says more than a host, which begins at this place.
fn is_http(value: &str, host: usize, gate: Option<&str>) -> bool {
    let is_address = value.starts_with("https://") || value.starts_with("http://");
    is_address && value[host..].contains(['?', '@']) && is_host(value, gate)
}

/// `[USER:PASSWORD@]HOST[:PORT]/…?NAME=VALUE&…`; `host_name` is what the host is here.
fn url(spot: &Spot, from: usize, host_name: &str) -> Vec<(String, Spot)> {
    let value = spot.value.expose();
    // It may stand among other words, such as the options of a program.
    let over = |c: char| c.is_whitespace() || matches!(c, ',' | '"' | '\'' | ')');
    let value = &value[..value[from..].find(over).map_or(value.len(), |at| from + at)];
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
        each(value, end + query + 1..value.len(), |name, range| add(&name, range));
    }
    entries
}

/// `NAME=VALUE;…`. A value in braces or quotes may hold the character that ends others.
/// The settings of `name=value;…`.
pub(super) fn pairs(spot: &Spot) -> Vec<(String, Spot)> {
    let value = spot.value.expose();
    let mut entries = Vec::new();
    let mut from = 0;
    while let Some(equals) = value[from..].find('=').map(|at| from + at) {
        // A word without a value may stand before it.
        let name = value[from..equals].rsplit(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let start = equals + 1 + value[equals + 1..].len() - value[equals + 1..].trim_start().len();
        let close = match value[start..].chars().next() {
            Some('{') => Some('}'),
            Some(quote @ ('"' | '\'')) => Some(quote),
            _ => None,
        };
        let (range, end) = match close.and_then(|close| framed(value, start + 1, close)) {
            Some(end) => (start + 1..end, end + 1),
            None => {
                let end = value[start..].find(';').map_or(value.len(), |at| start + at);
                (start..start + value[start..end].trim_end().len(), end)
            }
        };
        let mut part = spot.part(range);
        // The frame's own character stands there twice.
        part.plain &= close.is_none_or(|close| !part.value.expose().contains(close));
        entries.push((name, part));
        from = value[end..].find(';').map_or(value.len(), |at| end + at + 1);
    }
    entries
}

/// Where a frame ends; twice, its character stands for itself.
fn framed(value: &str, from: usize, close: char) -> Option<usize> {
    let mut at = from;
    loop {
        at += value[at..].find(close)?;
        match value[at + 1..].starts_with(close) {
            true => at += 2,
            false => return Some(at),
        }
    }
}

/// Each `NAME=VALUE` of a URL's query.
fn each(value: &str, within: Range<usize>, mut add: impl FnMut(String, Range<usize>)) {
    let mut from = within.start;
    for pair in value[within].split('&') {
        if let Some((name, text)) = pair.split_once('=') {
            let start = from + name.len() + 1;
            add(name.to_ascii_lowercase(), start..start + text.len());
        }
        from += pair.len() + 1;
    }
}
