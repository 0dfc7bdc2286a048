//! `patgate check`: the configuration, and what it names on this machine; with `--online` also stores and accounts.

#[cfg_attr(unix, path = "access_unix.rs")]
#[cfg_attr(windows, path = "access_windows.rs")]
mod access;
mod accounts;
mod addresses;
mod files;
mod finding;
mod logins;
mod references;
mod sources;

use clap::Args;

use super::shell::{CommandError, ConfigArgs, control_runtime, say};
use crate::base::clock::Env;
use crate::base::fault::Owner;
use crate::config::Config;
use crate::config::file::{self, LoadError};
use crate::config::report::Report;
pub(super) use files::inspect;
pub(super) use finding::{Finding, Severity};
use references::Probe;
#[cfg(windows)]
pub(super) use sources::sources;

/// What to check.
#[derive(Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Also read every secret reference once, and open a connection to every account.
    #[arg(long)]
    online: bool,
    /// With `--online`: log in once with each credential, through the running gate's guard. What Snowflake has refused
    /// before is not sent.
    #[arg(long, requires = "online")]
    login: bool,
    /// Look at the file alone, and open nothing that it names: for a machine that is not the gate's.
    #[arg(long, conflicts_with = "online")]
    file_only: bool,
}

/// What was looked at beside the file.
#[derive(Default)]
struct Looked {
    findings: Vec<Finding>,
    probes: Vec<Probe>,
}

/// The command.
pub(super) fn check(args: &CheckArgs) -> Result<(), CommandError> {
    let (report, config) = match file::load(&args.config.file()?) {
        Ok((config, report)) => (report, Some(config)),
        Err(LoadError::Wrong(report)) => (report, None),
        Err(unread) => return Err(CommandError::gate(unread)),
    };
    let looked = match config.as_ref().filter(|_| !args.file_only) {
        Some(config) => {
            let runtime = control_runtime()?;
            let mut looked = runtime.block_on(look(config, args.online));
            if args.login {
                looked.findings.extend(runtime.block_on(logins::log_in(config)));
            }
            // A store that hangs must not keep the process alive.
            runtime.shutdown_background();
            looked
        }
        None => Looked::default(),
    };
    told(&args.config, &report, config.is_some(), &looked)
}

/// Looks at everything as `check --online --login` does; the error is the first thing that is wrong.
pub(super) async fn prove(config: &Config) -> Result<Vec<String>, CommandError> {
    let mut looked = look(config, true).await;
    let unread = looked.probes.iter().find(|probe| !probe.is_ok());
    if let Some(unread) = unread {
        return Err(CommandError::of(Owner::Store, unread.line()));
    }
    looked.findings.extend(logins::log_in(config).await);
    match looked.findings.iter().find(|one| one.severity == Severity::Error) {
        Some(wrong) => Err(CommandError::of(wrong.owner, wrong.line())),
        None => {
            let probes = looked.probes.iter().map(Probe::line);
            Ok(looked.findings.iter().map(Finding::line).chain(probes).collect())
        }
    }
}

async fn look(config: &Config, online: bool) -> Looked {
    let clock = Env::default().clock;
    let mut findings = files::inspect(config, &clock).await;
    if !online {
        return Looked { findings, probes: Vec::new() };
    }
    findings.extend(accounts::reach(config).await);
    // A store that cannot be set up is among the findings.
    let probes = references::probe(config).await.unwrap_or_default();
    Looked { findings, probes }
}

fn told(args: &ConfigArgs, report: &Report, valid: bool, looked: &Looked) -> Result<(), CommandError> {
    let Looked { findings, probes } = looked;
    let wrong: Vec<_> = findings.iter().filter(|one| one.severity == Severity::Error).collect();
    let ok = valid && wrong.is_empty() && probes.iter().all(Probe::is_ok);
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
        let all = serde_json::json!({ "ok": ok, "problems": problems, "findings": findings, "references": probes });
        say(&all.to_string());
    } else if valid {
        let warnings = report.to_string();
        if !warnings.is_empty() {
            say(warnings.trim_end());
        }
        findings.iter().filter(|one| one.severity != Severity::Error).for_each(|one| say(&one.line()));
        probes.iter().for_each(|probe| say(&probe.line()));
        if ok {
            say(&format!("{}: ok", report.file()));
        }
    }
    let owner = match (valid, wrong.first()) {
        _ if ok => return Ok(()),
        (false, _) => Owner::Gate,
        (true, Some(first)) => first.owner,
        (true, None) => Owner::Store,
    };
    let text = match (args.json, valid) {
        (true, _) => String::new(),
        (false, false) => report.to_string(),
        (false, true) => wrong.iter().map(|one| one.line() + "\n").collect(),
    };
    Err(CommandError::of(owner, text))
}
