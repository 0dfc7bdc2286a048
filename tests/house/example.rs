//! `config/patgate.toml` holds every key, each at its default.

use std::path::Path;

use patgate::internal::config::file;

fn example() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/patgate.toml")).unwrap()
}

/// The example with its commented keys and tables taken in: lines such as `# key = value` and `# [table]`.
fn all_keys(text: &str) -> String {
    let is_key = |rest: &str| {
        let name = rest.split(" = ").next().unwrap_or_default();
        rest.contains(" = ") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    text.lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if is_key(rest) || rest.starts_with('[') => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
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
    let read =
        |name: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config").join(name));
    let files = ["file.rs", "entries.rs", "limits.rs", "listen.rs", "replicas.rs", "stores.rs"];
    let source: String = files.iter().map(|file| read(file).unwrap()).collect();
    let text = all_keys(&example());
    let mut asked = Vec::new();
    for method in [
        "text(\"",
        "required(\"",
        "parsed(\"",
        "required_parsed(\"",
        "one_or_more(\"",
        "duration(\"",
        "size(\"",
        "count(\"",
        "flag(\"",
        "path(\"",
        "required_path(\"",
        "list(\"",
        "duration_in(section, \"",
        "section(\"",
    ] {
        for (at, _) in source.match_indices(method) {
            let rest = &source[at + method.len()..];
            asked.push(rest[..rest.find('"').unwrap()].to_owned());
        }
    }
    assert!(asked.len() > 40, "the reader has changed its form: {}", asked.len());
    for key in asked {
        let named = text.contains(&format!("{key} = "))
            || text.contains(&format!("{key}]"))
            || text.contains(&format!("[{key}."));
        assert!(named, "config/patgate.toml does not show `{key}`");
    }
}
