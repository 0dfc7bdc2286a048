//! The same on Windows, whose access lists the gate does not read.

use std::path::Path;

/// Nothing: permission bits do not exist here.
pub(super) fn open_to_all(_path: &Path) -> Option<u32> {
    None
}

/// Whether the directory is there, and not marked as read-only.
pub(super) fn may_write(directory: &Path) -> bool {
    std::fs::metadata(directory).is_ok_and(|metadata| metadata.is_dir() && !metadata.permissions().readonly())
}
