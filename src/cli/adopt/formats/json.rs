//! JSON of Azure Data Factory, Microsoft Fabric and programs. An object is a connection where its `type` says so, or
//! where it has a host of Snowflake's.

use jsonc_parser::ast::{Object, ObjectPropName, Value};
use jsonc_parser::common::Ranged;

use super::mashup;
use crate::cli::adopt::login::is_snowflake;
use crate::cli::adopt::settings::{Form, Settings, Spot};

pub(super) fn read(text: &str) -> Result<Vec<Settings>, String> {
    let parsed = jsonc_parser::parse_to_ast(text, &Default::default(), &Default::default());
    let mut found = Vec::new();
    if let Some(value) = parsed.map_err(|error| error.to_string())?.value {
        walk(text, &value, "", &mut found);
    }
    Ok(found)
}

fn walk(text: &str, value: &Value<'_>, label: &str, found: &mut Vec<Settings>) {
    match value {
        Value::Array(array) => array.elements.iter().for_each(|one| walk(text, one, label, found)),
        Value::Object(object) => of_object(text, object, label, found),
        // A query of Power Query inside a string: its places are not those of the text.
        Value::StringLit(string) if string.value.contains("let") => {
            found.extend(mashup::read(&string.value, label).into_iter().map(|mut query| {
                query.at = string.range.start;
                query.entries.iter_mut().for_each(|(_, spot)| {
                    (spot.range, spot.plain) = (string.range.start..string.range.start, false);
                });
                query
            }));
        }
        _ => {}
    }
}

fn of_object(text: &str, object: &Object<'_>, label: &str, found: &mut Vec<Settings>) {
    let label = object.get_string("name").map_or(label, |name| &name.value);
    let of_type = |object: &Object<'_>| {
        object.get_string("type").is_some_and(|kind| kind.value.to_lowercase().starts_with("snowflake"))
    };
    let known = of_type(object) || object.get_object("connectionDetails").is_some_and(of_type);
    let mut entries = Vec::new();
    collect(text, object, known, &mut entries);
    let has_host = entries.iter().any(|(_, spot)| is_snowflake(spot.value.expose()));
    if known || has_host {
        let first = entries.iter().find(|(name, _)| name.starts_with("account")).or(entries.first());
        let (at, form) = first.map_or((0, Form::Fixed), |(_, spot)| member(text, spot));
        found.push(Settings { label: label.to_owned(), entries, known, at, form });
    }
    if !known {
        for property in &object.properties {
            let name = property.name.as_str();
            let inner = if label.is_empty() { name } else { label };
            walk(text, &property.value, inner, found);
        }
    }
}

/// The settings of an object; of one that is known to be a connection also those of the objects in it.
fn collect(text: &str, object: &Object<'_>, deep: bool, entries: &mut Vec<(String, Spot)>) {
    // `{"name": "server", "value": "…"}` of Fabric.
    let named = object.get_string("name").filter(|_| deep && object.get("value").is_some());
    for property in &object.properties {
        let own = property.name.as_str();
        let name = named.filter(|_| own == "value").map_or(own, |name| &name.value).to_ascii_lowercase();
        match &property.value {
            Value::StringLit(string) => {
                let range = string.range.start + 1..string.range.end - 1;
                // `HOST;WAREHOUSE` of Fabric's connections.
                let cut = string.value.find(';').filter(|_| name == "path");
                match cut {
                    Some(cut) if text.get(range.start..range.start + cut) == Some(&string.value[..cut]) => {
                        entries.push(("server".to_owned(), Spot::of(text, range.start..range.start + cut)));
                    }
                    _ => entries.push((name, Spot::spelt(text, range, &string.value))),
                }
            }
            Value::NumberLit(number) => {
                entries.push((name, Spot::of(text, number.range.start..number.range.end)));
            }
            // A secret that is written down as one: `{"type": "SecureString", "value": "…"}`.
            Value::Object(inner) if deep => match inner.get_string("value").filter(|_| inner.get("name").is_none()) {
                Some(value) => {
                    let range = value.range.start + 1..value.range.end - 1;
                    entries.push((name, Spot::spelt(text, range, &value.value)));
                }
                None => collect(text, inner, deep, entries),
            },
            Value::Array(array) if deep => {
                array.elements.iter().filter_map(Value::as_object).for_each(|one| collect(text, one, deep, entries));
            }
            _ => {}
        }
    }
}

/// Where a member that comes before this value's is added, and what stands between two members.
fn member(text: &str, spot: &Spot) -> (usize, Form) {
    let before = &text[..spot.range.start];
    // `"NAME": "` ends here; it starts behind a comma or the brace.
    let Some(open) = before.rfind(['{', ',']) else { return (0, Form::Fixed) };
    let between = &before[open + 1..];
    let at = open + 1 + (between.len() - between.trim_start().len());
    (at, Form::Json(text[open + 1..at].to_owned()))
}

/// The texts of all queries in a model (`DataModelSchema` of a template): strings, or lists of lines.
pub(super) fn queries(text: &str) -> Result<Vec<(String, String)>, String> {
    let parsed = jsonc_parser::parse_to_ast(text, &Default::default(), &Default::default());
    let mut found = Vec::new();
    if let Some(value) = parsed.map_err(|error| error.to_string())?.value {
        expressions(&value, "", &mut found);
    }
    Ok(found)
}

fn expressions(value: &Value<'_>, label: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Array(array) => array.elements.iter().for_each(|one| expressions(one, label, found)),
        Value::Object(object) => {
            let label = object.get_string("name").map_or(label, |name| &name.value);
            for property in &object.properties {
                match (&property.name, &property.value) {
                    (ObjectPropName::String(name), Value::StringLit(text)) if name.value == "expression" => {
                        found.push((label.to_owned(), text.value.to_string()));
                    }
                    (ObjectPropName::String(name), Value::Array(lines)) if name.value == "expression" => {
                        let lines = lines.elements.iter().filter_map(Value::as_string_lit);
                        found.push((label.to_owned(), lines.map(|line| &*line.value).collect::<Vec<_>>().join("\n")));
                    }
                    (_, inner) => expressions(inner, label, found),
                }
            }
        }
        other => debug_assert!(other.range().start <= other.range().end),
    }
}
