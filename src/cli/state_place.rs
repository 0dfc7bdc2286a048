//! Where a command finds the state of a gate that may not run, and whose file may be broken.

use std::path::{Path, PathBuf};

use clap::Args;

use super::admin_client;
use super::place::Place;
use super::shell::{CommandError, GateArgs, USUAL};
use crate::app::Verb;
use crate::app::status::Status;
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
    /// The admin address of a running gate, which says where its state is.
    #[arg(long, env = "PATGATE_ADMIN", value_name = "ADDRESS", value_parser = Place::parse)]
    admin: Option<Place>,
}

/// The state directory.
///
/// # Errors
/// If there is none.
pub(super) fn find(args: &StateArgs) -> Result<PathBuf, CommandError> {
    if let Some(named) = &args.state {
        return Ok(named.clone());
    }
    if let Some(admin) = &args.admin {
        let (_, status): (_, Status) = admin_client::ask(&GateArgs::at(admin.clone()), Verb::Status, "")?;
        return status.state.ok_or_else(|| CommandError::gate("the running gate has no state directory"));
    }
    if let Some(file) = &args.config {
        // Another gate's state would tell another story.
        let of_file = of_file(file);
        return if of_file.is_dir() { Ok(of_file) } else { Err(missing(&of_file, file)) };
    }
    let usual = Some(PathBuf::from(USUAL)).filter(|usual| usual.exists());
    let of_system = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
    let all = [usual.as_deref().map(of_file), of_system, Some(PathBuf::from(PACKAGED))];
    all.into_iter().flatten().find(|place| place.is_dir()).ok_or_else(|| {
        CommandError::gate(
            "cannot find the gate's state directory. Name it with --state DIR, the file with --config FILE, or the \
             running gate with --admin ADDRESS.",
        )
    })
}

fn missing(directory: &Path, file: &Path) -> CommandError {
    CommandError::gate(format!(
        "there is no state directory at {}, where {} has it. Name it with --state DIR, or the running gate with \
         --admin ADDRESS.",
        directory.display(),
        file.display()
    ))
}

/// The directory that a file names, else the one beside it.
fn of_file(config: &Path) -> PathBuf {
    let named = file::load(config).ok().and_then(|(config, _)| config.state.directory);
    named.unwrap_or_else(|| config.parent().unwrap_or(Path::new("")).join("state"))
}
