//! `patgate pat retry CREDENTIAL`.

use clap::Args;
use http::Method;

use super::show;
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
    let target = format!("/pats/retry?credential={}", encoded(&args.credential));
    let (status, list) = ask(&args.config, Method::POST, &target)?;
    show(&args.config, status, &list)
}
