//! What the configuration names on this machine: certificates, roots, keys, secret files, the state directory.
//!
//! It opens each as the gate does, but makes nothing. Run it as the gate's own user: another one may read other files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::access::{exposed, exposed_directory, may_write};
use super::addresses;
use super::finding::Finding;
use super::sources::sources;
use crate::app::{proxy_way, resolver};
use crate::base::cipher::LEAST_SECRET;
use crate::base::clock::Clock;
use crate::base::fault::{Owner, chain};
use crate::base::names::{SecretRef, SecretRefs};
use crate::base::rfc3339;
use crate::cli::state_place;
use crate::config::stores::VaultLogin;
use crate::config::{Config, Connect, KeyPair, Listen, SecretSource, Store};
use crate::state::place::StatePlace;
use crate::stores::{Resolver, load_now};
use crate::telemetry::metrics::Metrics;
use crate::ticket::Keyring;
use crate::tls::{self, Crls, ServerCertificate};
use crate::upstream::AccountState;

/// A certificate that ends within so many days is worth a warning.
const DAYS: u64 = 30;

/// Looks at everything.
pub(in crate::cli) async fn inspect(config: &Config, clock: &Arc<dyn Clock>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for listen in config.all_listeners() {
        listener(listen, clock.wall(), &mut seen, &mut found);
        if let Some(connect) = listen.connect() {
            way_in(&listen.name, connect, (config, clock.wall()), &mut found);
        }
    }
    for (name, account) in &config.accounts {
        let key = format!("accounts.{name}");
        match AccountState::new(account, &config.upstream, None) {
            Ok(_) => roots(&format!("{key}.ca"), account.ca.as_deref(), clock.wall(), &mut found),
            Err(error) => found.push(Finding::error(key, chain(&error), "")),
        }
    }
    let metrics = Arc::<Metrics>::default();
    for (name, store) in &config.stores {
        let alone = Config { stores: [(name.clone(), store.clone())].into(), ..config.clone() };
        if let Err(error) = resolver(&alone, clock, &metrics) {
            found.push(Finding::error(format!("stores.{name}"), chain(&error), ""));
        }
        if let Store::Vault(vault) = store
            && let VaultLogin::Certificate { certificate, key, .. } = &vault.login
        {
            let pair = KeyPair { certificate: certificate.clone(), key: key.clone() };
            match tls::client_as(None, Some(&pair)) {
                Ok(_) => private(&format!("stores.{name}.vault.cert.key"), key, &mut found),
                Err(error) => {
                    let what = chain(&error);
                    found.push(Finding::error(format!("stores.{name}.vault.cert"), what, "").of(Owner::Store));
                }
            }
        }
    }
    if let Some(replicas) = &config.replicas {
        roots("replicas.ca", replicas.ca.as_deref(), clock.wall(), &mut found);
    }
    roots("traces.ca", config.traces.ca.as_deref(), clock.wall(), &mut found);
    roots("metrics.ca", config.metrics.ca.as_deref(), clock.wall(), &mut found);
    addresses::inspect(config, &mut found);
    for (key, source) in sources(config) {
        secret(&key, &source, &mut found);
    }
    state(config, &mut found);
    local(config, clock, &mut found).await;
    found
}

/// A listener's certificate, key, roots and revocation lists; each pair of files once.
fn listener(listen: &Listen, now: SystemTime, seen: &mut BTreeSet<String>, found: &mut Vec<Finding>) {
    let table = match &*listen.name {
        Listen::MAIN => "listen".to_owned(),
        name => format!("listeners.{name}"),
    };
    let Some(pair) = &listen.tls else { return };
    if !seen.insert(format!("{pair:?} {:?} {:?}", listen.client_ca, listen.client_crl)) {
        return;
    }
    match ServerCertificate::read(pair) {
        Ok(read) => certificate(&format!("{table}.certificate"), &read, now, found),
        Err(error) => return found.push(Finding::error(format!("{table}.certificate"), chain(&error), "")),
    }
    private(&format!("{table}.key"), &pair.key, found);
    let crls = match listen.client_crl.as_deref().map(Crls::read).transpose() {
        Ok(crls) => crls.unwrap_or_default(),
        Err(error) => return found.push(Finding::error(format!("{table}.client_crl"), chain(&error), "")),
    };
    match tls::server_with(pair, listen.client_ca.as_deref(), &crls) {
        Ok(_) => roots(&format!("{table}.client_ca"), listen.client_ca.as_deref(), now, found),
        Err(error) => found.push(Finding::error(format!("{table}.client_ca"), chain(&error), "")),
    }
}

/// The CA of a proxy's way in, and its list of hosts.
fn way_in(name: &str, connect: &Connect, (config, now): (&Config, SystemTime), found: &mut Vec<Finding>) {
    let (ca, targets) = proxy_way(connect, config, now);
    match ca {
        Ok(ca) => certificate(&format!("listeners.{name}.ca"), &ca, now, found),
        Err(error) => found.push(Finding::error(format!("listeners.{name}.ca"), chain(&error), "")),
    }
    private(&format!("listeners.{name}.ca_key"), &connect.ca.key, found);
    match targets {
        Ok(0) => {
            let (what, remedy) =
                ("no tunnel is open to any host", "Results of 1 MB and more come from a stage: list it");
            found.push(Finding::warning(format!("listeners.{name}.tunnel"), what, remedy));
        }
        Ok(_) => {}
        Err(error) => found.push(Finding::error(format!("listeners.{name}.allowlist"), error.to_string(), "")),
    }
}

fn certificate(key: &str, read: &ServerCertificate, now: SystemTime, found: &mut Vec<Finding>) {
    if let Err(error) = read.check_time(now) {
        return found.push(Finding::error(key, chain(&error), ""));
    }
    found.extend(read.flaws.iter().map(|flaw| Finding::warning(key, flaw.what(), flaw.remedy())));
    let (ends, days) = (rfc3339::show(read.ends), read.left(now).as_secs() / 86_400);
    if days < DAYS.min(read.life().as_secs() / 86_400 / 3) {
        let what = format!("{} ends at {ends}, in {days} days", read.path.display());
        return found.push(Finding::warning(key, what, "Renew it; a running gate takes the new one up by itself"));
    }
    let names = if read.names.is_empty() { &read.subject } else { &read.names.join(", ") };
    let what = format!("{} for {names}, issued by {}, ends {ends} ({days} days)", read.path.display(), read.issuer);
    found.push(Finding::ok(key, what));
}

/// A file with roots to trust.
fn roots(key: &str, path: Option<&Path>, now: SystemTime, found: &mut Vec<Finding>) {
    let Some(path) = path else { return };
    found.push(match tls::roots_end(path) {
        Err(error) => Finding::error(key, chain(&error), ""),
        Ok(ends) if ends <= now => {
            let what = format!("a root in {} ended at {}", path.display(), rfc3339::show(ends));
            Finding::warning(key, what, "Replace it, if a certificate that it signed is still in use")
        }
        Ok(ends) => Finding::ok(key, format!("{}, the first root ends {}", path.display(), rfc3339::show(ends))),
    });
}

/// One of the gate's own secrets. Variables and systemd's credentials belong to the gate's process, not to this one.
fn secret(key: &str, source: &SecretSource, found: &mut Vec<Finding>) {
    let Some(path) = source.path() else { return };
    let owner = if key.starts_with("stores.") { Owner::Store } else { Owner::Gate };
    match load_now(source) {
        Err(error) => {
            let remedy = "Write it, readable for the gate's user alone";
            return found.push(Finding::error(key, error.to_string(), remedy).of(owner));
        }
        Ok(value) if value.expose().is_empty() => {
            return found.push(Finding::error(key, format!("{} is empty", path.display()), "Write the secret into it"));
        }
        Ok(value) if key == "state.warm_key" && value.expose().len() < LEAST_SECRET => {
            let what = format!("the secret in {} is shorter than {LEAST_SECRET} characters", path.display());
            return found.push(Finding::error(key, what, "Make one with `openssl rand -base64 32`"));
        }
        Ok(_) => {}
    }
    // What the kubelet mounts has its own permissions.
    if !path.starts_with("/var/run/secrets/kubernetes.io") {
        private(key, path, found);
    }
}

/// A secret file that others may read.
fn private(key: &str, path: &Path, found: &mut Vec<Finding>) {
    if let Some((what, remedy)) = exposed(path) {
        found.push(Finding::warning(key, what, remedy));
    }
}

/// The directory for what outlives the process.
fn state(config: &Config, found: &mut Vec<Finding>) {
    let StatePlace { path: directory, named } = state_place::of_gate(config);
    let there = directory.ancestors().find(|one| one.exists() || one.as_os_str().is_empty());
    let there = there.map(|one| if one.as_os_str().is_empty() { Path::new(".") } else { one });
    if let Some((what, remedy)) = exposed_directory(&directory) {
        found.push(Finding::warning("state.directory", what, remedy));
    }
    let what = format!("this user cannot write to {}", directory.display());
    match (there.is_some_and(|one| one.is_dir() && may_write(one)), named) {
        (true, _) => found.push(Finding::ok("state.directory", format!("{} can be written", directory.display()))),
        (false, true) => {
            let remedy = "Let the gate's user own it; if the gate runs as another user, run the check as that one";
            found.push(Finding::error("state.directory", what, remedy));
        }
        (false, false) => {
            let remedy = "Unless systemd gives the gate a directory, a restart forgets bad logins and ends sessions: \
                          name a directory in state.directory";
            found.push(Finding::warning("state.directory", what, remedy));
        }
    }
}

/// References to files: PATs, and keys of the ring.
async fn local(config: &Config, clock: &Arc<dyn Clock>, found: &mut Vec<Finding>) {
    let file = |reference: &SecretRef| match config.stores.get(&reference.store) {
        // Without a `.` in the middle.
        Some(Store::File(store)) => Some(store.path.join(&*reference.path).components().collect::<PathBuf>()),
        _ => None,
    };
    let mut files = config.clone();
    files.stores.retain(|_, store| matches!(store, Store::File(_)));
    // Only files: nothing to set up that could fail.
    let Ok(resolver) = resolver(&files, clock, &Arc::default()) else { return };
    for (table, login) in config.logins() {
        // A key whose passphrase is in another store cannot be opened here.
        let opens = login.passphrase().is_none_or(|reference| file(reference).is_some());
        for reference in login.secret().iter() {
            let Some(path) = file(reference) else { continue };
            let key = format!("{table}.{}", login.kind());
            if opens && let Err(error) = resolver.read(login, reference).await {
                let remedy = "Put it there; until then its logins fail";
                found.push(Finding::error(&key, error.to_string(), remedy).of(Owner::Store));
            }
            private(&key, &path, found);
        }
        if let Some(path) = login.passphrase().and_then(file) {
            private(&format!("{table}.passphrase"), &path, found);
        }
    }
    let ring = config.seal.iter().filter_map(|seal| seal.keys.as_ref()).flat_map(SecretRefs::iter);
    for (reference, path) in ring.filter_map(|reference| Some((reference, file(reference)?))) {
        if let Err(why) = keyring(&resolver, reference).await {
            let remedy = "Write keys of 32 characters or more, one a line: `openssl rand -base64 32` makes one";
            found.push(Finding::error("seal.keys", why, remedy).of(Owner::Store));
        }
        private("seal.keys", &path, found);
    }
}

async fn keyring(resolver: &Resolver, reference: &SecretRef) -> Result<(), String> {
    let alone = SecretRefs::new(vec![reference.clone()]).ok_or_else(|| "no reference".to_owned())?;
    let (text, _) = resolver.text(&alone).await.map_err(|error| error.to_string())?;
    Keyring::parse(&text).map(drop).map_err(|error| format!("{reference}: {error}"))
}
