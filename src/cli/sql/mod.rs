//! `patgate sql …`: statements for Snowflake, to read and to run there.

mod join;

use clap::Subcommand;

use super::shell::CommandError;

/// Statements for Snowflake.
#[derive(Subcommand)]
pub(super) enum SqlCommand {
    /// Print the query that finds Snowflake's side of a login: session, login event, credential, statements.
    Join(join::JoinArgs),
}

/// The commands.
pub(super) fn sql(command: &SqlCommand) -> Result<(), CommandError> {
    match command {
        SqlCommand::Join(args) => join::join(args),
    }
}
