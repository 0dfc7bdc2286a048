//! What stands at the top, how long a file and a line may grow, and what the texts name.

use std::path::{Path, PathBuf};

#[test]
fn the_top_level_is_what_it_was_agreed_to_be() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let agreed = [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "config",
        "tests",
        "benches",
        "deploy",
        "README.md",
        "rust-toolchain.toml",
        "LICENSE",
        "CHANGELOG.md",
        "SECURITY.md",
        "target",
    ];
    for entry in std::fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with('.') || agreed.contains(&name.as_str()), "{name} does not belong at the top");
    }
}

/// Every Rust file below these folders, with its text.
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 50, "the sources are elsewhere");
    found
}

#[test]
fn no_source_file_outgrows_a_reader() {
    for (path, text) in sources(&["src"]) {
        let lines = text.lines().count();
        assert!(lines <= 450, "{} has {lines} lines: is it one room or two?", path.display());
    }
}

#[test]
fn lines_end_at_120_columns() {
    let wide: Vec<String> = sources(&["src", "tests", "benches"])
        .iter()
        .flat_map(|(path, text)| {
            let wide = text.lines().enumerate().filter(|(_, line)| line.chars().count() > 120);
            wide.map(|(number, _)| format!("{}:{}", path.display(), number + 1)).collect::<Vec<_>>()
        })
        .collect();
    assert!(wide.is_empty(), "lines of more than 120 columns:\n{}", wide.join("\n"));
}

#[test]
fn comments_cite_what_a_clone_has() {
    // Put together, so that this file does not hold them.
    let pages =
        [["protocol", " facts"], ["facts", "/protocol"], ["design", ".md"], ["house", ".md"]].map(|two| two.concat());
    for (path, text) in sources(&["src", "tests", "benches"]) {
        for page in &pages {
            assert!(!text.contains(page), "{} cites {page}, which a clone does not have", path.display());
        }
    }
}

/// A threat model names the tests that hold it; a test that is renamed must not leave a threat without one.
#[test]
fn every_threat_is_held_by_a_test_that_is_there() {
    let model = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("SECURITY.md")).unwrap();
    let all: String = sources(&["src", "tests"]).into_iter().map(|(_, text)| text).collect();
    let mut named = 0;
    for row in model.lines().filter(|line| line.starts_with("| ") && line.contains("`")) {
        let Some(tests) = row.trim_end_matches(" |").rsplit(" | ").next() else { continue };
        for test in tests.split(", ").map(|test| test.trim_matches('`')) {
            named += 1;
            assert!(all.contains(&format!("fn {test}(")), "SECURITY.md names the test {test}, which is not there");
        }
    }
    assert!(named >= 20, "the form of SECURITY.md has changed: {named}");
}
