//! `patgate audit verify`: proves the chain of the audit log, offline.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::shell::{CommandError, say};
use super::state_place::{self, StateArgs};
use crate::telemetry::audit::{DIRECTORY, verify};

/// Commands on the audit log.
#[derive(Subcommand)]
pub(super) enum AuditCommand {
    /// Check that from the first line that is there to the last none was changed, removed or put in.
    Verify(VerifyArgs),
}

/// What to verify.
#[derive(Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    state: StateArgs,
    /// A directory with copies of the log's files, in place of the one in the state directory.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// A checkpoint from the gate's log, as NUMBER:HASH: up to there nothing was cut off or written anew.
    #[arg(long, value_name = "NUMBER:HASH", value_parser = checkpoint)]
    checkpoint: Option<(u64, String)>,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

fn checkpoint(text: &str) -> Result<(u64, String), String> {
    let wrong = || "write NUMBER:HASH, as the line \"audit checkpoint\" in the log has them".to_owned();
    let (number, hash) = text.split_once(':').ok_or_else(wrong)?;
    let fits = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = number.parse().ok().filter(|_| fits).ok_or_else(wrong)?;
    Ok((number, hash.to_ascii_lowercase()))
}

/// What a whole chain does not say.
fn not_proven(first: u64, last: u64, with_checkpoint: bool) -> Vec<String> {
    let mut all = Vec::new();
    if first > 1 {
        all.push(format!(
            "that what was before number {first} was removed by its age (audit.keep), and not by hand. A gate \
             removes whole \
             days: if the oldest file is younger than that, somebody else did it."
        ));
    }
    if !with_checkpoint {
        all.push(format!(
            "that lines after number {last} were not cut off, and that the log was not written anew as a whole. Hold a \
             line \"audit checkpoint\" of the gate's log against it: --checkpoint NUMBER:HASH."
        ));
    }
    all
}

/// The commands.
pub(super) fn audit(command: &AuditCommand) -> Result<(), CommandError> {
    let AuditCommand::Verify(args) = command;
    let directory = match &args.directory {
        Some(directory) => directory.clone(),
        None => state_place::find(&args.state)?.join(DIRECTORY),
    };
    let proof = match &args.checkpoint {
        Some((number, hash)) => verify::verify_with(&directory, (*number, hash)),
        None => verify::verify(&directory),
    };
    let proof = proof.map_err(|error| CommandError::gate(format!("cannot read the audit log: {error}")))?;
    let (first, last) = (proof.first.unwrap_or_default(), proof.last.clone().unwrap_or_default());
    if args.json {
        let broken = proof
            .broken
            .as_ref()
            .map(|broken| serde_json::json!({ "file": broken.file, "line": broken.line, "why": broken.why }));
        let told = serde_json::json!({
            "not_proven": not_proven(first, last.0, args.checkpoint.is_some()),
            "ok": proof.broken.is_none(), "lines": proof.lines, "first": first, "last": last.0, "hash": last.1,
            "broken": broken,
        });
        say(&told.to_string());
    } else if proof.broken.is_none() {
        say(&format!(
            "{}: {} lines, numbers {first} to {}, each follows the one before",
            directory.display(),
            proof.lines,
            last.0
        ));
        for what in not_proven(first, last.0, args.checkpoint.is_some()) {
            say(&format!("Not proven: {what}"));
        }
    }
    match proof.broken {
        None if proof.lines == 0 => Err(CommandError::attention("there is no line: nothing is proven")),
        None => Ok(()),
        Some(_) if args.json => Err(CommandError::gate("")),
        Some(broken) => Err(CommandError::gate(format!(
            "{}, line {}: {}. All before it is whole; keep a copy of the files before you do anything else.",
            broken.file.display(),
            broken.line,
            broken.why
        ))),
    }
}
