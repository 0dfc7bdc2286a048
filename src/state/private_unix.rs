//! Files and directories for one user: mode 0600 and 0700.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// An empty file of the state directory; empties an existing one.
pub(super) fn file(path: &Path) -> io::Result<File> {
    new_file(path)
}

/// A directory with its parents.
pub(super) fn directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A file of the state directory to read and write; keeps its content.
pub(super) fn scratch(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// An empty file in any directory; one that is there is emptied, and its rights stay.
///
/// # Errors
/// The operating system's error.
pub fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The same, where nothing may be yet; a link counts as something.
///
/// # Errors
/// The operating system's error.
pub fn fresh_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Keeps a new file from the gate's service: it is so from its making.
///
/// # Errors
/// Never.
pub fn let_owner_alone_read(_file: &File, _path: &Path) -> io::Result<()> {
    Ok(())
}

/// Lets the gate's service read a file that root has just made: below a directory that is root's, a group's and nobody
/// else's, as the package makes it, that group may.
///
/// # Errors
/// The operating system's error.
pub fn let_service_read(file: &File, path: &Path) -> io::Result<()> {
    if file.metadata()?.uid() != 0 {
        return Ok(());
    }
    for above in std::path::absolute(path)?.ancestors().skip(1) {
        let above = std::fs::metadata(above)?;
        if above.mode() & 0o007 != 0 {
            continue;
        }
        if (above.uid(), above.mode() & 0o050) == (0, 0o050) && above.gid() != 0 {
            fchown(file, None, Some(above.gid()))?;
            file.set_permissions(Permissions::from_mode(0o640))?;
        }
        break;
    }
    Ok(())
}

/// Gives a new file the owner and the mode of the one that it replaces, but nothing for everybody: it is a secret.
/// Where the owner cannot be the same, nobody but the new owner may read it: the mode was meant for another group.
///
/// # Errors
/// The operating system's error.
pub fn like(new: &File, _path: &Path, old: &Path) -> io::Result<()> {
    let (own, old) = (new.metadata()?, std::fs::metadata(old)?);
    let same =
        (own.uid(), own.gid()) == (old.uid(), old.gid()) || fchown(new, Some(old.uid()), Some(old.gid())).is_ok();
    let mode = old.mode() & if same { 0o750 } else { 0o600 };
    new.set_permissions(Permissions::from_mode(mode))
}

/// Puts a new file in the place of an old one, in one step.
///
/// # Errors
/// The operating system's error.
pub fn rename(new: &Path, old: &Path) -> io::Result<()> {
    std::fs::rename(new, old)
}

/// Returns when what a directory holds is on the disk, so that a rename lasts over a power failure.
///
/// # Errors
/// The operating system's error.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
