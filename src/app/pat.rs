//! `patgate pat …`: the PATs of a running gate, over its admin address.

use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use serde_json::Value;

use super::shell::{ConfigArgs, Failed, control_runtime, say};
use super::{admin_client, check};
use crate::base::fault::Owner;

/// What to do.
#[derive(Subcommand)]
pub(super) enum PatCommand {
    /// What is held for each credential, from where, and how old it is.
    Status(ConfigArgs),
    /// Read from the stores now, for instance because a PAT was rotated.
    Refresh(RefreshArgs),
    /// Forget the bad logins of a credential's user, because its PAT was enabled again.
    Retry(RetryArgs),
}

/// Which credential.
#[derive(Args)]
pub(super) struct RefreshArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// One credential; without it all of them.
    credential: Option<String>,
}

/// Which credential.
#[derive(Args)]
pub(super) struct RetryArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The credential.
    credential: String,
}

/// The command.
pub(super) fn pat(command: &PatCommand) -> Result<(), Failed> {
    let (args, method, target) = match command {
        PatCommand::Status(args) => (args, Method::GET, "/pats".to_owned()),
        PatCommand::Refresh(args) => {
            let one = args.credential.as_ref().map(|name| format!("?credential={}", encoded(name))).unwrap_or_default();
            (&args.config, Method::POST, format!("/pats/refresh{one}"))
        }
        PatCommand::Retry(args) => {
            (&args.config, Method::POST, format!("/pats/retry?credential={}", encoded(&args.credential)))
        }
    };
    let (config, _) = check::load(args)?;
    let (status, answer) = control_runtime()?.block_on(admin_client::ask(config.admin.address, method, &target))?;
    if let Some(error) = answer["error"].as_str() {
        return Err(Failed::gate(format!("the gate answers: {error}")));
    }
    if args.json {
        say(&answer.to_string());
    } else {
        for pat in answer["pats"].as_array().into_iter().flatten() {
            say(&line(pat));
        }
    }
    match status {
        StatusCode::OK => Ok(()),
        _ => {
            Err(Failed { owner: Owner::Store, text: "a PAT cannot be read; what was in memory goes on serving".into() })
        }
    }
}

fn encoded(name: &str) -> percent_encoding::PercentEncode<'_> {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC)
}

/// One credential for a person.
fn line(pat: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("not known").to_owned();
    let held = &pat["held"];
    let mut out = format!("{}: ", text(&pat["credential"]));
    if held.is_null() {
        out += "nothing in memory";
    } else {
        let (from, version, id) = (text(&held["from"]), text(&held["version"]), text(&held["id"]));
        let (age, expires) = (&held["age_s"], text(&held["expires"]));
        let old = if held["usable"] == true { "" } else { ", too old to be used" };
        let warm = if held["warm"] == true { ", from the warm copy" } else { "" };
        let dead = if held["refused"] == true {
            "\n  Snowflake has refused it: put a new one into the store, or enable it again and say `patgate pat retry`"
        } else {
            ""
        };
        out += &format!("{id}, version {version} of {from}, read {age} s ago{old}{warm}, expiry {expires}{dead}");
    }
    if let Some(cause) = pat["failure"]["cause"].as_str() {
        out += &format!("\n  cannot be read since {}: {cause}", text(&pat["failure"]["since"]));
    }
    for loser in pat["losers"].as_array().into_iter().flatten() {
        out += &format!("\n  gives nothing: {}: {}", text(&loser["reference"]), text(&loser["cause"]));
    }
    out
}
