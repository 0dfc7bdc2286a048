//! `config/patgate.toml` holds every key, each at its default.

use std::path::Path;

use patgate::internal::config::file;
use patgate::internal::config::keys::all_keys;

fn example() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/patgate.toml")).unwrap()
}

#[test]
fn what_is_commented_out_is_the_default() {
    let file = Path::new("config/patgate.toml");
    let (plain, _) = file::parse(file, &example()).unwrap_or_else(|report| panic!("{report}"));
    let (full, _) = file::parse(file, &all_keys(&example())).unwrap_or_else(|report| panic!("{report}"));
    // Not defaults but examples of what has none: these lines end in a comment that says so.
    let with_defaults = example().lines().filter(|line| !line.contains("no default")).collect::<Vec<_>>().join("\n");
    let (defaults, _) = file::parse(file, &all_keys(&with_defaults)).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(plain, defaults);
    assert_ne!(plain, full, "the examples without default have an effect");
}

/// Every key that the reader asks for stands in the example.
#[test]
fn no_key_is_missing_from_the_example() {
    let (_, report) = file::parse(Path::new("config/patgate.toml"), &all_keys(&example())).unwrap();
    let asked: Vec<_> = report.keys().collect();
    assert!(asked.len() > 100, "the reader asks for {} keys", asked.len());
    // A key of several tables is shown in one of them.
    let shown = |key: &str| {
        let own = key.rsplit('.').next().unwrap();
        asked.iter().any(|(other, asked)| asked.there && other.rsplit('.').next().unwrap() == own)
    };
    let missing: Vec<_> =
        asked.iter().filter(|(key, asked)| !asked.there && !shown(key)).map(|(key, _)| *key).collect();
    assert!(missing.is_empty(), "config/patgate.toml does not show {missing:?}");
}
