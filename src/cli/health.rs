//! `patgate health [--ready]`: for the probes of containers, whose image has no other program.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::admin_client::ask_within;
use super::shell::{CommandError, GateArgs, say, say_json};
use crate::app::Verb;
use crate::app::operator::Readiness;

/// How long a gate may take to answer; a probe's own limit is seldom longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What to ask.
#[derive(Args)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    gate: GateArgs,
    /// Ask whether logins are served, not only whether the process runs.
    #[arg(long)]
    ready: bool,
}

/// The command.
pub(super) fn health(args: &HealthArgs) -> Result<(), CommandError> {
    if !args.ready {
        let (_, live): (_, Value) = ask_within(PATIENCE, &args.gate, Verb::Live, "")?;
        match args.gate.json {
            true => say_json(&live),
            false => say("live"),
        }
        return Ok(());
    }
    let (_, readiness): (_, Readiness) = ask_within(PATIENCE, &args.gate, Verb::Ready, "")?;
    if args.gate.json {
        say_json(&readiness);
    }
    let Readiness { ready, why, credentials, refused, paused, stale: _ } = readiness;
    if !ready {
        let all = [credentials, refused, paused].concat().join(", ");
        let names = if all.is_empty() { String::new() } else { format!(" ({all})") };
        return Err(CommandError::attention(format!("not ready: {}{names}", why.unwrap_or_default())));
    }
    let no = [refused, paused].concat();
    match no.is_empty() {
        _ if args.gate.json => {}
        true => say("ready"),
        false => say(&format!("ready; but Snowflake refuses {}; `patgate pat status` says why", no.join(", "))),
    }
    Ok(())
}
