//! What the commands share: the arguments that name a configuration, a failure with its exit code, a line on stdout.

use std::path::PathBuf;

use clap::Args;
use tokio::runtime::Runtime;

use crate::base::fault::Owner;

/// Which configuration, and how to write.
#[derive(Args, Clone)]
pub(super) struct ConfigArgs {
    /// The configuration file.
    #[arg(long, env = "PATGATE_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Write JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

/// Why a command ended badly: whose fault, and the text for stderr.
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

/// Writes to stdout; a reader that has gone is no failure of ours.
pub(super) fn say(text: &str) {
    use std::io::Write;
    let _reader_gone = writeln!(std::io::stdout(), "{text}");
}

/// Writes a value to stdout as JSON.
pub(super) fn say_json(value: &impl serde::Serialize) {
    // Our own types are always JSON.
    say(&serde_json::to_string(value).unwrap_or_default());
}

/// One thread for everything that can be slow.
pub(super) fn control_runtime() -> Result<Runtime, CommandError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(CommandError::gate)
}
