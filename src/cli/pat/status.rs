//! `patgate pat status`.

use super::show;
use crate::app::Verb;
use crate::cli::admin_client;
use crate::cli::shell::{CommandError, ConfigArgs};

/// The command.
pub(super) fn status(args: &ConfigArgs) -> Result<(), CommandError> {
    let (status, list) = admin_client::ask(args, Verb::Pats, "")?;
    show(args, None, status, &list)
}
