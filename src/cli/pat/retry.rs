//! `patgate pat retry CREDENTIAL`.

use clap::Args;

use super::{ask, read, show};
use crate::app::Verb;
use crate::cli::shell::{CommandError, GateArgs, say};

/// Which credential.
#[derive(Args)]
pub(in crate::cli) struct RetryArgs {
    #[command(flatten)]
    gate: GateArgs,
    /// The credential.
    credential: String,
}

/// The command.
pub(super) fn retry(args: &RetryArgs) -> Result<(), CommandError> {
    let (status, list) = ask(&args.gate, Verb::Retry, Some(&args.credential))?;
    show(&args.gate, &list);
    if !args.gate.json {
        say(&format!(
            "{}: the gate has forgotten what Snowflake refused, and tries this PAT at the next login. After that \
             login, `patgate pat status` says whether Snowflake takes it",
            args.credential
        ));
    }
    read(status, &list)
}
