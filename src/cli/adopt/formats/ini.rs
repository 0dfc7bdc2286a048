//! Lines of `name = value` below sections: `odbc.ini`, snowsql's `config`. And exports of the Windows registry, whose
//! sections are keys.

use crate::cli::adopt::settings::{Form, Settings, Spot};

/// An ODBC file: a section is a data source.
pub(super) fn odbc(text: &str) -> Vec<Settings> {
    sections(text, &Form::Ini { server: "Server" }, entry, has_snowflake_s_driver)
}

/// The file of snowsql: `[connections]` and `[connections.NAME]`.
pub(super) fn snowsql(text: &str) -> Vec<Settings> {
    sections(text, &Form::Ini { server: "host" }, entry, |settings| settings.label.starts_with("[connections"))
}

/// An export of the registry: the keys below `ODBC\ODBC.INI`.
pub(super) fn registry(text: &str) -> Vec<Settings> {
    let odbc = |settings: &Settings| settings.label.to_ascii_lowercase().contains(r"\odbc\odbc.ini\");
    let known = |settings: &Settings| odbc(settings) && has_snowflake_s_driver(settings);
    sections(text, &Form::Registry, registry_entry, known)
}

fn has_snowflake_s_driver(settings: &Settings) -> bool {
    settings.get(&["driver"]).is_some_and(|driver| driver.value.expose().to_ascii_lowercase().contains("snowflake"))
}

/// The settings of each section; `entry` reads the name and the value of a line at its place.
fn sections(
    text: &str,
    form: &Form,
    entry: impl for<'a> Fn(&str, usize, &'a str) -> Option<(&'a str, Spot)>,
    known: impl Fn(&Settings) -> bool,
) -> Vec<Settings> {
    let empty = |label: &str| {
        let (label, form) = (label.to_owned(), form.clone());
        Settings { label, entries: Vec::new(), known: false, at: 0, form, unfit: None }
    };
    let mut found = Vec::new();
    let mut now = empty("");
    for (start, line) in lines(text) {
        let bare = line.trim();
        if bare.starts_with(['#', ';']) {
            continue;
        }
        if bare.starts_with('[') && bare.ends_with(']') {
            found.push(std::mem::replace(&mut now, empty(bare)));
        } else if let Some((name, spot)) = entry(text, start, line) {
            if now.entries.is_empty() {
                now.at = start;
            }
            now.entries.push((name.to_ascii_lowercase(), spot));
        }
    }
    found.push(now);
    found.retain(|one| !one.entries.is_empty());
    found.iter_mut().for_each(|one| one.known = known(one));
    found
}

/// `NAME = VALUE`
fn entry<'a>(text: &str, start: usize, line: &'a str) -> Option<(&'a str, Spot)> {
    let (name, value) = line.split_once('=')?;
    let from = start + name.len() + 1 + (value.len() - value.trim_start().len());
    Some((name.trim(), unquoted(text, from, value.trim())))
}

/// `"NAME"="VALUE"`
fn registry_entry<'a>(text: &str, start: usize, line: &'a str) -> Option<(&'a str, Spot)> {
    let (name, value) = line.trim().split_once("\"=\"")?;
    let raw = value.strip_suffix('"')?;
    let from = start + (line.len() - line.trim_start().len()) + name.len() + 3;
    let spelt = raw.replace("\\\"", "\"").replace("\\\\", "\\");
    Some((name.trim_start_matches('"'), Spot::spelt(text, from..from + raw.len(), &spelt)))
}

/// Each line with its place in the text, without its end.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    text.split_inclusive('\n').map(move |line| {
        let here = start;
        start += line.len();
        (here, line.trim_end_matches(['\n', '\r']))
    })
}

/// A value without the quotes around it.
pub(super) fn unquoted(text: &str, from: usize, value: &str) -> Spot {
    let quoted = |quote| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
    let range = match quoted('"') || quoted('\'') {
        true => from + 1..from + value.len() - 1,
        false => from..from + value.len(),
    };
    Spot::of(text, range)
}
