//! The clients of the file: who they are, by what the gate knows them, and what they may do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::Arc;

use ipnet::IpNet;

use super::entries::{LOCAL_USER, NETWORK, host_bits, known, local_user, network, pin};
use super::limits::of_client;
use super::read::{Found, Section};
use super::{Bind, Client, SqlRecord};
use crate::base::login_names::LoginName;
use crate::base::names::{CertificateName, ClientName};
use crate::base::pins::Pins;

pub(super) fn client(
    name: &str,
    section: Section<'_>,
    credentials: &[String],
    listener_names: &[String],
) -> Option<Client> {
    if ClientName::parse(name).is_none() {
        section.error("this is not a valid client name", format!("Use {}", ClientName::RULE));
    }
    let credential = section.required("credential", "the name of a credential");
    if let Some(credential) = &credential {
        known(&section, &credential.span, "credential", &credential.value, credentials);
    }
    if !["keys", "certificates", "trust"].iter().any(|key| section.has(key)) {
        section.error("`keys` is missing", format!("`patgate client new {name}` prints a key and this line"));
    }
    let certificates = certificates(&section);
    let trust = trust(&section);
    let users = users(&section, trust.as_ref());
    let keys = keys(&section);
    let networks = networks(&section, trust.as_ref());
    let login_names =
        section.list("login_names", "a user name, such as \"REPORTS\" or \"REPORTS_*\"", LoginName::parse);
    if let Some(found) = login_names.as_ref().filter(|found| found.value.is_empty()) {
        section.error_at(
            &found.span,
            "login_names",
            "the list is empty, so nobody could log in",
            "Write a name, or remove it",
        );
    }
    let listeners = section.list("listeners", "the name of a listener", |text| Some(Arc::from(text)));
    if let Some(Found { value, span }) = &listeners {
        value.iter().for_each(|name: &Arc<str>| known(&section, span, "listeners", name, listener_names));
    }
    let bind = section.choice(
        "bind",
        &[
            ("client", Bind::Client),
            ("network", Bind::Network),
            ("address", Bind::Address),
            ("certificate", Bind::Certificate),
        ],
    );
    let asked = ["keys", "certificates"].map(|key| section.has(key));
    let pins = Pins {
        role: pin(&section, "role", Some("roles")),
        warehouse: pin(&section, "warehouse", Some("warehouses")),
        database: pin(&section, "database", Some("databases")),
        schema: pin(&section, "schema", None),
    };
    let query_tag = section.flag("query_tag").is_some_and(|found| found.value);
    let sql = section
        .choice("sql", &[("off", SqlRecord::Off), ("fingerprint", SqlRecord::Fingerprint), ("full", SqlRecord::Full)]);
    let limits = section.section("limits").map(of_client).unwrap_or_default();
    section.finish();
    // An invalid list was reported; it must not look like an empty one.
    let has = |there: bool, read: bool| (!there || read).then_some(());
    has(asked[0], keys.is_some())?;
    has(asked[1], certificates.is_some())?;
    Some(Client {
        credential: Arc::from(credential?.value),
        keys: keys.map_or_else(Vec::new, |found| found.value),
        certificates: certificates.map_or_else(Vec::new, |found| found.value),
        trust_loopback: trust.is_some(),
        users: users.map_or_else(Vec::new, |found| found.value),
        login_names: login_names.map_or_else(Vec::new, |found| found.value),
        networks: networks.map_or_else(loopback, |found| found.value),
        listeners: listeners.map_or_else(Vec::new, |found| found.value),
        pins,
        query_tag,
        sql: sql.map_or(SqlRecord::default(), |found| found.value),
        bind: bind.map_or(Bind::default(), |found| found.value),
        limits,
    })
}

/// The hashes of its keys.
fn keys(section: &Section<'_>) -> Option<Found<Vec<[u8; 32]>>> {
    let wanted = "\"sha256:\" and 64 hex digits, as `patgate client new` prints it; never the key itself";
    section.matches("keys", KEY_HASH);
    let keys = section.list("keys", wanted, key_hash)?;
    if !(1..=2).contains(&keys.value.len()) {
        let what = "a client has one key, or two during a change of keys";
        section.error_at(&keys.span, "keys", what, "Leave one or two");
    }
    Some(keys)
}

/// The names that its certificate may have.
fn certificates(section: &Section<'_>) -> Option<Found<Vec<CertificateName>>> {
    let certificates = section.list("certificates", "\"dns:NAME\" or \"uri:URI\"", CertificateName::parse)?;
    if certificates.value.is_empty() {
        let what = "the list is empty, so it would ask for nothing";
        section.error_at(&certificates.span, "certificates", what, "Write a name, or remove it");
    }
    Some(certificates)
}

/// Where it says that a program on this machine needs no key.
fn trust(section: &Section<'_>) -> Option<Range<usize>> {
    let wanted = "\"loopback\": a program on this machine needs no key";
    let Found { span, .. } = section.parsed("trust", wanted, |text| (text == "loopback").then_some(()))?;
    if ["keys", "certificates"].iter().any(|key| section.has(key)) {
        section.error_at(&span, "trust", "it has no effect beside keys or certificates", "Remove one of the two");
    }
    Some(span)
}

/// The users of this machine whose programs need no key.
fn users(section: &Section<'_>, trust: Option<&Range<usize>>) -> Option<Found<Vec<String>>> {
    let users = section.list("users", LOCAL_USER, local_user);
    let Some(found) = &users else {
        if let Some(trust) = trust {
            let what = "every program of every user on this machine may log in";
            section.warning_at(trust, "trust", what, "Write `users` to allow only some users");
        }
        return None;
    };
    let wrong = |what: &str, remedy: &str| section.error_at(&found.span, "users", what, remedy);
    if found.value.is_empty() {
        wrong("the list is empty", "Write a user, or remove it to allow all users of this machine");
    }
    if trust.is_none() {
        wrong("it needs trust = \"loopback\"", "Write both, or neither");
    }
    users
}

/// Where it may come from.
fn networks(section: &Section<'_>, trust: Option<&Range<usize>>) -> Option<Found<Vec<IpNet>>> {
    let networks = section.list("networks", NETWORK, network)?;
    host_bits(section, "networks", Some(&networks));
    let local = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    let has_local = networks.value.iter().any(|network| local.iter().any(|ip| network.contains(ip)));
    if let Some(trust) = trust.filter(|_| !has_local) {
        let what = "no network of this client has a loopback address";
        section.error_at(trust, "trust", what, "Remove `networks`, or add 127.0.0.0/8");
    }
    Some(networks)
}

fn loopback() -> Vec<IpNet> {
    let v4 = ipnet::Ipv4Net::new(Ipv4Addr::new(127, 0, 0, 0), 8).map(IpNet::V4);
    [v4.ok(), Some(IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)))].into_iter().flatten().collect()
}

/// What the hash of every key matches, and no key.
const KEY_HASH: &str = "^sha256:[0-9A-Fa-f]{64}$";

fn key_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text.strip_prefix("sha256:")?, &mut hash).ok()?;
    Some(hash)
}
