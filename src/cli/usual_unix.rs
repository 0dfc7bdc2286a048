//! The usual places of a gate on Unix, as its package has them.

use std::path::PathBuf;

/// The configuration that commands read if none is named.
pub(super) const CONFIG: &str = "/etc/patgate/patgate.toml";

/// The same as a path.
pub(super) fn config() -> PathBuf {
    CONFIG.into()
}

/// The state directory, where systemd makes it.
pub(super) fn state() -> Option<PathBuf> {
    Some("/var/lib/patgate".into())
}
