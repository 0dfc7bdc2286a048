//! `patgate sql …`: statements for Snowflake, to read and to run there.

mod join;
mod setup;
mod statements;

use clap::Subcommand;

use super::shell::CommandError;

/// Statements for Snowflake.
#[derive(Subcommand)]
pub(super) enum SqlCommand {
    /// Print the query that finds Snowflake's side of a login: session, login event, credential, statements.
    Join(join::JoinArgs),
    /// Print the statements that set up a credential's user, role, network policy, authentication policy, token and
    /// rotator.
    Setup(setup::SetupArgs),
    /// Print the queries that show whether all of that stands.
    Check(setup::SetupArgs),
}

/// The commands.
pub(super) fn sql(command: &SqlCommand) -> Result<(), CommandError> {
    match command {
        SqlCommand::Join(args) => join::join(args),
        SqlCommand::Setup(args) => setup::setup(args),
        SqlCommand::Check(args) => setup::check(args),
    }
}
