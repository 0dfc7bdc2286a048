//! The differences between two configurations, for the audit log, and which of them need a restart.
//!
//! A line names the key and not the values: for a replaced key hash, the name of the client is enough.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::{Account, Admin, Client, Config, Credential, Listen, Pat, Rotator};
use crate::base::pins::Pins;

/// The differences, each with its key and the change. The code destructures every field by name, so that a new field
/// does not compile until it is compared.
pub fn differences(old: &Config, new: &Config) -> Vec<String> {
    let Config {
        listen,
        listeners,
        admin,
        health,
        reload,
        login,
        limits,
        replicas,
        upstream,
        pat,
        state,
        seal,
        log,
        history,
        audit,
        traces,
        metrics,
        accounts,
        stores,
        rotators,
        credentials,
        clients,
    } = old;
    let mut all = Vec::new();
    named(&mut all, "clients", clients, &new.clients, client);
    named(&mut all, "credentials", credentials, &new.credentials, credential);
    named(&mut all, "rotators", rotators, &new.rotators, rotator);
    named(&mut all, "accounts", accounts, &new.accounts, account);
    named(&mut all, "listeners", listeners, &new.listeners, |_, _| Vec::new());
    named(&mut all, "stores", stores, &new.stores, |_, _| Vec::new());
    for (place, differs) in [
        ("listen", *listen != new.listen),
        ("admin", *admin != new.admin),
        ("health", *health != new.health),
        ("login", *login != new.login),
        ("limits", *limits != new.limits),
        ("replicas", *replicas != new.replicas),
        ("upstream", *upstream != new.upstream),
        ("pat", *pat != new.pat),
        ("state", *state != new.state),
        ("seal", *seal != new.seal),
        ("reload", *reload != new.reload),
        ("log", *log != new.log),
        ("history", *history != new.history),
        ("audit", *audit != new.audit),
        ("traces", *traces != new.traces),
        ("metrics", *metrics != new.metrics),
    ] {
        if differs {
            all.push(format!("[{place}] changed"));
        }
    }
    all
}

/// The parts of an entry, each with whether it differs.
type Parts = Vec<(&'static str, bool)>;

fn client(old: &Client, new: &Client) -> Parts {
    let Client {
        credential,
        keys,
        certificates,
        trust_loopback,
        users,
        login_names,
        networks,
        listeners,
        pins,
        query_tag,
        sql,
        bind,
        limits,
    } = old;
    let mut parts = vec![
        ("credential", *credential != new.credential),
        ("keys", *keys != new.keys),
        ("certificates", *certificates != new.certificates),
        ("trust", (*trust_loopback, users) != (new.trust_loopback, &new.users)),
        ("login_names", *login_names != new.login_names),
        ("networks", *networks != new.networks),
        ("listeners", *listeners != new.listeners),
        ("query_tag", *query_tag != new.query_tag),
        ("sql", *sql != new.sql),
        ("bind", *bind != new.bind),
    ];
    parts.extend(context(pins, &new.pins));
    parts.push(("limits", *limits != new.limits));
    parts
}

fn credential(old: &Credential, new: &Credential) -> Parts {
    let Credential { account, user, login, rotation, pins, limits } = old;
    let mut parts = vec![("account", *account != new.account), ("user", *user != new.user)];
    parts.push((new.login.kind(), *login != new.login));
    parts.push(("rotation", *rotation != new.rotation));
    parts.extend(context(pins, &new.pins));
    parts.push(("limits", *limits != new.limits));
    parts
}

fn rotator(old: &Rotator, new: &Rotator) -> Parts {
    let Rotator { account, user, login } = old;
    vec![("account", *account != new.account), ("user", *user != new.user), (new.login.kind(), *login != new.login)]
}

fn context(old: &Pins, new: &Pins) -> Parts {
    let Pins { role, warehouse, database, schema } = old;
    vec![
        ("role", *role != new.role),
        ("warehouse", *warehouse != new.warehouse),
        ("database", *database != new.database),
        ("schema", *schema != new.schema),
    ]
}

fn account(old: &Account, new: &Account) -> Parts {
    let Account { host, port, address, ca, name, in_flight, proxy } = old;
    vec![
        ("host", (host, *port) != (&new.host, new.port)),
        ("address", *address != new.address),
        ("ca", *ca != new.ca),
        ("name", *name != new.name),
        ("in_flight", *in_flight != new.in_flight),
        ("proxy", *proxy != new.proxy),
    ]
}

/// The changes that take effect only at the next start. Here too a new field does not compile until it is classified.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let Config {
        listen,
        listeners,
        admin,
        health,
        limits,
        pat,
        replicas,
        state,
        seal,
        log,
        history,
        audit,
        traces,
        metrics,
        stores,
        // A reload applies it.
        reload: _,
        login: _,
        upstream: _,
        accounts: _,
        rotators: _,
        credentials: _,
        clients: _,
    } = old;
    let Listen {
        address,
        workers,
        connections,
        reuse_port,
        // A reload applies it.
        name: _,
        // [listen] has one kind.
        kind: _,
        public: _,
        tls: _,
        client_ca: _,
        client_crl: _,
        proxy: _,
        handshake: _,
        admission: _,
        head: _,
        idle: _,
        notice: _,
        drain: _,
    } = listen;
    let Admin { address: admin_address, socket, users: _ } = admin;
    let Pat { widths, refresh: _, pace: _, watch: _, stale: _, read: _, warn: _ } = pat;
    // The keeper of the ring still uses the stores that it started with.
    let in_store = new.seal.as_ref().is_some_and(|seal| seal.keys.is_some());
    let at_start = |all: &BTreeMap<_, Listen>| -> Vec<_> {
        let kind = |listen: &Listen| listen.connect().map(|connect| connect.tunnels);
        all.values().map(|listen| (listen.name.clone(), (listen.address, kind(listen)))).collect()
    };
    [
        ("listeners", at_start(listeners) != at_start(&new.listeners)),
        ("listen.address", *address != new.listen.address),
        ("listen.workers", *workers != new.listen.workers),
        ("listen.connections", *connections != new.listen.connections),
        ("limits.unadmitted", limits.unadmitted != new.limits.unadmitted),
        ("listen.reuse_port", *reuse_port != new.listen.reuse_port),
        ("admin.address", *admin_address != new.admin.address),
        ("health", *health != new.health),
        ("admin.socket", *socket != new.admin.socket),
        ("pat.budget", widths.budget != new.pat.widths.budget),
        ("pat.in_flight", widths.in_flight != new.pat.widths.in_flight),
        ("replicas", *replicas != new.replicas),
        ("state", *state != new.state),
        ("seal", *seal != new.seal || (in_store && *stores != new.stores)),
        ("log", *log != new.log),
        ("history", *history != new.history),
        ("audit.keep", audit.keep != new.audit.keep),
        ("traces", *traces != new.traces),
        ("metrics", *metrics != new.metrics),
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
    parts: impl Fn(&V, &V) -> Parts,
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
                + "[rotators.r]\naccount='a'\nuser='R'\nkey_pair='e:KEY'\n"
                + "[login]\nhold='1s'\n[log]\nlevel='debug'\n[seal]\nkeep='5h'\n"
        });
        assert_eq!(
            differences(&old, &new),
            [
                "clients.one removed",
                "clients.two added",
                "credentials.c changed (user, role)",
                "rotators.r added",
                "accounts.a changed (host, name)",
                "[login] changed",
                "[seal] changed",
                "[log] changed"
            ]
        );
        assert_eq!(needs_restart(&old, &new), ["seal", "log"]);
        let rotated = "pat='f:KEY'\nrotation={rotator='r',token='T',every='1d'}";
        let with_rotator = |text: &str| {
            text.replace(
                "[clients.",
                "[stores.f.file]\npath='s'\n[rotators.r]\naccount='a'\nuser='R'\npat='e:R'\n[clients.",
            )
        };
        let old = config(with_rotator);
        let new = |from: &str, to: &str| config(|text| with_rotator(text).replace(from, to));
        for (new, wanted) in [
            (new("pat='e:R'", "key_pair='e:R'"), "rotators.r changed (key_pair)"),
            (new("pat='e:PAT'", "key_pair='e:KEY'"), "credentials.c changed (key_pair)"),
            (new("pat='e:PAT'", rotated), "credentials.c changed (pat, rotation)"),
        ] {
            assert_eq!(differences(&old, &new), [wanted]);
            assert!(needs_restart(&old, &new).is_empty());
        }
        let old = config(str::to_owned);
        assert!(
            differences(&old, &config(|text| text.replace("sha256:0", "sha256:1")))[0].ends_with("one changed (keys)")
        );
    }
}
