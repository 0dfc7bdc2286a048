//! `patgate pat retry CREDENTIAL`.

use clap::Args;

use super::show;
use crate::app::Verb;
use crate::cli::admin_client::{ask, encoded};
use crate::cli::shell::{CommandError, ConfigArgs};

/// Which credential.
#[derive(Args)]
pub(in crate::cli) struct RetryArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The credential.
    credential: String,
}

/// The command.
pub(super) fn retry(args: &RetryArgs) -> Result<(), CommandError> {
    let one = format!("?credential={}", encoded(&args.credential));
    let (status, list) = ask(&args.config, Verb::Retry, &one)?;
    show(&args.config, Some(&args.credential), status, &list)
}
