//! A guide as text for a terminal, as a page, and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::endpoint::Endpoint;
use super::guide::{Guide, Proven, Tool};

/// The parts of a guide that are lists of sentences, with their headings.
fn lists(guide: &Guide) -> [(&'static str, Vec<String>); 3] {
    let owned = |all: &[&'static str]| all.iter().map(|text| (*text).to_owned()).collect();
    let trust = guide.trust.iter().map(|(system, how)| format!("{system}: {how}")).collect();
    [("Trust the gate's certificate", trust), ("Mind", owned(&guide.minds)), ("Move what exists", owned(&guide.moving))]
}

fn proven(guide: &Guide) -> String {
    match guide.proven {
        Proven::ByTests => "The tests log in with these settings, by the real driver.".to_owned(),
        Proven::NotRun(why) => format!("Not run by the tests: {why}."),
    }
}

/// For a terminal.
pub(super) fn text(guide: &Guide, end: &Endpoint) -> String {
    let mut out = format!("{} as client {}\n", guide.title, end.way.client);
    // Writing to memory does not fail.
    for (number, step) in guide.steps.iter().enumerate() {
        let _written = writeln!(out, "  {}. {step}", number + 1);
    }
    let wide = guide.fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let _written = writeln!(out, "\nWhat to type");
    for (name, value) in &guide.fields {
        let _written = writeln!(out, "  {name:<wide$}  {value}");
    }
    for (name, value) in &guide.environment {
        let _written = writeln!(out, "  {name}={value}   (environment)");
    }
    for (heading, sentences) in lists(guide) {
        if sentences.is_empty() {
            continue;
        }
        let _written = writeln!(out, "\n{heading}");
        for sentence in sentences {
            let _written = writeln!(out, "  - {sentence}");
        }
    }
    let _written = writeln!(out, "\nWhen it fails\n  {}", guide.shows);
    for (name, content) in &guide.files {
        let _written = writeln!(out, "\n{name}");
        content.lines().for_each(|line| {
            let _written = writeln!(out, "  {line}");
        });
    }
    let _written = writeln!(out, "\n{}", proven(guide));
    out
}

/// The page in `deploy/guides`.
#[cfg(test)]
pub(super) fn page(guide: &Guide, tool: Tool) -> String {
    let mut out = format!(
        "# {}\n\n`patgate client setup CLIENT --for {}` prints this with the names of your gate. {}\n\nThe key is \
         that of `patgate client new CLIENT`; it is shown once. The gate does not use the user name: any will do, and \
         the log shows it.\n",
        guide.title,
        tool.name(),
        proven(guide)
    );
    if !guide.steps.is_empty() {
        out.push('\n');
        for (number, step) in guide.steps.iter().enumerate() {
            let _written = writeln!(out, "{}. {step}", number + 1);
        }
    }
    out.push_str("\n| field | what to type |\n|---|---|\n");
    for (name, value) in &guide.fields {
        let _written = writeln!(out, "| {name} | `{value}` |");
    }
    for (name, value) in &guide.environment {
        let _written = writeln!(out, "| {name} (environment) | `{value}` |");
    }
    for (heading, sentences) in lists(guide) {
        if sentences.is_empty() {
            continue;
        }
        let _written = writeln!(out, "\n## {heading}\n");
        for sentence in sentences {
            let _written = writeln!(out, "- {sentence}");
        }
    }
    let _written = writeln!(out, "\n## When it fails\n\n{}", guide.shows);
    for (name, content) in &guide.files {
        let _written = writeln!(out, "\n## {name}\n\n```\n{}\n```", content.trim_end());
    }
    out
}

/// For programs.
pub(super) fn json(guide: &Guide, tool: Tool) -> Value {
    let files: serde_json::Map<_, _> =
        guide.files.iter().map(|(name, content)| ((*name).to_owned(), Value::from(content.clone()))).collect();
    json!({
        "tool": tool.name(), "settings": guide.settings, "environment": guide.environment, "steps": guide.steps,
        "fields": guide.fields.iter().map(|(name, value)| json!({ "field": name, "value": value })).collect::<Vec<_>>(),
        "files": files, "proven": guide.proven == Proven::ByTests,
    })
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn each_tool_has_a_page_and_it_is_as_the_command_says() {
        let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/guides");
        let end = Endpoint::example();
        for tool in Tool::value_variants() {
            let page = page(&tool.guide(&end), *tool);
            let file = place.join(format!("{}.md", tool.name()));
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&file, &page).unwrap();
            }
            let written = std::fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(written, page, "{}: look at it, and write it again with BLESS=1", file.display());
        }
    }

    #[test]
    fn every_tool_says_what_it_needs() {
        let mut end = Endpoint::example();
        end.way.port = 8443;
        for tool in Tool::value_variants() {
            let guide = tool.guide(&end);
            let (text, json) = (text(&guide, &end), json(&guide, *tool));
            assert!(text.contains("When it fails"), "{text}");
            assert_eq!(json["settings"]["password"], super::super::endpoint::KEY, "{json}");
            for setting in ["account", "host", "port", "user", "password"] {
                assert!(json["settings"][setting] != Value::Null, "{setting}: {json}");
            }
            assert!(!guide.trust.is_empty() && !guide.fields.is_empty(), "{tool:?}");
        }
    }
}
