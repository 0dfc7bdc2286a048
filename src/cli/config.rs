//! `patgate config schema|reference`: the configuration's keys, for editors and for people.

use clap::Subcommand;

use super::shell::say;
use crate::config::keys;

/// What to print.
#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the JSON schema of the configuration file, for editors.
    Schema,
    /// Print every key with what to write, its default and what it is for, in Markdown.
    Reference,
}

/// The command.
pub(super) fn config(command: &ConfigCommand) {
    match command {
        ConfigCommand::Schema => say(&format!("{:#}", keys::schema())),
        ConfigCommand::Reference => say(keys::reference().trim_end()),
    }
}
