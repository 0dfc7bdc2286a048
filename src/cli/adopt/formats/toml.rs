//! `connections.toml` and `config.toml` of Snowflake's drivers and its command line tool.

use toml::de::{DeTable, DeValue};

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
    let mut at = None;
    for (name, value) in table {
        let (lower, span) = (name.get_ref().to_ascii_lowercase(), value.span());
        match value.get_ref() {
            DeValue::Table(inner) => {
                let path =
                    if label.is_empty() { name.get_ref().to_string() } else { format!("{label}.{}", name.get_ref()) };
                walk(text, inner, &path, known || lower == "connections", found);
                continue;
            }
            DeValue::String(string) => {
                let quotes = if text[span.clone()].starts_with("\"\"\"") || text[span.clone()].starts_with("'''") {
                    3
                } else {
                    1
                };
                entries.push((lower, Spot::spelt(text, span.start + quotes..span.end - quotes, string)));
            }
            DeValue::Integer(_) => entries.push((lower, Spot::of(text, span))),
            _ => continue,
        }
        at = at.or_else(|| text[..name.span().start].rfind('\n').map(|at| at + 1).or(Some(0)));
    }
    if !entries.is_empty() {
        let known = known && !label.is_empty();
        let at = at.unwrap_or_default();
        found.push(Settings { label: format!("[{label}]"), entries, known, at, form: Form::Toml });
    }
}
