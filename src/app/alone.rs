//! The PATs of a command that logs in while no gate runs, or where none answers.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::generations::resolver;
use super::startup::{disk_cache, observed, replicas};
use crate::base::clock::Env;
use crate::config::Config;
use crate::pat::{Guard, PatParts, Pats};
use crate::proxy::Generation;
use crate::state::StateDir;
use crate::telemetry::observer::Observer;

/// What a command does to PATs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// It logs in.
    Look,
    /// It changes them: audit log, history and warm copy say so afterwards.
    Change,
}

/// The PATs of a command.
pub struct Alone {
    /// The PATs.
    pub pats: Pats,
    /// What writes the command's acts down, when it is dropped at the latest.
    pub observer: Option<Observer>,
}

/// The PATs of a configuration under a guard with the journal in `state`, the gate's state directory: what Snowflake
/// has refused a gate is not sent, and a gate learns of what Snowflake refuses here. Nothing is read in the background.
///
/// # Errors
/// If a store, an account or Redis cannot be set up, or the directory cannot be written.
pub fn pats_alone(config: &Config, state: &Path, env: &Env, work: Work) -> io::Result<Alone> {
    let state = StateDir::open(state)?;
    let guard = Guard::open(config.pat.widths, env.clock.clone(), Some(state.clone()))?;
    let accounts = Generation::accounts(config, None).map_err(io::Error::other)?;
    let metrics = Arc::default();
    let (sinks, observer) = match work {
        Work::Look => Default::default(),
        Work::Change => observed(config, Some(&state), &metrics, env)?,
    };
    let disk_cache = match work {
        Work::Look => None,
        // A key that only the gate's service can read keeps nobody from the work.
        Work::Change => disk_cache(&config.state, Some(&state)).unwrap_or_else(|error| {
            tracing::warn!(cause = %error, owner = "gate", "the warm copy does not follow until the gate starts");
            None
        }),
    };
    let resolver = resolver(config, &env.clock, &metrics).map_err(io::Error::other)?;
    let parts = PatParts {
        resolver,
        guard,
        replicas: replicas(config, env)?,
        disk_cache,
        state: Some(state),
        sinks,
        metrics,
        env: env.clone(),
        control: Handle::current(),
    };
    Ok(Alone { pats: Pats::new(config, &accounts, parts), observer })
}
