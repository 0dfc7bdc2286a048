//! [`DiskCache`]: a sealed copy of the PATs in memory, for a cold start while the stores are unreachable.
//!
//! It is one file in the state directory, always replaced whole. A [`Cipher`] seals all entries; its secret is not in
//! that directory. An entry has the time of its read, so that the limit on staleness holds over restarts. If the gate
//! cannot open the copy, it starts anyway: it logs that, and leaves the file until the first read replaces it. The file
//! has the credentials of one gate: two gates with a copy need two directories.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use crate::base::cipher::{Cipher, LEAST_SECRET};
use crate::base::clock::Clock;
use crate::base::epoch::EpochMillis;
use crate::base::names::{LoginRefs, SecretRef};
use crate::base::secret::Secret;
use crate::config::SecretSource;
use crate::snowflake::login_secret::LoginSecret;
use crate::state::StateDir;
use crate::stores::{FetchedPat, StoreError, load_now};

const FILE: &str = "warm";
/// Binds the seal to this use and this form.
const PURPOSE: &[u8] = b"patgate warm copy, form 1";
/// How far two clocks may differ.
const SLACK: Duration = Duration::from_secs(60);
/// How often an unchanged version's time is written again.
const EVERY: Duration = Duration::from_secs(60);

/// The copy on disk.
#[derive(Clone)]
pub struct DiskCache {
    key: Arc<Cipher>,
    directory: StateDir,
    entries: Arc<Mutex<Entries>>,
    turn: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Entries {
    all: HashMap<String, Entry>,
    written: Option<SystemTime>,
}

/// One credential's PAT as it is written, inside the seal.
#[derive(Serialize, Deserialize, Clone)]
struct Entry {
    #[serde(with = "exposed")]
    pat: Secret,
    /// That of a key pair, whose PEM is `pat`.
    #[serde(with = "exposed_option", default)]
    passphrase: Option<Secret>,
    version: String,
    from: String,
    rank: usize,
    read: u64,
    created: Option<u64>,
    expires: Option<u64>,
}

/// Why there is no copy to be kept.
#[derive(Debug, thiserror::Error)]
pub enum DiskCacheError {
    /// The key's secret cannot be read.
    #[error("state.warm_key: {0}")]
    Unread(#[from] StoreError),
    /// The key's secret is too short to be one.
    #[error(
        "state.warm_key: its secret is shorter than {LEAST_SECRET} characters; make one with `openssl rand -base64 32`"
    )]
    Short,
    /// The key cannot be derived.
    #[error("state.warm_key: no key can be derived from its secret")]
    Unusable,
}

impl DiskCache {
    /// Opens the copy in `directory`, sealed with a key from `source`.
    ///
    /// # Errors
    /// If the key is missing or unusable. The gate logs a copy that it cannot open, and continues without it.
    pub fn open(directory: StateDir, source: &SecretSource) -> Result<Self, DiskCacheError> {
        let secret = load_now(source)?;
        if secret.expose().len() < LEAST_SECRET {
            return Err(DiskCacheError::Short);
        }
        let key = Arc::new(Cipher::derive(&secret, PURPOSE).map_err(|_| DiskCacheError::Unusable)?);
        let mut entries = Entries::default();
        match directory.read(FILE) {
            Ok(None) => {}
            Ok(Some(sealed)) => match unseal(&key, &sealed) {
                Some(all) => entries.all = all,
                None => {
                    tracing::warn!(
                        owner = "gate",
                        "cannot open the warm copy: the key is another one, or the copy was changed"
                    )
                }
            },
            Err(error) => tracing::warn!(cause = %error, owner = "gate", "cannot read the warm copy"),
        }
        Ok(Self { key, directory, entries: Arc::new(Mutex::new(entries)), turn: Arc::default() })
    }

    /// The PAT that was last kept for these references, with its real age.
    pub(super) fn find(&self, key: &LoginRefs, clock: &dyn Clock) -> Option<FetchedPat> {
        let entry = self.lock().all.get(&key.to_string()).cloned()?;
        let (now, wall) = (clock.now(), clock.wall());
        let read = at(entry.read);
        // Monotonic time cannot reach back beyond the machine's start on every system; the wall clock tells the age
        // then. A clock that is behind by more than a little would make an old copy young.
        let age = match wall.duration_since(read) {
            Ok(age) => age,
            Err(ahead) if ahead.duration() <= SLACK => Duration::ZERO,
            Err(_) => return None,
        };
        let ended = now.checked_sub(age).unwrap_or(now);
        let expires = entry.expires.map(at);
        if expires.is_some_and(|end| end <= wall) {
            return None;
        }
        let secret = match key {
            LoginRefs::Pat(_) => LoginSecret::Pat(entry.pat),
            LoginRefs::KeyPair(..) => LoginSecret::key_pair(entry.pat, entry.passphrase).ok()?,
        };
        Some(FetchedPat {
            id: secret.id(),
            secret,
            version: entry.version,
            created: entry.created.map(at),
            expires,
            from: SecretRef::parse(&entry.from)?,
            rank: entry.rank,
            began: ended,
            ended: (ended, read),
        })
    }

    /// Forgets all other references.
    pub(super) fn retain(&self, keys: &HashSet<String>) {
        self.lock().all.retain(|key, _| keys.contains(key));
    }

    /// Keeps the value of a read, in the background: a new version at once, an unchanged one now and then, to update
    /// its time.
    pub(super) fn keep(&self, key: &LoginRefs, found: &FetchedPat, now: SystemTime) {
        let (pat, passphrase) = found.secret.stored();
        let entry = Entry {
            pat: pat.clone(),
            passphrase: passphrase.cloned(),
            version: found.version.clone(),
            from: found.from.to_string(),
            rank: found.rank,
            read: seconds(found.ended.1),
            created: found.created.map(seconds),
            expires: found.expires.map(seconds),
        };
        let mut entries = self.lock();
        let new = !entries.all.get(&key.to_string()).is_some_and(|old| old.pat.same_as(&entry.pat));
        entries.all.insert(key.to_string(), entry);
        let due = entries.written.is_none_or(|written| now.duration_since(written).is_ok_and(|age| age >= EVERY));
        if !new && !due {
            return;
        }
        entries.written = Some(now);
        drop(entries);
        let (key, directory, entries, turn) =
            (self.key.clone(), self.directory.clone(), self.entries.clone(), self.turn.clone());
        let _runs_on = tokio::task::spawn_blocking(move || {
            // One write at a time, each with the newest values: the last write wins.
            let _turn = turn.lock();
            let sealed = seal(&key, &entries.lock().all);
            let written = sealed.map(|sealed| directory.lock(FILE).and_then(|file| file.replace(&sealed)));
            if let Some(Err(error)) = written {
                tracing::warn!(cause = %error, owner = "gate", "cannot write the warm copy");
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock()
    }
}

/// The one form in which a PAT is written: inside the seal.
mod exposed {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Secret;

    pub(super) fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret.expose())
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

/// The same, where there may be none.
mod exposed_option {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Secret;

    pub(super) fn serialize<S: Serializer>(secret: &Option<Secret>, to: S) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => to.serialize_some(secret.expose()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Secret::new))
    }
}

fn seconds(at: SystemTime) -> u64 {
    EpochMillis::of(at).as_secs()
}

fn at(seconds: u64) -> SystemTime {
    EpochMillis::from_secs(seconds).to_system_time()
}

fn seal(key: &Cipher, entries: &HashMap<String, Entry>) -> Option<Vec<u8>> {
    let text = secrecy::zeroize::Zeroizing::new(serde_json::to_vec(entries).ok()?);
    let mut sealed = Vec::new();
    key.seal_after(&mut sealed, &text).ok()?;
    Some(sealed)
}

fn unseal(key: &Cipher, sealed: &[u8]) -> Option<HashMap<String, Entry>> {
    serde_json::from_slice(&key.open_after(sealed, 0)?).ok()
}

#[cfg(test)]
#[path = "disk_cache_tests.rs"]
mod tests;
