//! Reads the text of the file into a [`Config`], or into all its errors.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use super::admin::{admin, health};
use super::clients::client;
use super::entries::{account, credential, known};
use super::limits::limits;
use super::listen::{listen, listener};
use super::observe::{audit, history, metrics, traces};
use super::pat::pat;
use super::read::{Context, Section};
use super::replicas::replicas;
use super::report::Report;
use super::rotation::{Rotations, rotator};
use super::secret_source::secret_source;
use super::stores::store;
use super::{Account, Admin};
use super::{
    Client, Config, Level, Listen, Log, LogFormat, Login, Pat, Reload, Seal, State, Upstream, forward_proxy, syntax,
};
use crate::base::names::{ClientName, SecretRef, SecretRefs};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// Reads an optional section: its values, or their defaults if the table is missing.
macro_rules! optional {
    ($section:expr, $read:expr) => {{
        let section: Option<Section<'_>> = $section;
        let read = $read;
        match section {
            Some(section) => {
                let value = read(Some(&section));
                section.finish();
                value
            }
            None => read(None),
        }
    }};
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum LoadError {
    /// The file cannot be read.
    Unread(String),
    /// The file has errors.
    Wrong(Report),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unread(text) => f.write_str(text),
            Self::Wrong(report) => report.fmt(f),
        }
    }
}

/// Reads a configuration file; returns also the report, for its warnings.
///
/// # Errors
/// [`LoadError`].
pub fn load(file: &Path) -> Result<(Config, Report), LoadError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        LoadError::Unread(match error.kind() {
            std::io::ErrorKind::InvalidData => format!("{} is not UTF-8: save it as UTF-8.", file.display()),
            _ => format!("cannot read {}: {error}. Name the file with --config.", file.display()),
        })
    })?;
    parse(file, &text).map_err(LoadError::Wrong)
}

/// What a command needs of a file that may have errors elsewhere: the state directory that it names, and where the gate
/// takes commands.
pub fn named_in_part(file: &Path) -> (Option<PathBuf>, Admin) {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let (document, _) = DeTable::parse_recoverable(&text);
    let value = |table: &str, key: &str| {
        let table = document.get_ref().iter().find(|(name, _)| name.get_ref() == table)?.1.get_ref().as_table()?;
        table.iter().find(|(name, _)| name.get_ref() == key)?.1.get_ref().as_str()
    };
    let base = file.parent().unwrap_or(Path::new(""));
    let state = value("state", "directory").map(|directory| base.join(directory));
    let mut admin = Admin { socket: value("admin", "socket").map(|socket| base.join(socket)), ..Admin::default() };
    if let Some(address) = value("admin", "address").and_then(|address| address.parse().ok()) {
        admin.address = address;
    }
    (state, admin)
}

/// Reads the text of a configuration file. `file` is its name in errors, and relative paths are relative to it.
///
/// # Errors
/// The report, if it has an error. Warnings alone come with the configuration.
pub fn parse(file: &Path, text: &str) -> Result<(Config, Report), Report> {
    let report = RefCell::new(Report::new(file.display().to_string(), text));
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        for (span, (what, remedy)) in syntax::errors(text, &syntax) {
            report.borrow_mut().error(&span, "", what, remedy);
        }
        return Err(report.into_inner());
    }
    let base = file.parent().unwrap_or(Path::new(""));
    let context = Context { report: &report, base };
    let config = config(Section::new(&context, String::new(), document.get_ref(), 0..0));
    let report = report.into_inner();
    match config {
        Some(config) if !report.has_errors() => Ok((config, report)),
        _ => Err(report),
    }
}

fn config(top: Section<'_>) -> Option<Config> {
    let listen = listen(&top);
    let listeners = match &listen {
        Some(main) => {
            top.named("listeners").into_iter().filter_map(|(name, section)| listener(&name, section, main)).collect()
        }
        None => BTreeMap::new(),
    };
    let listener_names: Vec<String> =
        listeners.keys().map(ToString::to_string).chain([Listen::MAIN.to_owned()]).collect();
    let admin = admin(top.section("admin"));
    let health = health(top.section("health"));
    let reload = reload(top.section("reload"));
    let shared = top.section("replicas").map(replicas);
    let limits = optional!(top.section("limits"), limits);
    let login = login(top.section("login"));
    let upstream = upstream(top.section("upstream"));
    let pat = optional!(top.section("pat"), pat);
    let state = state(top.section("state"), top.base());
    let log = log(top.section("log"));
    let history = history(top.section("history"));
    let audit = audit(top.section("audit"));
    let traces = traces(top.section("traces"));
    let metrics = metrics(top.section("metrics"));
    let everywhere = forward_proxy::of_all(&top);
    let example = "[accounts.prod] with host = \"myorg-prod.snowflakecomputing.com\"";
    let accounts = table(&top, "accounts", example, |_, section| account(section, everywhere.as_ref()));
    let example = "[stores.local.file] with path = \"secrets\"";
    let stores = table(&top, "stores", example, |_, section| store(section, everywhere.as_ref()));
    let seal = seal(&top, &stores.names);
    let rotators = table_or_none(&top, "rotators", |section| rotator(section, &accounts.names, &stores.names));
    let mut rotations = Rotations {
        rotators: &rotators.values,
        rotator_names: &rotators.names,
        accounts: &accounts.values,
        account_names: &accounts.names,
        stores: &stores.values,
        store_names: &stores.names,
        seen: Vec::new(),
    };
    let mut credentials =
        table(&top, "credentials", "[credentials.powerbi] with account, user and pat", |name, section| {
            credential(name, section, &mut rotations)
        });
    rotations.share(&mut credentials.values);
    let clients = table(
        &top,
        "clients",
        "[clients.powerbi-gateway] with credential and keys; `patgate client new NAME` prints it",
        |name, section| client(name, section, &credentials.names, &listener_names),
    );
    let listening = listen.iter().chain(listeners.values()).map(|listen| listen.address);
    addresses(&top, listening.chain([admin.address]).chain(health));
    times(&top, &pat);
    if seal.is_none() {
        unsealed(&top, accounts.values.len(), &clients.values);
    }
    tunnels(&top, listeners.values(), &accounts.values);
    admission(&top, listen.iter().chain(listeners.values()), &clients.values);
    keyed_ways(&top, &listeners, &clients.values);
    let names =
        clients.values.into_iter().filter_map(|(name, client)| Some((ClientName::parse(&name)?, client))).collect();
    top.finish();
    Some(Config {
        listen: listen?,
        listeners,
        admin,
        health,
        reload,
        login,
        limits,
        replicas: shared.map_or(Some(None), |read| read.map(Some))?,
        upstream,
        pat,
        state,
        seal,
        log,
        history,
        audit,
        traces,
        metrics,
        accounts: accounts.values,
        stores: stores.values,
        rotators: rotators.values,
        credentials: credentials.values,
        clients: names,
    })
}

/// Each listener has an address of its own.
fn addresses(top: &Section<'_>, all: impl Iterator<Item = SocketAddr>) {
    let all: Vec<_> = all.collect();
    let again = |(number, address): &(usize, &SocketAddr)| address.port() != 0 && all[..*number].contains(address);
    if let Some((_, twice)) = all.iter().enumerate().find(again) {
        top.error(format!("two listeners have the address {twice}"), "Give each a port of its own");
    }
}

/// No tunnel leads past the gate to an account.
fn tunnels<'a>(top: &Section<'_>, listeners: impl Iterator<Item = &'a Listen>, accounts: &BTreeMap<Arc<str>, Account>) {
    for (listen, connect) in listeners.filter_map(|listen| Some((listen, listen.connect()?))) {
        for (name, account) in accounts {
            if connect.tunnel.iter().any(|target| target.is(&account.host.to_ascii_lowercase(), account.port)) {
                top.error(
                    format!("listeners.{}.tunnel covers the host of accounts.{name}", listen.name),
                    "Name the stages' hosts alone: the gate opens what goes to an account, and tunnels nothing there",
                );
            }
        }
    }
}

/// A PAT's times fit each other.
fn times(top: &Section<'_>, pat: &Pat) {
    if pat.stale < pat.refresh {
        top.error(
            "`pat.stale` is shorter than `pat.refresh`",
            "Make it longer: a PAT must stay usable until the gate reads it again",
        );
    }
    if pat.refresh < pat.pace {
        top.error(
            "`pat.refresh` is shorter than `pat.pace`",
            "Make it longer: the gate reads a reference at most once per `pat.pace`",
        );
    }
}

/// What needs sealed tokens.
fn unsealed(top: &Section<'_>, accounts: usize, clients: &BTreeMap<Arc<str>, Client>) {
    for (name, _) in clients.iter().filter(|(_, client)| client.limits.sessions.is_some()) {
        let what = format!("clients.{name} has a limit on sessions, but tokens are not sealed");
        top.error(what, "Remove `seal = false`, or the limit: without sealed tokens the gate knows no sessions");
    }
    if accounts > 1 {
        // Without sealed tokens, a later request does not say which account its session belongs to.
        top.error(
            "there is more than one account, but tokens are not sealed",
            "Remove `seal = false`, or run one gate per account",
        );
    }
}

/// A listener that asks for a key at each CONNECT is no way in for a client without one.
fn keyed_ways(top: &Section<'_>, listeners: &BTreeMap<Arc<str>, Listen>, clients: &BTreeMap<Arc<str>, Client>) {
    let asks = |name: &Arc<str>| listeners.get(name).and_then(Listen::connect).is_some_and(|connect| connect.auth);
    for (name, client) in clients.iter().filter(|(_, client)| client.keys.is_empty()) {
        if !client.listeners.is_empty() && client.listeners.iter().all(asks) {
            top.error(
                format!("clients.{name} has no key, and each listener that it may use asks for one (`auth`)"),
                "Give it a key, or another listener",
            );
        }
    }
}

/// Checks that clients without a key have different certificate names, users or user names.
fn admission<'a>(
    top: &Section<'_>,
    mut listen: impl Iterator<Item = &'a Listen>,
    clients: &BTreeMap<Arc<str>, Client>,
) {
    let asks = listen.any(|listen| listen.client_ca.is_some());
    if let Some((name, _)) = clients.iter().find(|(_, client)| !client.certificates.is_empty()).filter(|_| !asks) {
        top.error(
            format!("clients.{name} needs a certificate, but `listen.client_ca` is missing"),
            "Write the path of the roots for client certificates",
        );
    }
    let keyless: Vec<_> = clients.iter().filter(|(_, client)| client.keys.is_empty()).collect();
    for (number, (name, client)) in keyless.iter().enumerate() {
        for (other, another) in &keyless[number + 1..] {
            let certificate = client.certificates.iter().any(|one| another.certificates.contains(one));
            let any = |client: &Client| client.trust_loopback && client.users.is_empty();
            let users = client.trust_loopback
                && another.trust_loopback
                && (any(client) || any(another) || client.users.iter().any(|one| another.users.contains(one)));
            let named = [client, another].iter().all(|client| !client.login_names.is_empty());
            let overlap = client.login_names.iter().any(|one| another.login_names.iter().any(|two| one.overlaps(two)));
            if (certificate || users) && (!named || overlap) {
                let how = if named { ": their `login_names` overlap" } else { "" };
                top.error(
                    format!("the gate cannot tell clients.{name} and clients.{other} apart{how}"),
                    "Give each its own certificate names, users or `login_names`, or a key",
                );
            }
        }
    }
}

/// A table of named entries: the valid ones, and the names of all, so that one mistake is not reported twice.
struct Table<T> {
    values: BTreeMap<Arc<str>, T>,
    names: Vec<String>,
}

fn table<'a, T>(
    top: &Section<'a>,
    key: &'static str,
    example: &str,
    mut read: impl FnMut(&str, Section<'a>) -> Option<T>,
) -> Table<T> {
    let sections = top.named(key);
    if sections.is_empty() {
        top.error(format!("`[{key}.NAME]` is missing"), format!("Write {example}"));
    }
    let names = sections.iter().map(|(name, _)| name.clone()).collect();
    let read = |(name, section): (String, Section<'a>)| Some((Arc::from(name.as_str()), read(&name, section)?));
    Table { values: sections.into_iter().filter_map(read).collect(), names }
}

/// The same for a table that may be missing.
fn table_or_none<'a, T>(top: &Section<'a>, key: &'static str, read: impl Fn(Section<'a>) -> Option<T>) -> Table<T> {
    let sections = top.named(key);
    let names = sections.iter().map(|(name, _)| name.clone()).collect();
    let read = |(name, section): (String, Section<'a>)| Some((Arc::from(name.as_str()), read(section)?));
    Table { values: sections.into_iter().filter_map(read).collect(), names }
}

fn duration_in(
    section: Option<&Section<'_>>,
    key: &'static str,
    default: Duration,
    range: std::ops::Range<Duration>,
) -> Duration {
    section.map_or(default, |section| section.duration(key, default, range))
}

fn reload(section: Option<Section<'_>>) -> Reload {
    optional!(section, |section: Option<&Section<'_>>| Reload {
        watch: duration_in(section, "watch", 5 * SECOND, Duration::ZERO..HOUR),
    })
}

fn login(section: Option<Section<'_>>) -> Login {
    optional!(section, |section: Option<&Section<'_>>| {
        let size = |key, default, range| section.map_or(default, |section| section.size(key, default, range));
        Login {
            body: size("body", 64 << 10, 4 << 10..16 << 20),
            inflated: size("inflated", 256 << 10, 4 << 10..64 << 20),
            deadline: duration_in(section, "deadline", 30 * SECOND, Duration::from_millis(50)..5 * MINUTE),
            hold: duration_in(section, "hold", 6 * SECOND, Duration::ZERO..MINUTE),
        }
    })
}

fn upstream(section: Option<Section<'_>>) -> Upstream {
    optional!(section, |section: Option<&Section<'_>>| Upstream {
        connect: duration_in(section, "connect", 10 * SECOND, Duration::from_millis(50)..MINUTE),
        first_byte: duration_in(section, "first_byte", 5 * MINUTE, 2 * MINUTE..24 * HOUR),
        silence: duration_in(section, "silence", 10 * MINUTE, 5 * MINUTE..24 * HOUR),
        keep: duration_in(section, "keep", 55 * SECOND, Duration::ZERO..HOUR),
    })
}

fn state(section: Option<Section<'_>>, base: &Path) -> State {
    optional!(section, |section: Option<&Section<'_>>| State {
        directory: section.and_then(|section| section.path("directory")).map(|found| found.value),
        beside: base.join("state"),
        warm_key: section.and_then(|section| secret_source(section, "warm_key")).map(|found| found.value),
    })
}

/// `seal = false`, or a table.
fn seal(top: &Section<'_>, stores: &[String]) -> Option<Seal> {
    let section = match top.is_table("seal") {
        true => top.section("seal"),
        false => match top.flag("seal") {
            Some(flag) if !flag.value => {
                let what = "clients hold Snowflake's own tokens, which are as good as a PAT for hours";
                top.warning_at(&flag.span, "seal", what, "Remove it, unless a client does not work with sealed tokens");
                return None;
            }
            _ => None,
        },
    };
    Some(optional!(section, |section: Option<&Section<'_>>| {
        let wanted = "a reference \"STORE:PATH#FIELD\", never a key itself, or a list of them";
        let keys = section.filter(|section| section.has("keys")).and_then(|section| {
            section.matches("keys", SecretRef::PATTERN);
            let found = section.one_or_more("keys", wanted, SecretRef::parse)?;
            found.value.iter().for_each(|reference| known(section, &found.span, "keys", &reference.store, stores));
            SecretRefs::new(found.value)
        });
        let rotate = duration_in(section, "rotate", 24 * HOUR, MINUTE..30 * 24 * HOUR);
        let keep = duration_in(section, "keep", 24 * HOUR, 4 * HOUR..30 * 24 * HOUR);
        if let Some(section) = section.filter(|_| keep.as_secs() / rotate.as_secs() > 500) {
            let what = "`rotate` is too short: the ring would hold more than 500 keys";
            section.error(what, "Write a longer `rotate` or a shorter `keep`");
        }
        Seal { keys, rotate, keep, refresh: duration_in(section, "refresh", 10 * SECOND, SECOND..HOUR) }
    }))
}

fn log(section: Option<Section<'_>>) -> Log {
    let levels = [
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ];
    let formats = [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)];
    optional!(section, |section: Option<&Section<'_>>| Log {
        level: section.and_then(|section| section.choice("level", &levels)).map_or(Level::Info, |found| found.value),
        format: section
            .and_then(|section| section.choice("format", &formats))
            .map_or(LogFormat::Auto, |found| found.value),
    })
}
