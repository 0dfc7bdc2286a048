//! `patgate pat status`.

use super::{ask, show};
use crate::app::Verb;
use crate::base::clock::Env;
use crate::cli::shell::{CommandError, GateArgs};

/// The command.
pub(super) fn status(args: &GateArgs) -> Result<(), CommandError> {
    let (_, list) = ask(args, Verb::Pats, None)?;
    show(args, &list);
    let now = Env::default().clock.wall();
    let wrong: Vec<_> =
        list.pats.iter().filter_map(|pat| Some(format!("{}: {}", pat.credential, pat.attention(now)?))).collect();
    if wrong.is_empty() { Ok(()) } else { Err(CommandError::attention(wrong.join("\n"))) }
}
