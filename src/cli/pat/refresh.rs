//! `patgate pat refresh [CREDENTIAL]`.

use clap::Args;

use super::{ask, read, show};
use crate::app::Verb;
use crate::app::operator::PatList;
use crate::cli::shell::{CommandError, GateArgs, say};
use crate::pat::PatStatus;

/// Which credential.
#[derive(Args)]
pub(in crate::cli) struct RefreshArgs {
    #[command(flatten)]
    gate: GateArgs,
    /// One credential; without it all of them.
    credential: Option<String>,
}

/// The command.
pub(super) fn refresh(args: &RefreshArgs) -> Result<(), CommandError> {
    let credential = args.credential.as_deref();
    // What is in memory before tells whether the store had something new.
    let (_, before) = ask(&args.gate, Verb::Pats, None)?;
    let (status, after) = ask(&args.gate, Verb::Refresh, credential)?;
    show(&args.gate, &after);
    if !args.gate.json {
        after.pats.iter().filter_map(|pat| done(&before, pat)).for_each(|line| say(&line));
    }
    read(status, &after)
}

/// What the read has changed, and what follows.
fn done(before: &PatList, pat: &PatStatus) -> Option<String> {
    let held = pat.cached.as_ref().filter(|_| pat.failure.is_none())?;
    let old = before.pats.iter().find(|old| old.credential == pat.credential).and_then(|old| old.cached.as_ref());
    let name = &pat.credential;
    Some(match old {
        Some(old) if old.id == held.id && held.refused => format!(
            "{name}: the store still has the PAT that Snowflake refuses. Put the new one into the store, and run this \
             again"
        ),
        Some(old) if old.id == held.id => format!("{name}: read; the store has the same PAT as before"),
        _ => format!("{name}: read; the next login uses the new PAT"),
    })
}
