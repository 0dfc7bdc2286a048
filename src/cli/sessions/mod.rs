//! `patgate sessions …`: the sessions of a running gate, over its admin address.

mod kill;
mod list;
mod rotate;

use clap::Subcommand;

use super::shell::{CommandError, ConfigArgs};

/// What to do.
#[derive(Subcommand)]
pub(super) enum SessionsCommand {
    /// The sessions that this gate has served within the last hour.
    List(ConfigArgs),
    /// Add a key to the ring that the gate has made for itself; it seals from now on, and the others go on opening.
    Rotate(ConfigArgs),
    /// End sessions now: the next request of each is refused, and so is every renewal.
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
