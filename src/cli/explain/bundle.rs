//! The file to mail: the story, and the configuration that it happened under.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::tale::Tale;
use crate::cli::shell::CommandError;
use crate::snowflake::sql_text;
use crate::state::private::new_file;

/// The most bytes of a bundle.
const LARGEST: usize = 1_000_000;
/// Words in the names of keys whose values do not leave the machine, wherever they stand.
const HELD_BACK: [&str; 6] = ["password", "secret", "token", "keys", "jwt", "key_pair"];

/// Writes it; returns its size.
pub(super) fn write(file: &Path, tale: &Tale, config: Option<&Path>) -> Result<usize, CommandError> {
    let config = match config {
        None => "left out: no file is named; --config FILE takes it in".into(),
        Some(config) => match std::fs::read_to_string(config) {
            Ok(text) => redacted(&text),
            Err(error) => format!("left out: {} cannot be read: {error}", config.display()).into(),
        },
    };
    let mut story = tale.json();
    by_fingerprint(&mut story);
    let whole = |story: &Value| {
        let all = json!({
            "patgate": env!("CARGO_PKG_VERSION"), "system": std::env::consts::OS, "machine": std::env::consts::ARCH,
            "story": story, "configuration": config,
        });
        serde_json::to_string_pretty(&all).unwrap_or_default()
    };
    let mut text = whole(&story);
    while text.len() > LARGEST {
        // The oldest records go first.
        let Some(requests) = story["requests"].as_array_mut().filter(|requests| requests.len() > 1) else { break };
        let half = requests.len() / 2;
        requests.drain(..half);
        text = whole(&story);
    }
    let failed = |error| CommandError::gate(format!("cannot write {}: {error}", file.display()));
    new_file(file).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)?;
    Ok(text.len())
}

/// Puts its fingerprint in the place of each recorded statement: a literal in one may be a password.
fn by_fingerprint(value: &mut Value) {
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(name, value)| match value {
            Value::String(text) if name == "statement" && !sql_text::is_fingerprint(text) => {
                *text = sql_text::fingerprint(text)
            }
            value => by_fingerprint(value),
        }),
        Value::Array(all) => all.iter_mut().for_each(by_fingerprint),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The configuration as values, without those of [`HELD_BACK`] that are not references, and without what an address may
/// hold before its host. A file that is no TOML may hold anything anywhere, and is left out.
fn redacted(text: &str) -> Value {
    let Ok(table) = toml::from_str::<toml::Table>(text) else { return "left out: it is not valid TOML".into() };
    let mut value = serde_json::to_value(table).unwrap_or_default();
    hold_back(&mut value, false);
    value
}

fn hold_back(value: &mut Value, secret: bool) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let named = HELD_BACK.iter().any(|word| name.contains(word));
                hold_back(value, secret || named);
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| hold_back(one, secret)),
        Value::String(text) if secret && !is_reference(text) || text.contains('@') => *text = "***".to_owned(),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a value is a reference to where a secret is.
fn is_reference(value: &str) -> bool {
    ["file:", "env:", "credential:", "dpapi:"].iter().any(|kind| value.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_left_of_a_configuration_not_even_where_it_is_wrong() {
        let text = "[clients.x]\nkeys = [\n  \"sha256:canary\",\n]\n[replicas]\nredis = \"redis://:canary@h\"\n\
                    [accounts.a]\nhost = \"h\"\nproxy = { address = \"p:1\", password = \"canary\" }\n\
                    [stores.v.vault]\ntoken = \"canary\"\napprole = { secret_id = \"file:/x\" }\n";
        let shown = redacted(text).to_string();
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("file:/x") && shown.contains("\"host\":\"h\"") && shown.contains("p:1"), "{shown}");
        assert!(!redacted("password = canary").to_string().contains("canary"));
    }

    #[test]
    fn a_statement_is_there_by_its_fingerprint() {
        let sql = "alter user u set password = 'canary'";
        let mut story =
            json!({ "statement": sql, "requests": [{ "statement": sql }, { "statement": "0123456789abcdef" }] });
        by_fingerprint(&mut story);
        let own = sql_text::fingerprint(sql);
        assert_eq!(
            story,
            json!({ "statement": own, "requests": [{ "statement": own }, { "statement": "0123456789abcdef" }] })
        );
    }
}
