//! Files and directories for one account. The access list of a private directory is its own, and what is made in it
//! inherits that list; a file elsewhere has a list of its own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::state::access_list::{allowed, copy, make_directory, owner, restrict, strangers, strangers_below};
use crate::state::account::{ADMINISTRATORS, Account, SYSTEM};
use crate::state::gate_accounts::gate_accounts;

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
    match is_in_private(path) {
        true => std::fs::create_dir_all(path),
        false => private_directory(path, &[&Account::own()?.sid]),
    }
}

/// Whether the directory that something is in is private: what is made in it inherits that.
fn is_in_private(path: &Path) -> bool {
    let is_ours = |above: &Path| ours(above).is_ok() && strangers_below(above).is_ok_and(|found| found.is_empty());
    path.parent().is_some_and(is_ours)
}

/// A private directory: made so from the start, or one that is there and belongs to nobody else. In a place where
/// everybody may make directories, somebody may have made it first, and would own what is put there. An elevated
/// administrator makes it the administrators', and needs no entry of his own.
///
/// # Errors
/// The operating system's error, or whose it is.
pub fn private_directory(path: &Path, accounts: &[&str]) -> io::Result<()> {
    if std::fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_symlink()) {
        return Err(io::Error::other(format!("{} is a link or a junction: remove it", path.display())));
    }
    if path.is_dir() {
        ours(path)?;
        if strangers(path)?.is_empty() {
            return Ok(());
        }
        // Another gate's account that is there stays: several gates may share it.
        let there = allowed(path)?;
        let gates: Vec<_> = gate_accounts().into_iter().filter(|gate| there.contains(gate)).collect();
        let all: Vec<_> = accounts.iter().copied().chain(gates.iter().map(String::as_str)).collect();
        return restrict(path, &all);
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let own = Account::own()?;
    let others: Vec<_> = accounts.iter().copied().filter(|sid| *sid != own.sid).collect();
    make_directory(path, "O:BA", &others).or_else(|_not_elevated| make_directory(path, "", accounts))
}

/// Refuses a directory of somebody who is neither the system, an administrator, this account nor a gate.
fn ours(path: &Path) -> io::Result<()> {
    let owner = owner(path)?;
    if [SYSTEM, ADMINISTRATORS, &Account::own()?.sid].contains(&&*owner.sid) || gate_accounts().contains(&owner.sid) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{} belongs to {}, who could take what is put there: look at what is in it, and remove it",
        path.display(),
        owner.shown()
    )))
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
    if !is_in_private(path) {
        restrict(path, &[&Account::own()?.sid])?;
    }
    Ok(file)
}

/// Keeps a new file from the gate's service, which may read what the directory hands on.
///
/// # Errors
/// The operating system's error.
pub fn let_owner_alone_read(_file: &File, path: &Path) -> io::Result<()> {
    restrict(path, &[&Account::own()?.sid])
}

/// Lets the gate's service read a new file: it is on the list of the directory, which the file has inherited.
///
/// # Errors
/// Never.
pub fn let_service_read(_file: &File, _path: &Path) -> io::Result<()> {
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::access_list::tests::told;

    #[test]
    fn a_directory_is_private_from_the_start_and_one_of_our_own_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let own = Account::own().unwrap();
        let path = home.path().join("above").join("private");
        for _ in 0..2 {
            private_directory(&path, &[&own.sid]).unwrap();
        }
        assert_eq!(told(&path), [""; 0]);
        std::fs::write(path.join("file"), "secret").unwrap();
    }
}
