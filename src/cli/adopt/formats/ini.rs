//! Lines of `name = value` below sections: `odbc.ini`, snowsql's `config`. And exports of the Windows registry, whose
//! sections are keys.

use crate::cli::adopt::settings::{Form, Settings, Spot};

/// An ODBC file: a section is a data source.
pub(super) fn odbc(text: &str) -> Vec<Settings> {
    let known = |settings: &Settings| {
        settings.get(&["driver"]).is_some_and(|driver| driver.value.expose().to_ascii_lowercase().contains("snowflake"))
    };
    sections(text, &Form::Ini { server: "Server" }, known)
}

/// The file of snowsql: `[connections]` and `[connections.NAME]`.
pub(super) fn snowsql(text: &str) -> Vec<Settings> {
    sections(text, &Form::Ini { server: "host" }, |settings| settings.label.starts_with("[connections"))
}

fn sections(text: &str, form: &Form, known: impl Fn(&Settings) -> bool) -> Vec<Settings> {
    let mut found = Vec::new();
    let mut now = empty("", form);
    for (start, line) in lines(text) {
        let bare = line.trim();
        if bare.starts_with(['#', ';']) {
            continue;
        }
        if bare.starts_with('[') && bare.ends_with(']') {
            found.push(std::mem::replace(&mut now, empty(bare, form)));
        } else if let Some((name, value)) = line.split_once('=') {
            let from = start + name.len() + 1 + (value.len() - value.trim_start().len());
            add(&mut now, start, name.trim(), unquoted(text, from, value.trim()));
        }
    }
    found.push(now);
    finish(found, known)
}

/// An export of the registry: the keys below `ODBC\ODBC.INI`.
pub(super) fn registry(text: &str) -> Vec<Settings> {
    let form = Form::Registry;
    let mut found = Vec::new();
    let mut now = empty("", &form);
    for (start, line) in lines(text) {
        let bare = line.trim();
        if bare.starts_with('[') && bare.ends_with(']') {
            found.push(std::mem::replace(&mut now, empty(bare, &form)));
        } else if let Some((name, value)) = bare.split_once("\"=\"").filter(|_| bare.ends_with('"')) {
            let from = start + (line.len() - line.trim_start().len()) + name.len() + 3;
            let raw = &value[..value.len() - 1];
            let spelt = raw.replace("\\\"", "\"").replace("\\\\", "\\");
            add(&mut now, start, name.trim_start_matches('"'), Spot::spelt(text, from..from + raw.len(), &spelt));
        }
    }
    found.push(now);
    let odbc = |settings: &Settings| settings.label.to_ascii_lowercase().contains(r"\odbc\odbc.ini\");
    finish(found, |settings| {
        let driver = settings.get(&["driver"]).map(|driver| driver.value.expose().to_ascii_lowercase());
        odbc(settings) && driver.is_some_and(|driver| driver.contains("snowflake"))
    })
}

fn empty(label: &str, form: &Form) -> Settings {
    Settings { label: label.to_owned(), entries: Vec::new(), known: false, at: 0, form: form.clone(), unfit: None }
}

fn add(now: &mut Settings, line: usize, name: &str, spot: Spot) {
    if now.entries.is_empty() {
        now.at = line;
    }
    now.entries.push((name.to_ascii_lowercase(), spot));
}

fn finish(mut found: Vec<Settings>, known: impl Fn(&Settings) -> bool) -> Vec<Settings> {
    found.retain(|one| !one.entries.is_empty());
    found.iter_mut().for_each(|one| one.known = known(one));
    found
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
