//! `patgate sessions …`: the sessions of a running gate, over its admin address.

mod kill;
mod list;
mod rotate;

use clap::Subcommand;

use super::shell::{CommandError, GateArgs};

/// What to do.
#[derive(Subcommand)]
pub(super) enum SessionsCommand {
    /// List the sessions that this gate has served within the last hour.
    List(GateArgs),
    /// Add a key to the key ring in the state directory; the new key seals, and the others still open.
    Rotate(GateArgs),
    /// End sessions now: the gate refuses their next request, and every renewal.
    Kill(kill::KillArgs),
}

/// The command.
pub(super) fn sessions(command: &SessionsCommand) -> Result<(), CommandError> {
    match command {
        SessionsCommand::List(args) => list::list(args),
        SessionsCommand::Rotate(args) => rotate::rotate(args),
        SessionsCommand::Kill(args) => kill::kill(args),
    }
}
