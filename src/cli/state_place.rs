//! Where a command finds the state of a gate that may not run, and whose file may be broken.

use std::path::{Path, PathBuf};

use clap::Args;

use super::shell::{CommandError, USUAL};
use crate::config::file;

/// The state directory of a system's package, where systemd makes it.
pub(super) const PACKAGED: &str = "/var/lib/patgate";

/// Where the state is.
#[derive(Args, Clone)]
pub(super) struct StateArgs {
    /// The gate's configuration file. It may be broken: the state directory is also looked for beside it.
    #[arg(long, env = "PATGATE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The gate's state directory.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// The state directory.
///
/// # Errors
/// If there is none.
pub(super) fn find(args: &StateArgs) -> Result<PathBuf, CommandError> {
    let named = args.state.clone();
    let usual = Some(PathBuf::from(USUAL)).filter(|usual| usual.exists());
    let of_file = args.config.clone().or(usual).as_deref().and_then(of_file);
    let of_system = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
    let all = [named.clone(), of_file, of_system, Some(PathBuf::from(PACKAGED))];
    let found = if named.is_some() { named } else { all.into_iter().flatten().find(|place| place.is_dir()) };
    found.ok_or_else(|| {
        CommandError::gate("cannot find the gate's state directory. Name it with --state, or the file with --config.")
    })
}

/// The directory that a file names, else the one beside it.
fn of_file(config: &Path) -> Option<PathBuf> {
    let named = file::load(config).ok().and_then(|(config, _)| config.state.directory);
    Some(named.unwrap_or_else(|| config.parent().unwrap_or(Path::new("")).join("state")))
}
