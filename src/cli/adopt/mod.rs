//! `patgate adopt`: finds logins to Snowflake in the files of BI tools and drivers, and moves them to the gate.
//!
//! A file goes downhill: `walk` finds it, `formats` reads settings and where they stand, `login` says what they mean,
//! `plan` says what becomes of them, `written` writes. A secret that stands in a file is told by its fingerprint.

mod document;
mod formats;
mod login;
mod plan;
mod report;
mod settings;
mod target;
mod walk;
mod written;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;

use super::shell::{CommandError, say};
use crate::base::fault::Owner;
use crate::base::secret::Secret;
use formats::{Format, Part, repacked};
use login::{Found, Login};
use plan::{Change, Plan, To, changed};
use report::{FileReport, LoginReport};
use target::{Target, TargetArgs};

/// The largest file that is read, in bytes.
const MOST: u64 = 512 << 20;

/// Where to look, and where to move to.
#[derive(Args)]
pub(super) struct AdoptArgs {
    /// Files, or directories to look through.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
    /// Move the logins to the gate; each file's old content stays beside it.
    #[arg(long)]
    write: bool,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// The command.
pub(super) fn adopt(args: &AdoptArgs) -> Result<(), CommandError> {
    let (targets, key) = args.target.targets()?;
    if args.write && targets.is_empty() {
        let text = "name the gate: --config FILE, or --gate HOST:PORT with --account HOST";
        return Err(CommandError::of(Owner::Client, text));
    }
    let mut seen = BTreeSet::new();
    let mut reports = Vec::new();
    for found in args.paths.iter().flat_map(|path| walk::files(path)) {
        let report = match found {
            Err((path, error)) => FileReport::failed(&path, error),
            Ok((path, _)) if !seen.insert(std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone())) => continue,
            Ok((path, format)) => look(&path, format, &targets, args.write, key.as_ref()),
        };
        reports.push(report);
    }
    match args.json {
        true => say(&report::json(&reports).to_string()),
        false => {
            say(report::text(&reports, args.write).trim_end());
            let old: Vec<_> = args.paths.iter().flat_map(|path| walk::old_files(path)).collect();
            if let Some(first) = old.first().filter(|_| !args.write) {
                say(&format!(
                    "Old files that may still hold old secrets: {}, such as {}. Delete them when the tools work.",
                    old.len(),
                    first.display()
                ));
            }
        }
    }
    report::verdict(&reports, args.json)
}

/// A text, with what becomes of the logins in it.
type Planned<'a> = (&'a Part, Vec<(Login<'a>, Plan)>);

/// The host of the gate, by which a login that was moved is known again.
fn gate_of(targets: &[Target]) -> Option<&str> {
    targets.first().map(|target| target.host.as_str())
}

/// Looks at one file, and writes it if that is asked.
fn look(path: &Path, format: Format, targets: &[Target], write: bool, key: Option<&Secret>) -> FileReport {
    let gate = gate_of(targets);
    let Content { bytes, parts } = match read(path, format, gate) {
        Ok(content) => content,
        Err(error) => return FileReport::failed(path, error),
    };
    let planned: Vec<Planned<'_>> = parts.iter().map(|part| (part, logins(part, targets))).collect();
    let logins =
        planned.iter().flat_map(|(part, logins)| logins.iter().map(|one| LoginReport::of(part, one))).collect();
    let mut report = FileReport { path: path.to_owned(), logins, error: None, backup: None };
    let moves = |(_, plan): &(Login<'_>, Plan)| matches!(plan, Plan::Move { .. });
    if !write || !planned.iter().any(|(_, logins)| logins.iter().any(moves)) {
        return report;
    }
    match new_content(&bytes, format, path, &planned, targets, key).and_then(|new| written::write(path, &bytes, &new)) {
        Ok(backup) => report.moved(backup),
        Err(error) => report.error = Some(error),
    }
    report
}

/// The bytes of a file, and its texts.
struct Content {
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

/// Reads a file. One that is not what its name says has no texts, if it does not speak of Snowflake.
fn read(path: &Path, format: Format, gate: Option<&str>) -> Result<Content, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MOST {
        return Err(format!("it is larger than {} MiB", MOST >> 20));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    match format.read(path, &bytes, gate) {
        Ok(parts) => Ok(Content { bytes, parts }),
        Err(_) if !matches!(format, Format::Package(_)) && !speaks_of_snowflake(&bytes) => {
            Ok(Content { bytes, parts: Vec::new() })
        }
        Err(error) => Err(error),
    }
}

/// In UTF-8 or in UTF-16.
fn speaks_of_snowflake(bytes: &[u8]) -> bool {
    let letters: Vec<u8> = bytes.iter().filter(|byte| **byte != 0).map(u8::to_ascii_lowercase).collect();
    letters.windows(b"snowflake".len()).any(|part| part == b"snowflake")
}

fn logins<'a>(part: &'a Part, targets: &[Target]) -> Vec<(Login<'a>, Plan)> {
    let gate = gate_of(targets);
    let all = part.settings.iter().filter_map(|settings| Login::of(settings, gate));
    all.map(|login| {
        let plan = Plan::of(&login, targets, part.fixed);
        (login, plan)
    })
    .collect()
}

/// The new content of a file. It is read again: each login must be there, those that move at the gate with the client
/// key, and the others as they were.
fn new_content(
    bytes: &[u8],
    format: Format,
    path: &Path,
    planned: &[Planned<'_>],
    targets: &[Target],
    key: Option<&Secret>,
) -> Result<Vec<u8>, String> {
    let unplanned = || "the new content would not be what was planned; nothing was written".to_owned();
    let mut texts = Vec::new();
    for (part, logins) in planned {
        let changes: Vec<&Change> = logins.iter().flat_map(|(_, plan)| changes(plan)).collect();
        if changes.is_empty() {
            continue;
        }
        let needs_key = changes.iter().any(|change| change.to == To::Key);
        let key = match key {
            Some(key) => key.expose(),
            None if needs_key => {
                return Err("a secret stands in it: --key-file FILE has the key that replaces it".to_owned());
            }
            None => "",
        };
        let text = changed(&part.document.text, &changes, key).ok_or_else(unplanned)?;
        texts.push((part.name.as_str(), part.document.spell(&text)));
    }
    let new = match (format, &mut texts[..]) {
        (Format::Package(_), texts) => repacked(bytes, texts)?,
        (_, [(_, text)]) => std::mem::take(text),
        _ => return Err("it has more than one text".to_owned()),
    };
    let parts = format
        .read(path, &new, gate_of(targets))
        .map_err(|error| format!("the new content would be wrong: {error}"))?;
    let again: Vec<_> = parts.iter().flat_map(|part| logins(part, targets)).collect();
    let before: Vec<_> = planned.iter().flat_map(|(_, logins)| logins).collect();
    let all_as_planned = before.len() == again.len()
        && before.iter().zip(&again).all(|(before, again)| is_as_planned(before, again, key));
    if all_as_planned { Ok(new) } else { Err(unplanned()) }
}

/// Whether a login is what was planned for it.
fn is_as_planned((login, plan): &(Login<'_>, Plan), (again, now): &(Login<'_>, Plan), key: Option<&Secret>) -> bool {
    let same = |one: &Found<'_>, other: &Secret| one.spot.value.same_as(other);
    let secrets = login.secrets.len() == again.secrets.len()
        && login.secrets.iter().zip(&again.secrets).all(|(before, after)| match plan {
            Plan::Move { .. } => key.is_some_and(|key| same(after, key)),
            Plan::AtTheGate | Plan::ByHand { .. } => same(after, &before.spot.value),
        });
    let place = match plan {
        Plan::Move { .. } | Plan::AtTheGate => matches!(now, Plan::AtTheGate),
        Plan::ByHand { .. } => login.place() == again.place() && matches!(now, Plan::ByHand { .. }),
    };
    login.settings.label == again.settings.label && login.user == again.user && secrets && place
}

fn changes(plan: &Plan) -> &[Change] {
    match plan {
        Plan::Move { changes, .. } => changes,
        Plan::AtTheGate | Plan::ByHand { .. } => &[],
    }
}

#[cfg(test)]
mod tests;
