//! Each format as its tools write it: what is found, what is written, and that no secret is shown.

use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use zip::write::{SimpleFileOptions, ZipWriter};

use super::*;

mod files;
mod formats;

const HOST: &str = "myorg-prod.snowflakecomputing.com";
const CANARY: &str = "canary-secret-of-a-file";
const KEY: &str = "pgk_bi_key";

/// A directory with one file in it.
struct Place {
    home: tempfile::TempDir,
    file: PathBuf,
}

impl Place {
    fn new(name: &str, content: &[u8]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, content).unwrap();
        Self { home, file }
    }

    fn look(&self, write: bool) -> FileReport {
        let targets = [Target::example("bi", HOST, "BI_SERVICE")];
        let key = Secret::new(KEY.to_owned());
        let report = look(&self.file, Format::of(&self.file).unwrap(), &targets, write, Some(&key));
        let shown = format!(
            "{}{}",
            report::text(std::slice::from_ref(&report), write),
            report::json(std::slice::from_ref(&report))
        );
        assert!(!shown.contains(CANARY) && !shown.contains(KEY), "{shown}");
        report
    }

    fn text(&self) -> String {
        String::from_utf8(std::fs::read(&self.file).unwrap()).unwrap()
    }

    /// The states of the logins, as `--json` tells them.
    fn states(&self) -> Vec<String> {
        states(&self.look(false))
    }
}

fn states(report: &FileReport) -> Vec<String> {
    let told = report::json(std::slice::from_ref(report));
    let logins = told["files"][0]["logins"].as_array().cloned().unwrap_or_default();
    logins
        .iter()
        .map(|login| format!("{} {}", login["state"].as_str().unwrap(), login["why"].as_str().unwrap_or("")))
        .collect()
}

/// A file that is moved becomes this text; a second run finds nothing to do, and the old file is kept.
fn moves(name: &str, before: &str, after: &str) {
    let place = Place::new(name, before.as_bytes());
    let planned = place.states();
    assert!(planned.iter().any(|state| state.starts_with("to move")), "{name}: {planned:?}");
    assert_eq!(place.text(), before, "{name}: nothing is written unasked");
    let report = place.look(true);
    assert_eq!(report.error, None, "{name}");
    assert_eq!(place.text(), after, "{name}");
    assert_eq!(std::fs::read_to_string(report.backup.unwrap()).unwrap(), before, "{name}");
    let again = place.states();
    assert!(!again.iter().any(|state| state.starts_with("to move")), "{name}: {again:?}");
}

/// What is found in a file that is left as it is.
fn finds(name: &str, content: &str, wanted: &[&str]) {
    let place = Place::new(name, content.as_bytes());
    let report = place.look(true);
    let found = states(&report);
    assert!(
        found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| found.contains(wanted)),
        "{name}: {found:?}, {:?}",
        report.error
    );
    assert_eq!(place.text(), content, "{name}");
    assert!(!written::backup(&place.file).exists());
}

fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn unpacked(package: &[u8], name: &str) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(Cursor::new(package)).unwrap();
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut archive.by_name(name).unwrap(), &mut content).unwrap();
    content
}
