//! `patgate check`: the file, and nothing but the file.

use super::shell::{ConfigArgs, Failed, say};
use crate::config::report::Report;
use crate::config::{Config, file};

/// Reads the configuration; the report goes along, for its warnings.
pub(super) fn load(args: &ConfigArgs) -> Result<(Config, Report), Refusal> {
    let text = std::fs::read_to_string(&args.config).map_err(|error| {
        Refusal::Unread(format!("cannot read {}: {error}. Name the file with --config.", args.config.display()))
    })?;
    file::parse(&args.config, &text).map_err(Refusal::Wrong)
}

/// Why there is no configuration.
pub(super) enum Refusal {
    /// The file cannot be read.
    Unread(String),
    /// The file holds errors.
    Wrong(Report),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unread(text) => Self::gate(text),
            Refusal::Wrong(report) => Self::gate(report),
        }
    }
}

/// The command.
pub(super) fn check(args: &ConfigArgs) -> Result<(), Failed> {
    let (report, ok) = match load(args) {
        Ok((_, report)) => (report, true),
        Err(Refusal::Wrong(report)) => (report, false),
        Err(unread) => return Err(unread.into()),
    };
    if args.json {
        let problems: Vec<_> = report
            .problems()
            .map(|(line, column, problem)| {
                serde_json::json!({
                    "file": report.file(), "line": line, "column": column, "key": problem.key,
                    "what": problem.what, "remedy": problem.remedy, "warning": problem.warning,
                })
            })
            .collect();
        say(&serde_json::json!({ "ok": ok, "problems": problems }).to_string());
    } else if ok {
        let warnings = report.to_string();
        if !warnings.is_empty() {
            say(warnings.trim_end());
        }
        say(&format!("{}: ok", report.file()));
    }
    match ok {
        true => Ok(()),
        false if args.json => Err(Failed::gate("")),
        false => Err(Failed::gate(report)),
    }
}
