//! `patgate check`: checks the file only; with `--online` it also reads the stores.

use clap::Args;

use super::online::{self, Probe};
use super::shell::{CommandError, ConfigArgs, control_runtime, say};
use crate::base::fault::Owner;
use crate::config::file::{self, LoadError};
use crate::config::report::Report;

/// What to check.
#[derive(Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Read every secret reference once, and print its store, version, age and expiry.
    #[arg(long)]
    online: bool,
}

/// The command.
pub(super) fn check(args: &CheckArgs) -> Result<(), CommandError> {
    let (report, config) = match file::load(&args.config.config) {
        Ok((config, report)) => (report, Some(config)),
        Err(LoadError::Wrong(report)) => (report, None),
        Err(unread) => return Err(CommandError::gate(unread)),
    };
    let probes = match config.as_ref().filter(|_| args.online) {
        Some(config) => {
            let runtime = control_runtime()?;
            let probes = runtime.block_on(online::probe(config)).map_err(CommandError::gate);
            // A store that hangs must not keep the process alive.
            runtime.shutdown_background();
            probes?
        }
        None => Vec::new(),
    };
    told(&args.config, &report, config.is_some(), &probes)?;
    match probes.iter().all(Probe::is_ok) {
        true => Ok(()),
        false => Err(CommandError { owner: Owner::Store, text: String::new() }),
    }
}

fn told(args: &ConfigArgs, report: &Report, ok: bool, probes: &[Probe]) -> Result<(), CommandError> {
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
        let probes: Vec<_> = probes.iter().map(Probe::json).collect();
        say(&serde_json::json!({ "ok": ok, "problems": problems, "references": probes }).to_string());
    } else if ok {
        let warnings = report.to_string();
        if !warnings.is_empty() {
            say(warnings.trim_end());
        }
        say(&format!("{}: ok", report.file()));
        probes.iter().for_each(|probe| say(&probe.line()));
    }
    match ok {
        true => Ok(()),
        false if args.json => Err(CommandError::gate("")),
        false => Err(CommandError::gate(report)),
    }
}
