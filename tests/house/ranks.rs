//! A module imports only from modules of a lower rank; `src/lib.rs` holds the ranks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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

/// The modules of the crate with their ranks, as the lines `pub mod NAME; // rank N: …` in `lib.rs` give them.
fn ranks(root: &Path) -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(root.join("lib.rs")).unwrap();
    let rank = |line: &str| {
        let (name, rest) = line.strip_prefix("pub mod ")?.split_once("; // rank ")?;
        Some((name.to_owned(), rest.split(':').next()?.parse().ok()?))
    };
    text.lines().filter_map(rank).collect()
}

/// Every `crate::NAME` in a text, with nested `use crate::{…}` counted by their first names.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap();
        for (at, _) in code.match_indices("crate::") {
            let rest = &code[at + 7..];
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let ranks = ranks(&root);
    let folders: Vec<String> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    for folder in &folders {
        assert!(ranks.contains_key(folder), "src/lib.rs gives no rank to {folder}");
    }
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut uphill = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let own = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let Some(rank) = ranks.get(own) else { continue };
        for (line, name) in imports(&std::fs::read_to_string(&file).unwrap()) {
            if name != own && ranks.get(&name).is_none_or(|other| other >= rank) {
                uphill.push(format!("{}:{line}: {own} (rank {rank}) imports {name}", inside.display()));
            }
        }
    }
    assert!(uphill.is_empty(), "{}", uphill.join("\n"));
}

#[test]
fn an_uphill_import_would_be_found() {
    let found = imports("use crate::{base::names, app};\nlet x = crate::proxy::Gate; // crate::listen\n");
    let names: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["base", "app", "proxy"]);
}
