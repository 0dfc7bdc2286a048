//! The key table: every key of the configuration, from the reader that asks for it and from the commented example. The
//! JSON schema for editors and the reference page are made of it, so neither can say what the reader does not do.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::file;
use super::report::{Asked, Fits, Form};

/// The commented example, which holds every key.
const EXAMPLE: &str = include_str!("../../config/patgate.toml");
/// A key that is one thing or another is shown as one of them.
const OTHERWISE: &str = "seal = false";
/// The mark of an example that is no default.
const NO_DEFAULT: &str = "no default";

/// One key.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its path; `*` stands for a name that the operator chooses.
    pub path: String,
    /// What it may be in TOML, and what to write.
    pub asked: Asked,
    /// Its value where the file has none, as TOML has it.
    pub default: Option<String>,
    /// What it is for.
    pub about: String,
}

/// All keys, in the order of their paths.
///
/// # Panics
/// Never: a test parses the example.
pub fn keys() -> Vec<Key> {
    let full = all_keys(EXAMPLE);
    let mut asked = BTreeMap::<String, Asked>::new();
    for text in [&full, OTHERWISE] {
        let report = match file::parse(Path::new("patgate.toml"), text) {
            Ok((_, report)) | Err(report) => report,
        };
        for (path, one) in report.keys() {
            let all = asked.entry(path.to_owned()).or_default();
            all.forms.extend(&one.forms);
            if all.wanted.len() < one.wanted.len() {
                all.wanted.clone_from(&one.wanted);
            }
            all.fits = all.fits.take().or_else(|| one.fits.clone());
        }
    }
    let shown = shown();
    let key = |(path, asked): (String, Asked)| {
        let found = shown.iter().find(|shown| is_of(&path, &shown.path));
        let (default, about) =
            found.map_or((None, String::new()), |found| (found.default.clone(), found.about.clone()));
        Key { path, asked, default, about }
    };
    asked.into_iter().map(key).collect()
}

/// The example with its commented keys and tables taken in: lines such as `# key = value` and `# [table]`.
pub fn all_keys(example: &str) -> String {
    example.lines().map(|line| uncommented(line).unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// A key or a table that is commented out.
fn uncommented(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("# ")?;
    let name = rest.split(" = ").next().unwrap_or_default();
    let is_key = rest.contains(" = ") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    (is_key || rest.starts_with('[')).then_some(rest)
}

/// A key as the example shows it.
struct Shown {
    path: Vec<String>,
    default: Option<String>,
    about: String,
}

fn shown() -> Vec<Shown> {
    let (mut table, mut found) = (Vec::new(), Vec::<Shown>::new());
    for line in EXAMPLE.lines() {
        let commented = uncommented(line);
        let text = commented.unwrap_or(line);
        if let Some(name) = text.strip_prefix('[') {
            table = name.split(']').next().unwrap_or_default().split('.').map(str::to_owned).collect();
        } else if let Some((name, rest)) = text.split_once(" = ").filter(|_| !text.starts_with('#')) {
            let (value, about) = value_and_comment(rest);
            let has_default = commented.is_some() && !about.starts_with(NO_DEFAULT);
            let about = about.strip_prefix(NO_DEFAULT).unwrap_or(about).trim_start_matches([':', ';', ' ']);
            let path = table.iter().cloned().chain([name.to_owned()]).collect();
            found.push(Shown { path, default: has_default.then(|| value.to_owned()), about: about.to_owned() });
        } else if let (Some(more), Some(last)) = (text.trim_start().strip_prefix("# "), found.last_mut())
            && text.starts_with("          ")
        {
            last.about.push(' ');
            last.about.push_str(more);
        }
    }
    found
}

/// A value, and the comment behind it.
fn value_and_comment(rest: &str) -> (&str, &str) {
    let mut quoted = false;
    for (at, c) in rest.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted => return (rest[..at].trim_end(), rest[at + 1..].trim()),
            _ => {}
        }
    }
    (rest.trim_end(), "")
}

/// Whether a path with `*` means this one.
fn is_of(pattern: &str, path: &[String]) -> bool {
    let mut parts = pattern.split('.');
    path.iter().all(|own| parts.next().is_some_and(|part| part == "*" || part == own)) && parts.next().is_none()
}

/// A table of keys, while the schema is made.
#[derive(Default)]
struct Node<'a> {
    key: Option<&'a Key>,
    below: BTreeMap<&'a str, Node<'a>>,
}

/// The schema of the file (JSON Schema, draft 2020-12). It knows names, forms and what a value looks like, so that it
/// takes no secret in place of a reference or a hash; `patgate check` knows the rest.
pub fn schema() -> Value {
    let keys = keys();
    let mut top = Node::default();
    for key in &keys {
        let place = key.path.split('.').fold(&mut top, |node, part| node.below.entry(part).or_default());
        place.key = Some(key);
    }
    let mut schema = table(&top);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "The configuration of patgate".into();
    schema
}

fn table(node: &Node<'_>) -> Value {
    let (named, others): (Vec<_>, Vec<_>) = node.below.iter().partition(|(part, _)| **part == "*");
    let properties: Map<String, Value> = others.iter().map(|(part, node)| ((**part).to_owned(), value(node))).collect();
    let more = named.first().map_or(Value::Bool(false), |(_, node)| value(node));
    json!({ "type": "object", "properties": properties, "additionalProperties": more })
}

fn value(node: &Node<'_>) -> Value {
    let forms: Vec<Form> = match node.key {
        Some(key) => key.asked.forms.iter().copied().collect(),
        None => vec![Form::Table],
    };
    let fits = node.key.and_then(|key| key.asked.fits.as_ref());
    let text = || match fits {
        Some(Fits::Pattern(pattern)) => json!({ "type": "string", "pattern": pattern }),
        Some(Fits::Words(words)) => json!({ "enum": words }),
        Some(Fits::Between(..)) | None => json!({ "type": "string" }),
    };
    let integer = || match fits {
        Some(Fits::Between(least, most)) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Some(Fits::Pattern(_) | Fits::Words(_)) | None => json!({ "type": "integer" }),
    };
    let mut all: Vec<_> = forms
        .iter()
        .map(|form| match form {
            Form::Text => text(),
            Form::Flag => json!({ "type": "boolean" }),
            Form::Integer => integer(),
            Form::Number => json!({ "type": "number" }),
            Form::List => json!({ "type": "array", "items": text() }),
            Form::Table => table(node),
        })
        .collect();
    let mut schema = if all.len() == 1 { all.remove(0) } else { json!({ "anyOf": all }) };
    if let Some(key) = node.key {
        let wanted = Some(key.asked.wanted.as_str()).filter(|wanted| *wanted != "a table" && !wanted.is_empty());
        let parts: Vec<_> = [key.about.as_str()].into_iter().filter(|about| !about.is_empty()).chain(wanted).collect();
        if !parts.is_empty() {
            schema["description"] = parts.join(". ").into();
        }
        if let Some(default) = key.default.as_deref().and_then(json_of) {
            schema["default"] = default;
        }
    }
    schema
}

/// A default as JSON has it.
fn json_of(default: &str) -> Option<Value> {
    serde_json::from_str(default).ok()
}

/// The reference page, in Markdown.
pub fn reference() -> String {
    let mut tables = BTreeMap::<String, Vec<Key>>::new();
    for key in keys() {
        if key.asked.forms.iter().all(|form| *form == Form::Table) {
            continue;
        }
        let table = key.path.rsplit_once('.').map_or(String::new(), |(table, _)| table.to_owned());
        tables.entry(table).or_default().push(key);
    }
    let mut out = String::from(
        "# The configuration, key by key\n\nMade of the program's own key table (`patgate config reference`). `*` \
         stands for \
         a name of your choice. [config/patgate.toml](../../config/patgate.toml) says how the keys belong together; \
         `patgate check` \
         says what is wrong in a file. For editors: `patgate config schema > patgate.schema.json`, and the line \
         `#:schema patgate.schema.json` at the top of the file (Taplo, Even Better TOML).\n",
    );
    for (table, keys) in tables {
        let title = if table.is_empty() { "At the top".to_owned() } else { format!("`[{table}]`") };
        out.push_str(&format!(
            "\n## {title}\n\n| key | what to write | without it | what it is for |\n|---|---|---|---|\n"
        ));
        for key in keys {
            let name = key.path.rsplit('.').next().unwrap_or_default();
            let cell = |text: &str| text.replace('|', "\\|");
            let default = key.default.as_deref().map_or(String::new(), |default| format!("`{}`", cell(default)));
            out.push_str(&format!("| `{name}` | {} | {default} | {} |\n", cell(&key.asked.wanted), cell(&key.about)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_knows_forms_defaults_and_what_for() {
        let keys = keys();
        let key = |path: &str| keys.iter().find(|key| key.path == path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(key("seal").asked.forms.iter().copied().collect::<Vec<_>>(), [Form::Flag, Form::Table]);
        assert_eq!(key("listen.drain").default.as_deref(), Some("\"30s\""));
        assert!(key("listen.drain").asked.wanted.starts_with("a duration from "));
        assert!(key("listen.drain").about.contains("running requests"));
        assert_eq!(key("listen.public").default, None);
        assert_eq!(key("credentials.*.pat").asked.forms.iter().copied().collect::<Vec<_>>(), [Form::Text, Form::List]);
        assert!(keys.iter().any(|key| key.path.starts_with("stores.*.vault.approle.")));
        assert_eq!(key("log.format").asked.fits, Some(Fits::Words(vec!["auto", "json", "text"])));
        assert_eq!(key("clients.*.bind").asked.wanted, "\"client\", \"network\", \"address\" or \"certificate\"");
        // Everything that has a value has words for it.
        let bare: Vec<_> = keys.iter().filter(|key| key.asked.wanted.is_empty()).map(|key| &key.path).collect();
        assert!(bare.is_empty(), "{bare:?}");
    }

    #[test]
    fn the_chart_s_schema_has_the_keys_of_the_table() {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chart/values.schema.json");
        let written = std::fs::read_to_string(&place).unwrap();
        let mut values: Value = serde_json::from_str(&written).unwrap();
        let mut config = schema();
        config.as_object_mut().unwrap().remove("$schema");
        values["properties"]["config"] = config;
        let wanted = format!("{values:#}\n");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&place, &wanted).unwrap();
        }
        assert!(written == wanted || std::env::var_os("BLESS").is_some(), "write it again with BLESS=1");
    }

    #[test]
    fn the_reference_page_is_that_of_the_key_table() {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/guides/configuration.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&place, reference()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&place).unwrap(), reference(), "write it again with BLESS=1");
    }
}
