//! `patgate pat …`: the PATs of a running gate, over its admin address.

mod alone;
mod forecast;
mod refresh;
mod retry;
mod revoke;
mod rotate;
mod status;

use clap::Subcommand;
use http::StatusCode;

use super::admin_client::{self, encoded};
use super::shell::{CommandError, GateArgs, say, say_json};
use crate::app::Verb;
use crate::app::operator::PatList;
use crate::base::fault::Owner;
use crate::base::rfc3339;
use crate::pat::PatStatus;

/// What to do.
#[derive(Subcommand)]
pub(super) enum PatCommand {
    /// Show the PAT of each credential: its source and its age; exit code 8 if one needs attention.
    Status(GateArgs),
    /// Read the PATs from the stores now, for example after a rotation.
    Refresh(refresh::RefreshArgs),
    /// Forget the bad logins of a credential's user, after its PAT was enabled again.
    Retry(retry::RetryArgs),
    /// Make a new PAT, prove it by a login, put it into the store and use it; the old one goes on for the overlap.
    Rotate(rotate::RotateArgs),
    /// The same, and end the old PAT at once: after a leak.
    Replace(rotate::ReplaceArgs),
    /// End the PAT of a credential, at Snowflake and here; says first who will feel it.
    Revoke(revoke::RevokeArgs),
    /// Show which PATs end when, also as a calendar; exit code 8 if one ends soon without a successor.
    Forecast(forecast::ForecastArgs),
}

/// The command.
pub(super) fn pat(command: &PatCommand) -> Result<(), CommandError> {
    match command {
        PatCommand::Status(args) => status::status(args),
        PatCommand::Refresh(args) => refresh::refresh(args),
        PatCommand::Retry(args) => retry::retry(args),
        PatCommand::Rotate(args) => rotate::rotate(args),
        PatCommand::Replace(args) => rotate::replace(args),
        PatCommand::Revoke(args) => revoke::revoke(args),
        PatCommand::Forecast(args) => forecast::forecast(args),
    }
}

/// Asks for the PATs, and keeps those that the command is for.
fn ask(args: &GateArgs, verb: Verb, credential: Option<&str>) -> Result<(StatusCode, PatList), CommandError> {
    let query = credential.map(|name| format!("?credential={}", encoded(name))).unwrap_or_default();
    let (status, mut list): (_, PatList) = admin_client::ask(args, verb, &query)?;
    list.pats.retain(|pat| credential.is_none_or(|credential| credential == pat.credential));
    Ok((status, list))
}

/// Prints the PATs.
fn show(args: &GateArgs, list: &PatList) {
    match args.json {
        true => say_json(list),
        false => list.pats.iter().for_each(|pat| say(&line(pat))),
    }
}

/// The outcome of a read of the stores.
fn read(status: StatusCode, list: &PatList) -> Result<(), CommandError> {
    if status == StatusCode::OK {
        return Ok(());
    }
    let text = match list.pats.iter().find(|pat| !pat.ready) {
        Some(pat) => {
            format!("no PAT of {} can be read, and none in memory is usable: its logins fail", pat.credential)
        }
        None => "a PAT cannot be read; the gate still uses the PAT in memory".to_owned(),
    };
    Err(CommandError::of(Owner::Store, text))
}

/// The text about one credential.
fn line(pat: &PatStatus) -> String {
    let when = |at: Option<std::time::SystemTime>| at.map_or_else(|| "unknown".to_owned(), rfc3339::show);
    let mut out = format!("{}: ", pat.credential);
    match &pat.cached {
        None => out += "nothing in memory",
        Some(cached) => {
            let (id, version, from) = (&cached.id, &cached.version, &cached.from);
            let (age, expires) = (cached.age.as_secs(), when(cached.expires));
            let old = if cached.usable { "" } else { ", too old to use" };
            let copy = if cached.from_disk { ", from the warm copy" } else { "" };
            let dead = if cached.refused { ", refused by Snowflake" } else { "" };
            let says = cached.expires_from.map(|from| format!(" (says the {})", from.as_str())).unwrap_or_default();
            out += &format!(
                "{id}, version {version} of {from}, read {age} s ago{old}{copy}, expiry {expires}{says}{dead}"
            );
        }
    }
    if let Some(token) = &pat.token {
        let role = token.role.as_ref().map(|role| format!(", role {role}")).unwrap_or_default();
        out += &format!("\n  token {} at Snowflake: {}, made {}{role}", token.name, token.state, when(token.created));
    }
    if let Some(rotation) = &pat.rotation {
        let state = if rotation.under_way { ", under way" } else { "" };
        let (last, next) = (when(rotation.last), when(rotation.next));
        out += &format!("\n  rotated by {}{state}: last {last}, next {next}", rotation.rotator);
    }
    if let Some(failure) = &pat.failure {
        out += &format!("\n  cannot be read since {}: {}", when(failure.since), failure.cause);
    }
    for failed in &pat.failed {
        out += &format!("\n  has no PAT: {}: {}", failed.reference, failed.cause);
    }
    out
}
