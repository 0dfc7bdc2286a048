//! Where a command finds the state of a gate that may not run, and whose file may be broken.

use std::path::{Path, PathBuf};

use clap::Args;

use super::admin_client::{self, NoAnswer};
use super::place::Place;
use super::shell::{CommandError, GateArgs};
use super::usual;
use crate::app::Verb;
use crate::app::status::Status;
use crate::config::{Config, file};
use crate::state::place::{StatePlace, of_systemd};

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

impl StateArgs {
    /// The configuration that goes with the state: the one that is named, else the usual one, if it is that gate's.
    pub(super) fn file(&self) -> Option<PathBuf> {
        let is_its = |file: &PathBuf| self.admin.as_ref().is_none_or(|admin| GateArgs::at(admin.clone()).is_of(file));
        let usual = || Some(usual::config()).filter(|usual| self.state.is_none() && usual.exists());
        self.config.clone().or_else(usual).filter(is_its)
    }
}

/// The directory that a gate with this configuration keeps its state in, whoever asks: the packaged gate has its own
/// where systemd makes it.
pub(super) fn of_gate(config: &Config) -> StatePlace {
    let StatePlace { path, named } = StatePlace::of(config.state.directory.as_deref(), &config.state.beside);
    match usual::state().filter(|place| !named && !path.is_dir() && place.is_dir()) {
        Some(path) => StatePlace { path, named: true },
        None => StatePlace { path, named },
    }
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
        return match admin_client::ask::<Status>(&GateArgs::at(admin.clone()), Verb::Status, "") {
            Ok((_, status)) => {
                status.state.ok_or_else(|| CommandError::gate("the running gate has no state directory"))
            }
            // Its state is there, if its file is: another gate's would tell another story.
            Err(why @ NoAnswer::NotAsked(_)) => args.file().as_deref().and_then(of_file).ok_or_else(|| why.into()),
            Err(why) => Err(why.into()),
        };
    }
    if let Some(file) = &args.config {
        return of_file(file).ok_or_else(|| missing(file));
    }
    let packaged = || usual::state().filter(|place| place.is_dir());
    args.file().as_deref().and_then(of_file).or_else(made_by_systemd).or_else(packaged).ok_or_else(|| {
        CommandError::gate(
            "cannot find the gate's state directory. Name it with --state DIR, the file with --config FILE, or the \
             running gate with --admin ADDRESS.",
        )
    })
}

fn missing(file: &Path) -> CommandError {
    CommandError::gate(format!(
        "cannot find the state directory of the gate with {}: the file names none that is there, none is beside it, \
         and no running gate at its admin address says where it is. Name it with --state DIR, or the running gate \
         with --admin ADDRESS.",
        file.display()
    ))
}

/// The directory that a file names, else the one beside it, else that of the gate that runs by this file, else the one
/// that systemd makes. Another gate's state would tell another story: what the file says goes first, also where it has
/// errors elsewhere.
fn of_file(config: &Path) -> Option<PathBuf> {
    let (named, admin) = file::named_in_part(config);
    if let Some(named) = named {
        return Some(named).filter(|place| place.is_dir());
    }
    let beside = config.parent().unwrap_or(Path::new("")).join("state");
    if beside.is_dir() {
        return Some(beside);
    }
    let running = || {
        let (_, status) = admin_client::ask::<Status>(&GateArgs::at(Place::of(admin)), Verb::Status, "").ok()?;
        status.state
    };
    let packaged = || usual::state().filter(|place| config == usual::config() && place.is_dir());
    running().or_else(made_by_systemd).or_else(packaged)
}

/// The directory that systemd made for this process, if it is there.
fn made_by_systemd() -> Option<PathBuf> {
    of_systemd().filter(|place| place.is_dir())
}
