//! `patgate sessions list`.

use http::Method;

use crate::app::operator::{SessionList, SessionStatus};
use crate::base::rfc3339;
use crate::cli::admin_client::ask;
use crate::cli::shell::{CommandError, ConfigArgs, say, say_json};

/// The command.
pub(super) fn list(args: &ConfigArgs) -> Result<(), CommandError> {
    let (_, list): (_, SessionList) = ask(args, Method::GET, "/sessions")?;
    match args.json {
        true => say_json(&list),
        false => list.sessions.iter().for_each(|one| say(&line(one))),
    }
    Ok(())
}

/// The line about one session.
fn line(session: &SessionStatus) -> String {
    let SessionStatus { session, client, account, pat, from, opened, idle_s } = session;
    let opened = opened.map(rfc3339::show).unwrap_or_default();
    format!(
        "session:{session} client:{client} pat:{pat} at {account}, from {from}, opened {opened}, \
         last request {idle_s} s ago"
    )
}
