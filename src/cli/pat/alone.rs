//! A command about a PAT where no gate answers: it does the work itself, with the gate's journal and under its guard.

use std::future::Future;

use crate::app::{Alone, Work};
use crate::base::fault::Owner;
use crate::cli::admin_client::NoAnswer;
use crate::cli::logins::pats_without_gate;
use crate::cli::shell::{CommandError, GateArgs, control_runtime};
use crate::config::file;
use crate::pat::{Pats, RotationFailure};

/// Does the work with the PATs of the configuration; `unanswered` is why the gate was not asked.
pub(super) fn with_pats<T, F>(
    args: &GateArgs,
    unanswered: NoAnswer,
    what: Work,
    work: impl FnOnce(Pats) -> F,
) -> Result<T, CommandError>
where
    F: Future<Output = Option<T>>,
{
    // Without the file nothing is known but the address of a gate that does not answer.
    let loaded = args.file().ok().and_then(|file| file::load(&file).ok());
    let Some((config, _)) = loaded else { return Err(unanswered.into()) };
    let text = CommandError::from(unanswered).text;
    let done = control_runtime()?.block_on(async {
        let alone = pats_without_gate(&config, what).map_err(|why| format!("{text}; {why}"))?;
        let none = "the configuration has no such credential, or it has no `rotation`";
        // The observer writes down what was done before it ends.
        let Alone { pats, observer: _observer } = alone;
        work(pats).await.ok_or_else(|| none.to_owned())
    });
    done.map_err(CommandError::gate)
}

/// The error of a rotation, with its owner's exit code.
pub(super) fn failed(failure: &RotationFailure) -> CommandError {
    let RotationFailure { owner, cause, next_step, busy } = failure;
    let text = format!("{cause}. {next_step}");
    match (busy, owner) {
        (true, _) => CommandError::attention(text),
        // The command line is not wrong.
        (false, Owner::Client) => CommandError::gate(text),
        (false, owner) => CommandError::of(*owner, text),
    }
}
