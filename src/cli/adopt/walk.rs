//! The files below paths, in order. Links to files are followed, those to directories are not: they may lead in a
//! circle.

use std::path::{Path, PathBuf};

use super::formats::Format;
use super::written::BACKUP;

/// Directories of programs, in which nobody keeps a connection.
const SKIPPED: [&str; 6] = [".git", "node_modules", "target", ".venv", "__pycache__", "site-packages"];

/// A file, or what could not be looked at.
pub(super) type Found = Result<(PathBuf, Format), (PathBuf, String)>;

/// The files of known formats below a directory, or the file itself.
pub(super) fn files(path: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    let told = |error: std::io::Error| Err((path.to_owned(), error.to_string()));
    match std::fs::metadata(path) {
        Err(error) => found.push(told(error)),
        Ok(kind) if kind.is_dir() => below(path, &mut found),
        Ok(_) => found.push(match Format::of(path) {
            Some(format) => Ok((path.to_owned(), format)),
            None => Err((path.to_owned(), format!("its name is none that adopt knows: {}", super::formats::KNOWN))),
        }),
    }
    found
}

/// Files below a directory that a run before left beside the new ones, with the old secrets.
pub(super) fn old_files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !SKIPPED.iter().any(|skipped| name == *skipped) => {
                found.extend(old_files(&path));
            }
            Ok(kind) if kind.is_file() && name.to_string_lossy().ends_with(BACKUP) => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

fn below(directory: &Path, found: &mut Vec<Found>) {
    let listed = std::fs::read_dir(directory).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut entries = match listed {
        Ok(entries) => entries,
        Err(error) => return found.push(Err((directory.to_owned(), error.to_string()))),
    };
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let skipped = || SKIPPED.iter().any(|name| entry.file_name() == *name);
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !skipped() => below(&path, found),
            Ok(_) if path.is_file() => found.extend(Format::of(&path).map(|format| Ok((path, format)))),
            _ => {}
        }
    }
}
