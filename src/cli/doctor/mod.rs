//! `patgate doctor`: the whole chain from the file to a statement at Snowflake, step by step. With `--client` the same
//! from a tool's machine.
//!
//! Steps run side by side, and each has a deadline, so that all end within 20 s. A login goes through the guard of the
//! running gate, or where none runs, through its journal (`crate::cli::logins`).

mod client;
mod drivers;
mod local;
mod logins;
mod port;
mod rotators;
mod step;
mod stores;
mod way;

use std::path::Path;

use clap::Args;

use super::place::Place;
use super::shell::{CommandError, GateArgs, control_runtime, say, say_json};
use crate::base::clock::Env;
use crate::base::secret::Secret;

use crate::config::file::{self, LoadError};
use crate::config::{Account, Config};
use crate::pat::Accounts;
use crate::upstream::AccountState;
use step::Step;

/// What to look at.
#[derive(Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    gate: GateArgs,
    #[command(flatten)]
    client: client::ClientArgs,
}

/// All steps.
#[derive(serde::Serialize)]
struct Steps {
    steps: Vec<Step>,
}

/// Logs in to a gate with a client key, as a tool does; the first step that fails, with its next step.
///
/// # Errors
/// If the gate's roots cannot be used.
pub(super) async fn through(
    gate: &str,
    as_account: &Account,
    key: &Secret,
    env: &Env,
) -> Result<Option<String>, CommandError> {
    let steps = client::through(gate, as_account, key, Path::new("the new key"), env).await?;
    let failed = steps.into_iter().find(|step| step.ok == Some(false));
    Ok(failed.map(|step| format!("{}: {}. {}", step.name, step.what, step.next_step.unwrap_or_default())))
}

/// The command.
pub(super) fn doctor(args: &DoctorArgs) -> Result<(), CommandError> {
    let runtime = control_runtime()?;
    let env = Env::default();
    let steps = match &args.client.client {
        Some(gate) => runtime.block_on(client::steps(gate, &args.client, &env))?,
        None => gate(args, &runtime, &env)?,
    };
    // A store that hangs must not keep the process alive.
    runtime.shutdown_background();
    tell(args.gate.json, steps)
}

/// The chain of a gate.
fn gate(args: &DoctorArgs, runtime: &tokio::runtime::Runtime, env: &Env) -> Result<Vec<Step>, CommandError> {
    let begun = env.clock.now();
    let (config, report) = match file::load(&args.gate.file()?) {
        Ok((config, report)) => (config, report),
        Err(LoadError::Wrong(report)) => return Ok(vec![local::file(&report, false).since(&*env.clock, begun)]),
        Err(unread) => return Err(CommandError::gate(unread)),
    };
    let mut steps = vec![local::file(&report, true).since(&*env.clock, begun)];
    let place = args.gate.admin.clone().unwrap_or_else(|| Place::of(config.admin.clone()));
    steps.extend(runtime.block_on(chain(&config, &place, env)));
    Ok(steps)
}

/// The steps after the file, side by side, in the order of the chain.
async fn chain(config: &Config, place: &Place, env: &Env) -> Vec<Step> {
    let set_up = |(name, account): (&std::sync::Arc<str>, &crate::config::Account)| {
        let state = AccountState::new(account, &config.upstream, None);
        Some((name.clone(), state.ok()?))
    };
    // An account that cannot be set up is told by the step of the files.
    let accounts: Accounts = config.accounts.iter().filter_map(set_up).collect();
    let (local, port, stores, way, logins, rotators) = tokio::join!(
        local::steps(config, env),
        port::steps(config, place, env),
        stores::steps(config, env),
        way::steps(&accounts, env),
        logins::steps(config, place, &accounts, env),
        rotators::steps(config, place),
    );
    [local, port, stores, way, logins, rotators].into_iter().flatten().collect()
}

/// Tells the steps. The first that failed says whose it is to act.
fn tell(json: bool, steps: Vec<Step>) -> Result<(), CommandError> {
    let first = steps.iter().find_map(|step| Some((step.fails()?, format!("{} {}", step.name, step.subject))));
    match json {
        true => say_json(&Steps { steps }),
        false => steps.iter().for_each(|step| say(&step.text())),
    }
    match first {
        None => Ok(()),
        Some((owner, _)) if json => Err(CommandError::of(owner, "")),
        Some((owner, name)) => {
            let text = format!("\nThe first step that failed: {} (owner: {})", name.trim_end(), owner.as_str());
            Err(CommandError::of(owner, text))
        }
    }
}
