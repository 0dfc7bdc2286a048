//! `patgate sessions kill TARGET`.

use clap::Args;

use crate::app::Verb;
use crate::app::operator::EndedSessions;
use crate::cli::admin_client::{NoAnswer, ask};
use crate::cli::shell::{CommandError, ConfigArgs, say, say_json};
use crate::session::Revocation;

/// Which sessions.
#[derive(Args)]
pub(in crate::cli) struct KillArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// client:NAME, pat:FINGERPRINT or session:ID, as `patgate sessions list` shows them, or all.
    #[arg(value_parser = target)]
    target: Revocation,
}

fn target(text: &str) -> Result<Revocation, String> {
    Revocation::parse(text).ok_or_else(|| "write client:NAME, pat:FINGERPRINT, session:ID or all".to_owned())
}

/// The command.
pub(super) fn kill(args: &KillArgs) -> Result<(), CommandError> {
    let target = format!("?target={}", args.target);
    let (_, ended): (_, EndedSessions) = ask(&args.config, Verb::EndSessions, &target)?;
    if let Some(error) = &ended.error {
        return Err(NoAnswer::Refused(error.clone()).into());
    }
    if args.config.json {
        say_json(&ended);
        return Ok(());
    }
    say(&format!("{}: all sessions opened until now are ended, {} of them on this gate", args.target, ended.ended));
    if !ended.known {
        say("This gate does not know it: compare `patgate sessions list`. Replicas that know it end its sessions too.");
    }
    Ok(())
}
