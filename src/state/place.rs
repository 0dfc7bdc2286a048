//! [`StatePlace`]: where a gate keeps what outlives it. The gate and every command that looks at its state ask here.

use std::path::{Path, PathBuf};

/// Where a gate with a configuration keeps its state, if this process is the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePlace {
    /// The directory.
    pub path: PathBuf,
    /// Whether the operator or systemd names it: the gate does not start without it.
    pub named: bool,
}

impl StatePlace {
    /// The directory that the configuration names, else systemd's, else the one beside the configuration.
    pub fn of(named: Option<&Path>, beside: &Path) -> Self {
        match named.map(Path::to_owned).or_else(of_systemd) {
            Some(path) => Self { path, named: true },
            None => Self { path: beside.to_owned(), named: false },
        }
    }
}

/// The directory that systemd made for this process (`STATE_DIRECTORY`, systemd.exec(5)); of several the first.
pub fn of_systemd() -> Option<PathBuf> {
    let all = std::env::var("STATE_DIRECTORY").ok()?;
    all.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from)
}
