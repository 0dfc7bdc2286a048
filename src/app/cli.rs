//! The command line: what a person types, and the exit code that comes of it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use super::{check, client, demo, run};
use crate::base::fault::Owner;

/// A TLS gate between BI tools and Snowflake that puts the current programmatic access token into every login.
#[derive(Parser)]
#[command(name = "patgate", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gate until SIGTERM or Ctrl-C.
    Run(ConfigArgs),
    /// Check the configuration file, without any network; every error at once.
    Check(ConfigArgs),
    /// Clients and their keys.
    #[command(subcommand)]
    Client(ClientCommand),
    /// See all of it on this machine, with a built-in stand-in for Snowflake.
    Demo(demo::DemoArgs),
}

#[derive(Subcommand)]
enum ClientCommand {
    /// Issue a key: it is shown once, with the lines for the configuration.
    New(client::NewArgs),
}

/// Which configuration, and how to write.
#[derive(Args)]
pub(super) struct ConfigArgs {
    /// The configuration file.
    #[arg(long, env = "PATGATE_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Write JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

/// Why a command ended badly: whose fault, and the text for stderr.
pub(super) struct Failed {
    pub owner: Owner,
    pub text: String,
}

impl Failed {
    /// A failure of the gate or its machine.
    pub(super) fn gate(text: impl ToString) -> Self {
        Self { owner: Owner::Gate, text: text.to_string() }
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args),
        Command::Client(ClientCommand::New(args)) => client::new(&args),
        Command::Demo(args) => demo::demo(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            #[expect(clippy::print_stderr, reason = "the command line's own last word")]
            if !failed.text.is_empty() {
                eprintln!("{}", failed.text.trim_end());
            }
            ExitCode::from(failed.owner.exit_code())
        }
    }
}

/// Writes to stdout; a reader that has gone is no failure of ours.
pub(super) fn say(text: &str) {
    use std::io::Write;
    let _reader_gone = writeln!(std::io::stdout(), "{text}");
}
