//! `patgate demo`: a complete set-up on one machine, without a network.
//!
//! It makes a CA, a file store with a PAT, and a client key, and starts a stand-in for Snowflake with a gate before it.
//! Then it shows three scenes: a login, a rotation under load, a wrong key. Afterwards it stays up, so that real tools
//! can connect.

mod driver;
mod follow;
mod ink;
mod scene;
mod set_up;
mod settings;

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use super::shell::{CommandError, control_runtime, say};
use super::signal::Signals;
use crate::telemetry::captured_logs::Captured;
use set_up::Stage;

/// The options of the demo.
#[derive(Args)]
pub(super) struct DemoArgs {
    /// Stop after the demo instead of serving on.
    #[arg(long)]
    once: bool,
    /// The port of the gate; if it is in use, the demo takes a free one.
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// A Snowflake to use instead of the built-in stand-in: <https://HOST:PORT>.
    #[arg(long, value_name = "URL", requires = "pat_file")]
    upstream: Option<String>,
    /// The roots for the upstream's certificate, PEM; the platform's by default.
    #[arg(long, value_name = "FILE", requires = "upstream")]
    upstream_ca: Option<PathBuf>,
    /// The service user at the upstream.
    #[arg(long, default_value = "POWERBI_SERVICE")]
    user: String,
    /// A file with the service user's PAT.
    #[arg(long, value_name = "FILE", requires = "upstream")]
    pat_file: Option<PathBuf>,
}

/// The command.
pub(super) fn demo(args: &DemoArgs) -> Result<(), CommandError> {
    let log = Captured::start();
    control_runtime()?.block_on(async {
        let mut signals = Signals::new().map_err(CommandError::gate)?;
        let stage = Stage::set_up(args).await?;
        let played = tokio::select! {
            played = scene::play(&stage, &log) => played,
            () = signals.stop() => Err(CommandError::gate("the demo was interrupted")),
        };
        if args.once || played.is_err() {
            stage.clear().await;
            return played;
        }
        let from = log.count();
        settings::print(&stage);
        let ink = ink::Ink(std::io::stdout().is_terminal());
        tokio::select! {
            () = follow::follow(&log, from, &ink) => {}
            () = signals.stop() => {}
        }
        say("\nThe demo ends.");
        stage.clear().await;
        Ok(())
    })
}
