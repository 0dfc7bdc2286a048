//! The PATs of a command that logs in while no gate runs, or where none answers.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::generations::resolver;
use super::startup::replicas;
use crate::base::clock::Env;
use crate::config::Config;
use crate::pat::{Guard, PatParts, Pats};
use crate::proxy::Generation;
use crate::state::StateDir;

/// The PATs of a configuration under a guard with the journal in `state`, the gate's state directory: what Snowflake
/// has refused a gate is not sent, and a gate learns of what Snowflake refuses here. Nothing is read in the background.
///
/// # Errors
/// If a store, an account or Redis cannot be set up, or the directory cannot be written.
pub fn pats_alone(config: &Config, state: &Path, env: &Env) -> io::Result<Pats> {
    let state = StateDir::open(state)?;
    let guard = Guard::open(config.pat.widths, env.clock.clone(), Some(state.clone()))?;
    let accounts = Generation::accounts(config, None).map_err(io::Error::other)?;
    let metrics = Arc::default();
    let resolver = resolver(config, &env.clock, &metrics).map_err(io::Error::other)?;
    let parts = PatParts {
        resolver,
        guard,
        replicas: replicas(config, env)?,
        disk_cache: None,
        state: Some(state),
        sinks: Arc::default(),
        metrics,
        env: env.clone(),
        control: Handle::current(),
    };
    Ok(Pats::new(config, &accounts, parts))
}
