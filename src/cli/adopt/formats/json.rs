//! JSON of Azure Data Factory, Microsoft Fabric and programs. An object is a connection where its `type` says so, or
//! where it has a host of Snowflake's.

use jsonc_parser::ast::{Object, ObjectPropName, Value};
use jsonc_parser::common::Ranged;

use super::{mashup, pairs};
use crate::cli::adopt::login::{is_host, is_secret_or_user};
use crate::cli::adopt::settings::{Form, Settings, Spot};

pub(super) fn read(text: &str, gate: Option<&str>) -> Result<Vec<Settings>, String> {
    let parsed = jsonc_parser::parse_to_ast(text, &Default::default(), &Default::default());
    let mut found = Vec::new();
    if let Some(value) = parsed.map_err(|error| error.to_string())?.value {
        walk(text, &value, "", gate, &mut found);
    }
    Ok(found)
}

fn walk(text: &str, value: &Value<'_>, label: &str, gate: Option<&str>, found: &mut Vec<Settings>) {
    match value {
        // A query may be a list of its lines.
        Value::Array(array) if array.elements.iter().all(|one| one.as_string_lit().is_some()) => {
            let lines = array.elements.iter().filter_map(Value::as_string_lit).map(|line| &*line.value);
            query(&lines.collect::<Vec<_>>().join("\n"), array.range.start, label, gate, found);
        }
        Value::Array(array) => array.elements.iter().for_each(|one| walk(text, one, label, gate, found)),
        Value::Object(object) => of_object(text, object, label, gate, found),
        Value::StringLit(string) => query(&string.value, string.range.start, label, gate, found),
        _ => {}
    }
}

/// A query of Power Query inside a string: its places are not those of the text.
fn query(text: &str, at: usize, label: &str, gate: Option<&str>, found: &mut Vec<Settings>) {
    if !text.contains("Snowflake.Databases") && !text.contains("Odbc.") {
        return;
    }
    found.extend(mashup::read(text, label, gate).into_iter().map(|mut query| {
        query.at = at;
        query.entries.iter_mut().for_each(|(_, spot)| (spot.range, spot.plain) = (at..at, false));
        query
    }));
}

fn of_object(text: &str, object: &Object<'_>, label: &str, gate: Option<&str>, found: &mut Vec<Settings>) {
    let label = object.get_string("name").map_or(label, |name| &name.value);
    let of_type = |object: &Object<'_>| {
        let kind = object.get_string("type").or(object.get_string("kind"));
        kind.is_some_and(|kind| kind.value.to_lowercase().starts_with("snowflake"))
    };
    let known = of_type(object) || object.get_object("connectionDetails").is_some_and(of_type);
    let mut entries = Entries::default();
    entries.collect(text, object, known);
    // Several logins in one object are told one by one.
    let deep = known && !entries.are_of_several();
    if known && !deep {
        entries = Entries::default();
        entries.collect(text, object, false);
    }
    let speaks = |spot: &Spot| is_host(spot.value.expose(), gate) || pairs::read("", spot, gate).is_some();
    if deep || entries.all.iter().any(|(_, spot)| speaks(spot)) {
        let first = entries.all.iter().find(|(name, _)| name.starts_with("account")).or(entries.all.first());
        let (at, between) = first.map_or((0, String::new()), |(_, spot)| member(text, spot));
        // Data Factory and Fabric take a host with its port; a list of names and values takes no other member.
        let form = if entries.listed { Form::Fixed } else { Form::Json { between, apart: !known } };
        let hidden = !deep && object.properties.iter().any(|one| tells_inside(&one.value));
        let unfit = hidden.then_some("a user or a secret stands deeper in it");
        found.push(Settings { label: label.to_owned(), entries: entries.all, known: deep, at, form, unfit });
    }
    if !deep {
        for property in &object.properties {
            let name = property.name.as_str();
            let inner = if label.is_empty() { name } else { label };
            walk(text, &property.value, inner, gate, found);
        }
    }
}

/// Whether an object or a list has the name of a user or a secret in it.
fn tells_inside(value: &Value<'_>) -> bool {
    match value {
        Value::Object(object) => object
            .properties
            .iter()
            .any(|one| is_secret_or_user(&one.name.as_str().to_ascii_lowercase()) || tells_inside(&one.value)),
        Value::Array(array) => array.elements.iter().any(tells_inside),
        _ => false,
    }
}

/// The settings of an object.
#[derive(Default)]
struct Entries {
    all: Vec<(String, Spot)>,
    /// Whether some of them are members of a list: `{"name": "server", "value": "…"}` of Fabric.
    listed: bool,
}

impl Entries {
    /// Whether the settings are those of more than one login.
    fn are_of_several(&self) -> bool {
        let times = |one: &str| self.all.iter().filter(|(name, _)| name == one).count();
        ["server", "host", "account", "accountidentifier"].into_iter().any(|name| times(name) > 1)
    }

    /// Takes those of an object; of one that is known to be a connection also those of the objects in it.
    fn collect(&mut self, text: &str, object: &Object<'_>, deep: bool) {
        let named = object.get_string("name").filter(|_| deep && object.get("value").is_some());
        self.listed |= named.is_some();
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
                            self.listed = true;
                            self.all.push(("server".to_owned(), Spot::of(text, range.start..range.start + cut)));
                        }
                        _ => self.all.push((name, Spot::spelt(text, range, &string.value))),
                    }
                }
                Value::NumberLit(number) => {
                    self.all.push((name, Spot::of(text, number.range.start..number.range.end)));
                }
                // A secret that is written down as one: `{"type": "SecureString", "value": "…"}`.
                Value::Object(inner) if deep => match inner.get_string("value").filter(|_| inner.get("name").is_none())
                {
                    Some(value) => {
                        let range = value.range.start + 1..value.range.end - 1;
                        self.all.push((name, Spot::spelt(text, range, &value.value)));
                    }
                    None => self.collect(text, inner, deep),
                },
                Value::Array(array) if deep => {
                    array.elements.iter().filter_map(Value::as_object).for_each(|one| self.collect(text, one, deep));
                }
                _ => {}
            }
        }
    }
}

/// Where a member that comes before this value's is added, and what stands between two members.
fn member(text: &str, spot: &Spot) -> (usize, String) {
    let before = &text[..spot.range.start];
    // `"NAME": "` ends here; it starts behind a comma or the brace.
    let Some(open) = before.rfind(['{', ',']) else { return (0, String::new()) };
    let between = &before[open + 1..];
    let at = open + 1 + (between.len() - between.trim_start().len());
    (at, text[open + 1..at].to_owned())
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
