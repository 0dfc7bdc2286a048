//! The mode and the owner of a file that replaces another.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// A new file for the process's own user.
pub(super) fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Gives a new file the owner and the mode of the old one. Where the owner cannot be the same, nobody but the new
/// owner may read it: the mode was meant for another group.
pub(super) fn like(new: &File, old: &Metadata) -> io::Result<()> {
    let own = new.metadata()?;
    let same =
        (own.uid(), own.gid()) == (old.uid(), old.gid()) || fchown(new, Some(old.uid()), Some(old.gid())).is_ok();
    let mode = old.mode() & if same { 0o777 } else { 0o600 };
    new.set_permissions(Permissions::from_mode(mode))
}

/// Makes a rename last over a power failure.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
