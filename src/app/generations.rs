//! [`Generations`]: the configuration in use, and its replacement by a new one.
//!
//! The gate first makes a new configuration ready: it reads certificates and roots, sets up stores, and reads the PATs
//! of new credentials. Then it publishes the generation, and then the listeners' states. Requests that began under the
//! old generation end under it. If a step fails, the old configuration stays in use.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Semaphore};

use super::listeners::{self, Contents};
use crate::base::clock::Clock;
use crate::base::fault::chain;
use crate::base::names::LoginRefs;
use crate::config::{Config, change};
use crate::listen::ListenerState;
use crate::pat::{Accounts, Pats, references};
use crate::proxy::{Current, Generation, Services};
use crate::stores::{self, Resolver, SetupError};
use crate::telemetry::act::{self, Act};
use crate::telemetry::metrics::Metrics;
use crate::tls::ServerCertificate;

/// The published parts of a configuration, and the state behind them.
pub struct Generations {
    /// The generation in use.
    pub current: Arc<Current>,
    /// The listeners by name; the set does not change while the process runs.
    pub listeners: BTreeMap<Arc<str>, Arc<ArcSwap<ListenerState>>>,
    /// The state that outlives a configuration.
    pub services: Services,
    /// The tunnels of all listeners: half of the connections at most.
    tunnels: Arc<Semaphore>,
    /// The contents of certificate, key, client roots and revocation lists that each listener uses.
    contents: Mutex<BTreeMap<Arc<str>, Contents>>,
}

/// The outcome of a reload.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Reloaded {
    /// The differences to the configuration before, one per key.
    pub changes: Vec<String>,
    /// The keys that take effect at the next start.
    pub at_restart: Vec<String>,
}

impl Generations {
    /// Makes the first generation, for a gate that has room for so many connections.
    ///
    /// # Errors
    /// If a file that the configuration names is unusable.
    pub fn first(
        config: Arc<Config>,
        resolver: Arc<Resolver>,
        services: Services,
        connections: usize,
    ) -> io::Result<Self> {
        let accounts = Generation::accounts(&config, None).map_err(broken)?;
        let pats = Pats::new(&config, &accounts, services.pat_parts(resolver));
        let generation = Generation::new(config.clone(), accounts, pats, services.clone(), None);
        let (mut all, mut contents) = (BTreeMap::new(), BTreeMap::new());
        let tunnels = Arc::new(Semaphore::new((connections / 2).max(1)));
        for listen in config.all_listeners() {
            let (state, content) = listeners::state(listen, &config, None, (&services, &tunnels)).map_err(broken)?;
            all.insert(listen.name.clone(), Arc::new(ArcSwap::from_pointee(state)));
            contents.insert(listen.name.clone(), content);
        }
        let current = Arc::new(ArcSwap::from_pointee(generation));
        Ok(Self { current, listeners: all, services, tunnels, contents: Mutex::new(contents) })
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
        let mut next = Vec::new();
        for listen in config.all_listeners() {
            let Some(place) = self.listeners.get(&listen.name) else { continue };
            let old = place.load_full();
            if old.tls.is_some() != listen.tls.is_some() || old.connect.is_some() != listen.connect().is_some() {
                // The socket may have another address than the file has now.
                return Err(io::Error::other(format!(
                    "the listener {} can switch its kind, and TLS on or off, at a start only",
                    listen.name
                )));
            }
            let before = contents.get(&listen.name).map(|content| (old, *content));
            next.push((
                place,
                listeners::state(listen, &config, before, (&self.services, &self.tunnels)).map_err(broken)?,
            ));
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
            let before = contents.insert(state.listen.name.clone(), content);
            if before.is_some_and(|before| before != content) {
                self.services.act(Act::of(act::CERTIFICATE, format!("listener {}", state.listen.name)));
            }
            place.store(Arc::new(state));
        }
        Ok(reloaded)
    }

    /// The certificates in use, by the names of their listeners; the CA of a proxy's way in is `NAME.ca`.
    pub(super) fn certificates(&self) -> impl Iterator<Item = (Arc<str>, Arc<ServerCertificate>)> {
        let of = |(name, state): (&Arc<str>, &Arc<ArcSwap<ListenerState>>)| {
            let state = state.load();
            let ca = state.connect.as_ref().map(|connect| (format!("{name}.ca").into(), connect.intercept.ca.clone()));
            state.certificate.clone().map(|own| (name.clone(), own)).into_iter().chain(ca)
        };
        self.listeners.iter().flat_map(of)
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

fn broken(error: impl std::error::Error) -> io::Error {
    io::Error::other(chain(&error))
}
