//! Writing a changed file: the old one is kept beside it, and what is written is read again before it counts.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What the old file is called, behind its own name.
const BACKUP: &str = ".before-patgate";

/// The name of the old file.
pub(super) fn backup(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(BACKUP);
    path.with_file_name(name)
}

/// Writes a file in its place, so that owner, mode and access list stay; a failure puts the old content back.
///
/// # Errors
/// In words; then the file is as it was.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<PathBuf, String> {
    let backup = backup(path);
    if backup.exists() {
        return Err(format!("{} is there already: look at it, and take it away first", backup.display()));
    }
    // The same mode as the file has; of another owner nobody can read more than of the file.
    fs::copy(path, &backup).map_err(|error| format!("cannot write {}: {error}", backup.display()))?;
    let open = || fs::OpenOptions::new().write(true).truncate(true).open(path);
    let done = open().and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    match done {
        Ok(()) => Ok(backup),
        Err(error) => {
            let restored = fs::copy(&backup, path).and_then(|_| fs::remove_file(&backup));
            let where_it_is =
                restored.map_or_else(|_| format!("; its content is in {}", backup.display()), |()| String::new());
            Err(format!("cannot be written: {error}{where_it_is}"))
        }
    }
}
