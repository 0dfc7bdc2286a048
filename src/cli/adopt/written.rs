//! Writing a changed file: its old content is kept beside it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::state::private::fresh_file;

/// What the old file is called, behind its own name.
pub(super) const BACKUP: &str = ".before-patgate";

/// The name of the old file.
pub(super) fn backup(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(BACKUP);
    path.with_file_name(name)
}

/// Writes a file in its place, so that owner, mode and access list stay. The old content, which may be a secret, goes
/// into a new file for its user alone.
///
/// # Errors
/// In words; then the file is as it was.
pub(super) fn write(path: &Path, old: &[u8], new: &[u8]) -> Result<PathBuf, String> {
    let mut file = File::options().write(true).open(path).map_err(|error| format!("cannot be written: {error}"))?;
    let backup = backup(path);
    let kept = fresh_file(&backup).and_then(|mut kept| kept.write_all(old).and_then(|()| kept.sync_all()));
    match kept {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(format!("{} is there already: look at it, and take it away first", backup.display()));
        }
        Err(error) => return Err(format!("cannot write {}: {error}", backup.display())),
    }
    match replace(&mut file, new) {
        Ok(()) => Ok(backup),
        Err(error) => {
            let restored = replace(&mut file, old).and_then(|()| fs::remove_file(&backup));
            let place =
                restored.map_or_else(|_| format!("; its content is in {}", backup.display()), |()| String::new());
            Err(format!("cannot be written: {error}{place}"))
        }
    }
}

fn replace(file: &mut File, content: &[u8]) -> io::Result<()> {
    use std::io::Seek;
    file.rewind()?;
    file.write_all(content)?;
    file.set_len(content.len() as u64)?;
    file.sync_all()
}
