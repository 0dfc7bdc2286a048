//! `patgate sessions list`.

use crate::app::Verb;
use crate::app::operator::{SessionList, SessionStatus};
use crate::base::rfc3339;
use crate::cli::admin_client::ask;
use crate::cli::shell::{CommandError, GateArgs, say, say_json, say_table};

/// The first three columns are what `sessions kill` takes.
const HEADER: [&str; 7] = ["SESSION", "CLIENT", "PAT", "ACCOUNT", "FROM", "OPENED", "IDLE"];

/// The command.
pub(super) fn list(args: &GateArgs) -> Result<(), CommandError> {
    let (_, list): (_, SessionList) = ask(args, Verb::Sessions, "")?;
    match list.sessions.is_empty() {
        _ if args.json => say_json(&list),
        true => say("no sessions: this gate has served none within the last hour"),
        false => say_table(HEADER, &list.sessions.iter().map(row).collect::<Vec<_>>()),
    }
    Ok(())
}

fn row(session: &SessionStatus) -> [String; 7] {
    let SessionStatus { session, client, account, pat, from, opened, idle_s } = session;
    let opened = opened.map(rfc3339::show).unwrap_or_default();
    [
        format!("session:{session}"),
        format!("client:{client}"),
        format!("pat:{pat}"),
        account.clone(),
        from.to_string(),
        opened,
        format!("{idle_s} s"),
    ]
}
