//! `patgate pat refresh [CREDENTIAL]`.

use clap::Args;

use super::show;
use crate::app::Verb;
use crate::cli::admin_client::{ask, encoded};
use crate::cli::shell::{CommandError, ConfigArgs};

/// Which credential.
#[derive(Args)]
pub(in crate::cli) struct RefreshArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// One credential; without it all of them.
    credential: Option<String>,
}

/// The command.
pub(super) fn refresh(args: &RefreshArgs) -> Result<(), CommandError> {
    let one = args.credential.as_ref().map(|name| format!("?credential={}", encoded(name))).unwrap_or_default();
    let (status, list) = ask(&args.config, Verb::Refresh, &one)?;
    show(&args.config, args.credential.as_deref(), status, &list)
}
