//! `patgate pat status`.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::show;
use crate::app::Verb;
use crate::app::operator::{ClientLogin, PatList};
use crate::base::clock::Env;
use crate::base::rfc3339;
use crate::cli::admin_client;
use crate::cli::shell::{CommandError, GateArgs, say, say_json};
use crate::pat::PatStatus;

/// The command.
pub(super) fn status(args: &GateArgs) -> Result<(), CommandError> {
    let (_, list): (_, PatList) = admin_client::ask(args, Verb::Pats, "?clients=true")?;
    let now = Env::default().clock.wall();
    if args.json {
        say_json(&json!({ "credentials": list.pats.iter().map(|pat| entry(pat, &list, now)).collect::<Vec<_>>() }));
    } else {
        show(args, &list);
        list.pats.iter().flat_map(|pat| came(pat, &list)).for_each(|line| say(&line));
    }
    let wrong: Vec<_> =
        list.pats.iter().filter_map(|pat| Some(format!("{}: {}", pat.credential, pat.attention(now)?))).collect();
    if wrong.is_empty() { Ok(()) } else { Err(CommandError::attention(wrong.join("\n"))) }
}

/// One credential for programs.
fn entry(pat: &PatStatus, list: &PatList, now: SystemTime) -> Value {
    let cached = pat.cached.as_ref();
    let time = |at: Option<SystemTime>| at.map(rfc3339::show);
    let clients: Vec<_> = of(pat, list).collect();
    json!({
        "credential": pat.credential,
        "kind": pat.kind,
        "state": pat.state(now).as_str(),
        "version": cached.map(|cached| cached.id.as_str()),
        "expires": time(cached.and_then(|cached| cached.expires)),
        "expires_from": cached.and_then(|cached| cached.expires_from),
        "days_left": pat.days_left(now),
        "successor": pat.successor,
        "attention": pat.attention(now),
        "token": pat.token,
        "rotation": pat.rotation,
        "store": cached.map(|cached| json!({
            "from": cached.from, "version": cached.version, "created": time(cached.created),
            "age_s": cached.age.as_secs(), "usable": cached.usable, "warm": cached.from_disk,
        })),
        "failure": pat.failure,
        "clients": clients,
    })
}

fn of<'a>(pat: &'a PatStatus, list: &'a PatList) -> impl Iterator<Item = &'a ClientLogin> {
    list.clients.iter().filter(|client| client.credential == pat.credential)
}

/// Which clients have come with the version in use, and which have not.
fn came(pat: &PatStatus, list: &PatList) -> Vec<String> {
    let names = |current: bool| {
        let names: Vec<_> = of(pat, list).filter(|one| one.current == current).map(|one| &*one.client).collect();
        names.join(", ")
    };
    let line =
        |(what, names): (&str, String)| (!names.is_empty()).then(|| format!("{}: {what}: {names}", pat.credential));
    let all = [("have logged in with this version", names(true)), ("have not come with it yet", names(false))];
    all.into_iter().filter_map(line).collect()
}
