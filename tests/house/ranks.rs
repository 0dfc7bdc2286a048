//! A module imports only from modules of a lower rank; `src/lib.rs` holds the ranks, and `src/app/mod.rs` those of its
//! parts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules of the crate with their ranks, as the lines `mod NAME; // rank N: …` in `lib.rs` give them.
fn ranks() -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(src().join("lib.rs")).unwrap();
    let rank = |line: &str| {
        let (name, rest) = line.strip_prefix("mod ")?.split_once("; // rank ")?;
        Some((name.to_owned(), rest.split(':').next()?.parse().ok()?))
    };
    text.lines().filter_map(rank).collect()
}

/// The parts of a room with their ranks, as the rows `//! | `NAME` | what it is | N |` of its documentation give them.
fn parts(room: &str) -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(src().join(room).join("mod.rs")).unwrap();
    let part = |line: &str| {
        let mut columns = line.strip_prefix("//! | `")?.split(" | ");
        let (name, rank) = (columns.next()?.strip_suffix('`')?, columns.last()?.strip_suffix(" |")?);
        Some((name.to_owned(), rank.parse().ok()?))
    };
    text.lines().filter_map(part).collect()
}

/// Every name that follows `before` in a text, such as NAME in `crate::NAME`; of `crate::{…}` the first names.
fn imports(text: &str, before: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap();
        for (at, _) in code.match_indices(before) {
            let rest = &code[at + before.len()..];
            let names: Vec<&str> = match rest.strip_prefix('{') {
                Some(list) => list.split([',', '}']).collect(),
                None => vec![rest],
            };
            for name in names {
                let name = name.trim();
                let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
                if end > 0 {
                    found.push((number + 1, name[..end].to_owned()));
                }
            }
        }
    }
    found
}

#[test]
fn imports_run_downhill() {
    let ranks = ranks();
    for entry in std::fs::read_dir(src()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let name = entry.file_name().unwrap().to_str().unwrap();
        assert!(ranks.contains_key(name), "src/lib.rs gives no rank to {name}");
    }
    let mut files = Vec::new();
    sources(&src(), &mut files);
    let mut uphill = Vec::new();
    for file in files {
        let inside = file.strip_prefix(src()).unwrap();
        let own = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let Some(rank) = ranks.get(own) else { continue };
        for (line, name) in imports(&std::fs::read_to_string(&file).unwrap(), "crate::") {
            if name != own && ranks.get(&name).is_none_or(|other| other >= rank) {
                uphill.push(format!("{}:{line}: {own} (rank {rank}) imports {name}", inside.display()));
            }
        }
    }
    assert!(uphill.is_empty(), "{}", uphill.join("\n"));
}

#[test]
fn the_parts_of_the_running_gate_import_downhill_too() {
    let parts = parts("app");
    assert!(parts["admin"] > parts["operator"] && parts["operator"] > parts["generations"], "{parts:?}");
    let room = src().join("app");
    let mut files = Vec::new();
    sources(&room, &mut files);
    for file in files {
        let inside = file.strip_prefix(&room).unwrap();
        let own = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if own == "mod" {
            continue;
        }
        let rank = *parts.get(own).unwrap_or_else(|| panic!("src/app/mod.rs gives no rank to {own}"));
        let text = std::fs::read_to_string(&file).unwrap();
        // A file of the room itself names a sister with `super::`; one below it names its own room so.
        let sisters = match inside.components().count() {
            1 => imports(&text, "super::"),
            _ => Vec::new(),
        };
        for (line, name) in sisters.into_iter().chain(imports(&text, "crate::app::")) {
            if let Some(other) = parts.get(&name).filter(|_| name != own) {
                assert!(*other < rank, "{}:{line}: {own} (rank {rank}) imports {name} ({other})", inside.display());
            }
        }
    }
}

#[test]
fn an_uphill_import_would_be_found() {
    let found = imports("use crate::{base::names, app};\nlet x = crate::proxy::Gate; // crate::listen\n", "crate::");
    let names: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["base", "app", "proxy"]);
}
