//! `patgate pat status`.

use http::Method;

use super::show;
use crate::cli::admin_client;
use crate::cli::shell::{CommandError, ConfigArgs};

/// The command.
pub(super) fn status(args: &ConfigArgs) -> Result<(), CommandError> {
    let (status, list) = admin_client::ask(args, Method::GET, "/pats")?;
    show(args, status, &list)
}
