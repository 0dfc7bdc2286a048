//! The usual places of a gate on Windows: below the programs' common data.

use std::path::PathBuf;

/// The configuration that commands read if none is named.
pub(super) const CONFIG: &str = r"%ProgramData%\patgate\patgate.toml";

/// The same as a path.
pub(super) fn config() -> PathBuf {
    let data = std::env::var_os("ProgramData").map_or_else(|| r"C:\ProgramData".into(), PathBuf::from);
    data.join("patgate").join("patgate.toml")
}

/// None of its own: the state is beside the configuration.
pub(super) fn state() -> Option<PathBuf> {
    None
}
