//! What was found, and what became of it, for a person and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::formats::Part;
use super::login::Login;
use super::plan::{Change, Plan, To};
use crate::cli::client::KEY;
use crate::cli::shell::CommandError;

/// A file with what was found in it.
pub(super) struct FileReport {
    pub path: PathBuf,
    pub logins: Vec<LoginReport>,
    /// Why it was not read or not written.
    pub error: Option<String>,
    /// Where its old content is, if it was written.
    pub backup: Option<PathBuf>,
}

/// A login, without its secret.
pub(super) struct LoginReport {
    place: String,
    host: Option<String>,
    user: Option<String>,
    /// What stands in the file: its kind, and its fingerprint.
    secrets: Vec<(&'static str, String)>,
    plan: Plan,
    moved: bool,
}

impl LoginReport {
    pub(super) fn of(part: &Part, (login, plan): &(Login<'_>, Plan)) -> Self {
        let (text, at) = (&part.document.text, login.settings.at);
        let line = text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
        let places = [part.name.clone(), format!("line {line}"), login.settings.label.clone()];
        let place = places.into_iter().filter(|place| !place.is_empty()).collect::<Vec<_>>().join(", ");
        Self {
            place,
            host: login.place().map(str::to_owned),
            user: login.user.map(str::to_owned),
            secrets: login.secrets.iter().map(|found| (found.kind, found.spot.value.fingerprint())).collect(),
            plan: plan.clone(),
            moved: false,
        }
    }

    fn is_open(&self) -> bool {
        self.plan.is_open() && !self.moved
    }

    fn state(&self) -> &'static str {
        match &self.plan {
            Plan::Move { .. } if self.moved => "moved",
            Plan::Move { .. } => "to move",
            Plan::AtTheGate => "at the gate",
            Plan::ByHand { .. } => "by hand",
        }
    }

    fn text(&self) -> String {
        let host = self.host.as_deref().unwrap_or("Snowflake");
        let user = self.user.as_ref().map_or_else(String::new, |user| format!(", user {user}"));
        let told = |(kind, id): &(&str, String)| format!("; a {kind} stands in the file ({id})");
        let secret: String = self.secrets.iter().map(told).collect();
        let mut text = format!("  {}: {host}{user}{secret}\n", self.place);
        let client = |client: &str| format!("client {client}");
        let (head, changes): (String, &[Change]) = match &self.plan {
            Plan::AtTheGate => ("is at the gate".to_owned(), &[]),
            Plan::Move { client: to, .. } if self.moved => (format!("moved, as {}", client(to)), &[]),
            Plan::Move { client: to, changes } => (format!("moves, as {}:", client(to)), changes),
            Plan::ByHand { client: to, changes, why } => {
                let to = to.as_ref().map_or_else(String::new, |to| format!(", as {}", client(to)));
                (format!("by hand{to}: {why}"), changes)
            }
        };
        let _ = writeln!(text, "    {head}");
        for change in changes {
            let from = change.from.as_ref().map_or_else(String::new, |from| format!("{from} → "));
            let _ = writeln!(text, "      {}: {from}{}", change.what, shown(&change.to));
        }
        text
    }

    fn json(&self) -> Value {
        let (client, changes, why) = match &self.plan {
            Plan::AtTheGate => (None, &[][..], None),
            Plan::Move { client, changes } => (Some(client), &changes[..], None),
            Plan::ByHand { client, changes, why } => (client.as_ref(), &changes[..], Some(why)),
        };
        let changes: Vec<_> = changes
            .iter()
            .map(|change| json!({ "setting": change.what, "from": change.from, "to": shown(&change.to) }))
            .collect();
        let of_secret = |(kind, id): &(&str, String)| json!({ "kind": kind, "fingerprint": id });
        let secrets: Vec<_> = self.secrets.iter().map(of_secret).collect();
        json!({
            "place": self.place, "host": self.host, "user": self.user, "secrets": secrets,
            "state": self.state(), "client": client, "why": why, "changes": changes,
        })
    }
}

impl FileReport {
    /// A file that could not be read.
    pub(super) fn failed(path: &Path, error: String) -> Self {
        Self { path: path.to_owned(), logins: Vec::new(), error: Some(error), backup: None }
    }

    /// What could be moved was moved.
    pub(super) fn moved(&mut self, backup: PathBuf) {
        for login in &mut self.logins {
            login.moved = matches!(login.plan, Plan::Move { .. });
        }
        self.backup = Some(backup);
    }

    fn is_empty(&self) -> bool {
        self.logins.is_empty() && self.error.is_none()
    }
}

fn shown(to: &To) -> &str {
    match to {
        To::Text(text) | To::Added(text, _) => text,
        To::Key => KEY,
    }
}

/// For a person. What a file has may hold anything, so that control characters do not reach the terminal.
pub(super) fn text(reports: &[FileReport], write: bool) -> String {
    let told = told(reports, write);
    told.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn told(reports: &[FileReport], write: bool) -> String {
    let mut text = String::new();
    for report in reports.iter().filter(|report| !report.is_empty()) {
        let _ = writeln!(text, "{}", report.path.display());
        report.logins.iter().for_each(|login| text.push_str(&login.text()));
        if let Some(error) = &report.error {
            let _ = writeln!(text, "  not {}: {error}", if report.logins.is_empty() { "read" } else { "written" });
        }
        if let Some(backup) = &report.backup {
            let _ = writeln!(text, "  written; the old file is {}", backup.display());
        }
    }
    let logins = || reports.iter().flat_map(|report| &report.logins);
    let count = |state| logins().filter(|login| login.state() == state).count();
    let (moving, hand) = (count("to move"), count("by hand"));
    let _ = writeln!(
        text,
        "Files looked at: {}. Logins to Snowflake: {} ({} at the gate, {} moved, {moving} to move, {hand} by hand).",
        reports.len(),
        logins().count(),
        count("at the gate"),
        count("moved"),
    );
    let mut secrets: BTreeMap<&str, usize> = BTreeMap::new();
    // At the gate it is a client key.
    let of_snowflake = logins().filter(|login| login.plan.is_open()).flat_map(|login| &login.secrets);
    of_snowflake.for_each(|(_, id)| *secrets.entry(id).or_default() += 1);
    if !secrets.is_empty() {
        let places: usize = secrets.values().sum();
        let _ = writeln!(text, "Secrets in files: {} (places: {places}).", secrets.len());
    }
    if moving > 0 && !write {
        text.push_str(
            "Nothing was written: --write moves what can be moved, and keeps each old file beside the new.\n",
        );
    }
    if reports.iter().any(|report| report.backup.is_some()) {
        text.push_str(
            "The old files still hold the old secrets: try each tool, then delete them, and revoke the old tokens.\n\
             A tool that asks for the password is given the client key. Each tool's machine must trust the gate's\n\
             certificate: `patgate client setup CLIENT --for TOOL --ca ca.pem` says how.\n",
        );
    }
    text
}

/// For programs.
pub(super) fn json(reports: &[FileReport]) -> Value {
    let files: Vec<_> = reports
        .iter()
        .filter(|report| !report.is_empty())
        .map(|report| {
            let logins: Vec<_> = report.logins.iter().map(LoginReport::json).collect();
            let backup = report.backup.as_ref().map(|path| path.display().to_string());
            // A name need not be UTF-8; JSON's texts are.
            let file = report.path.display().to_string();
            json!({ "file": file, "logins": logins, "error": report.error, "backup": backup })
        })
        .collect();
    json!({ "looked_at": reports.len(), "files": files })
}

/// Logins that go past the gate need attention, and so do files that could not be read.
pub(super) fn verdict(reports: &[FileReport], json: bool) -> Result<(), CommandError> {
    let open = reports.iter().flat_map(|report| &report.logins).filter(|login| login.is_open()).count();
    let failed = reports.iter().filter(|report| report.error.is_some()).count();
    match (open, failed) {
        (0, 0) => Ok(()),
        _ if json => Err(CommandError::attention("")),
        (open, 0) => Err(CommandError::attention(format!("Logins that go past the gate: {open}"))),
        (0, failed) => Err(CommandError::attention(format!("Files that could not be looked at: {failed}"))),
        (open, failed) => {
            Err(CommandError::attention(format!("Logins that go past the gate: {open}. Files not done: {failed}")))
        }
    }
}
