//! What differs between two configurations, for the audit log, and what of it takes a restart.
//!
//! A line names the place and says nothing of the values: where a key hash was replaced, the name of its client is what counts.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::Config;

/// The differences, each as the place in the file and what became of it.
pub fn differences(old: &Config, new: &Config) -> Vec<String> {
    let mut all = Vec::new();
    named(&mut all, "clients", &old.clients, &new.clients, |old, new| {
        vec![
            ("credential", old.credential != new.credential),
            ("keys", old.keys != new.keys),
            ("certificates", old.certificates != new.certificates),
            ("trust", (old.trust_loopback, &old.users) != (new.trust_loopback, &new.users)),
            ("networks", old.networks != new.networks),
            ("listeners", old.listeners != new.listeners),
            ("bind", old.bind != new.bind),
            ("pins", old.pins != new.pins),
            ("limits", old.limits != new.limits),
        ]
    });
    named(&mut all, "credentials", &old.credentials, &new.credentials, |old, new| {
        vec![
            ("account", old.account != new.account),
            ("user", old.user != new.user),
            ("pat", old.pat != new.pat),
            ("pins", old.pins != new.pins),
            ("limits", old.limits != new.limits),
        ]
    });
    named(&mut all, "accounts", &old.accounts, &new.accounts, |old, new| {
        vec![
            ("host", (&old.host, old.port) != (&new.host, new.port)),
            ("address", old.address != new.address),
            ("ca", old.ca != new.ca),
            ("name", old.name != new.name),
            ("in_flight", old.in_flight != new.in_flight),
            ("proxy", old.proxy != new.proxy),
        ]
    });
    named(&mut all, "listeners", &old.listeners, &new.listeners, |_, _| Vec::new());
    named(&mut all, "stores", &old.stores, &new.stores, |_, _| Vec::new());
    for (place, differs) in [
        ("listen", old.listen != new.listen),
        ("admin", old.admin != new.admin),
        ("login", old.login != new.login),
        ("limits", old.limits != new.limits),
        ("replicas", old.replicas != new.replicas),
        ("upstream", old.upstream != new.upstream),
        ("pat", old.pat != new.pat),
        ("state", old.state != new.state),
        ("seal", old.seal != new.seal),
        ("reload", old.reload != new.reload),
        ("log", old.log != new.log),
    ] {
        if differs {
            all.push(format!("{place} changed"));
        }
    }
    all
}

/// What takes effect at the next start only.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    // The ring's keeper goes on with the stores that it began with.
    let ring = |config: &Config| config.seal.as_ref().is_some_and(|seal| seal.keys.is_some());
    let seal = old.seal != new.seal || (ring(new) && old.stores != new.stores);
    let addresses = |config: &Config| -> Vec<_> {
        config.listeners.iter().map(|(name, listen)| (name.clone(), listen.address)).collect()
    };
    [
        ("listeners", addresses(old) != addresses(new)),
        ("listen.address", old.listen.address != new.listen.address),
        ("listen.workers", old.listen.workers != new.listen.workers),
        ("listen.connections", old.listen.connections != new.listen.connections),
        ("listen.reuse_port", old.listen.reuse_port != new.listen.reuse_port),
        ("admin.address", old.admin.address != new.admin.address),
        ("pat.budget", old.pat.budget != new.pat.budget),
        ("replicas", old.replicas != new.replicas),
        ("state", old.state != new.state),
        ("seal", seal),
        ("log", old.log != new.log),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

fn named<K: Ord + Display, V: PartialEq>(
    all: &mut Vec<String>,
    table: &str,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    parts: impl Fn(&V, &V) -> Vec<(&'static str, bool)>,
) {
    all.extend(old.keys().filter(|name| !new.contains_key(name)).map(|name| format!("{table}.{name} removed")));
    for (name, value) in new {
        match old.get(name) {
            None => all.push(format!("{table}.{name} added")),
            Some(before) if before == value => {}
            Some(before) => {
                let changed = parts(before, value);
                let changed: Vec<_> = changed.iter().filter(|(_, differs)| *differs).map(|(part, _)| *part).collect();
                let what = if changed.is_empty() { String::new() } else { format!(" ({})", changed.join(", ")) };
                all.push(format!("{table}.{name} changed{what}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(change: impl Fn(&str) -> String) -> Config {
        let text = format!(
            "[listen]\naddress='127.0.0.1:0'\ndanger_plaintext=true\n[accounts.a]\nhost='h.test'\n[stores.e.env]\n\
             [credentials.c]\naccount='a'\nuser='U'\npat='e:PAT'\n[clients.one]\ncredential='c'\nkeys=['sha256:{}']\n",
            "0".repeat(64)
        );
        crate::config::file::parse(Path::new("t.toml"), &change(&text)).unwrap_or_else(|report| panic!("{report}")).0
    }

    #[test]
    fn each_difference_is_named_by_its_place() {
        let old = config(str::to_owned);
        assert!(differences(&old, &old).is_empty() && needs_restart(&old, &old).is_empty());
        let new = config(|text| {
            text.replace("clients.one", "clients.two")
                .replace("user='U'", "user='V'\nrole='R'")
                .replace("h.test", "i.test")
                + "[login]\nhold='1s'\n[log]\nlevel='debug'\n[seal]\nkeep='5h'\n"
        });
        assert_eq!(
            differences(&old, &new),
            [
                "clients.one removed",
                "clients.two added",
                "credentials.c changed (user, pins)",
                "accounts.a changed (host, name)",
                "login changed",
                "seal changed",
                "log changed"
            ]
        );
        assert_eq!(needs_restart(&old, &new), ["seal", "log"]);
        assert!(
            differences(&old, &config(|text| text.replace("sha256:0", "sha256:1")))[0].ends_with("one changed (keys)")
        );
    }
}
