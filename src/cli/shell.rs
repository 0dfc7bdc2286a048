//! The parts that commands share: their arguments, a failure with its exit code, lines on stdout.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::runtime::Runtime;

use super::place::Place;
use super::usual::{self, CONFIG};
use crate::base::clock::{Clock, SystemClock};
use crate::base::fault::Owner;
use crate::base::rfc3339;
use crate::config::file;

/// What `--help` says at its end.
pub(super) const EXIT_CODES: &str = "\
Exit codes, by whose it is to act:
  0  it worked, and all is well
  2  client: the command line is wrong
  3  network: between the tools and the gate
  4  gate: its configuration, its files, its machine; also where no gate answers
  5  store: a secrets manager
  6  snowflake: Snowflake, or the way to it
  7  policy: a rule of an operator
  8  the answer says that something needs attention: a PAT that is refused, missing or ends soon, a gate that is not
     ready, a name that the gate does not know";

/// The exit code of an answer that says that something needs attention.
const ATTENTION: u8 = 8;

/// The configuration, and the output form.
#[derive(Args, Clone)]
pub(super) struct ConfigArgs {
    #[arg(long, env = "PATGATE_CONFIG", value_name = "FILE")]
    #[arg(help = format!("The configuration file [default: {CONFIG}, where there is one]"))]
    config: Option<PathBuf>,
    /// Write JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

impl ConfigArgs {
    /// The configuration file.
    pub(super) fn file(&self) -> Result<PathBuf, CommandError> {
        named_or_usual(self.config.as_deref())
    }
}

/// A running gate, and the output form.
#[derive(Args, Clone)]
pub(super) struct GateArgs {
    /// The gate's admin address, such as 127.0.0.1:8444, or the path of its socket; with it no file is needed.
    #[arg(long, env = "PATGATE_ADMIN", value_name = "ADDRESS", value_parser = Place::parse)]
    pub admin: Option<Place>,
    #[arg(long, env = "PATGATE_CONFIG", value_name = "FILE")]
    #[arg(help = format!("The configuration that names the address [default: {CONFIG}, where there is one]"))]
    config: Option<PathBuf>,
    /// Write JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

impl GateArgs {
    /// The gate at an admin address.
    pub(super) fn at(admin: Place) -> Self {
        Self { admin: Some(admin), config: None, json: false }
    }

    /// The configuration file.
    pub(super) fn file(&self) -> Result<PathBuf, CommandError> {
        named_or_usual(self.config.as_deref())
    }

    /// Whether the gate that was named takes its commands where this file says.
    pub(super) fn is_of(&self, file: &Path) -> bool {
        self.admin.as_ref().is_some_and(|admin| *admin == Place::of(file::named_in_part(file).1))
    }
}

fn named_or_usual(named: Option<&Path>) -> Result<PathBuf, CommandError> {
    match named {
        Some(named) => Ok(named.to_owned()),
        None if usual::config().exists() => Ok(usual::config()),
        None => {
            let text = format!("no configuration is named, and there is no {CONFIG}. Name the file with --config FILE");
            Err(CommandError { code: Owner::Client.exit_code(), text })
        }
    }
}

/// Why a command failed: its exit code, and the text for stderr.
pub(super) struct CommandError {
    pub code: u8,
    pub text: String,
}

impl CommandError {
    /// A failure of the gate or its machine.
    pub(super) fn gate(text: impl ToString) -> Self {
        Self::of(Owner::Gate, text)
    }

    /// A failure that this owner has to mend.
    pub(super) fn of(owner: Owner, text: impl ToString) -> Self {
        Self { code: owner.exit_code(), text: text.to_string() }
    }

    /// A name on the command line that the file does not have; `kind` is what it would be the name of.
    pub(super) fn unknown<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<_> = known.collect();
        Self::of(Owner::Client, format!("no {kind} has the name {name}; the file has {}", known.join(", ")))
    }

    /// The same as a line of the log, where stderr is read by a program: as the log itself, it is JSON there.
    pub(super) fn into_log_line(self) -> Self {
        if std::io::stderr().is_terminal() || self.text.is_empty() {
            return self;
        }
        let now = rfc3339::show(SystemClock.wall());
        let line = serde_json::json!({
            "timestamp": now, "level": "ERROR", "message": "the gate did not start", "owner": "gate",
            "cause": self.text.trim_end(),
        });
        Self { text: line.to_string(), ..self }
    }

    /// The command worked, and its answer says that something needs attention.
    pub(super) fn attention(text: impl ToString) -> Self {
        Self { code: ATTENTION, text: text.to_string() }
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

/// Writes rows below a header, each column as wide as it needs to be.
pub(super) fn say_table<const N: usize>(header: [&str; N], rows: &[[String; N]]) {
    let mut widths = header.map(str::len);
    for row in rows {
        row.iter().zip(&mut widths).for_each(|(cell, width)| *width = cell.chars().count().max(*width));
    }
    let line = |cells: [&str; N]| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            // Writing to a string does not fail.
            let _written = write!(line, "{cell:width$}  ");
        }
        say(line.trim_end());
    };
    line(header);
    rows.iter().for_each(|row| line(row.each_ref().map(String::as_str)));
}

/// A time span in its largest fitting unit.
pub(super) fn span(time: Duration) -> String {
    match time.as_secs() {
        s if s >= 2 * 86_400 => format!("{} days", s / 86_400),
        s if s >= 2 * 3_600 => format!("{} hours", s / 3_600),
        s if s >= 120 => format!("{} minutes", s / 60),
        s => format!("{s} s"),
    }
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
