//! `patgate sessions rotate`.

use crate::app::Verb;
use crate::app::operator::RotatedKeys;
use crate::cli::admin_client::ask;
use crate::cli::shell::{CommandError, GateArgs, say, say_json};

/// The command.
pub(super) fn rotate(args: &GateArgs) -> Result<(), CommandError> {
    let (_, rotated): (_, RotatedKeys) = ask(args, Verb::RotateKeys, "")?;
    match args.json {
        true => say_json(&rotated),
        false => say(&format!("the new key seals; {} keys open", rotated.keys)),
    }
    Ok(())
}
