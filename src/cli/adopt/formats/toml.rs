//! `connections.toml` and `config.toml` of Snowflake's drivers and its command line tool.

use toml::de::{DeTable, DeValue};

use super::{below, line_start};
use crate::cli::adopt::settings::{Form, Settings, Spot};

/// Each table; `file` is the file's name.
pub(super) fn read(text: &str, file: &str) -> Result<Vec<Settings>, String> {
    let table = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    let mut found = Vec::new();
    // In connections.toml each table is a connection; elsewhere those below `connections` are.
    walk(text, table.get_ref(), "", file == "connections.toml", &mut found);
    Ok(found)
}

fn walk(text: &str, table: &DeTable<'_>, label: &str, known: bool, found: &mut Vec<Settings>) {
    let mut entries = Vec::new();
    let mut first = None;
    for (name, value) in table {
        let (lower, span) = (name.get_ref().to_ascii_lowercase(), value.span());
        let path = || below(label, name.get_ref());
        let inside = known || lower == "connections" || lower.contains("snowflake");
        match value.get_ref() {
            DeValue::Table(inner) => {
                walk(text, inner, &path(), inside, found);
                continue;
            }
            DeValue::Array(all) => {
                all.iter()
                    .filter_map(|one| one.get_ref().as_table())
                    .for_each(|one| walk(text, one, &path(), inside, found));
                continue;
            }
            DeValue::String(string) => {
                let long = text[span.clone()].starts_with("\"\"\"") || text[span.clone()].starts_with("'''");
                let quotes = if long { 3 } else { 1 };
                entries.push((lower, Spot::spelt(text, span.start + quotes..span.end - quotes, string)));
            }
            DeValue::Integer(_) => entries.push((lower, Spot::of(text, span))),
            _ => continue,
        }
        first = first.or(Some(name.span().start));
    }
    if let Some(first) = first {
        let at = line_start(text, first);
        // `a = { … }`, or `a.b = …` in the table above: a new line would stand in another table.
        let alone = text[at..first].trim().is_empty();
        let unfit = (!alone).then_some("its table is written inside another one; give it a header of its own");
        let known = known && !label.is_empty();
        found.push(Settings { label: format!("[{label}]"), entries, known, at, form: Form::Toml, unfit });
    }
}
