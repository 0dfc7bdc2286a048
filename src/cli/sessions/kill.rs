//! `patgate sessions kill TARGET`.

use clap::Args;
use http::StatusCode;

use crate::app::Verb;
use crate::app::operator::EndedSessions;
use crate::cli::admin_client::{NoAnswer, ask};
use crate::cli::shell::{CommandError, GateArgs, say, say_json};
use crate::session::Revocation;

/// Which sessions.
#[derive(Args)]
pub(in crate::cli) struct KillArgs {
    #[command(flatten)]
    gate: GateArgs,
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
    let (_, ended): (_, EndedSessions) = ask(&args.gate, Verb::EndSessions, &target)?;
    if let Some(error) = &ended.error {
        return Err(NoAnswer::Refused(StatusCode::SERVICE_UNAVAILABLE, error.clone()).into());
    }
    match args.gate.json {
        true => say_json(&ended),
        false => say(&format!(
            "{}: all sessions opened until now are ended, {} of them on this gate",
            args.target, ended.ended
        )),
    }
    if ended.known {
        return Ok(());
    }
    let next =
        "this gate does not know it: compare `patgate sessions list`. Replicas that know it end its sessions too";
    Err(CommandError::attention(format!("{}: {next}", args.target)))
}
