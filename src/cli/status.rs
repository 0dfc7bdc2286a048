//! `patgate status`: the whole gate on one screen.

use std::time::{Duration, SystemTime};

use super::admin_client::ask;
use super::shell::{CommandError, GateArgs, say, say_json, say_table, span};
use crate::app::Verb;
use crate::app::status::{
    CertificateStatus, CredentialStatus, FailureCount, ListenerStatus, PartStatus, ReplicasStatus, Status,
};
use crate::base::clock::Env;
use crate::base::rfc3339;

/// How many kinds of failures fit on a screen.
const FAILURES: usize = 10;

/// The command.
pub(super) fn status(args: &GateArgs) -> Result<(), CommandError> {
    let (_, status): (_, Status) = ask(args, Verb::Status, "")?;
    match args.json {
        true => say_json(&status),
        false => screen(&status, Env::default().clock.wall()),
    }
    if status.attention.is_empty() {
        return Ok(());
    }
    let text = status.attention.iter().map(|one| format!("- {one}\n")).collect::<String>();
    Err(CommandError::attention(if args.json { String::new() } else { format!("\nNeeds attention:\n{text}") }))
}

fn screen(status: &Status, now: SystemTime) {
    let up = status.started.and_then(|started| now.duration_since(started).ok()).unwrap_or_default();
    let ready = if status.ready { "ready" } else { "not ready" };
    say(&format!("patgate {}, {ready}, up {}", status.version, span(up)));
    let rows: Vec<_> = status.listeners.iter().map(listener).collect();
    part(["LISTENER", "ADDRESS", "CERTIFICATE", "ENDS"], &rows);
    let rows: Vec<_> = status.credentials.iter().map(credential).collect();
    part(["CREDENTIAL", "ACCOUNT", "USER", "PAT", "VERSION", "READ", "ENDS"], &rows);
    let rows: Vec<_> = status.accounts.iter().map(|one| way(one, "reachable", now)).collect();
    part(["ACCOUNT", "HOST", "STATE", "CAUSE"], &rows);
    let rows: Vec<_> = status.stores.iter().map(|one| way(one, "answers", now)).collect();
    part(["STORE", "KIND", "STATE", "CAUSE"], &rows);
    let sessions: usize = status.sessions.iter().map(|one| one.sessions).sum();
    say(&format!("\n{} clients, {sessions} sessions within the last hour", status.clients));
    let rows: Vec<_> = status.sessions.iter().map(|one| [one.client.clone(), one.sessions.to_string()]).collect();
    if !rows.is_empty() {
        say_table(["CLIENT", "SESSIONS"], &rows);
    }
    if let Some(ReplicasStatus { up, errors }) = &status.replicas {
        let state = if *up { "answers" } else { "does not answer" };
        say(&format!("\nRedis {state}; {errors} commands without an answer since the start"));
    }
    if let Some(reload) = &status.reload {
        let outcome = if reload.cause.is_none() { "worked" } else { "failed" };
        say(&format!("\nThe last reload, {}, {outcome} ({})", when(reload.at), reload.why));
    }
    let rows: Vec<_> = status.failures.iter().take(FAILURES).map(failure).collect();
    if !rows.is_empty() {
        part(["FAILED", "KIND", "OWNER", "TIMES", "LAST", "ITS TRACE"], &rows);
        say("`patgate explain TRACE` tells what happened; `patgate explain CODE` what a code means, and what to do");
    }
}

fn part<const N: usize>(header: [&str; N], rows: &[[String; N]]) {
    say("");
    say_table(header, rows);
}

fn listener(one: &ListenerStatus) -> [String; 4] {
    let (names, ends) = match &one.certificate {
        None => ("none: plain HTTP".to_owned(), String::new()),
        Some(CertificateStatus { names, ends, days_left, valid: true, .. }) => {
            (names.join(","), format!("{} ({days_left} days)", when(*ends)))
        }
        Some(CertificateStatus { names, ends, .. }) => (names.join(","), format!("{} (not valid now)", when(*ends))),
    };
    [one.listener.clone(), one.address.to_string(), names, ends]
}

fn credential(one: &CredentialStatus) -> [String; 7] {
    let CredentialStatus { credential, account, user, state, version, age_s, expires } = one;
    let age = age_s.map_or_else(|| "-".to_owned(), |age| format!("{} ago", span(Duration::from_secs(age))));
    let version = version.clone().unwrap_or_else(|| "-".to_owned());
    let ends = expires.map_or_else(|| "unknown".to_owned(), rfc3339::show);
    [credential.clone(), account.clone(), user.clone(), state.as_str().to_owned(), version, age, ends]
}

fn way(one: &PartStatus, well: &str, now: SystemTime) -> [String; 4] {
    let since = one.since.and_then(|since| now.duration_since(since).ok());
    let state = match (one.up, since) {
        (None, _) => "not known".to_owned(),
        (Some(true), _) => well.to_owned(),
        (Some(false), Some(since)) => format!("fails for {}", span(since)),
        (Some(false), None) => "fails".to_owned(),
    };
    [one.name.clone(), one.what.clone(), state, one.cause.clone().unwrap_or_default()]
}

fn failure(one: &FailureCount) -> [String; 6] {
    let FailureCount { code, kind, owner, count, last, trace } = one;
    [
        code.clone(),
        kind.clone(),
        owner.clone(),
        count.to_string(),
        when(*last),
        trace.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

fn when(at: Option<SystemTime>) -> String {
    at.map_or_else(|| "-".to_owned(), rfc3339::show)
}
