//! The lock of the fuzz targets, which are a package of their own, follows what the program needs: their build is
//! locked, and would fail.

use std::path::Path;

use toml::{Table, Value};

fn table(file: &str) -> Table {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    text.parse().unwrap()
}

#[test]
fn the_fuzz_targets_lock_what_the_program_needs() {
    let manifest = table("Cargo.toml");
    let lock = table("tests/fuzz/Cargo.lock");
    let is_patgate = |package: &&Value| package["name"].as_str() == Some("patgate");
    let patgate = lock["package"].as_array().unwrap().iter().find(is_patgate).unwrap();
    // An entry is a name, with its version where there are several.
    let locked: Vec<_> = patgate["dependencies"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let is_locked = |name: &str| locked.iter().any(|entry| entry.split(' ').next() == Some(name));
    for (name, needs) in manifest["dependencies"].as_table().unwrap() {
        let optional = needs.get("optional").and_then(Value::as_bool).unwrap_or_default();
        let package = needs.get("package").and_then(Value::as_str).unwrap_or(name);
        assert!(
            optional || is_locked(package),
            "tests/fuzz/Cargo.lock lacks {package}: run `cargo update -w` in tests/fuzz"
        );
    }
}
