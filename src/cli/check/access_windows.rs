//! Who may read a file, and whether this process may write to a directory, on Windows.

use std::path::Path;

use crate::state::access_list::strangers;

/// That others than the system, the administrators, the owner and services may read or write a file, and what to do;
/// `None` for any other, and where this process may not see the list.
pub(super) fn exposed(path: &Path) -> Option<(String, String)> {
    exposed_with(path, "")
}

/// The same of a directory, whose list the files in it inherit.
pub(super) fn exposed_directory(path: &Path) -> Option<(String, String)> {
    exposed_with(path, "(OI)(CI)")
}

/// Who may what, and the remedy. The service writes where it rotates, and where its state is.
fn exposed_with(path: &Path, inherited: &str) -> Option<(String, String)> {
    let strangers = strangers(path).ok()?;
    let names: Vec<_> = strangers.iter().map(|one| one.account.shown()).collect();
    let may = match (strangers.iter().any(|one| one.reads), strangers.iter().any(|one| one.writes)) {
        (true, true) => "read or write",
        (false, true) => "write",
        (true, false) => "read",
        (false, false) => return None,
    };
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let removed: String = strangers.iter().map(|one| format!(" *{}", one.account.sid)).collect();
    Some((
        format!("{} may {may} {}", names.join(", "), path.display()),
        format!(
            "icacls \"{}\" /inheritance:r /remove:g{removed} /grant:r \"*S-1-5-18:{inherited}F\" \
             \"*S-1-5-32-544:{inherited}F\" \"NT SERVICE\\patgate:{inherited}M\", with the name of your gate's \
             service; it may have been read",
            path.display()
        ),
    ))
}

/// Whether the directory is there, and not marked as read-only. It makes no file: the gate may run as another account.
pub(super) fn may_write(directory: &Path) -> bool {
    std::fs::metadata(directory).is_ok_and(|metadata| metadata.is_dir() && !metadata.permissions().readonly())
}
