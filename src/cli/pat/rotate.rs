//! `patgate pat rotate CREDENTIAL`, `patgate pat replace CREDENTIAL --now`.

use std::time::Duration;

use clap::Args;

use super::alone::{failed, with_pats};
use crate::app::{Verb, Work};
use crate::base::clock::Env;
use crate::base::rfc3339;
use crate::cli::admin_client::{self, NoAnswer, encoded};
use crate::cli::shell::{CommandError, GateArgs, say, say_json};
use crate::pat::{Ask, Pats, RotationPreview, RotationReport};

/// How long a running gate may take; it answers before that, also where the rotation goes on.
const PATIENCE: Duration = Duration::from_secs(115);

/// Which credential.
#[derive(Args)]
pub(in crate::cli) struct RotateArgs {
    #[command(flatten)]
    gate: GateArgs,
    /// The credential.
    credential: String,
    /// Print the statements and the steps, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Which credential, and how soon.
#[derive(Args)]
pub(in crate::cli) struct ReplaceArgs {
    #[command(flatten)]
    rotate: RotateArgs,
    /// Needed: the old token, and those rotated before it, end as soon as the new one is in use, wherever else they are
    /// used.
    #[arg(long, required = true)]
    now: bool,
}

/// The command.
pub(super) fn rotate(args: &RotateArgs) -> Result<(), CommandError> {
    order(args, Verb::Rotate, Ask::Rotate)
}

/// The command.
pub(super) fn replace(args: &ReplaceArgs) -> Result<(), CommandError> {
    let ReplaceArgs { rotate, now: _ } = args;
    order(rotate, Verb::Replace, Ask::Replace)
}

fn order(args: &RotateArgs, verb: Verb, ask: Ask) -> Result<(), CommandError> {
    let query = format!("?credential={}", encoded(&args.credential));
    if args.dry_run {
        let asked = admin_client::ask_within(PATIENCE, &args.gate, verb, &format!("{query}&dry_run=true"));
        let preview = match asked {
            Ok((_, preview)) => preview,
            Err(why @ NoAnswer::NotAsked(_)) => {
                let of = &args.credential;
                with_pats(&args.gate, why, Work::Look, async |pats: Pats| pats.preview_rotation(of, ask).await)?
            }
            Err(why) => return Err(why.into()),
        };
        return show_preview(args, &preview);
    }
    let report = match admin_client::ask_within(PATIENCE, &args.gate, verb, &query) {
        Ok((_, report)) => report,
        Err(why @ NoAnswer::NotAsked(_)) => {
            let of = &args.credential;
            let rotated =
                with_pats(&args.gate, why, Work::Change, async |pats: Pats| pats.rotate(of, ask, "pat rotate").await)?;
            rotated.map_err(|failure| failed(&failure))?
        }
        Err(why) => return Err(why.into()),
    };
    show(args, &report);
    Ok(())
}

fn show(args: &RotateArgs, report: &RotationReport) {
    if args.gate.json {
        return say_json(report);
    }
    let RotationReport { credential, token, old, new, old_end, took_ms } = report;
    let took: Vec<_> = took_ms.iter().map(|(part, took)| format!("{part} {took} ms")).collect();
    say(&format!("{credential}: the token {token} has a new version, {new}; it was proven by a login, and is in use"));
    say(&format!("  the version before, {old}: {old_end}"));
    say(&format!("  {}", took.join(", ")));
}

fn show_preview(args: &RotateArgs, preview: &RotationPreview) -> Result<(), CommandError> {
    if args.gate.json {
        say_json(preview);
    } else {
        let RotationPreview { credential, token, rotator, statements, steps, due, obstacle: _ } = preview;
        say(&format!("-- {credential}: what the rotator {rotator} would run, now; nothing is changed"));
        statements.iter().for_each(|statement| say(&format!("{statement};")));
        steps.iter().for_each(|step| say(&format!("-- {step}")));
        match due {
            Some(due) if *due > Env::default().clock.wall() => {
                say(&format!("-- By itself the gate rotates {token} from {} on", rfc3339::show(*due)));
            }
            Some(_) => say(&format!("-- It is due: the gate rotates {token} by itself")),
            None => {}
        }
    }
    match &preview.obstacle {
        None => Ok(()),
        Some(failure) => Err(failed(failure)),
    }
}
