//! The named tables of the file: accounts and credentials. Clients and stores have a file of their own.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::limits::own_rates;
use super::read::{Found, Section};
use super::rotation::{RotationOf, Rotations};
use super::{Account, Credential, ForwardProxy, forward_proxy};
use crate::base::names::{LoginRefs, SecretRef, SecretRefs};
use crate::base::pins::{Pin, Pins};

/// What `users` takes.
pub(super) const LOCAL_USER: &str = "the name or number of a user of this machine";
/// What `pat` takes.
const PAT: &str = "a reference \"STORE:PATH#FIELD\", never the token itself, or a list of them";
/// What `key_pair` takes.
const KEY_PAIR: &str = "a reference \"STORE:PATH#FIELD\" to a private key, never the key itself, or a list of them";
/// What `passphrase` takes.
const PASSPHRASE: &str = "a reference \"STORE:PATH#FIELD\", never the passphrase itself";

/// A user of this machine. Windows does not tell cases apart, so that the gate compares small letters there.
pub(super) fn local_user(text: &str) -> Option<String> {
    let same = || if cfg!(windows) { text.to_lowercase() } else { text.to_owned() };
    (!text.is_empty()).then(same)
}

/// An account; `everywhere` is the forward proxy of those that name none.
pub(super) fn account(section: Section<'_>, everywhere: Option<&ForwardProxy>) -> Option<Account> {
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
    let target = address.as_ref().and_then(|found| found.value.rsplit_once(':')).map(|(host, _)| host);
    let target = target.or(host.as_ref().map(|found| found.value.0.as_str())).unwrap_or_default();
    let proxy = forward_proxy::of_one(&section, everywhere.filter(|_| !forward_proxy::is_here(target)));
    if let Some(found) = host.as_ref().filter(|found| !found.value.0.contains('.') && found.value.0 != "localhost") {
        let what = "this is no full host name, so Snowflake's certificate will not fit it";
        let remedy = "Write the account's host name, such as \"myorg-prod.snowflakecomputing.com\"";
        section.warning_at(&found.span, "host", what, remedy);
    }
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

/// A DNS name or an IP address, with an optional port.
fn host(text: &str) -> Option<(String, u16)> {
    let bare = |name: &str| !name.contains(':') && rustls::pki_types::ServerName::try_from(name).is_ok();
    if bare(text) {
        return Some((text.to_owned(), 443));
    }
    let (name, port) = text.rsplit_once(':')?;
    bare(name).then_some((name.to_owned(), port.parse().ok()?))
}

pub(super) fn credential(name: &str, section: Section<'_>, rotations: &mut Rotations<'_>) -> Option<Credential> {
    let account = account_name(&section, rotations.account_names);
    let user = section.required("user", "the name of the Snowflake service user").map(|found| found.value);
    let login = login(&section, rotations.store_names);
    let rotation = section.section("rotation").and_then(|section| {
        let of =
            RotationOf { credential: name, account: account.as_deref(), user: user.as_deref(), login: login.as_ref() };
        rotations.read(section, &of)
    });
    let pins = Pins {
        role: pin(&section, "role", None),
        warehouse: pin(&section, "warehouse", None),
        database: pin(&section, "database", None),
        schema: pin(&section, "schema", None),
    };
    let limits = section.section("limits").map(own_rates).unwrap_or_default();
    section.finish();
    Some(Credential { account: Arc::from(account?), user: user?, login: login?, rotation, pins, limits })
}

/// The name of a known account.
pub(super) fn account_name(section: &Section<'_>, accounts: &[String]) -> Option<String> {
    let account = section.required("account", "the name of an account")?;
    known(section, &account.span, "account", &account.value, accounts);
    Some(account.value)
}

/// `pat`, or `key_pair` with its passphrase.
pub(super) fn login(section: &Section<'_>, stores: &[String]) -> Option<LoginRefs> {
    let (pat, key) = (references(section, "pat", PAT, stores), references(section, "key_pair", KEY_PAIR, stores));
    section.matches("passphrase", SecretRef::PATTERN);
    let passphrase = section.parsed("passphrase", PASSPHRASE, SecretRef::parse);
    if let Some(found) = &passphrase {
        known(section, &found.span, "passphrase", &found.value.store, stores);
        if !section.has("key_pair") {
            section.error_at(&found.span, "passphrase", "it opens a `key_pair`, and there is none", "Remove it");
        }
    }
    match (section.has("pat"), section.has("key_pair")) {
        (true, true) => {
            section.error("`pat` and `key_pair` are both there", "Leave one: a user logs in with one of them");
            None
        }
        (false, false) => {
            let remedy = format!("Write pat = … with {PAT}; or key_pair = … with {KEY_PAIR}");
            section.error("`pat` is missing", remedy);
            None
        }
        (true, false) => pat.map(LoginRefs::Pat),
        (false, true) => Some(LoginRefs::KeyPair(key?, passphrase.map(|found| found.value))),
    }
}

/// One or more references to known stores.
fn references(section: &Section<'_>, key: &'static str, wanted: &str, stores: &[String]) -> Option<SecretRefs> {
    section.matches(key, SecretRef::PATTERN);
    let found = section.zero_or_more(key, wanted, SecretRef::parse)?;
    if found.value.is_empty() {
        section.error_at(&found.span, key, "the list is empty", format!("Write {wanted}."));
    }
    found.value.iter().for_each(|reference| known(section, &found.span, key, &reference.store, stores));
    SecretRefs::new(found.value)
}

/// One name for every session, or a list of names that clients may ask for.
pub(super) fn pin(section: &Section<'_>, one: &'static str, many: Option<&'static str>) -> Pin {
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

/// The form that [`network`] reads.
pub(super) const NETWORK: &str = "a network such as \"10.20.0.0/16\" or an address";

/// Warns of networks with bits behind the prefix, which do not count: often an address was meant.
pub(super) fn host_bits(section: &Section<'_>, key: &str, found: Option<&Found<Vec<IpNet>>>) {
    for net in found.into_iter().flat_map(|found| &found.value).filter(|net| **net != net.trunc()) {
        let span = found.map_or(0..0, |found| found.span.clone());
        let what = format!("`{net}` means all of `{}`", net.trunc());
        section.warning_at(&span, key, what, format!("Write `{}`, or the address alone", net.trunc()));
    }
}

pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::file;

    fn warnings(host: &str, network: &str) -> String {
        let text = format!(
            "[listen]\naddress='127.0.0.1:0'\ndanger_plaintext=true\nproxy=['{network}']\n[accounts.a]\nhost='{host}'\n\
             [stores.e.env]\n[credentials.c]\naccount='a'\nuser='U'\npat='e:PAT'\n\
             [clients.x]\ncredential='c'\nnetworks=['{network}']\nkeys=['sha256:{}']\n",
            "0".repeat(64)
        );
        file::parse(Path::new("t.toml"), &text).unwrap_or_else(|report| panic!("{report}")).1.to_string()
    }

    #[test]
    fn what_is_accepted_and_seldom_meant_is_a_warning() {
        assert_eq!(warnings("localhost", "127.0.0.0/8") + &warnings("a.test:8443", "10.0.0.7"), "");
        let said = warnings("acct", "10.1.2.3/8");
        assert!(said.contains("accounts.a.host: this is no full host name"), "{said}");
        for key in ["listen.proxy", "clients.x.networks"] {
            assert!(said.contains(&format!("{key}: `10.1.2.3/8` means all of `10.0.0.0/8`")), "{said}");
        }
    }
}
