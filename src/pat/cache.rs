//! [`Cache`]: PATs in memory.
//!
//! moka holds the values and gives single flight: computations on one key run one after the other, and a computation
//! that finds a newer value than its caller has seen returns that value. The cache handles expiry itself, because tests
//! cannot set moka's clock: it reads every value again each `refresh`, in the background, while the old value serves,
//! and does not use a value older than `stale`.
//!
//! # Which read replaces a value
//! A read that fails changes nothing. A read that succeeds replaces the value, with two exceptions. A version that
//! Snowflake has refused never replaces one that it has not refused. And the value of a fallback does not replace a
//! usable value of an earlier reference, because the fallback may be behind. The fallback counts as soon as it has the
//! same value, or Snowflake refuses the value in memory.
//!
//! Reads run on the control runtime, so that a client that disconnects does not stop one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use moka::ops::compute::Op;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::disk_cache::DiskCache;
use super::guard::Guard;
use super::health::ReadHealth;
use super::schedule::{FIRST_PAUSE, Schedule};
pub(super) use super::status::CachedPat;
use crate::admit::Grant;
use crate::base::clock::Env;
use crate::base::ids::PatId;
use crate::base::names::LoginRefs;
use crate::config;
use crate::stores::{FailedReference, FetchedPat, Resolution, Resolver, StoreError, together};
use crate::telemetry::log_throttle::LogThrottle;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::store_reads::StoreReads;

/// The pause before the next read after a read that found only a refused version. It doubles each time.
const AGAIN: Duration = Duration::from_millis(100);
/// The longest such pause. A login that arrives just after the store has the new version waits that long.
const LONGEST_AGAIN: Duration = Duration::from_secs(2);

/// The PATs of all credentials. Background reads end with the last handle to them.
#[derive(Clone)]
pub(super) struct Cache {
    inner: Arc<Inner>,
    background: Arc<Mutex<JoinSet<()>>>,
}

/// The parts of the cache.
pub(super) struct CacheOptions {
    /// `[pat]`.
    pub settings: config::Pat,
    /// The references of each credential.
    pub credentials: BTreeMap<Arc<str>, LoginRefs>,
    /// The way to the stores.
    pub resolver: Arc<Resolver>,
    /// Which versions Snowflake has refused.
    pub guard: Arc<Guard>,
    /// The copy on disk, if the gate keeps one.
    pub disk_cache: Option<DiskCache>,
    /// Counts reads and staleness.
    pub metrics: Arc<Metrics>,
    /// Clock, and randomness for jitter.
    pub env: Env,
    /// Runs the reads.
    pub control: Handle,
}

struct Inner {
    options: CacheOptions,
    values: moka::future::Cache<LoginRefs, Arc<CachedPat>>,
    health: ReadHealth,
    schedule: Schedule,
    wake: HashMap<LoginRefs, Notify>,
    /// The reads that requests wait for.
    reads: HashMap<LoginRefs, Arc<StoreReads>>,
}

/// The reason for a read.
enum Why {
    /// The refresh is due.
    Fresh,
    /// The operator or a store's event hook reports a new version.
    Pushed,
    /// Snowflake has refused this version.
    Refused(PatId),
}

impl Cache {
    /// An empty cache.
    pub(super) fn new(options: CacheOptions) -> Self {
        let keys: HashSet<_> = options.credentials.values().cloned().collect();
        let values = moka::future::Cache::new(u64::try_from(keys.len()).unwrap_or(u64::MAX).max(1));
        let reads = keys.iter().map(|key| (key.clone(), Arc::new(StoreReads::of(key)))).collect();
        let wake = keys.into_iter().map(|key| (key, Notify::new())).collect();
        let schedule = Schedule::new(options.settings.clone(), options.env.random.clone());
        let inner = Inner { options, values, health: ReadHealth::default(), schedule, wake, reads };
        Self { inner: Arc::new(inner), background: Arc::default() }
    }

    /// The PAT for an admitted client, from memory if possible.
    ///
    /// # Errors
    /// If memory has no usable PAT, and the store gives none.
    pub(super) async fn current(&self, grant: &Grant) -> Result<Arc<CachedPat>, StoreError> {
        let (inner, key) = (&self.inner, grant.login());
        let Some(cached) = inner.usable(key).await else { return self.awaited(key, Why::Fresh).await };
        if cached.age(&*inner.options.env.clock) > inner.schedule.overdue() {
            // The background reader should have read it by now: the store fails, or the machine was asleep.
            inner.options.metrics.stale_served(grant.credential());
            inner.wake.get(key).inspect(|wake| wake.notify_one());
        }
        Ok(cached)
    }

    /// The reads of the store for which requests of an admitted client have waited.
    pub(super) fn reads(&self, grant: &Grant) -> Option<Arc<StoreReads>> {
        self.inner.reads.get(grant.login()).cloned()
    }

    /// Since when the references of an admitted client give nothing.
    pub(super) fn fails_since(&self, grant: &Grant) -> Option<SystemTime> {
        self.inner.health.of(grant.login()).failure.map(|failure| failure.since)
    }

    /// The PAT of a credential, from memory if possible; `None` if there is no such credential.
    ///
    /// # Errors
    /// If memory has no usable PAT, and the store gives none.
    pub(super) async fn of(&self, credential: &str) -> Option<Result<Arc<CachedPat>, StoreError>> {
        let key = self.inner.options.credentials.get(credential)?;
        Some(match self.inner.usable(key).await {
            Some(cached) => Ok(cached),
            None => self.read(key, Why::Fresh).await,
        })
    }

    /// A PAT other than the one that Snowflake refused, according to the guard; `None` if no reference has another.
    ///
    /// # Errors
    /// When no store answers.
    pub(super) async fn newer_than(
        &self,
        grant: &Grant,
        refused: &PatId,
    ) -> Result<Option<Arc<CachedPat>>, StoreError> {
        // Many requests may ask at different times; the cache limits how often it reads the store for them.
        let again = self
            .inner
            .values
            .get(grant.login())
            .await
            .filter(|cached| cached.fetched.id == *refused)
            .and_then(|cached| cached.again);
        let pause = again.map(|(again, _)| again.saturating_duration_since(self.inner.options.env.clock.now()));
        tokio::time::sleep(pause.unwrap_or_default()).await;
        let cached = self.awaited(grant.login(), Why::Refused(refused.clone())).await?;
        Ok((cached.fetched.id != *refused).then_some(cached))
    }

    /// Reads now, regardless of earlier reads; the value in memory serves meanwhile. Returns the references of the
    /// given credentials, or of all, with the outcome of each.
    pub(super) async fn refresh(
        &self,
        credential: Option<&str>,
    ) -> Vec<(LoginRefs, Result<Arc<CachedPat>, StoreError>)> {
        let wanted = |name: &Arc<str>| credential.is_none_or(|wanted| wanted == &**name);
        let keys: HashSet<_> = self
            .inner
            .options
            .credentials
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(_, key)| key.clone())
            .collect();
        let reads: Vec<_> = keys
            .into_iter()
            .map(|key| {
                let pats = self.clone();
                tokio::spawn(async move { (key.clone(), pats.read(&key, Why::Pushed).await) })
            })
            .collect();
        let mut outcomes = Vec::new();
        for read in reads {
            outcomes.extend(read.await);
        }
        outcomes
    }

    /// Takes over the values of another cache for the same references, if `unchanged` says that they mean the same.
    pub(super) async fn take_over(&self, other: &Self, unchanged: impl Fn(&LoginRefs) -> bool) {
        for key in self.inner.wake.keys().filter(|key| unchanged(key)) {
            if let Some(cached) = other.inner.values.get(key).await {
                self.inner.values.insert(key.clone(), cached).await;
            }
        }
    }

    /// Loads the copy on disk, at the start of the process.
    pub(super) async fn load_disk_cache(&self) {
        self.inner.load_disk_cache().await;
    }

    /// How long after a new version came into the store every gate has read it.
    pub(super) fn overdue(&self) -> Duration {
        self.inner.schedule.overdue()
    }

    /// Whether two handles share one cache.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Reads every credential's PAT again and again, until the last handle is dropped; from now on the copy on disk has
    /// these PATs. It also keeps unused PATs fresh, so that the first client after a quiet night finds one.
    pub(super) fn keep_fresh(&self) {
        if let Some(warm) = &self.inner.options.disk_cache {
            warm.retain(&self.inner.wake.keys().map(ToString::to_string).collect());
        }
        for key in self.inner.wake.keys() {
            let (inner, key) = (self.inner.clone(), key.clone());
            let keep = async move {
                loop {
                    let (reader, key) = (inner.clone(), key.clone());
                    // A set of one task, so that the task stops with this one.
                    let mut reading = JoinSet::new();
                    reading.spawn(async move { reader.keep(&key).await });
                    if reading.join_next().await.is_some_and(|ended| ended.is_err_and(|error| error.is_cancelled())) {
                        return;
                    }
                    tracing::error!(owner = "gate", "the background reader of a PAT panicked and restarts");
                    tokio::time::sleep(FIRST_PAUSE).await;
                }
            };
            let mut readers = self.background.lock();
            readers.spawn_on(keep, &self.inner.options.control);
        }
    }

    /// Returns when the gate has read every credential's references once, with any outcome, or after `patience`.
    pub(super) async fn first_reads(&self, patience: Duration) {
        let reads = self.inner.wake.keys().map(|key| self.inner.clone().looked_at(key.clone()));
        let mut all: JoinSet<()> = reads.collect();
        let _some_take_longer =
            tokio::time::timeout(patience, async { while all.join_next().await.is_some() {} }).await;
    }

    /// A read for which a request waits.
    async fn awaited(&self, key: &LoginRefs, why: Why) -> Result<Arc<CachedPat>, StoreError> {
        let mut waits = self.inner.reads.get(key).map(|reads| reads.begin());
        let failed = |error: &StoreError| waits.iter_mut().for_each(|read| read.failed(error.fault_kind()));
        self.read(key, why).await.inspect_err(failed)
    }

    async fn read(&self, key: &LoginRefs, why: Why) -> Result<Arc<CachedPat>, StoreError> {
        let (inner, key) = (self.inner.clone(), key.clone());
        let read = self.inner.options.control.spawn(async move { inner.read_now(&key, &why).await });
        read.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the gate is stopping".into())))
    }
}

impl Inner {
    /// Returns when there is a value, or after a failed read.
    async fn looked_at(self: Arc<Self>, key: LoginRefs) {
        if self.usable(&key).await.is_none() {
            // The background reader logs the failure.
            let _told_elsewhere = self.read_now(&key, &Why::Fresh).await;
        }
    }

    async fn usable(&self, key: &LoginRefs) -> Option<Arc<CachedPat>> {
        self.values.get(key).await.filter(|cached| self.is_usable(cached))
    }

    fn is_usable(&self, cached: &CachedPat) -> bool {
        cached.age(&*self.options.env.clock) < self.options.settings.stale
    }

    /// Reads one credential's references for as long as the process lives.
    async fn keep(&self, key: &LoginRefs) {
        let Some(wake) = self.wake.get(key) else { return };
        let (is_local, complaint) = (self.options.resolver.is_local(key), LogThrottle::default());
        let mut failures = 0;
        loop {
            let pause = match self.read_now(key, &Why::Fresh).await {
                Ok(cached) => {
                    failures = 0;
                    self.schedule.after_success(is_local, cached.fetched.expires, self.options.env.clock.wall())
                }
                Err(error) => {
                    if complaint.now() {
                        let kind = key.kind();
                        tracing::warn!(references = %key, cause = %error, owner = "store", kind, "cannot read a PAT");
                    }
                    failures += 1;
                    let holds = self.usable(key).await.is_some();
                    self.schedule.after_failure(failures, is_local, holds, &error)
                }
            };
            let earliest = pause.min(self.schedule.pace(is_local));
            tokio::time::sleep(earliest).await;
            tokio::select! {
                () = tokio::time::sleep(pause - earliest) => {}
                () = wake.notified() => {}
            }
        }
    }

    /// Reads a credential's references, once for all callers at the same time.
    async fn read_now(&self, key: &LoginRefs, why: &Why) -> Result<Arc<CachedPat>, StoreError> {
        let asked = self.options.env.clock.now();
        let before = self.values.get(key).await.map(|cached| cached.fetched.id.clone());
        let computed = self.values.entry_by_ref(key).and_try_compute_with(|entry| async move {
            let cached = entry.map(moka::Entry::into_value);
            if let Some(cached) = &cached {
                // After a refusal only a read that began after it can find the newer version.
                let answered = match why {
                    Why::Refused(refused) => cached.fetched.id != *refused || cached.fetched.began > asked,
                    Why::Pushed => cached.fetched.began > asked,
                    Why::Fresh => cached.fetched.ended.0 >= asked && !cached.from_disk && self.is_usable(cached),
                };
                if answered {
                    return Ok(Op::Nop);
                }
            }
            if let Some(error) = self.health.failed_just_now(key, asked, matches!(why, Why::Pushed)) {
                return Err(error);
            }
            let fresh = self.fetch(key, cached.as_deref()).await?;
            let in_vain = matches!(why, Why::Refused(refused) if fresh.id == *refused);
            let before = cached.filter(|cached| cached.fetched.id == fresh.id).and_then(|cached| cached.again);
            let pause = before.map_or(AGAIN, |(_, pause)| LONGEST_AGAIN.min(pause * 2));
            let again = in_vain.then(|| (self.options.env.clock.now() + pause, pause));
            Ok(Op::Put(Arc::new(CachedPat { fetched: fresh, from_disk: false, again })))
        });
        let entry = computed.await?.into_entry();
        let gone = || StoreError::Unavailable("the cache has dropped the value".into());
        let cached = entry.map(moka::Entry::into_value).ok_or_else(gone)?;
        if let Some(before) = before.filter(|before| *before != cached.fetched.id) {
            self.options.guard.replaced(&before, &cached.fetched.id);
        }
        Ok(cached)
    }

    /// Reads the stores, and decides whether their value replaces the one in memory.
    async fn fetch(&self, key: &LoginRefs, cached: Option<&CachedPat>) -> Result<FetchedPat, StoreError> {
        let refused = self.options.guard.condemned_versions();
        let Resolution { pat: found, failed } = self.options.resolver.first(key, &refused).await;
        let found = found.ok_or_else(|| together(&failed)).and_then(|found| {
            let kept = cached.filter(|cached| {
                self.is_usable(cached) && !refused.contains(&cached.fetched.id) && cached.fetched.id != found.id
            });
            match kept {
                Some(_) if refused.contains(&found.id) => {
                    Err(StoreError::Refused("the store has a version that Snowflake has refused".into()))
                }
                Some(kept) if found.rank > kept.fetched.rank => {
                    let first = failed.first().map(|failed| format!("{}: {}", failed.reference, failed.error));
                    let text = format!("{}; {} has another version", first.unwrap_or_default(), found.from);
                    Err(StoreError::Unavailable(text))
                }
                _ => Ok(found),
            }
        });
        match found {
            Ok(found) => {
                self.succeeded(key, cached, &found, failed);
                Ok(found)
            }
            Err(error) => {
                self.health.failed(key, error.clone(), failed, &*self.options.env.clock);
                Err(error)
            }
        }
    }

    fn succeeded(&self, key: &LoginRefs, cached: Option<&CachedPat>, found: &FetchedPat, failed: Vec<FailedReference>) {
        if cached.is_none_or(|cached| cached.fetched.id != found.id) {
            let (pat, version, from) = (&found.id, &found.version, &found.from);
            tracing::info!(references = %key, %pat, version, %from, kind = key.kind(), "a new version of a PAT");
        }
        if let Some(warm) = &self.options.disk_cache {
            warm.keep(key, found, self.options.env.clock.wall());
        }
        self.health.succeeded(key, found, failed);
    }

    /// Fills the cache from the copy on disk, if that is young enough.
    async fn load_disk_cache(&self) {
        let Some(warm) = &self.options.disk_cache else { return };
        for key in self.wake.keys() {
            if let Some(found) = warm.find(key, &*self.options.env.clock) {
                let cached = CachedPat { fetched: found, from_disk: true, again: None };
                if self.is_usable(&cached) {
                    let age_s = cached.age(&*self.options.env.clock).as_secs();
                    tracing::info!(references = %key, pat = %cached.fetched.id, age_s, "took a PAT from the warm copy");
                    self.values.insert(key.clone(), Arc::new(cached)).await;
                }
            }
        }
    }
}

#[path = "cache_status.rs"]
mod status;

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
