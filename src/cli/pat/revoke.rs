//! `patgate pat revoke CREDENTIAL`.

use clap::Args;

use crate::app::Verb;
use crate::app::operator::{ClientLogin, RevocationReport};
use crate::base::rfc3339;
use crate::cli::admin_client::{self, encoded};
use crate::cli::shell::{CommandError, GateArgs, say, say_json};

/// Which credential.
#[derive(Args)]
pub(in crate::cli) struct RevokeArgs {
    #[command(flatten)]
    gate: GateArgs,
    /// The credential.
    credential: String,
    /// Print who will feel it and what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Remove the token for good; without this it is disabled, and can be enabled again.
    #[arg(long)]
    remove: bool,
}

/// The command.
pub(super) fn revoke(args: &RevokeArgs) -> Result<(), CommandError> {
    let query = format!("?credential={}&remove={}", encoded(&args.credential), args.remove);
    let (_, preview): (_, RevocationReport) =
        admin_client::ask(&args.gate, Verb::Revoke, &format!("{query}&dry_run=true"))?;
    let json = args.gate.json;
    if !json {
        show(&preview);
    }
    if args.dry_run || !args.yes {
        if json {
            say_json(&preview);
        }
        let undone = "nothing was changed; repeat the command with --yes to do it";
        return if args.dry_run { Ok(()) } else { Err(CommandError::attention(undone)) };
    }
    let (_, done): (_, RevocationReport) = admin_client::ask(&args.gate, Verb::Revoke, &query)?;
    match json {
        true => say_json(&done),
        false => say(&format!("{}: revoked at this gate; {} sessions were ended", args.credential, done.ended)),
    }
    match done.revocation.rotator {
        Some(_) => Ok(()),
        None => Err(CommandError::attention(
            "It lives at Snowflake, and works elsewhere, until somebody runs the statements above there.",
        )),
    }
}

fn show(preview: &RevocationReport) {
    let RevocationReport { revocation, clients, ended: _ } = preview;
    let name = &revocation.credential;
    say(&format!("{name}: these clients log in with it, and cannot until the store has another PAT:"));
    clients.iter().for_each(|client| say(&format!("  {}", feels(client))));
    match &revocation.rotator {
        Some(rotator) => say(&format!("The rotator {rotator} runs:")),
        None => say("The gate has no rotator for it. Run this at Snowflake, with the token's own name:"),
    }
    revocation.statements.iter().for_each(|statement| say(&format!("  {statement};")));
    say("With --yes the gate uses the version no more, and ends the sessions that it opened.");
    say("What the token was used for, also elsewhere (the view is up to two hours late):");
    say(&format!("{};", revocation.query));
}

/// What is known of a client that will feel it.
fn feels(client: &ClientLogin) -> String {
    let ClientLogin { client, at, tool, sessions, .. } = client;
    let last = at.map_or_else(|| "no login is known".to_owned(), |at| format!("last login {}", rfc3339::show(at)));
    let tool = tool.as_ref().map(|tool| format!(", {tool}")).unwrap_or_default();
    format!("{client}: {sessions} sessions, {last}{tool}")
}
