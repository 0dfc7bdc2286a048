//! Whose the state directory is, on Unix.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::geteuid;

/// Whether this process runs as the user whose gate keeps its state there; a directory that is missing is made by whom
/// the one above belongs to. Files that another user makes there would keep the gate from its own journal.
pub(super) fn may_keep_state(directory: &Path) -> bool {
    let there = directory.ancestors().find(|one| one.exists() || one.as_os_str().is_empty());
    let there = there.map(|one| if one.as_os_str().is_empty() { Path::new(".") } else { one });
    there.and_then(|there| there.metadata().ok()).is_some_and(|found| found.uid() == geteuid().as_raw())
}
