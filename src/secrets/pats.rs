//! [`Pats`]: PATs in memory.
//!
//! moka holds the values and gives single flight: computations on one key run one after the other, and one that finds a value
//! newer than what its caller had seen leaves it at that. Expiry is ours, because moka's clock is not ours to turn: every value
//! is read again each `refresh`, in the background, while it goes on serving, and one older than `stale` is not used. A read
//! that fails never evicts. Reads run on the control runtime, so that a client that hangs up does not end one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use moka::future::Cache;
use moka::ops::compute::Op;
use tokio::runtime::Handle;

use super::{StoreError, Stores, value};
use crate::admit::Grant;
use crate::base::clock::Clock;
use crate::base::names::SecretRef;
use crate::base::secret::Secret;
use crate::config;

/// How long a failed read answers for those that ask right after it.
const FAILURE_HOLDS: Duration = Duration::from_millis(500);

/// A PAT in memory.
pub struct Held {
    /// The token.
    pub pat: Secret,
    /// What tells it from other PATs: a fingerprint of the token itself, whatever the store's version says.
    pub id: String,
    /// The store's own name of the version.
    pub version: String,
    /// When the read began, and when it ended.
    began: Instant,
    read: (Instant, SystemTime),
}

/// The PATs of all credentials.
#[derive(Clone)]
pub struct Pats(Arc<Inner>);

struct Inner {
    stores: Stores,
    settings: config::Pat,
    cache: Cache<SecretRef, Arc<Held>>,
    references: HashSet<SecretRef>,
    failures: Mutex<HashMap<SecretRef, (Instant, StoreError)>>,
    clock: Arc<dyn Clock>,
    control: Handle,
}

impl Pats {
    /// An empty cache over the stores. `control` runs the reads.
    pub fn new(config: &config::Config, stores: Stores, clock: Arc<dyn Clock>, control: Handle) -> Self {
        let references: HashSet<_> = config.credentials.values().map(|credential| credential.pat.clone()).collect();
        let cache = Cache::new(u64::try_from(references.len()).unwrap_or(u64::MAX).max(1));
        let settings = config.pat.clone();
        Self(Arc::new(Inner { stores, settings, cache, references, failures: Mutex::default(), clock, control }))
    }

    /// The PAT for an admitted client, from memory where there is one.
    ///
    /// # Errors
    /// When there is none in memory that may be used, and the store gives none.
    pub async fn current(&self, grant: &Grant) -> Result<Arc<Held>, StoreError> {
        let reference = grant.pat();
        match self.0.cache.get(reference).await {
            Some(held) if self.0.age(&held) < self.0.settings.stale => Ok(held),
            _ => self.read_after(reference, None).await,
        }
    }

    /// A PAT other than the one that Snowflake refused; `None` when the store has no other.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn newer_than(&self, grant: &Grant, refused: &Held) -> Result<Option<Arc<Held>>, StoreError> {
        let held = self.read_after(grant.pat(), Some(refused)).await?;
        Ok((held.id != refused.id).then_some(held))
    }

    /// Whether every credential has a PAT in memory that may be used.
    pub async fn all_held(&self) -> bool {
        for reference in &self.0.references {
            let held = self.0.cache.get(reference).await;
            if held.is_none_or(|held| self.0.age(&held) >= self.0.settings.stale) {
                return false;
            }
        }
        true
    }

    /// Reads every credential's PAT and keeps on reading, until the process ends. A PAT that nobody asks for is kept fresh
    /// too, so that the first client after a quiet night finds it.
    pub fn keep_fresh(&self) {
        for reference in &self.0.references {
            let (pats, reference) = (self.clone(), reference.clone());
            self.0.control.spawn(async move {
                let mut pause = Duration::from_secs(1);
                loop {
                    match pats.0.read_now(&reference, None).await {
                        Ok(_) => pause = pats.0.settings.refresh,
                        Err(error) => {
                            tracing::warn!(reference = %reference, cause = %error, owner = "store", "a PAT cannot be read");
                            pause = (pause * 2).min(pats.0.settings.refresh).min(Duration::from_secs(30));
                        }
                    }
                    tokio::time::sleep(pause).await;
                }
            });
        }
    }

    async fn read_after(&self, reference: &SecretRef, refused: Option<&Held>) -> Result<Arc<Held>, StoreError> {
        let (inner, reference, refused) = (self.0.clone(), reference.clone(), refused.map(|held| held.id.clone()));
        let read = self.0.control.spawn(async move { inner.read_now(&reference, refused.as_deref()).await });
        read.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the gate is stopping".into())))
    }
}

impl Inner {
    fn age(&self, held: &Held) -> Duration {
        // The monotonic clock stands still while a laptop sleeps, the wall clock may be set back: the larger age counts.
        let monotonic = self.clock.now().saturating_duration_since(held.read.0);
        let wall = self.clock.wall().duration_since(held.read.1).unwrap_or_default();
        monotonic.max(wall)
    }

    /// Reads a reference, once for all who ask at the same time.
    async fn read_now(&self, reference: &SecretRef, refused: Option<&str>) -> Result<Arc<Held>, StoreError> {
        let asked = self.clock.now();
        let computed = self.cache.entry_by_ref(reference).and_try_compute_with(|entry| async move {
            if let Some(entry) = entry {
                let held = entry.value();
                // After a refusal only a read that began later can have seen what came after it.
                let newer = match refused {
                    Some(refused) => held.id != refused || held.began > asked,
                    None => held.read.0 > asked,
                };
                if newer {
                    return Ok(Op::Nop);
                }
            }
            if let Some(error) = self.failed_since(reference, asked) {
                return Err(error);
            }
            match self.fetch(reference).await {
                Ok(held) => Ok(Op::Put(Arc::new(held))),
                Err(error) => {
                    self.failures().insert(reference.clone(), (self.clock.now(), error.clone()));
                    Err(error)
                }
            }
        });
        let entry = computed.await?.into_entry();
        let gone = || StoreError::Unavailable("the cache gave up the value".into());
        entry.map(moka::Entry::into_value).ok_or_else(gone)
    }

    async fn fetch(&self, reference: &SecretRef) -> Result<Held, StoreError> {
        let began = self.clock.now();
        let store = self.stores.get(&reference.store);
        let store = store.ok_or_else(|| StoreError::Refused(format!("no store {}", reference.store)))?;
        let read = tokio::time::timeout(self.settings.read, store.read(&reference.path));
        let fetched = read.await.unwrap_or_else(|_| Err(StoreError::Unavailable("no answer in time".into())))?;
        let pat = value::pat(&fetched.value, reference.field.as_deref())?;
        let read = (self.clock.now(), self.clock.wall());
        Ok(Held { id: pat.fingerprint(), pat, version: fetched.version, began, read })
    }

    fn failed_since(&self, reference: &SecretRef, asked: Instant) -> Option<StoreError> {
        let failures = self.failures();
        let (at, error) = failures.get(reference)?;
        (*at + FAILURE_HOLDS > asked).then(|| error.clone())
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<SecretRef, (Instant, StoreError)>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
