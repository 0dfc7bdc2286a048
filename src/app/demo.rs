use clap::Args;
use super::cli::Failed;
#[derive(Args)]
pub(super) struct DemoArgs { #[arg(long)] once: bool }
pub(super) fn demo(_a: &DemoArgs) -> Result<(), Failed> { Ok(()) }
