//! A file of a command's. On Windows it has the rights of its directory.

use std::fs::File;
use std::io;
use std::path::Path;

/// A new file; it replaces what was there.
pub(super) fn new_file(path: &Path) -> io::Result<File> {
    File::create(path)
}

/// The same, where nothing may be yet; a link counts as something.
pub(super) fn fresh_file(path: &Path) -> io::Result<File> {
    File::create_new(path)
}
