//! A PAT's life: read from a store, kept, leased to requests, replaced when Snowflake refuses it.
//!
//! [`Pats`] is the entry point. Requests call [`Pats::lease`]; the operator's commands call [`Pats::refresh`],
//! [`Pats::retry`] and [`Pats::status`]. The files:
//!
//! | file | what it knows |
//! |---|---|
//! | `lease` | one request's right to one version, and its outcome |
//! | `cache` | the PATs in memory, read again in the background |
//! | `guard` | when a request may go with a version: [`Guard`], one per process |
//! | `queue` | the order of the requests |
//! | `elsewhere` | what gates on other hosts tell the guard |
//! | `question` | a request that wants to be sent, and what it may be told |
//! | `ledger` | one user: who may go, and what "refused" means |
//! | `version` | what is known of one version |
//! | `contexts` | what clients asked for when Snowflake refused only them |
//! | `guard_view` | what the guard knows, for the status and a diagnosis |
//! | `diagnosis` | which of the causes behind a code it is |
//! | `keeper` | reads the store and logs in for the gate itself, while requests wait |
//! | `own_login` | the gate's own login |
//! | `proof` | the gate's own login for the operator, and what its session shows |
//! | `shape` | what a PAT says of itself |
//! | `ledgers`, `journal` | the ledgers of all users, in memory and on disk |
//! | `health` | the outcome of recent reads |
//! | `schedule` | when the gate reads a reference again |
//! | `disk_cache` | a sealed copy for a cold start in an outage of the stores |
//! | `status`, `attention` | the status for the operator, and why he has to act |
//! | `end`, `forecast` | when a PAT ends, who says so, and when to warn |
//! | `rotation` | new PATs, made by the gate itself |

mod attention;
mod cache;
mod contexts;
mod diagnosis;
mod disk_cache;
mod elsewhere;
mod end;
mod forecast;
mod guard;
mod guard_view;
mod health;
mod journal;
mod keeper;
mod lease;
mod ledger;
mod ledgers;
mod own_login;
mod proof;
mod question;
mod queue;
mod rotation;
mod schedule;
mod shape;
#[cfg(test)]
mod simulated;
mod status;
mod version;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

pub use attention::PatState;
pub use disk_cache::DiskCache;
#[cfg(test)]
pub use end::EndSource;
pub use forecast::{Forecast, Warnings};
pub use guard::Guard;
pub use lease::{Deadlines, Lease, Refused};
pub use proof::Proof;
pub use queue::RequestKind;
pub use rotation::{Ask, PatRevocation, RotationFailure, RotationPreview, RotationReport, TokenLook};
pub use shape::Shape;
pub use status::{CachedPatStatus, PatStatus, PauseStatus};

use crate::base::clock::Env;
use crate::base::ids::ServiceUser;
use crate::base::names::LoginRefs;
use crate::config::{self, Config};
use crate::replicas::Replicas;
use crate::state::StateDir;
use crate::stores::{Resolver, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sinks::Sinks;
use crate::upstream::AccountState;
use cache::{Cache, CacheOptions, CachedPat};
use own_login::OwnLogins;
use rotation::Rotations;

/// The PATs of one configuration. Background reads end with the last handle to them.
#[derive(Clone)]
pub struct Pats {
    inner: Arc<Inner>,
}

struct Inner {
    cache: Cache,
    guard: Arc<Guard>,
    replicas: Option<Arc<Replicas>>,
    users: BTreeMap<Arc<str>, ServiceUser>,
    own_logins: OwnLogins,
    rotations: Rotations,
    hold: Duration,
    env: Env,
    metrics: Arc<Metrics>,
    control: Handle,
}

/// The accounts of a configuration, by name.
pub type Accounts = BTreeMap<Arc<str>, Arc<AccountState>>;

/// The parts of [`Pats`], beside the configuration.
pub struct PatParts {
    /// The way to the stores.
    pub resolver: Arc<Resolver>,
    /// The budgets; they outlive the configuration.
    pub guard: Arc<Guard>,
    /// The other gates, if there are any.
    pub replicas: Option<Arc<Replicas>>,
    /// The copy on disk, if the gate keeps one.
    pub disk_cache: Option<DiskCache>,
    /// Where the journals of rotations are.
    pub state: Option<StateDir>,
    /// Where acts are written down.
    pub sinks: Arc<Sinks>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Clock and randomness.
    pub env: Env,
    /// Runs the reads.
    pub control: Handle,
}

impl Pats {
    /// The PATs of a configuration; nothing is read yet.
    pub fn new(config: &Config, accounts: &Accounts, parts: PatParts) -> Self {
        let PatParts { resolver, guard, replicas, disk_cache, state, sinks, metrics, env, control } = parts;
        let rotations = Rotations::new(config, accounts, (state, resolver.clone(), sinks));
        let cache = Cache::new(CacheOptions {
            settings: config.pat.clone(),
            credentials: references(config),
            resolver,
            guard: guard.clone(),
            disk_cache,
            metrics: metrics.clone(),
            env: env.clone(),
            control: control.clone(),
        });
        let (users, hold) = (users(config), config.login.hold);
        let own_logins = OwnLogins::new(config, accounts, env.clone());
        let inner = Inner { cache, guard, replicas, users, own_logins, rotations, hold, env, metrics, control };
        Self { inner: Arc::new(inner) }
    }

    /// The PATs of the next configuration, where nothing that the cache depends on has changed.
    #[must_use]
    pub fn with_same_cache(&self, config: &Config, accounts: &Accounts) -> Self {
        let Inner { cache, guard, replicas, rotations, env, metrics, control, .. } = &*self.inner;
        let inner = Inner {
            cache: cache.clone(),
            guard: guard.clone(),
            replicas: replicas.clone(),
            users: users(config),
            own_logins: OwnLogins::new(config, accounts, env.clone()),
            rotations: rotations.next(config, accounts),
            hold: config.login.hold,
            env: env.clone(),
            metrics: metrics.clone(),
            control: control.clone(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Reads now, regardless of earlier reads; the value in memory serves meanwhile. Returns the references of the
    /// given credential, or of all, with the outcome of each.
    pub async fn refresh(&self, credential: Option<&str>) -> Vec<(LoginRefs, Result<(), StoreError>)> {
        let read = self.inner.cache.refresh(credential).await;
        read.into_iter().map(|(references, outcome)| (references, outcome.map(|_: Arc<CachedPat>| ()))).collect()
    }

    /// Forgets the bad logins of a credential's user and of its rotator, here and at all replicas, and reads now. The
    /// operator calls it after enabling a PAT again, or unlocking the user. `None` if there is no such credential.
    pub async fn retry(&self, credential: &str) -> Option<Vec<(LoginRefs, Result<(), StoreError>)>> {
        let user = self.inner.users.get(credential)?;
        tracing::warn!(credential, "forgot the bad logins of a credential's user for the operator");
        let rotated = self.inner.rotations.tokens.get(credential);
        for user in std::iter::once(user).chain(rotated.map(|token| &token.rotator.user)) {
            self.inner.guard.forget_refusals(user);
            self.inner.replicas.iter().for_each(|replicas| replicas.forget_refusals(user));
        }
        if let Some(token) = rotated {
            // What failed is mended, the operator says: the next try shows it.
            token.look.lock().wanted = true;
        }
        Some(self.refresh(Some(credential)).await)
    }

    /// The status for the operator, in the order of the credentials' names.
    pub async fn status(&self) -> Vec<PatStatus> {
        let mut all = self.inner.cache.status().await;
        for pat in &mut all {
            let user = self.inner.users.get(&*pat.credential);
            let pause =
                user.zip(pat.cached.as_ref()).and_then(|(user, cached)| self.inner.guard.pause(user, &cached.id));
            pat.pause = pause.map(|pause| PauseStatus::of(&pause, &*self.inner.env.clock));
            self.inner.describe(pat);
        }
        all
    }

    /// Takes over the values of the same references from the configuration before, if `unchanged` says that they mean
    /// the same.
    pub async fn take_over(&self, before: &Self, unchanged: impl Fn(&LoginRefs) -> bool) {
        self.inner.cache.take_over(&before.inner.cache, unchanged).await;
    }

    /// Fills the cache from the copy on disk: for the start of the process.
    pub async fn load_disk_cache(&self) {
        self.inner.cache.load_disk_cache().await;
    }

    /// Reads every credential's PAT and keeps on reading, until the last handle is gone.
    pub fn keep_fresh(&self) {
        self.inner.cache.keep_fresh();
    }

    /// Rotates what is due from now on, in the background.
    pub fn keep_rotating(&self) {
        rotation::keep(&self.inner);
    }

    /// Begins no more rotations; one that is under way goes on.
    pub fn stop_rotating(&self) {
        rotation::stop(&self.inner);
    }

    /// Returns when no rotation is under way, or after `patience`: one that is broken off has to make its token again.
    pub async fn rotations_ended(&self, patience: Duration) {
        let _goes_on_after_the_next_start = tokio::time::timeout(patience, rotation::ended(&self.inner)).await;
    }

    /// Returns when the gate has read every credential's references once, with any outcome, or after `patience`.
    pub async fn first_reads(&self, patience: Duration) {
        self.inner.cache.first_reads(patience).await;
    }

    /// Whether both read for the same cache.
    pub fn has_cache_of(&self, other: &Self) -> bool {
        self.inner.cache.is(&other.inner.cache)
    }
}

/// The references of each credential.
pub fn references(config: &Config) -> BTreeMap<Arc<str>, LoginRefs> {
    config.credentials.iter().map(|(name, one)| (name.clone(), one.login.clone())).collect()
}

/// The service user of each credential.
fn users(config: &Config) -> BTreeMap<Arc<str>, ServiceUser> {
    let user = |(name, credential): (&Arc<str>, &config::Credential)| {
        let account = config.accounts.get(&credential.account)?;
        Some((name.clone(), ServiceUser::new(&account.authority(), &credential.user)))
    };
    config.credentials.iter().filter_map(user).collect()
}
