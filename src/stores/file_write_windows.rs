//! A file that replaces another: it inherits the access list of its directory, as the old one did.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// A new file.
pub(super) fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// The access list is that of the directory.
pub(super) fn like(_new: &File, _old: &Metadata) -> io::Result<()> {
    Ok(())
}

/// A directory cannot be synchronised here; NTFS journals the rename.
pub(super) fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}
