//! [`Resolver`]: reads a PAT, or another secret, by a list of references.
//!
//! It reads the references in order, and the first that answers wins. A version that Snowflake has refused does not win
//! while there is another: the resolver then tries the store's pending version, if the store has one, and then the next
//! reference.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Semaphore;

use super::key_pairs::KeyPairs;
use super::{SecretStore, StoreError, StoredSecret, Stores, value};
use crate::base::clock::Clock;
use crate::base::ids::PatId;
use crate::base::names::{LoginRefs, SecretRef, SecretRefs};
use crate::base::secret::Secret;
use crate::snowflake::login_secret::LoginSecret;
use crate::telemetry::metrics::Metrics;

/// The most reads of one store at a time.
const READS_AT_ONCE: usize = 8;

/// The stores, each with a limit on reads.
pub struct Resolver {
    stores: HashMap<Arc<str>, (Arc<dyn SecretStore>, Semaphore)>,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    key_pairs: KeyPairs,
}

/// A PAT from a store.
#[derive(Clone)]
pub struct FetchedPat {
    /// The token, or the key pair.
    pub secret: LoginSecret,
    /// Its fingerprint: a hash of what is stored, independent of the store's version.
    pub id: PatId,
    /// The store's own name of the version.
    pub version: String,
    /// When this version was written, where the store tells.
    pub created: Option<SystemTime>,
    /// When this version ends, where the store knows.
    pub expires: Option<SystemTime>,
    /// The reference that gave it.
    pub from: SecretRef,
    /// Its place in the credential's list.
    pub rank: usize,
    /// When the read began.
    pub began: Instant,
    /// When it ended.
    pub ended: (Instant, SystemTime),
}

/// A reference without a secret.
#[derive(Debug, Clone)]
pub struct FailedReference {
    /// The reference.
    pub reference: SecretRef,
    /// Why.
    pub error: StoreError,
}

/// The outcome of reading all references.
pub struct Resolution {
    /// The secret, if any reference gave one.
    pub pat: Option<FetchedPat>,
    /// The references before it that gave nothing.
    pub failed: Vec<FailedReference>,
}

impl Resolver {
    /// A resolver for these stores; each single read ends within `timeout`.
    pub fn new(stores: Stores, timeout: Duration, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let stores = stores.into_iter().map(|(name, store)| (name, (store, Semaphore::new(READS_AT_ONCE)))).collect();
        Self { stores, timeout, clock, metrics, key_pairs: KeyPairs::default() }
    }

    /// The store of a reference, and the places for its requests.
    pub(super) fn store(&self, reference: &SecretRef) -> Result<(&dyn SecretStore, &Semaphore), StoreError> {
        let (store, permits) = self.stores.get(&reference.store).ok_or_else(|| no_store(reference))?;
        Ok((&**store, permits))
    }

    /// How long one request may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether reads of all these references are nearly free.
    pub fn is_local(&self, references: &LoginRefs) -> bool {
        references.all().all(|one| self.stores.get(&one.store).is_some_and(|(store, _)| store.is_local()))
    }

    /// Reads one of the references of a login.
    ///
    /// # Errors
    /// The store's error, or the error in the value.
    pub async fn read(&self, login: &LoginRefs, reference: &SecretRef) -> Result<FetchedPat, StoreError> {
        self.current(login, reference, 0).await
    }

    /// A secret other than a PAT: the unchanged value of the first reference that gives one, and its place in the list.
    ///
    /// # Errors
    /// The error of each reference.
    pub async fn text(&self, references: &SecretRefs) -> Result<(Secret, usize), StoreError> {
        let mut failed = Vec::new();
        for (rank, reference) in references.iter().enumerate() {
            let take = |_, fetched: StoredSecret| value::member(&fetched.value, reference.field.as_deref());
            let read = self.fetch(reference, |store| Some(store.read(&reference.path)), take).await;
            match read.unwrap_or_else(|| Err(no_store(reference))) {
                Ok(text) => return Ok((text, rank)),
                Err(error) => failed.push(FailedReference { reference: reference.clone(), error }),
            }
        }
        Err(together(&failed))
    }

    /// Reads the references in order, and skips every version in `refused` while there is another.
    pub async fn first(&self, references: &LoginRefs, refused: &HashSet<PatId>) -> Resolution {
        let (mut failed, mut second_best) = (Vec::new(), None);
        for (rank, reference) in references.secret().iter().enumerate() {
            let error = match self.current(references, reference, rank).await {
                Ok(found) if !refused.contains(&found.id) => return Resolution { pat: Some(found), failed },
                Ok(found) => {
                    second_best.get_or_insert(found);
                    let next = self
                        .fetch_pat(references, reference, rank, |store| store.read_successor(&reference.path))
                        .await;
                    if let Some(Ok(next)) = next
                        && !refused.contains(&next.id)
                    {
                        return Resolution { pat: Some(next), failed };
                    }
                    StoreError::Refused("it still has the version that Snowflake has refused".into())
                }
                Err(error) => error,
            };
            failed.push(FailedReference { reference: reference.clone(), error });
        }
        // A reference whose refused value is returned in the end has not failed.
        if let Some(given) = &second_best {
            failed.retain(|failed: &FailedReference| failed.reference != given.from);
        }
        Resolution { pat: second_best, failed }
    }

    async fn current(&self, login: &LoginRefs, reference: &SecretRef, rank: usize) -> Result<FetchedPat, StoreError> {
        let read = self.fetch_pat(login, reference, rank, |store| Some(store.read(&reference.path))).await;
        read.unwrap_or_else(|| Err(no_store(reference)))
    }

    async fn fetch_pat<'a>(
        &'a self,
        login: &LoginRefs,
        reference: &SecretRef,
        rank: usize,
        how: impl FnOnce(&'a dyn SecretStore) -> Option<super::ReadFuture<'a>>,
    ) -> Option<Result<FetchedPat, StoreError>> {
        let passphrase = match login.passphrase() {
            Some(passphrase) => match self.passphrase(passphrase).await {
                Ok(text) => Some(text),
                Err(error) => return Some(Err(error.prefixed(&format!("passphrase {passphrase}")))),
            },
            None => None,
        };
        self.fetch(reference, how, |began, got| {
            let field = reference.field.as_deref();
            let secret = match login {
                LoginRefs::Pat(_) => LoginSecret::Pat(value::pat(&got.value, field)?),
                LoginRefs::KeyPair(..) => self.key_pairs.read(reference, value::key(&got.value, field)?, passphrase)?,
            };
            Ok(self.found(secret, (reference, rank), began, got))
        })
        .await
    }

    async fn passphrase(&self, reference: &SecretRef) -> Result<Secret, StoreError> {
        let take = |_, got: StoredSecret| value::line(&got.value, reference.field.as_deref());
        let read = self.fetch(reference, |store| Some(store.read(&reference.path)), take).await;
        read.unwrap_or_else(|| Err(no_store(reference)))
    }

    /// Reads from one store and applies `take`; `None` if there is no such store, or if it has no pending version.
    async fn fetch<'a, T>(
        &'a self,
        reference: &SecretRef,
        how: impl FnOnce(&'a dyn SecretStore) -> Option<super::ReadFuture<'a>>,
        take: impl FnOnce(Instant, StoredSecret) -> Result<T, StoreError>,
    ) -> Option<Result<T, StoreError>> {
        let (store, permits) = self.stores.get(&reference.store)?;
        let reading = how(&**store)?;
        let _permit = permits.acquire().await;
        let began = self.clock.now();
        let late = |_| Err(StoreError::Unavailable("no answer in time".into()));
        let fetched = tokio::time::timeout(self.timeout, reading).await.unwrap_or_else(late);
        let taken = fetched.and_then(|fetched| take(began, fetched));
        self.metrics.store_read(&reference.store, taken.as_ref().map_or_else(StoreError::kind, |_| "ok"));
        Some(taken)
    }

    fn found(
        &self,
        secret: LoginSecret,
        (from, rank): (&SecretRef, usize),
        began: Instant,
        got: StoredSecret,
    ) -> FetchedPat {
        let StoredSecret { version, created, expires, value: _ } = got;
        let ended = (self.clock.now(), self.clock.wall());
        // A key pair has no end, whatever a store writes beside it.
        let expires = expires.filter(|_| secret.pat().is_some());
        FetchedPat { id: secret.id(), secret, version, created, expires, from: from.clone(), rank, began, ended }
    }
}

fn no_store(reference: &SecretRef) -> StoreError {
    StoreError::Refused(format!("no store {}", reference.store))
}

/// One error for all references: that of the only one, or all of them by name. It is temporary if one of them is.
pub fn together(failed: &[FailedReference]) -> StoreError {
    let [only] = failed else {
        let all: Vec<_> = failed.iter().map(|failed| format!("{}: {}", failed.reference, failed.error)).collect();
        let text = all.join("; ");
        // The shortest pause of them.
        let pause = failed.iter().map(|failed| failed.error.pause()).min().unwrap_or_default();
        return match failed.iter().any(|failed| failed.error.passes()) {
            true if pause > Duration::ZERO => StoreError::Throttled(text, pause),
            true => StoreError::Unavailable(text),
            // All the same: that kind; else the general one.
            false if failed.iter().all(|failed| matches!(failed.error, StoreError::Missing(_))) => {
                StoreError::Missing(text)
            }
            false
                if failed
                    .iter()
                    .all(|failed| matches!(failed.error, StoreError::Login(_) | StoreError::OwnSecret(_))) =>
            {
                StoreError::Login(text)
            }
            false => StoreError::Refused(text),
        };
    };
    only.error.clone()
}
