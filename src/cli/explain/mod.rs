//! `patgate explain`: the story of a request, or the runbook page of a kind of failure.
//!
//! It needs neither a running gate nor a whole configuration file: it reads the history in the state directory.

mod bundle;
mod find;
mod page;
mod tale;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::shell::{CommandError, say};
use super::state_place::{self, StateArgs};
use crate::base::fault::{Kind, Owner};
use crate::telemetry::history::Reader;
use find::Subject;
use tale::Tale;

/// How long it waits for a record that is on its way.
const RECENT: Duration = Duration::from_secs(1);

/// What to explain.
#[derive(Args)]
pub(super) struct ExplainArgs {
    /// A trace id, a session's id, a code (PG-605), the name of a kind (pat_refused), or the text that a tool showed.
    #[arg(required = true, num_args = 1..)]
    what: Vec<String>,
    #[command(flatten)]
    state: StateArgs,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    /// Write all that belongs to the story into a file to mail: records, acts, the configuration without key hashes.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

/// The command. A request that failed is told with exit code 0: telling it is what was asked for.
pub(super) fn explain(args: &ExplainArgs) -> Result<(), CommandError> {
    let text = args.what.join(" ");
    let subject = find::subject(&text);
    if let (Some(_), Subject::Kind(_)) = (&args.bundle, &subject) {
        let text = "--bundle writes the story of one request or session: name its trace id, or the session's id";
        return Err(CommandError::of(Owner::Client, text));
    }
    let tale = match &subject {
        Subject::Kind(_) => None,
        Subject::Id(id, kind) => Some(told(id, kind.filter(|_| !args.json), &args.state)?),
        Subject::Unknown => {
            return Err(CommandError::of(
                Owner::Client,
                "this is neither a trace id, a session's id, a code such as PG-605, nor a text that the gate or \
                       Snowflake writes. The trace id is the 32 hex digits at the end of the text in the tool.",
            ));
        }
    };
    let written = match (&args.bundle, &tale) {
        (Some(file), Some(tale)) => Some((file, bundle::write(file, tale, args.state.file().as_deref())?)),
        _ => None,
    };
    match (&tale, &subject) {
        (Some(tale), _) if args.json => {
            let mut told = tale.json();
            if let Some((file, bytes)) = &written {
                told["bundle"] = serde_json::json!({ "file": file.display().to_string(), "bytes": bytes });
            }
            say(&told.to_string());
        }
        (Some(tale), _) => say(tale.text().trim_end()),
        (None, Subject::Kind(kind)) if args.json => say(&page::json(*kind).to_string()),
        (None, Subject::Kind(kind)) => say(page::text(*kind).trim_end()),
        (None, _) => {}
    }
    if let Some((file, size)) = written.filter(|_| !args.json) {
        say(&format!("\nWritten to {}: {size} bytes, without secrets and key hashes.", file.display()));
    }
    Ok(())
}

/// Looks the records up, and what belongs to them.
fn told(id: &str, kind: Option<Kind>, state: &StateArgs) -> Result<Tale, CommandError> {
    let directory = state_place::find(state)?;
    let history = Reader::open(&directory).map_err(CommandError::gate)?;
    let mut stories = Vec::new();
    // A record arrives within a second after the answer.
    for wait in [Duration::ZERO, RECENT / 4, RECENT / 4, RECENT / 2] {
        std::thread::park_timeout(wait);
        stories = history.by_trace(id).map_err(CommandError::gate)?;
        if stories.is_empty() {
            stories = history.by_session(id).map_err(CommandError::gate)?;
        }
        if !stories.is_empty() {
            break;
        }
    }
    let tale = Tale::read(&history, stories)?;
    if let (None, Some(kind)) = (&tale, kind) {
        say(&format!("The history in {} does not have this trace. The text means:\n", directory.display()));
        say(page::text(kind).trim_end());
    }
    tale.ok_or_else(|| {
        CommandError::attention(format!(
            "the history in {} has no record of it. It may be older than history.keep, of another gate, or one of many \
             refusals before admission, of which ten a minute of each kind and source are kept.",
            directory.display()
        ))
    })
}
