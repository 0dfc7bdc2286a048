//! `patgate reload`: a running gate reads its configuration again.

use super::admin_client::{NoAnswer, ask};
use super::shell::{CommandError, GateArgs, say, say_json};
use crate::app::{Reloaded, Verb};

/// The command.
pub(super) fn reload(args: &GateArgs) -> Result<(), CommandError> {
    let stays = |why| match why {
        NoAnswer::Refused(_, reason) | NoAnswer::Failed(_, reason) => {
            CommandError::gate(format!("the old configuration stays in use: {reason}"))
        }
        NoAnswer::NoFile(error) => {
            let stays = "The gate was not asked; it keeps the configuration that it has.";
            let text = format!("{}\n{stays}", error.text.trim_end());
            CommandError { text, ..error }
        }
        not_asked @ NoAnswer::NotAsked(_) => not_asked.into(),
    };
    let (_, reloaded): (_, Reloaded) = ask(args, Verb::Reload, "").map_err(stays)?;
    if args.json {
        say_json(&reloaded);
        return Ok(());
    }
    say(&match reloaded.changes.is_empty() {
        true => "no key has changed; the gate has read all files again".to_owned(),
        false => reloaded.changes.join("\n"),
    });
    reloaded.at_restart.iter().for_each(|key| say(&format!("{key} takes effect when the gate restarts")));
    Ok(())
}
