//! The named tables of the file: accounts, credentials, clients. Stores have a file of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::limits::{of_client, own_rates};
use super::read::Section;
use super::stores::secret_source;
use super::{Account, Bind, Client, Credential, ForwardProxy};
use crate::base::names::{CertificateName, ClientName, SecretRef, SecretRefs};
use crate::base::pins::{Pin, Pins};

pub(super) fn account(_name: &str, section: Section<'_>) -> Option<Account> {
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
    let in_flight = section.count("in_flight", 1..1_000_000);
    let proxy = section.section("proxy").and_then(forward_proxy);
    section.finish();
    let (host, port) = host?.value;
    let first_label = host.split('.').next().unwrap_or(&host).to_owned();
    Some(Account {
        name: name.map_or(first_label, |found| found.value),
        host,
        port,
        address: address.map(|found| found.value),
        ca: ca.map(|found| found.value),
        in_flight: in_flight.map(|found| found.value),
        proxy,
    })
}

/// A forward proxy; its user and password come together, if it needs them.
fn forward_proxy(section: Section<'_>) -> Option<ForwardProxy> {
    let address = section.required_parsed("address", "HOST:PORT, such as \"proxy.example:3128\"", |text| {
        let (name, port) = text.rsplit_once(':')?;
        (!name.is_empty() && !name.contains('/') && port.parse::<u16>().is_ok()).then(|| text.to_owned())
    });
    let user = section.text("user", "a user name").map(|found| found.value);
    let password = secret_source(&section, "password").map(|found| found.value);
    if user.is_some() != password.is_some() {
        section.error("`user` and `password` belong together", "Write both, or neither");
    }
    section.finish();
    Some(ForwardProxy { address: address?.value, user: user.zip(password) })
}

/// A DNS name or an IP address, with an optional port.
fn host(text: &str) -> Option<(String, u16)> {
    let bare = |name: &str| !name.contains(':') && rustls::pki_types::ServerName::try_from(name).is_ok();
    if bare(text) {
        return Some((text.to_owned(), 443));
    }
    let (name, port) = text.rsplit_once(':')?;
    bare(name).then_some((name.to_owned(), port.parse().ok()?))
}

pub(super) fn credential(
    _name: &str,
    section: Section<'_>,
    accounts: &[String],
    stores: &[String],
) -> Option<Credential> {
    let account = section.required("account", "the name of an account");
    if let Some(account) = &account {
        known(&section, &account.span, "account", &account.value, accounts);
    }
    let user = section.required("user", "the name of the Snowflake service user");
    let wanted = "a reference \"STORE:PATH#FIELD\", never the token itself, or a list of them";
    let pat = section.one_or_more("pat", wanted, SecretRef::parse);
    if let Some(pat) = &pat {
        pat.value.iter().for_each(|reference| known(&section, &pat.span, "pat", &reference.store, stores));
    }
    let pins = Pins {
        role: pin(&section, "role", None),
        warehouse: pin(&section, "warehouse", None),
        database: pin(&section, "database", None),
        schema: pin(&section, "schema", None),
    };
    let limits = section.section("limits").map(own_rates).unwrap_or_default();
    section.finish();
    Some(Credential {
        account: Arc::from(account?.value),
        user: user?.value,
        pat: SecretRefs::new(pat?.value)?,
        pins,
        limits,
    })
}

/// One name for every session, or a list of names that clients may ask for.
fn pin(section: &Section<'_>, one: &'static str, many: Option<&'static str>) -> Pin {
    let fixed = section.text(one, "a name");
    let list = many.and_then(|many| Some((many, section.list(many, "a name", |text| Some(text.to_owned()))?)));
    if let Some((many, list)) = &list {
        if list.value.is_empty() || list.value.iter().any(String::is_empty) {
            section.error_at(
                &list.span,
                many,
                "the list is empty, or a name in it is",
                "Write names, or remove the list",
            );
        }
        if fixed.is_some() {
            section.error_at(
                &list.span,
                many,
                "another key already fixes one",
                format!("Write `{one}` or `{many}`, not both"),
            );
        }
    }
    match (fixed, list) {
        (Some(fixed), _) => Pin::Fixed(fixed.value.into()),
        (None, Some((_, list))) => Pin::OneOf(list.value.into()),
        (None, None) => Pin::Free,
    }
}

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
    let certificates = section.list("certificates", "\"dns:NAME\" or \"uri:URI\"", CertificateName::parse);
    if let Some(certificates) = certificates.as_ref().filter(|list| list.value.is_empty()) {
        let what = "the list is empty, so it would ask for nothing";
        section.error_at(&certificates.span, "certificates", what, "Write a name, or remove it");
    }
    let trust = section.parsed("trust", "\"loopback\": a program on this machine needs no key", |text| {
        (text == "loopback").then_some(())
    });
    if let Some(trust) = &trust
        && ["keys", "certificates"].iter().any(|key| section.has(key))
    {
        section.error_at(&trust.span, "trust", "it has no effect beside keys or certificates", "Remove one of the two");
    }
    let users = section.list("users", "the name or number of a user of this machine", |text| {
        (!text.is_empty()).then(|| text.to_owned())
    });
    if let Some(trust) = trust.as_ref().filter(|_| users.is_none()) {
        let what = "every program of every user on this machine may log in";
        section.warning_at(&trust.span, "trust", what, "Write `users` to allow only some users");
    }
    if let Some(users) = &users {
        if users.value.is_empty() {
            section.error_at(
                &users.span,
                "users",
                "the list is empty",
                "Write a user, or remove it to allow all users of this machine",
            );
        }
        if trust.is_none() {
            section.error_at(&users.span, "users", "it needs trust = \"loopback\"", "Write both, or neither");
        }
        if cfg!(windows) {
            section.error_at(
                &users.span,
                "users",
                "the gate cannot tell users apart on Windows",
                "Give the client a key",
            );
        }
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
            "a client has one key, or two during a change of keys",
            "Leave one or two",
        );
    }
    let networks = section.list("networks", NETWORK, network);
    if let (Some(trust), Some(networks)) = (&trust, &networks) {
        let local = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        if !networks.value.iter().any(|network| local.iter().any(|ip| network.contains(ip))) {
            let what = "no network of this client has a loopback address";
            section.error_at(&trust.span, "trust", what, "Remove `networks`, or add 127.0.0.0/8");
        }
    }
    let listeners = section.list("listeners", "the name of a listener", |text| Some(Arc::from(text)));
    if let Some(listeners) = &listeners {
        listeners
            .value
            .iter()
            .for_each(|name: &Arc<str>| known(&section, &listeners.span, "listeners", name, listener_names));
    }
    let bind = section.parsed("bind", "\"client\", \"network\", \"address\" or \"certificate\"", |text| match text {
        "client" => Some(Bind::Client),
        "network" => Some(Bind::Network),
        "address" => Some(Bind::Address),
        "certificate" => Some(Bind::Certificate),
        _ => None,
    });
    let asked = ["keys", "certificates"].map(|key| section.has(key));
    let pins = Pins {
        role: pin(&section, "role", Some("roles")),
        warehouse: pin(&section, "warehouse", Some("warehouses")),
        database: pin(&section, "database", Some("databases")),
        schema: pin(&section, "schema", None),
    };
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
        networks: networks.map_or_else(loopback, |found| found.value),
        listeners: listeners.map_or_else(Vec::new, |found| found.value),
        pins,
        bind: bind.map_or(Bind::default(), |found| found.value),
        limits,
    })
}

/// The form that [`network`] reads.
pub(super) const NETWORK: &str = "a network such as \"10.20.0.0/16\" or an address";

pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn loopback() -> Vec<IpNet> {
    let v4 = ipnet::Ipv4Net::new(Ipv4Addr::new(127, 0, 0, 0), 8).map(IpNet::V4);
    [v4.ok(), Some(IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)))].into_iter().flatten().collect()
}

pub(super) fn known(section: &Section<'_>, span: &std::ops::Range<usize>, key: &str, name: &str, names: &[String]) {
    if names.iter().any(|known| known == name) {
        return;
    }
    let near = names.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name));
    let remedy = match near {
        Some(near) => format!("Known: {}. The nearest is `{near}`", names.join(", ")),
        None => "None is configured".to_owned(),
    };
    section.error_at(span, key, "nothing in this file has this name", remedy);
}

fn key_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text.strip_prefix("sha256:")?, &mut hash).ok()?;
    Some(hash)
}
