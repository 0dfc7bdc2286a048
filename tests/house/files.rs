//! What stands at the top, and how long a file may grow.

use std::path::Path;

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
        "target",
    ];
    for entry in std::fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with('.') || agreed.contains(&name.as_str()), "{name} does not belong at the top");
    }
}

#[test]
fn no_source_file_outgrows_a_reader() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let lines = std::fs::read_to_string(&path).unwrap().lines().count();
                assert!(lines <= 450, "{} has {lines} lines: is it one room or two?", path.display());
            }
        }
    }
}
