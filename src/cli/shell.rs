//! The parts that commands share: the arguments for the configuration, a failure with its exit code, a line on stdout.

use std::path::PathBuf;

use clap::Args;
use tokio::runtime::Runtime;

use crate::base::fault::Owner;

/// The configuration, and the output form.
#[derive(Args, Clone)]
pub(super) struct ConfigArgs {
    /// The configuration file.
    #[arg(long, env = "PATGATE_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Write JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

/// Why a command failed: whose fault it is, and the text for stderr.
pub(super) struct CommandError {
    pub owner: Owner,
    pub text: String,
}

impl CommandError {
    /// A failure of the gate or its machine.
    pub(super) fn gate(text: impl ToString) -> Self {
        Self { owner: Owner::Gate, text: text.to_string() }
    }
}

/// Writes to stdout; a closed reader is not a failure.
pub(super) fn say(text: &str) {
    use std::io::Write;
    let _reader_gone = writeln!(std::io::stdout(), "{text}");
}

/// Writes a value to stdout as JSON.
pub(super) fn say_json(value: &impl serde::Serialize) {
    // The gate's own types always serialize.
    say(&serde_json::to_string(value).unwrap_or_default());
}

/// A runtime with one thread for slow work.
pub(super) fn control_runtime() -> Result<Runtime, CommandError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(CommandError::gate)
}
