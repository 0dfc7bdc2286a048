//! The file to mail: the story, and the configuration that it happened under.

use std::path::Path;

use serde_json::{Value, json};

use super::tale::Tale;
use crate::cli::shell::CommandError;

/// The most bytes of a bundle.
const LARGEST: usize = 1_000_000;

/// Writes it; returns its size.
pub(super) fn write(file: &Path, tale: &Tale, config: Option<&Path>) -> Result<usize, CommandError> {
    let config = config.and_then(|config| std::fs::read_to_string(config).ok()).map(|text| redacted(&text));
    let mut story = tale.json();
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
    std::fs::write(file, &text).map_err(failed)?;
    Ok(text.len())
}

/// The configuration holds no secrets; key hashes, and what a broken file may hold in a password's place, go too.
fn redacted(text: &str) -> String {
    let secret = ["password", "secret", "token", "keys"];
    let line = |line: &str| match line.split_once('=') {
        Some((key, value)) if secret.iter().any(|word| key.contains(word)) && !is_reference(value) => {
            format!("{key}= \"***\"")
        }
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Whether a value is a reference to where a secret is.
fn is_reference(value: &str) -> bool {
    let value = value.trim().trim_start_matches('"');
    ["file:", "env:", "credential:"].iter().any(|kind| value.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_left_of_a_configuration_not_even_where_it_is_wrong() {
        let text = "keys = [\"sha256:canary\"]\npassword = \"canary\"\nsecret_id = \"file:/x\"\nhost = \"h\"";
        let shown = redacted(text);
        assert!(!shown.contains("canary") && shown.contains("file:/x") && shown.contains("host = \"h\""), "{shown}");
    }
}
