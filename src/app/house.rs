//! [`House`]: what lasts while configurations come and go, and how a new one takes the place of the old.
//!
//! A new configuration is made ready in full before anything of the old is given up: certificates and roots are read, stores
//! set up, PATs of new credentials read. Then it is published in two steps, the gate and the door; what has begun under the
//! old one ends under it. Anything that fails on the way leaves the old one in use.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::Seams;
use crate::base::clock::Clock;
use crate::base::fault::chain;
use crate::base::names::SecretRefs;
use crate::config::{Config, Listen, change};
use crate::listen::Door;
use crate::pat::Budget;
use crate::proxy::{Current, Gate, Parts, Sealing};
use crate::replicas::Replicas;
use crate::secrets::{self, Pats, Reader, SetupError, Warm};
use crate::telemetry::metrics::Metrics;
use crate::tls::{self, TlsError};

/// What outlives a configuration.
pub(super) struct House {
    pub current: Arc<Current>,
    /// By name; which there are does not change while the process lives.
    pub doors: BTreeMap<Arc<str>, Arc<ArcSwap<Door>>>,
    pub lasting: Lasting,
    /// The contents of certificate, key and client roots that each door has taken up.
    shown: Mutex<BTreeMap<Arc<str>, Shown>>,
}

/// What every gate of the process is built around.
#[derive(Clone)]
pub(super) struct Lasting {
    pub budget: Arc<Budget>,
    pub sealing: Option<Arc<Sealing>>,
    pub replicas: Option<Arc<Replicas>>,
    pub warm: Option<Warm>,
    pub metrics: Arc<Metrics>,
    pub seams: Seams,
    pub control: Handle,
}

type Shown = [[u8; 32]; 3];

/// What came of a reload.
#[derive(Debug, Default)]
pub struct Reloaded {
    /// What differs from the configuration before, place by place.
    pub changes: Vec<String>,
    /// What of it takes effect at the next start.
    pub at_restart: Vec<&'static str>,
}

impl House {
    /// Makes the first gate.
    pub(super) fn new(config: Arc<Config>, reader: Arc<Reader>, lasting: Lasting) -> io::Result<Self> {
        let pats = Pats::new(lasting.pats(&config, reader));
        let gate = Gate::new(lasting.parts(config.clone(), pats), None).map_err(broken)?;
        let (mut doors, mut shown) = (BTreeMap::new(), BTreeMap::new());
        for listen in config.doors() {
            let (door, shows) = door(listen, None).map_err(broken)?;
            doors.insert(listen.name.clone(), Arc::new(ArcSwap::from_pointee(door)));
            shown.extend(shows.map(|shows| (listen.name.clone(), shows)));
        }
        Ok(Self { current: Arc::new(ArcSwap::from_pointee(gate)), doors, lasting, shown: Mutex::new(shown) })
    }

    /// Puts another configuration in the place of the one in use.
    ///
    /// # Errors
    /// When a file that it names cannot be used, or a store cannot be set up; the old one stays.
    pub(super) async fn reload(&self, config: Config) -> io::Result<Reloaded> {
        // One at a time.
        let mut shown = self.shown.lock().await;
        let old = self.current.load_full();
        let reloaded = Reloaded {
            changes: change::differences(&old.config, &config),
            at_restart: change::needs_restart(&old.config, &config),
        };
        let config = Arc::new(config);
        if old.config.seal.is_some() != config.seal.is_some() {
            return Err(io::Error::other(
                "`seal` is switched on or off at a start only, since open sessions do not survive it",
            ));
        }
        let mut next = Vec::new();
        for listen in config.doors() {
            let Some(place) = self.doors.get(&listen.name) else { continue };
            if place.load().tls.is_some() != listen.tls.is_some() {
                // The socket may be bound to another address than the file says by now.
                return Err(io::Error::other(format!(
                    "the door {} changes between TLS and none at a start only",
                    listen.name
                )));
            }
            let before = shown.get(&listen.name).map(|shown| (place.load_full(), *shown));
            next.push((place, door(listen, before).map_err(broken)?));
        }
        let pats = self.pats(&old, &config).await?;
        let gate = Gate::new(self.lasting.parts(config.clone(), pats), Some(&old)).map_err(broken)?;
        if !gate.pats.is(&old.pats) {
            gate.pats.keep_fresh();
        }
        self.current.store(Arc::new(gate));
        for (place, (door, shows)) in next {
            match shows {
                Some(shows) => drop(shown.insert(door.listen.name.clone(), shows)),
                None => drop(shown.remove(&door.listen.name)),
            }
            place.store(Arc::new(door));
        }
        Ok(reloaded)
    }

    /// The PATs of a configuration: those in memory where nothing about them has changed.
    async fn pats(&self, old: &Gate, config: &Arc<Config>) -> io::Result<Pats> {
        let references = |config: &Config| -> BTreeMap<Arc<str>, SecretRefs> {
            config.credentials.iter().map(|(name, one)| (name.clone(), one.pat.clone())).collect()
        };
        let same = references(&old.config) == references(config);
        if same && old.config.stores == config.stores && old.config.pat == config.pat {
            return Ok(old.pats.clone());
        }
        let reader = reader(config, &self.lasting.seams.clock, &self.lasting.metrics).map_err(io::Error::other)?;
        let pats = Pats::new(self.lasting.pats(config, reader));
        let unchanged =
            |key: &SecretRefs| key.iter().all(|one| old.config.stores.get(&one.store) == config.stores.get(&one.store));
        pats.take_over(&old.pats, unchanged).await;
        pats.first_reads(config.pat.read).await;
        Ok(pats)
    }
}

impl Lasting {
    fn pats(&self, config: &Config, reader: Arc<Reader>) -> secrets::Setup {
        secrets::Setup {
            settings: config.pat.clone(),
            credentials: config.credentials.iter().map(|(name, one)| (name.clone(), one.pat.clone())).collect(),
            reader,
            warm: self.warm.clone(),
            metrics: self.metrics.clone(),
            clock: self.seams.clock.clone(),
            random: self.seams.random.clone(),
            control: self.control.clone(),
        }
    }

    fn parts(&self, config: Arc<Config>, pats: Pats) -> Parts {
        Parts {
            config,
            pats,
            budget: self.budget.clone(),
            sealing: self.sealing.clone(),
            replicas: self.replicas.clone(),
            metrics: self.metrics.clone(),
            clock: self.seams.clock.clone(),
            random: self.seams.random.clone(),
        }
    }
}

/// The way to the configured stores.
pub(super) fn reader(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Reader>, SetupError> {
    let stores = secrets::stores(config, clock)?;
    Ok(Arc::new(Reader::new(stores, config.pat.read, clock.clone(), metrics.clone())))
}

/// A door. A certificate whose files have not changed stays, and with it the sessions that clients resume.
fn door(listen: &Listen, before: Option<(Arc<Door>, Shown)>) -> Result<(Door, Option<Shown>), TlsError> {
    let door = |tls, roots| Door { listen: listen.clone(), tls, roots };
    let Some(pair) = &listen.tls else { return Ok((door(None, [0; 32]), None)) };
    let client_ca = listen.client_ca.as_deref();
    let roots = client_ca.map(tls::fingerprint).transpose()?.unwrap_or_default();
    let shows = [tls::fingerprint(&pair.certificate)?, tls::fingerprint(&pair.key)?, roots];
    let kept = before.filter(|(_, shown)| *shown == shows).and_then(|(before, _)| before.tls.clone());
    let tls = match kept {
        Some(kept) => kept,
        None => tls::server(pair, client_ca)?,
    };
    Ok((door(Some(tls), roots), Some(shows)))
}

fn broken(error: impl std::error::Error) -> io::Error {
    io::Error::other(chain(&error))
}
