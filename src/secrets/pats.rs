//! [`Pats`]: PATs in memory.
//!
//! moka holds the values and gives single flight: computations on one key run one after the other, and one that finds a value
//! newer than what its caller had seen leaves it at that. Expiry is ours, because moka's clock is not ours to turn: every value
//! is read again each `refresh`, in the background, while it goes on serving, and one older than `stale` is not used.
//!
//! # What takes a value's place
//! A read that fails changes nothing. One that succeeds takes its place, with two exceptions: a version that Snowflake has
//! refused never follows one that it has not, and what a fallback says counts for nothing while a reference before it has
//! given something usable, for the fallback may be behind. It counts as soon as it says the same, or Snowflake refuses what is
//! held.
//!
//! Reads run on the control runtime, so that a client that hangs up does not end one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::future::Cache;
use moka::ops::compute::Op;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::reader::{Found, Loser, Outcome, Reader, together};
use super::refused::Refused;
use super::schedule::{FIRST_PAUSE, Schedule};
use super::status::{Failure, Health, Held, HeldStatus, Status};
use super::{StoreError, Warm};
use crate::admit::Grant;
use crate::base::clock::{Clock, Random};
use crate::base::names::SecretRefs;
use crate::config;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::rarely::Rarely;

/// How long a failed read answers for those that ask right after it.
const FAILURE_HOLDS: Duration = Duration::from_millis(500);
/// How soon after a read that brought only a refused version the stores are asked again; twice as long each time.
const AGAIN: Duration = Duration::from_millis(100);
/// The longest such pause: a login that comes when the new version is there has to wait for it.
const LONGEST_AGAIN: Duration = Duration::from_secs(2);

/// The PATs of all credentials. Background reads end with the last handle to them.
#[derive(Clone)]
pub struct Pats {
    inner: Arc<Inner>,
    readers: Arc<Mutex<JoinSet<()>>>,
}

/// What the cache is made of.
pub struct Setup {
    /// `[pat]`.
    pub settings: config::Pat,
    /// The references of each credential.
    pub credentials: BTreeMap<Arc<str>, SecretRefs>,
    /// The way to the stores.
    pub reader: Arc<Reader>,
    /// The copy on disk, where one is kept.
    pub warm: Option<Warm>,
    /// Where reads and staleness are counted.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance, for jitter.
    pub random: Arc<dyn Random>,
    /// Runs the reads.
    pub control: Handle,
}

struct Inner {
    setup: Setup,
    cache: Cache<SecretRefs, Arc<Held>>,
    health: Mutex<HashMap<SecretRefs, Health>>,
    refused: Refused,
    schedule: Schedule,
    wake: HashMap<SecretRefs, Notify>,
}

/// Why a read is asked for.
enum Why {
    /// Its time has come.
    Fresh,
    /// Somebody says that there is something new.
    Pushed,
    /// Snowflake has refused this version.
    Refused(String),
}

impl Pats {
    /// An empty cache.
    pub fn new(setup: Setup) -> Self {
        let keys: HashSet<_> = setup.credentials.values().cloned().collect();
        let cache = Cache::new(u64::try_from(keys.len()).unwrap_or(u64::MAX).max(1));
        let wake = keys.into_iter().map(|key| (key, Notify::new())).collect();
        let schedule = Schedule::new(setup.settings.clone(), setup.random.clone());
        let inner = Inner { setup, cache, health: Mutex::default(), refused: Refused::default(), schedule, wake };
        Self { inner: Arc::new(inner), readers: Arc::default() }
    }

    /// The PAT for an admitted client, from memory where there is one.
    ///
    /// # Errors
    /// When there is none in memory that may be used, and the store gives none.
    pub async fn current(&self, grant: &Grant) -> Result<Arc<Held>, StoreError> {
        let (inner, key) = (&self.inner, grant.pat());
        let Some(held) = inner.usable(key).await else { return self.read(key, Why::Fresh).await };
        if held.age(&*inner.setup.clock) > inner.schedule.overdue() {
            // The background reader would have been here: the store fails, or the machine has slept.
            inner.setup.metrics.stale_served(grant.credential());
            inner.wake.get(key).inspect(|wake| wake.notify_one());
        }
        Ok(held)
    }

    /// A PAT other than the one that Snowflake refused; `None` when no reference has another. The refused one is remembered.
    ///
    /// # Errors
    /// When no store answers.
    pub async fn newer_than(&self, grant: &Grant, refused: &Held) -> Result<Option<Arc<Held>>, StoreError> {
        self.inner.refused.add(&refused.id);
        // Many may ask, each at its own time: the store hears of it now and then, and then once.
        let again =
            self.inner.cache.get(grant.pat()).await.filter(|held| held.id == refused.id).and_then(|held| held.again);
        let pause = again.map(|(again, _)| again.saturating_duration_since(self.inner.setup.clock.now()));
        tokio::time::sleep(pause.unwrap_or_default()).await;
        let held = self.read(grant.pat(), Why::Refused(refused.id.clone())).await?;
        Ok((held.id != refused.id).then_some(held))
    }

    /// Snowflake has taken a PAT: if it was refused before, that is over.
    pub fn accepted(&self, held: &Held) {
        self.inner.refused.remove(&held.id);
    }

    /// Forgets which versions Snowflake has refused: somebody has enabled one again.
    pub fn forgive(&self) {
        self.inner.refused.clear();
    }

    /// Reads now, whatever was read when; what is in memory goes on serving meanwhile. Gives the references of the credentials
    /// asked for, or of all, with what came of each.
    pub async fn refresh(&self, credential: Option<&str>) -> Vec<(SecretRefs, Result<Arc<Held>, StoreError>)> {
        let wanted = |name: &Arc<str>| credential.is_none_or(|wanted| wanted == &**name);
        let keys: HashSet<_> =
            self.inner.setup.credentials.iter().filter(|(name, _)| wanted(name)).map(|(_, key)| key.clone()).collect();
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

    /// What the operator is told, in the order of the credentials' names.
    pub async fn status(&self) -> Vec<Status> {
        let mut all = Vec::new();
        for (credential, key) in &self.inner.setup.credentials {
            let held = self.inner.cache.get(key).await.map(|held| self.inner.held_status(&held));
            let health = self.inner.health().get(key).cloned().unwrap_or_default();
            all.push(Status {
                credential: credential.to_string(),
                references: key.clone(),
                held,
                failure: health.failure.map(|failure| (failure.since, failure.error)),
                losers: health.losers,
            });
        }
        all
    }

    /// Takes over what another cache holds of the same references, as far as `unchanged` lets them mean the same; what it knows
    /// of refused versions holds for both.
    pub async fn take_over(&self, other: &Self, unchanged: impl Fn(&SecretRefs) -> bool) {
        for key in self.inner.wake.keys().filter(|key| unchanged(key)) {
            if let Some(held) = other.inner.cache.get(key).await {
                self.inner.cache.insert(key.clone(), held).await;
            }
        }
        other.inner.refused.all().iter().for_each(|id| self.inner.refused.add(id));
    }

    /// Takes up the copy on disk: for the start of the process.
    pub async fn warm_up(&self) {
        self.inner.warm_up().await;
    }

    /// Whether two handles are of one cache.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Reads every credential's PAT and keeps on reading, until the last handle is gone; the copy on disk is from now on of these.
    /// A PAT that nobody asks for is kept fresh too, so that the first client after a quiet night finds it.
    pub fn keep_fresh(&self) {
        if let Some(warm) = &self.inner.setup.warm {
            warm.retain(&self.inner.wake.keys().map(ToString::to_string).collect());
        }
        for key in self.inner.wake.keys() {
            let (inner, key) = (self.inner.clone(), key.clone());
            let keep = async move {
                loop {
                    let (reader, key) = (inner.clone(), key.clone());
                    // A set of one: it ends with this task.
                    let mut reading = JoinSet::new();
                    reading.spawn(async move { reader.keep(&key).await });
                    if reading.join_next().await.is_some_and(|ended| ended.is_err_and(|error| error.is_cancelled())) {
                        return;
                    }
                    tracing::error!(owner = "gate", "the background reader of a PAT ended in a panic and begins anew");
                    tokio::time::sleep(FIRST_PAUSE).await;
                }
            };
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            readers.spawn_on(keep, &self.inner.setup.control);
        }
    }

    /// Ends when every credential's references have been read once, with whatever came of it, or when `patience` is over.
    pub async fn first_reads(&self, patience: Duration) {
        let reads = self.inner.wake.keys().map(|key| self.inner.clone().looked_at(key.clone()));
        let mut all: JoinSet<()> = reads.collect();
        let _some_take_longer =
            tokio::time::timeout(patience, async { while all.join_next().await.is_some() {} }).await;
    }

    async fn read(&self, key: &SecretRefs, why: Why) -> Result<Arc<Held>, StoreError> {
        let (inner, key) = (self.inner.clone(), key.clone());
        let read = self.inner.setup.control.spawn(async move { inner.read_now(&key, &why).await });
        read.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the gate is stopping".into())))
    }
}

impl Inner {
    /// Ends when there is a value, or a read has failed.
    async fn looked_at(self: Arc<Self>, key: SecretRefs) {
        if self.usable(&key).await.is_none() {
            // What is wrong is told by the reader in the background.
            let _told_elsewhere = self.read_now(&key, &Why::Fresh).await;
        }
    }

    async fn usable(&self, key: &SecretRefs) -> Option<Arc<Held>> {
        self.cache.get(key).await.filter(|held| self.is_usable(held))
    }

    fn is_usable(&self, held: &Held) -> bool {
        held.age(&*self.setup.clock) < self.setup.settings.stale
    }

    /// Reads one credential's references for as long as the process lives.
    async fn keep(&self, key: &SecretRefs) {
        let Some(wake) = self.wake.get(key) else { return };
        let (at_hand, complaint) = (self.setup.reader.at_hand(key), Rarely::default());
        let mut failures = 0;
        loop {
            let pause = match self.read_now(key, &Why::Fresh).await {
                Ok(held) => {
                    failures = 0;
                    self.schedule.after_success(at_hand, held.expires, self.setup.clock.wall())
                }
                Err(error) => {
                    if complaint.now() {
                        tracing::warn!(references = %key, cause = %error, owner = "store", "a PAT cannot be read");
                    }
                    failures += 1;
                    let holds = self.usable(key).await.is_some();
                    self.schedule.after_failure(failures, at_hand, holds, &error)
                }
            };
            let earliest = pause.min(self.schedule.pace(at_hand));
            tokio::time::sleep(earliest).await;
            tokio::select! {
                () = tokio::time::sleep(pause - earliest) => {}
                () = wake.notified() => {}
            }
        }
    }

    /// Reads a credential's references, once for all who ask at the same time.
    async fn read_now(&self, key: &SecretRefs, why: &Why) -> Result<Arc<Held>, StoreError> {
        let asked = self.setup.clock.now();
        let computed = self.cache.entry_by_ref(key).and_try_compute_with(|entry| async move {
            let held = entry.map(moka::Entry::into_value);
            if let Some(held) = &held {
                // After a refusal only a read that began later can have seen what came after it.
                let answered = match why {
                    Why::Refused(refused) => held.id != *refused || held.began > asked,
                    Why::Pushed => held.began > asked,
                    Why::Fresh => held.ended.0 >= asked && !held.warm && self.is_usable(held),
                };
                if answered {
                    return Ok(Op::Nop);
                }
            }
            if let Some(error) = self.failed_just_now(key, asked, why) {
                return Err(error);
            }
            let fresh = self.fetch(key, held.as_deref()).await?;
            let in_vain = matches!(why, Why::Refused(refused) if fresh.id == *refused);
            let before = held.filter(|held| held.id == fresh.id).and_then(|held| held.again);
            let pause = before.map_or(AGAIN, |(_, pause)| LONGEST_AGAIN.min(pause * 2));
            let again = in_vain.then(|| (self.setup.clock.now() + pause, pause));
            Ok(Op::Put(Arc::new(Held { found: fresh, warm: false, again })))
        });
        let entry = computed.await?.into_entry();
        let gone = || StoreError::Unavailable("the cache gave up the value".into());
        entry.map(moka::Entry::into_value).ok_or_else(gone)
    }

    /// Asks the stores, and judges whether what they say takes the place of what is held.
    async fn fetch(&self, key: &SecretRefs, held: Option<&Held>) -> Result<Found, StoreError> {
        let refused = self.refused.all();
        let Outcome { found, losers } = self.setup.reader.first(key, &refused).await;
        let found = found.ok_or_else(|| together(&losers)).and_then(|found| {
            let kept = held.filter(|held| self.is_usable(held) && !refused.contains(&held.id) && held.id != found.id);
            match kept {
                Some(_) if refused.contains(&found.id) => {
                    Err(StoreError::Refused("the store gives a version that Snowflake has refused".into()))
                }
                Some(kept) if found.rank > kept.rank => {
                    let first = losers.first().map(|loser| format!("{}: {}", loser.reference, loser.error));
                    let text = format!("{}; {} gives another version", first.unwrap_or_default(), found.from);
                    Err(StoreError::Unavailable(text))
                }
                _ => Ok(found),
            }
        });
        match found {
            Ok(found) => {
                self.succeeded(key, held, &found, losers);
                Ok(found)
            }
            Err(error) => {
                let (at, since) = (self.setup.clock.now(), self.setup.clock.wall());
                let mut health = self.health();
                let health = health.entry(key.clone()).or_default();
                let since = health.failure.as_ref().map_or(since, |failure| failure.since);
                health.failure = Some(Failure { at, since, error: error.clone() });
                health.losers = losers;
                Err(error)
            }
        }
    }

    fn succeeded(&self, key: &SecretRefs, held: Option<&Held>, found: &Found, losers: Vec<Loser>) {
        if held.is_none_or(|held| held.id != found.id) {
            let (pat, version, from) = (&found.id, &found.version, &found.from);
            tracing::info!(references = %key, pat, version, %from, "a new version of a PAT");
        }
        if let Some(warm) = &self.setup.warm {
            warm.keep(key, found, self.setup.clock.wall());
        }
        let mut health = self.health();
        let health = health.entry(key.clone()).or_default();
        if health.failure.is_some() {
            tracing::info!(references = %key, from = %found.from, "a PAT can be read again");
        }
        let known = |loser: &Loser| health.losers.iter().any(|known| known.reference == loser.reference);
        for loser in losers.iter().filter(|loser| !known(loser)) {
            let (reference, cause) = (&loser.reference, &loser.error);
            tracing::warn!(%reference, %cause, owner = "store", from = %found.from, "a reference gives nothing; another does");
        }
        *health = Health { failure: None, losers };
    }

    /// Fills the cache from the copy on disk, as far as that is young enough.
    async fn warm_up(&self) {
        let Some(warm) = &self.setup.warm else { return };
        for key in self.wake.keys() {
            if let Some(found) = warm.find(key, &*self.setup.clock) {
                let held = Held { found, warm: true, again: None };
                if self.is_usable(&held) {
                    tracing::info!(references = %key, pat = held.id, age_s = held.age(&*self.setup.clock).as_secs(), "a PAT from the warm copy");
                    self.cache.insert(key.clone(), Arc::new(held)).await;
                }
            }
        }
    }

    fn held_status(&self, held: &Held) -> HeldStatus {
        HeldStatus {
            id: held.id.clone(),
            version: held.version.clone(),
            from: held.from.to_string(),
            created: held.created,
            expires: held.expires,
            age: held.age(&*self.setup.clock),
            usable: self.is_usable(held),
            overdue: held.age(&*self.setup.clock) > self.schedule.overdue(),
            warm: held.warm,
            refused: self.refused.contains(&held.id),
        }
    }

    fn failed_just_now(&self, key: &SecretRefs, asked: Instant, why: &Why) -> Option<StoreError> {
        let health = self.health();
        let failure = health.get(key)?.failure.as_ref()?;
        // Who pushes knows better than a store that wanted to be left alone a while ago.
        let pause = if matches!(why, Why::Pushed) { Duration::ZERO } else { failure.error.pause() };
        let holds = FAILURE_HOLDS.max(pause);
        (failure.at + holds > asked).then(|| failure.error.clone())
    }

    fn health(&self) -> MutexGuard<'_, HashMap<SecretRefs, Health>> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "pats_tests.rs"]
mod tests;
