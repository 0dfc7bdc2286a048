//! The executable as a person or a service manager meets it.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod certificates;
mod check;
mod commands;
mod descriptors;
mod doctor;
mod dumps;
#[cfg(unix)]
mod explain;
mod gate;
mod log;
mod operator;
mod service;

use std::path::Path;
use std::process::{Command, Output};

fn patgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_patgate")).args(arguments).env_remove("PATGATE_CONFIG").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check(name: &str) -> Output {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name);
    patgate(&["check", "--config", file.to_str().unwrap()])
}

/// Every file in `tests/config` that is wrong has its errors beside it, line by line.
#[test]
fn every_error_is_told_at_once_with_its_place_and_a_remedy_and_never_a_value() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut seen = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        seen += 1;
        let output = check(path.file_name().unwrap().to_str().unwrap());
        let said = text(&output.stderr).replace(&format!("{}/", directory.display()), "");
        let wanted = std::fs::read_to_string(path.with_extension("err")).unwrap_or_default();
        assert_eq!(said.trim_end(), wanted.trim_end(), "{}\n{said}", path.display());
        assert_eq!(output.status.code(), Some(4), "{}", path.display());
        assert!(!said.contains("canary"), "{said}");
    }
    assert!(seen >= 4);
}

#[test]
fn the_example_passes() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/patgate.toml");
    let output = patgate(&["check", "--file-only", "--config", example.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).trim_end().ends_with(": ok"));
}

#[test]
fn check_speaks_json_to_programs() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/unknown_keys.toml");
    let output = patgate(&["check", "--json", "--config", file.to_str().unwrap()]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["ok"], false);
    assert!(answer["problems"].as_array().unwrap().iter().all(|problem| problem["line"].as_u64().unwrap() > 0));
}

#[test]
fn a_missing_file_says_how_to_name_one() {
    let output = patgate(&["run", "--config", "no/such/file.toml"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("Name the file with --config"));
}

#[test]
fn a_certificate_that_cannot_be_used_names_its_file() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("junk.pem"), "no certificate").unwrap();
    let config = home.path().join("patgate.toml");
    let rest = "[accounts.a]\nhost='h.test'\n[stores.e.env]\n[credentials.c]\naccount='a'\nuser='U'\npat='e:X'\n\
                [clients.x]\ncredential='c'\n\
                keys=['sha256:0000000000000000000000000000000000000000000000000000000000000000']\n";
    std::fs::write(&config, format!("[listen]\naddress='127.0.0.1:0'\ncertificate='junk.pem'\nkey='junk.pem'\n{rest}"))
        .unwrap();
    let output = patgate(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("junk.pem holds no certificate in PEM form"), "{}", text(&output.stderr));
}

#[test]
fn a_key_is_shown_once_with_the_lines_for_the_configuration() {
    let output = patgate(&["client", "new", "powerbi-gateway"]);
    let said = text(&output.stdout);
    assert!(
        said.contains("pgk_powerbi-gateway_")
            && said.contains("[clients.powerbi-gateway]")
            && said.contains("keys = [\"sha256:")
    );
    let json: serde_json::Value = serde_json::from_slice(&patgate(&["client", "new", "x", "--json"]).stdout).unwrap();
    assert!(json["key"].as_str().unwrap().starts_with("pgk_x_"));
    assert_eq!(json["hash"].as_str().unwrap().len(), "sha256:".len() + 64);
    let refused = patgate(&["client", "new", "Power_BI"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("a-z, 0-9"));
}

#[test]
fn the_demo_ends_by_itself_when_told_to() {
    let output = patgate(&["demo", "--once", "--port", "0"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.contains("0 failed") && said.contains("no trace of the client's key"), "{said}");
}

/// Whoever collects the log as JSON reads also why a gate did not start.
#[test]
fn a_failed_start_is_a_line_of_the_log_where_no_person_reads_it() {
    let output = patgate(&["run", "--config", "no/such/file.toml"]);
    let line: serde_json::Value = serde_json::from_str(&text(&output.stderr)).unwrap();
    assert_eq!((line["level"].as_str(), line["owner"].as_str()), (Some("ERROR"), Some("gate")), "{line}");
    assert!(line["cause"].as_str().unwrap().contains("no/such/file.toml"), "{line}");
}
