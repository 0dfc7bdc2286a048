//! `patgate client …`: keys of clients, and how each tool is pointed at the gate.

mod drivers;
mod endpoint;
mod guide;
mod list;
mod new;
mod render;
mod setup;
mod tools;

use clap::Subcommand;

pub(super) use endpoint::{KEY, server};
pub(super) use guide::Tool;
pub(super) use setup::show;

use super::shell::CommandError;

/// What to do.
#[derive(Subcommand)]
pub(super) enum ClientCommand {
    /// Issue a key, and print it once, with the lines for the configuration.
    New(new::NewArgs),
    /// List the clients of the configuration.
    List(list::ListArgs),
    /// Print how a tool is set up for a client: each field, the certificate, what it shows when it fails.
    Setup(setup::SetupArgs),
}

/// The command.
pub(super) fn client(command: &ClientCommand) -> Result<(), CommandError> {
    match command {
        ClientCommand::New(args) => new::new(args),
        ClientCommand::List(args) => list::list(args),
        ClientCommand::Setup(args) => setup::setup(args),
    }
}
