//! Files and directories for one account. The access list of the state directory is private, and what is made in it
//! inherits that list; a file elsewhere has a list of its own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::state::access_list::{copy, private_directory, restrict, strangers};
use crate::state::account::Account;

/// Win32, system error codes.
const ACCESS_DENIED: i32 = 5;
const SHARING_VIOLATION: i32 = 32;
/// How often a file that somebody has open is tried again, and after how long: for half a second in all.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// An empty file of the state directory; empties an existing one.
pub(super) fn file(path: &Path) -> io::Result<File> {
    File::create(path)
}

/// A directory with its parents. In one that is private already it inherits: the service may be on that list.
pub(super) fn directory(path: &Path) -> io::Result<()> {
    let in_private = path.parent().is_some_and(|above| strangers(above).is_ok_and(|strangers| strangers.is_empty()));
    match in_private {
        true => std::fs::create_dir_all(path),
        false => private_directory(path, &[&Account::own()?.sid]),
    }
}

/// A file of the state directory to read and write; keeps its content.
pub(super) fn scratch(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// An empty file in any directory; one that is there is emptied, and its list stays: the gate's service may be on it.
///
/// # Errors
/// The operating system's error.
pub fn new_file(path: &Path) -> io::Result<File> {
    match fresh_file(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).truncate(true).share_mode(0).open(path)
        }
        made => made,
    }
}

/// The same, where nothing may be yet; a link counts as something. Nobody else can open it before it is private, and
/// while it is written.
///
/// # Errors
/// The operating system's error.
pub fn fresh_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).share_mode(0).open(path)?;
    restrict(path, &[&Account::own()?.sid])?;
    Ok(file)
}

/// Gives a new file the access list of the one that it replaces: the gate's service reads it, also where an
/// administrator's command writes it.
///
/// # Errors
/// The operating system's error.
pub fn like(_new: &File, path: &Path, old: &Path) -> io::Result<()> {
    copy(old, path)
}

/// Puts a new file in the place of an old one, in one step. Whoever has the old one open, such as a scanner for
/// viruses, may keep it for a moment.
///
/// # Errors
/// The operating system's error.
pub fn rename(new: &Path, old: &Path) -> io::Result<()> {
    for _ in 0..TRIES {
        match std::fs::rename(new, old) {
            Err(error) if [ACCESS_DENIED, SHARING_VIOLATION].contains(&error.raw_os_error().unwrap_or_default()) => {
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
    std::fs::rename(new, old)
}

/// A directory cannot be synchronised here; NTFS journals the rename.
///
/// # Errors
/// Never.
pub fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}
