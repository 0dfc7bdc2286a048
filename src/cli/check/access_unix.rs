//! Who may read a file, and whether this process may write to a directory, on Unix.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::unistd::{AccessFlags, access};

/// The permission bits of a file that every user of the machine may read or write; `None` for any other.
pub(super) fn open_to_all(path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o006 != 0).then_some(mode)
}

/// Whether this process may make files in a directory. It makes none: the gate may run as another user, who could not
/// open them.
pub(super) fn may_write(directory: &Path) -> bool {
    access(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}
