//! From the text of the file to a [`Config`], or to everything that is wrong with it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeTable;

use super::read::{Context, Section};
use super::report::Report;
use super::{
    Account, Admin, Client, Config, Credential, FileStore, KeyPair, KvVersion, Level, Limits, Listen, Log, LogFormat,
    Login, Pat, SecretSource, Store, Upstream, VaultLogin, VaultStore, units,
};
use crate::base::names::{ClientName, SecretRef};
use crate::base::pins::Pins;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// Reads the text of a configuration file. `file` names it in errors and is what relative paths are relative to.
///
/// # Errors
/// The report, when it holds an error. Warnings alone come with the configuration.
pub fn parse(file: &Path, text: &str) -> Result<(Config, Report), Report> {
    let report = RefCell::new(Report::new(file.display().to_string(), text));
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        for error in &syntax {
            // The parser's own words may quote the line, and a secret with it.
            let span = error.span().unwrap_or(0..0);
            report.borrow_mut().error(
                &span,
                "",
                "this is not valid TOML",
                "Check quotes, brackets and `key = value`; strings stand in double quotes",
            );
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
    let admin = top.section("admin").map_or(Some(admin_default()), admin);
    let login = login(top.section("login"));
    let upstream = upstream(top.section("upstream"));
    let pat = pat(top.section("pat"));
    let log = log(top.section("log"));
    let accounts =
        table(&top, "accounts", "[accounts.prod] with host = \"myorg-prod.snowflakecomputing.com\"", account);
    let stores = table(&top, "stores", "[stores.local.file] with path = \"secrets\"", store);
    let credentials =
        table(&top, "credentials", "[credentials.powerbi] with account, user and pat", |name, section| {
            credential(name, section, &accounts.names, &stores.names)
        });
    let clients = table(
        &top,
        "clients",
        "[clients.powerbi-gateway] with credential and keys; `patgate client new NAME` prints it",
        |name, section| client(name, section, &credentials.names),
    );
    if accounts.values.len() > 1 {
        // Without sealed tokens nothing in a later request says which account its session belongs to.
        top.error("there is more than one account", "Run one gate an account for now");
    }
    let names =
        clients.values.into_iter().filter_map(|(name, client)| Some((ClientName::parse(&name)?, client))).collect();
    top.finish();
    Some(Config {
        listen: listen?,
        admin: admin?,
        login,
        upstream,
        pat,
        log,
        accounts: accounts.values,
        stores: stores.values,
        credentials: credentials.values,
        clients: names,
    })
}

/// A table of named things: those that could be read, and the names of all, so that one mistake is not reported twice.
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
    if sections.is_empty() && !top.has(key) {
        top.error(format!("`[{key}.NAME]` is missing"), format!("Write {example}"));
    }
    let names = sections.iter().map(|(name, _)| name.clone()).collect();
    let read = |(name, section): (String, Section<'a>)| Some((Arc::from(name.as_str()), read(&name, section)?));
    Table { values: sections.into_iter().filter_map(read).collect(), names }
}

fn listen(top: &Section<'_>) -> Option<Listen> {
    let Some(section) = top.section("listen") else {
        if !top.has("listen") {
            top.error("`[listen]` is missing", "Write [listen] with address, certificate and key");
        }
        return None;
    };
    let address = section.required_parsed("address", "an address and a port, such as \"127.0.0.1:8443\"", |text| {
        text.parse::<SocketAddr>().ok()
    });
    let plaintext = section.flag("danger_plaintext");
    let tls = match &plaintext {
        Some(flag) if flag.value => {
            for key in ["certificate", "key"] {
                if let Some(path) = section.path(key) {
                    section.error_at(
                        &path.span,
                        key,
                        "it has no use with danger_plaintext = true",
                        "Take one of the two out",
                    );
                }
            }
            if let Some(address) = &address
                && !address.value.ip().is_loopback()
            {
                section.error_at(
                    &flag.span,
                    "danger_plaintext",
                    "plain HTTP is for loopback addresses only",
                    "Listen on 127.0.0.1, or take this out and give certificate and key",
                );
            }
            None
        }
        _ => {
            let pem = "the path of a PEM file";
            let (certificate, key) = (section.required_path("certificate", pem), section.required_path("key", pem));
            certificate.zip(key).map(|(certificate, key)| KeyPair { certificate: certificate.value, key: key.value })
        }
    };
    let read = Listen {
        address: address.map_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |found| found.value),
        tls,
        workers: section.count("workers", 1..1024).map(|found| found.value),
        connections: section.count("connections", 1..1_000_000).map_or(10_000, |found| found.value),
        handshake: section.duration("handshake", 10 * SECOND, Duration::from_millis(50)..5 * MINUTE),
        head: section.duration("head", 10 * SECOND, Duration::from_millis(50)..5 * MINUTE),
        idle: section.duration("idle", 10 * MINUTE, Duration::from_millis(50)..24 * HOUR),
        drain: section.duration("drain", 30 * SECOND, Duration::ZERO..HOUR),
    };
    section.finish();
    Some(read)
}

fn admin_default() -> Admin {
    Admin { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8444)) }
}

fn admin(section: Section<'_>) -> Option<Admin> {
    let wanted = "a loopback address and a port, such as \"127.0.0.1:8444\"";
    let local = |text: &str| text.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback());
    let admin =
        section.parsed("address", wanted, local).map_or_else(admin_default, |found| Admin { address: found.value });
    section.finish();
    Some(admin)
}

/// Reads an optional section: its values, or the same values' defaults when the table is not there at all.
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

fn duration_in(
    section: Option<&Section<'_>>,
    key: &'static str,
    default: Duration,
    range: std::ops::Range<Duration>,
) -> Duration {
    section.map_or(default, |section| section.duration(key, default, range))
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

fn pat(section: Option<Section<'_>>) -> Pat {
    optional!(section, |section: Option<&Section<'_>>| Pat {
        refresh: duration_in(section, "refresh", MINUTE, SECOND..24 * HOUR),
        stale: duration_in(section, "stale", 24 * HOUR, SECOND..30 * 24 * HOUR),
        read: duration_in(section, "read", 5 * SECOND, Duration::from_millis(50)..MINUTE),
        budget: section.and_then(|section| section.count("budget", 1..4)).map_or(2, |found| found.value),
    })
}

fn log(section: Option<Section<'_>>) -> Log {
    let level = |text: &str| {
        Some(match text {
            "error" => Level::Error,
            "warn" => Level::Warn,
            "info" => Level::Info,
            "debug" => Level::Debug,
            "trace" => Level::Trace,
            _ => return None,
        })
    };
    let format = |text: &str| {
        Some(match text {
            "auto" => LogFormat::Auto,
            "json" => LogFormat::Json,
            "text" => LogFormat::Text,
            _ => return None,
        })
    };
    optional!(section, |section: Option<&Section<'_>>| Log {
        level: section
            .and_then(|section| section.parsed("level", "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"", level))
            .map_or(Level::Info, |found| found.value),
        format: section
            .and_then(|section| section.parsed("format", "\"auto\", \"json\" or \"text\"", format))
            .map_or(LogFormat::Auto, |found| found.value),
    })
}

fn account(_name: &str, section: Section<'_>) -> Option<Account> {
    let host = section.required_parsed(
        "host",
        "a host name, such as \"myorg-prod.snowflakecomputing.com\", with :PORT if it is not 443",
        host,
    );
    let address = section.parsed("address", "NAME:PORT or IP:PORT, such as \"10.0.0.5:443\"", |text| {
        let (name, port) = text.rsplit_once(':')?;
        (!name.is_empty() && port.parse::<u16>().is_ok()).then(|| text.to_owned())
    });
    let ca = section.path("ca");
    let name = section.text("name", "the account's identifier in Snowflake, such as \"myorg-prod\"");
    section.finish();
    let (host, port) = host?.value;
    let first_label = host.split('.').next().unwrap_or(&host).to_owned();
    Some(Account {
        name: name.map_or(first_label, |found| found.value),
        host,
        port,
        address: address.map(|found| found.value),
        ca: ca.map(|found| found.value),
    })
}

/// A DNS name or an IP address, with an optional port.
fn host(text: &str) -> Option<(String, u16)> {
    let bare = |name: &str| rustls::pki_types::ServerName::try_from(name).is_ok();
    if bare(text) {
        return Some((text.to_owned(), 443));
    }
    let (name, port) = text.rsplit_once(':')?;
    bare(name).then_some((name.to_owned(), port.parse().ok()?))
}

fn store(_name: &str, section: Section<'_>) -> Option<Store> {
    let kinds = [
        section.section("file").map(file_store),
        section.section("env").map(env_store),
        section.section("vault").map(vault_store),
    ];
    let present = kinds.iter().flatten().count();
    if present != 1 && ["file", "env", "vault"].iter().filter(|kind| section.has(kind)).count() != 1 {
        section.error(
            "a store has exactly one kind",
            "Write [stores.NAME.file], [stores.NAME.env] or [stores.NAME.vault]",
        );
    }
    section.finish();
    kinds.into_iter().flatten().flatten().next()
}

fn file_store(section: Section<'_>) -> Option<Store> {
    let path = section.required_path("path", "a directory");
    section.finish();
    Some(Store::File(FileStore { path: path?.value }))
}

fn env_store(section: Section<'_>) -> Option<Store> {
    section.finish();
    Some(Store::Env)
}

fn vault_store(section: Section<'_>) -> Option<Store> {
    let wanted = "https://HOST:PORT, or http:// on a loopback address";
    let address = section
        .required_parsed("address", wanted, |text| vault_address(text).then(|| text.trim_end_matches('/').to_owned()));
    let ca = section.path("ca");
    let namespace = section.text("namespace", "a namespace, such as \"team/bi\"");
    let kv = section.parsed("kv", "\"auto\", \"v1\" or \"v2\"", |text| match text {
        "auto" => Some(None),
        "v1" => Some(Some(KvVersion::V1)),
        "v2" => Some(Some(KvVersion::V2)),
        _ => None,
    });
    let source = "\"file:PATH\" or \"env:NAME\"; the secret itself never stands here";
    let base = section.base().to_owned();
    let parse = |text: &str| secret_source(&base, text);
    let token = section.parsed("token", source, parse);
    let approle = section.section("approle").and_then(|section| {
        let mount = section.text("mount", "where the method is mounted, such as \"approle\"");
        let role_id = section.required_parsed("role_id", source, parse);
        let secret_id = section.required_parsed("secret_id", source, parse);
        section.finish();
        let mount = mount.map_or_else(|| "approle".to_owned(), |found| found.value);
        Some(VaultLogin::AppRole { mount, role_id: role_id?.value, secret_id: secret_id?.value })
    });
    if section.has("token") == section.has("approle") {
        section.error(
            "a Vault store has exactly one login",
            "Write token = \"file:…\" or approle = { role_id = \"file:…\", secret_id = \"file:…\" }",
        );
    }
    section.finish();
    Some(Store::Vault(VaultStore {
        address: address?.value,
        ca: ca.map(|found| found.value),
        namespace: namespace.map(|found| found.value),
        kv: kv.and_then(|found| found.value),
        login: approle.or(token.map(|found| VaultLogin::Token(found.value)))?,
    }))
}

fn vault_address(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let local = host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let rooted = matches!(uri.path(), "" | "/") && uri.query().is_none();
    rooted
        && !host.is_empty()
        && match uri.scheme_str() {
            Some("https") => true,
            Some("http") => local,
            _ => false,
        }
}

fn secret_source(base: &Path, text: &str) -> Option<SecretSource> {
    match text.split_once(':')? {
        ("file", path) if !path.is_empty() => Some(SecretSource::File(base.join(path))),
        ("env", name) if !name.is_empty() => Some(SecretSource::Env(name.to_owned())),
        _ => None,
    }
}

fn credential(_name: &str, section: Section<'_>, accounts: &[String], stores: &[String]) -> Option<Credential> {
    let account = section.required("account", "the name of an account");
    if let Some(account) = &account {
        known(&section, &account.span, "account", &account.value, accounts);
    }
    let user = section.required("user", "the name of the Snowflake service user");
    let pat =
        section.required_parsed("pat", "a reference \"STORE:PATH#FIELD\", never the token itself", SecretRef::parse);
    if let Some(pat) = &pat {
        known(&section, &pat.span, "pat", &pat.value.store, stores);
    }
    let name = |key| section.text(key, "a name").map(|found| found.value);
    let pins =
        Pins { role: name("role"), warehouse: name("warehouse"), database: name("database"), schema: name("schema") };
    section.finish();
    Some(Credential { account: Arc::from(account?.value), user: user?.value, pat: pat?.value, pins })
}

fn client(name: &str, section: Section<'_>, credentials: &[String]) -> Option<Client> {
    if ClientName::parse(name).is_none() {
        section.error("this is no name for a client", format!("Use {}", ClientName::RULE));
    }
    let credential = section.required("credential", "the name of a credential");
    if let Some(credential) = &credential {
        known(&section, &credential.span, "credential", &credential.value, credentials);
    }
    if !section.has("keys") {
        section.error("`keys` is missing", format!("`patgate client new {name}` prints a key and this line"));
    }
    let keys = section.list(
        "keys",
        "\"sha256:\" and 64 hex digits, as `patgate client new` prints it; never the key itself",
        key_hash,
    );
    if let Some(keys) = &keys
        && !(1..=2).contains(&keys.value.len())
    {
        section.error_at(
            &keys.span,
            "keys",
            "a client has one key, or two while a key is exchanged",
            "Leave one or two",
        );
    }
    let networks = section.list("networks", "a network such as \"10.20.0.0/16\" or an address", |text| {
        text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    });
    let limits = section.section("limits").map(limits).unwrap_or_default();
    section.finish();
    Some(Client {
        credential: Arc::from(credential?.value),
        keys: keys?.value,
        networks: networks.map_or_else(loopback, |found| found.value),
        limits,
    })
}

fn limits(section: Section<'_>) -> Limits {
    let wanted = "a rate such as \"60/min\", \"200/s\" or \"1000/h\"";
    let logins = section.parsed("logins", wanted, units::rate);
    let requests = section.parsed("requests", wanted, units::rate);
    let sessions = section.count("sessions", 1..1_000_000);
    for (key, span) in
        [("requests", requests.as_ref().map(|f| &f.span)), ("sessions", sessions.as_ref().map(|f| &f.span))]
    {
        if let Some(span) = span {
            section.warning_at(
                span,
                key,
                "this version of the gate does not enforce it",
                "Do not rely on it yet; `logins` is enforced",
            );
        }
    }
    section.finish();
    Limits { logins: logins.map(|f| f.value), requests: requests.map(|f| f.value), sessions: sessions.map(|f| f.value) }
}

fn loopback() -> Vec<IpNet> {
    let v4 = ipnet::Ipv4Net::new(Ipv4Addr::new(127, 0, 0, 0), 8).map(IpNet::V4);
    [v4.ok(), Some(IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)))].into_iter().flatten().collect()
}

fn known(section: &Section<'_>, span: &std::ops::Range<usize>, key: &str, name: &str, names: &[String]) {
    if names.iter().any(|known| known == name) {
        return;
    }
    let near = names.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name));
    let remedy = match near {
        Some(near) => format!("Known: {}. The nearest is `{near}`", names.join(", ")),
        None => "None is configured".to_owned(),
    };
    section.error_at(span, key, "it names nothing in this file", remedy);
}

fn key_hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:")?.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(hash)
}
