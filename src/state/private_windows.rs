//! Files and directories for the process's own user: they inherit the access list of the parent directory, which the
//! installer must give to the service's account only.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// An empty file to write to; empties an existing one.
pub(super) fn file(path: &Path) -> io::Result<File> {
    File::create(path)
}

/// A directory with its parents.
pub(super) fn directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// A file to read and write; keeps its content.
pub(super) fn scratch(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// A directory cannot be synchronised here; NTFS journals the rename.
pub(super) fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}
