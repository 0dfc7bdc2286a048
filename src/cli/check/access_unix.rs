//! Who may read a file, and whether this process may write to a directory, on Unix.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::unistd::{AccessFlags, access};

/// That every user of the machine may read or write a file, and what to do; `None` for any other.
pub(super) fn exposed(path: &Path) -> Option<(String, String)> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let may = match (mode & 0o004 != 0, mode & 0o002 != 0) {
        (true, true) => "read and write",
        (false, true) => "write",
        (true, false) => "read",
        (false, false) => return None,
    };
    Some((
        format!("every user of this machine may {may} {} (mode {mode:04o})", path.display()),
        format!("chmod 0600 {0}, or 0640 with the gate's group; it may have been read", path.display()),
    ))
}

/// Nothing: each file in the state directory has a mode of its own.
pub(super) fn exposed_directory(_path: &Path) -> Option<(String, String)> {
    None
}

/// Whether this process may make files in a directory. It makes none: the gate may run as another user, who could not
/// open them.
pub(super) fn may_write(directory: &Path) -> bool {
    access(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}
