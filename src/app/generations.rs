//! [`Generations`]: the configuration in use, and its replacement by a new one.
//!
//! The gate first makes a new configuration ready: it reads certificates and roots, sets up stores, and reads the PATs
//! of new credentials. Then it publishes the generation, and then the listeners' states. Requests that began under the
//! old generation end under it. If a step fails, the old configuration stays in use.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::base::clock::Clock;
use crate::base::fault::chain;
use crate::base::names::LoginRefs;
use crate::config::{Config, Listen, change};
use crate::listen::ListenerState;
use crate::pat::{Accounts, Pats, references};
use crate::proxy::{Current, Generation, Services};
use crate::stores::{self, Resolver, SetupError};
use crate::telemetry::act::{self, Act};
use crate::telemetry::metrics::Metrics;
use crate::tls::{self, Crls, ServerCertificate, TlsError};

/// The published parts of a configuration, and the state behind them.
pub struct Generations {
    /// The generation in use.
    pub current: Arc<Current>,
    /// The listeners by name; the set does not change while the process runs.
    pub listeners: BTreeMap<Arc<str>, Arc<ArcSwap<ListenerState>>>,
    /// The state that outlives a configuration.
    pub services: Services,
    /// The contents of certificate, key, client roots and revocation lists that each listener uses.
    contents: Mutex<BTreeMap<Arc<str>, Contents>>,
}

type Contents = [[u8; 32]; 4];

/// The outcome of a reload.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Reloaded {
    /// The differences to the configuration before, one per key.
    pub changes: Vec<String>,
    /// The keys that take effect at the next start.
    pub at_restart: Vec<String>,
}

impl Generations {
    /// Makes the first generation.
    ///
    /// # Errors
    /// If a file that the configuration names is unusable.
    pub fn first(config: Arc<Config>, resolver: Arc<Resolver>, services: Services) -> io::Result<Self> {
        let accounts = Generation::accounts(&config, None).map_err(broken)?;
        let pats = Pats::new(&config, &accounts, services.pat_parts(resolver));
        let generation = Generation::new(config.clone(), accounts, pats, services.clone(), None);
        let (mut listeners, mut contents) = (BTreeMap::new(), BTreeMap::new());
        for listen in config.all_listeners() {
            let (state, content) = listener_state(listen, None, None).map_err(broken)?;
            listeners.insert(listen.name.clone(), Arc::new(ArcSwap::from_pointee(state)));
            contents.extend(content.map(|content| (listen.name.clone(), content)));
        }
        let current = Arc::new(ArcSwap::from_pointee(generation));
        Ok(Self { current, listeners, services, contents: Mutex::new(contents) })
    }

    /// Replaces the configuration in use.
    ///
    /// # Errors
    /// If a file that it names is unusable, or it cannot set up a store; the old one stays.
    pub async fn reload(&self, config: Config) -> io::Result<Reloaded> {
        // One at a time.
        let mut contents = self.contents.lock().await;
        let old = self.current.load_full();
        let reloaded = Reloaded {
            changes: change::differences(&old.config, &config),
            at_restart: change::needs_restart(&old.config, &config).into_iter().map(str::to_owned).collect(),
        };
        let config = Arc::new(config);
        if old.config.seal.is_some() != config.seal.is_some() {
            return Err(io::Error::other(
                "`seal` can be switched at a start only, since open sessions do not survive it",
            ));
        }
        let (mut next, now) = (Vec::new(), self.services.env.clock.wall());
        for listen in config.all_listeners() {
            let Some(place) = self.listeners.get(&listen.name) else { continue };
            if place.load().tls.is_some() != listen.tls.is_some() {
                // The socket may have another address than the file has now.
                return Err(io::Error::other(format!(
                    "the listener {} can switch TLS on or off at a start only",
                    listen.name
                )));
            }
            let before = contents.get(&listen.name).map(|content| (place.load_full(), *content));
            next.push((place, listener_state(listen, before, Some(now)).map_err(broken)?));
        }
        let accounts = Generation::accounts(&config, Some(&old)).map_err(broken)?;
        let pats = self.pats(&old, &config, &accounts).await?;
        let generation = Generation::new(config.clone(), accounts, pats, self.services.clone(), Some(&old));
        if !generation.pats.has_cache_of(&old.pats) {
            generation.pats.keep_fresh();
        }
        // Of the terms of two generations the new ones alone count.
        old.pats.stop_rotating();
        generation.pats.keep_rotating();
        self.current.store(Arc::new(generation));
        for (place, (state, content)) in next {
            match content {
                Some(content) => {
                    let before = contents.insert(state.listen.name.clone(), content);
                    if before.is_some_and(|before| before != content) {
                        self.services.act(Act::of(act::CERTIFICATE, format!("listener {}", state.listen.name)));
                    }
                }
                None => drop(contents.remove(&state.listen.name)),
            }
            place.store(Arc::new(state));
        }
        Ok(reloaded)
    }

    /// The certificates in use, by the names of their listeners.
    pub(super) fn certificates(&self) -> impl Iterator<Item = (Arc<str>, Arc<ServerCertificate>)> {
        let of = |(name, state): (&Arc<str>, &Arc<ArcSwap<ListenerState>>)| {
            Some((name.clone(), state.load().certificate.clone()?))
        };
        self.listeners.iter().filter_map(of)
    }

    /// The PATs of a configuration: those in memory if nothing about them has changed.
    async fn pats(&self, old: &Generation, config: &Config, accounts: &Accounts) -> io::Result<Pats> {
        let same = references(&old.config) == references(config);
        if same && old.config.stores == config.stores && old.config.pat == config.pat {
            return Ok(old.pats.with_same_cache(config, accounts));
        }
        let Services { env, metrics, .. } = &self.services;
        let resolver = resolver(config, &env.clock, metrics).map_err(io::Error::other)?;
        let pats = Pats::new(config, accounts, self.services.pat_parts(resolver));
        let unchanged =
            |key: &LoginRefs| key.all().all(|one| old.config.stores.get(&one.store) == config.stores.get(&one.store));
        pats.take_over(&old.pats, unchanged).await;
        pats.first_reads(config.pat.read).await;
        Ok(pats)
    }
}

/// The resolver for the configured stores.
///
/// # Errors
/// If it cannot set up a store.
pub fn resolver(config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> Result<Arc<Resolver>, SetupError> {
    let stores = stores::stores(config, clock)?;
    Ok(Arc::new(Resolver::new(stores, config.pat.read, clock.clone(), metrics.clone())))
}

/// The settings for new connections of a listener. It keeps a certificate with unchanged files, so that clients can
/// still resume TLS sessions. With a time it refuses a new certificate that no client accepts at that time. One that
/// has ended in use stays, so that a reload of something else still works.
fn listener_state(
    listen: &Listen,
    before: Option<(Arc<ListenerState>, Contents)>,
    now: Option<SystemTime>,
) -> Result<(ListenerState, Option<Contents>), TlsError> {
    let listen = listen.clone();
    let Some(pair) = &listen.tls else {
        let state = ListenerState { listen, tls: None, certificate: None, roots: [0; 32], crls: Crls::default() };
        return Ok((state, None));
    };
    let client_ca = listen.client_ca.as_deref();
    let roots = client_ca.map(tls::fingerprint).transpose()?.unwrap_or_default();
    let revoked = listen.client_crl.as_deref().map(tls::fingerprint).transpose()?.unwrap_or_default();
    let crls = listen.client_crl.as_deref().map(Crls::read).transpose()?.unwrap_or_default();
    let content = [tls::fingerprint(&pair.certificate)?, tls::fingerprint(&pair.key)?, roots, revoked];
    let is_new = before.as_ref().is_none_or(|(_, before)| before[0] != content[0]);
    let kept = before.filter(|(_, before)| *before == content).map(|(before, _)| before);
    let certificate = match kept.as_ref().and_then(|kept| kept.certificate.clone()) {
        Some(kept) => kept,
        None => Arc::new(ServerCertificate::read(pair)?),
    };
    if let Some(now) = now.filter(|_| is_new) {
        certificate.check_time(now)?;
    }
    let tls = match kept.and_then(|kept| kept.tls.clone()) {
        Some(kept) => kept,
        None => tls::server_with(pair, client_ca, &crls)?,
    };
    let state = ListenerState { tls: Some(tls), certificate: Some(certificate), roots, crls, listen };
    Ok((state, Some(content)))
}

fn broken(error: impl std::error::Error) -> io::Error {
    io::Error::other(chain(&error))
}
