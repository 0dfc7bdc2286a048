//! [`Plan`]: what becomes of a login, and the changes that move it to the gate.

use std::ops::Range;

use super::login::{Login, bare_host};
use super::settings::{Form, Spot};
use super::target::Target;

/// Why a login has to be changed by hand that names no port.
const NO_PORT: &str = "it has no port, and the gate's is not 443";

/// A change of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub what: &'static str,
    /// What is there now; `None` of what is a secret, or is added.
    pub from: Option<String>,
    pub to: To,
    pub range: Range<usize>,
}

/// What takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum To {
    Text(String),
    /// A new setting: its value, and the text that adds it.
    Added(String, String),
    Key,
}

/// What becomes of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// It goes to the gate already.
    AtTheGate,
    /// These changes move it to the gate.
    Move { client: String, changes: Vec<Change> },
    /// A person has to move it; why, and what to change.
    ByHand { client: Option<String>, changes: Vec<Change>, why: String },
}

impl Plan {
    /// The plan for a login; `fixed` says why its file cannot be written.
    pub(super) fn of(login: &Login<'_>, targets: &[Target], fixed: Option<&str>) -> Self {
        if targets.iter().any(|target| is_at(login, target)) {
            return Self::AtTheGate;
        }
        let by_hand = |why: &str| Self::ByHand { client: None, changes: Vec::new(), why: why.to_owned() };
        if targets.is_empty() {
            return by_hand("name the gate: --config FILE, or --gate HOST:PORT with --account HOST and --user NAME");
        }
        let Some(place) = login.place() else {
            return by_hand("its host does not stand here: it comes from a variable, a parameter or another file");
        };
        let target = match chosen(login, targets) {
            Ok(target) => target,
            Err(_) if targets.iter().any(|target| bare_host(place).eq_ignore_ascii_case(&target.host)) => {
                return by_hand("it goes to the gate's host, but not to the gate's port");
            }
            Err(why) => return by_hand(&why),
        };
        let client = Some(target.client.clone());
        if let Some(way) = login.other_way {
            let why = format!("it logs in with {way}, which a client key does not replace: decide who it is first");
            return Self::ByHand { client, changes: Vec::new(), why };
        }
        let changes = changes(login, target);
        let spots = [login.server, login.port].into_iter().flatten();
        let mut spots = spots.chain(login.secrets.iter().map(|found| found.spot));
        let unfit = match login.settings.form {
            _ if fixed.is_some() => fixed,
            _ if login.unfit.is_some() => login.unfit,
            _ if spots.any(|spot| !spot.plain) => Some("its values are spelt with escapes"),
            Form::Fixed if login.server.is_none() => Some("it has no host, and one cannot be added here"),
            Form::Fixed if login.port.is_none() && host_stands_bare(login) && target.port != 443 => Some(NO_PORT),
            _ => None,
        };
        match unfit {
            None => Self::Move { client: target.client.clone(), changes },
            Some(NO_PORT) => Self::ByHand { client, changes, why: format!("{NO_PORT}: add {}", target.port) },
            Some(why) => Self::ByHand { client, changes, why: why.to_owned() },
        }
    }

    /// Whether the login still goes past the gate.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self, Self::AtTheGate)
    }
}

/// Whether a login goes to the gate: by its host, and by its port where one is stated or has to be.
fn is_at(login: &Login<'_>, target: &Target) -> bool {
    let Some(spot) = login.server else { return false };
    let value = spot.value.expose();
    let inside = value[host_in(value)].split_once(':').map(|(_, port)| port);
    let port = login.port.map(|port| port.value.expose()).or(inside).map(str::parse::<u16>);
    let same_port = match port {
        Some(port) => port == Ok(target.port),
        None => target.port == 443,
    };
    bare_host(value).eq_ignore_ascii_case(&target.host) && same_port
}

/// Whether a host is a variable of its own, which takes no port.
fn host_stands_bare(login: &Login<'_>) -> bool {
    login.settings.label.ends_with('*')
}

/// The one client that a login can move to, or why there is none.
fn chosen<'a>(login: &Login<'_>, targets: &'a [Target]) -> Result<&'a Target, String> {
    let of_account: Vec<&Target> = targets.iter().filter(|target| target.is_for(login)).collect();
    if of_account.is_empty() {
        let name = if targets.len() > 1 { "--client NAME " } else { "" };
        return Err(format!(
            "its account is none of the gate's; if it is one under another name: {name}--account HOST"
        ));
    }
    let of_user: Vec<&Target> = of_account.iter().copied().filter(|one| one.is_of_user(login.user)).collect();
    let names = |all: &[&Target]| all.iter().map(|one| one.client.as_str()).collect::<Vec<_>>().join(" or ");
    match (&of_user[..], login.user) {
        ([only], _) => Ok(only),
        // Another user may be a person, whose rights a client must not take over or lose unasked.
        ([], Some(user)) => {
            Err(format!("{user} is no service user of a client; to move its logins too: --user {user}"))
        }
        (all, _) => {
            Err(format!("say which client: --client {}", names(if all.is_empty() { &of_account } else { all })))
        }
    }
}

fn changes(login: &Login<'_>, target: &Target) -> Vec<Change> {
    let form = &login.settings.form;
    let added = |what, value: String, text: String| {
        let at = login.settings.at;
        Change { what, from: None, to: To::Added(value, text), range: at..at }
    };
    let mut changes = Vec::new();
    let inline = match login.server {
        Some(spot) => has_port_inside(login, spot),
        None => !form.has_port() && login.port.is_none(),
    };
    let server = if inline { target.server() } else { target.host.clone() };
    match login.server {
        Some(spot) => {
            let part = host_in(spot.value.expose());
            let from = Some(spot.value.expose()[part.clone()].to_owned());
            let range = spot.range.start + part.start..spot.range.start + part.end;
            changes.push(Change { what: "host", from, to: To::Text(server), range });
        }
        None => changes.push(added("host", server.clone(), form.host(&server))),
    }
    match login.port {
        Some(spot) if spot.value.expose() == target.port.to_string() => {}
        Some(spot) => changes.push(Change {
            what: "port",
            from: Some(spot.value.expose().to_owned()),
            to: To::Text(target.port.to_string()),
            range: spot.range.clone(),
        }),
        None if !inline && form.has_port() && target.port != 443 => {
            changes.push(added("port", target.port.to_string(), form.port(target.port)));
        }
        None => {}
    }
    for found in &login.secrets {
        changes.push(Change { what: found.kind, from: None, to: To::Key, range: found.spot.range.clone() });
    }
    changes
}

/// Whether the port stands, or has to stand, behind the host: in URLs, and where it has no setting of its own.
fn has_port_inside(login: &Login<'_>, spot: &Spot) -> bool {
    let value = spot.value.expose();
    let nowhere_else = !login.settings.form.has_port() && login.port.is_none() && !host_stands_bare(login);
    value.contains("://") || value[host_in(value)].contains(':') || nowhere_else
}

/// The host in a value, with its port if it has one there.
fn host_in(value: &str) -> Range<usize> {
    let host = bare_host(value);
    let start = value.find(host).unwrap_or_default();
    let rest = &value[start + host.len()..];
    let digits = rest
        .strip_prefix(':')
        .map_or(0, |rest| rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len());
    start..start + host.len() + if digits > 0 { digits + 1 } else { 0 }
}

/// The text with all changes; `None` where two of them are in each other's way.
pub(super) fn changed(text: &str, changes: &[&Change], key: &str) -> Option<String> {
    let mut ordered: Vec<&Change> = changes.to_vec();
    ordered.sort_by_key(|change| (change.range.start, change.range.end));
    let mut new = String::with_capacity(text.len());
    let mut done = 0;
    let windows = text.contains("\r\n");
    for change in ordered {
        new.push_str(text.get(done..change.range.start)?);
        match &change.to {
            To::Added(_, lines) if windows => new.push_str(&lines.replace('\n', "\r\n")),
            To::Text(text) | To::Added(_, text) => new.push_str(text),
            To::Key => new.push_str(key),
        }
        done = change.range.end;
    }
    new.push_str(text.get(done..)?);
    Some(new)
}
