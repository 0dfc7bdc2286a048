//! `patgate log [LEVEL]`: shows or changes what a running gate writes to its log, until it restarts.

use clap::Args;

use super::admin_client::{ask, encoded};
use super::shell::{CommandError, GateArgs, say, say_json};
use crate::app::Verb;
use crate::app::operator::LogLevels;

/// Which level.
#[derive(Args)]
pub(super) struct LogArgs {
    #[command(flatten)]
    gate: GateArgs,
    /// error, warn, info, debug or trace; or one for some modules beside it: info,pat=debug,upstream=trace.
    level: Option<String>,
}

/// The command.
pub(super) fn log(args: &LogArgs) -> Result<(), CommandError> {
    let (_, levels): (_, LogLevels) = match &args.level {
        Some(level) => ask(&args.gate, Verb::SetLog, &format!("?level={}", encoded(level)))?,
        None => ask(&args.gate, Verb::Log, "")?,
    };
    if args.gate.json {
        say_json(&levels);
        return Ok(());
    }
    say(&levels.level);
    if args.level.is_some() {
        say("It holds until the gate restarts; log.level in the file is the level at a start.");
    }
    Ok(())
}
