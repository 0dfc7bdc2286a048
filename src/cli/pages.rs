//! `patgate completions SHELL` and `patgate man`: what packages install beside the program, made of its own commands.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use super::shell::CommandError;

/// For which shell.
#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Where to.
#[derive(Args)]
pub(super) struct ManArgs {
    /// Write a page for each command into this directory, patgate.1 first; without it patgate.1 goes to stdout.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the completions of a shell.
pub(super) fn completions(args: &CompletionsArgs, mut command: Command) -> Result<(), CommandError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "patgate", &mut text);
    print(&text)
}

/// Prints the manual, or writes it.
pub(super) fn man(args: &ManArgs, command: Command) -> Result<(), CommandError> {
    let failed = |error: std::io::Error| CommandError::gate(format!("cannot write the pages: {error}"));
    match &args.dir {
        Some(directory) => {
            std::fs::create_dir_all(directory).map_err(failed)?;
            clap_mangen::generate_to(command, directory).map_err(failed)
        }
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(command).render(&mut text).map_err(failed)?;
            print(&text)
        }
    }
}

/// A closed reader is not a failure.
fn print(text: &[u8]) -> Result<(), CommandError> {
    let _reader_gone = std::io::stdout().write_all(text);
    Ok(())
}
