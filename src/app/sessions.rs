//! `patgate sessions …`: the sessions of a running gate, over its admin address.

use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use serde_json::Value;

use super::shell::{ConfigArgs, Failed, control_runtime, say};
use super::{admin_client, check};
use crate::session::Target;

/// What to do.
#[derive(Subcommand)]
pub(super) enum SessionsCommand {
    /// The sessions that this gate has served within the last hour.
    List(ConfigArgs),
    /// Add a key to the ring that the gate has made for itself; it seals from now on, and the others go on opening.
    Rotate(ConfigArgs),
    /// End sessions now: the next request of each is refused, and so is every renewal.
    Kill(KillArgs),
}

/// Which sessions.
#[derive(Args)]
pub(super) struct KillArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// client:NAME, pat:FINGERPRINT or session:ID, as `patgate sessions list` shows them.
    #[arg(value_parser = target)]
    target: Target,
}

fn target(text: &str) -> Result<Target, String> {
    Target::parse(text).ok_or_else(|| "write client:NAME, pat:FINGERPRINT or session:ID".to_owned())
}

/// The command.
pub(super) fn sessions(command: &SessionsCommand) -> Result<(), Failed> {
    let (args, method, path) = match command {
        SessionsCommand::List(args) => (args, Method::GET, "/sessions".to_owned()),
        SessionsCommand::Rotate(args) => (args, Method::POST, "/sessions/rotate".to_owned()),
        SessionsCommand::Kill(args) => (&args.config, Method::POST, format!("/sessions/kill?target={}", args.target)),
    };
    let (config, _) = check::load(args)?;
    let (status, answer) = control_runtime()?.block_on(admin_client::ask(config.admin.address, method, &path))?;
    if let Some(error) = answer["error"].as_str().filter(|_| status != StatusCode::OK) {
        return Err(Failed::gate(format!("the gate answers: {error}")));
    }
    if args.json {
        say(&answer.to_string());
        return Ok(());
    }
    match command {
        SessionsCommand::List(_) => answer["sessions"].as_array().into_iter().flatten().for_each(|one| say(&line(one))),
        SessionsCommand::Rotate(_) => say(&format!("{} keys open, and the new one seals", answer["keys"])),
        SessionsCommand::Kill(args) => {
            say(&format!("{}: what was opened until now is over, {} here", args.target, answer["ended"]));
            if answer["known"] == false {
                say("But nothing of that name is known to this gate: compare it with `patgate sessions list`.");
            }
        }
    }
    Ok(())
}

/// One session for a person.
fn line(session: &Value) -> String {
    let text = |name: &str| session[name].as_str().unwrap_or_default().to_owned();
    format!(
        "session:{} client:{} pat:{} at {}, from {}, opened {}, last request {} s ago",
        text("session"),
        text("client"),
        text("pat"),
        text("account"),
        text("from"),
        text("opened"),
        session["idle_s"]
    )
}
