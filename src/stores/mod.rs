//! Secrets managers.
//!
//! Each store is one file that implements [`SecretStore`]; the types of its client library never leave that file.
//! [`Resolver`] reads a secret by a list of references, with fallbacks. [`load_now`] reads the gate's own secrets, such
//! as the password of a store.

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
mod env;
mod file;
mod file_write;
#[cfg(feature = "gcp")]
mod gcp;
#[cfg(any(feature = "vault", feature = "aws", feature = "azure", feature = "gcp"))]
mod http;
mod key_pairs;
#[cfg(any(feature = "vault", feature = "aws", feature = "azure", feature = "gcp"))]
mod login;
mod resolver;
mod secret_source;
mod value;
#[cfg(feature = "vault")]
mod vault;
mod write;

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use resolver::{FailedReference, FetchedPat, Resolution, Resolver, together};
pub use secret_source::load_now;
#[cfg(windows)]
pub use secret_source::protected;
pub use write::{Write, WriteError, WriteFuture};

use crate::base::clock::Clock;
use crate::base::fault::{Fault, Kind, chain};
use crate::base::secret::Secret;
use crate::config::{Config, Store};

/// A secret from a store.
pub struct StoredSecret {
    /// The value in the store; [`value`] makes a PAT of it.
    pub value: Secret,
    /// The store's own name of the version.
    pub version: String,
    /// When this version was written, if the store says so.
    pub created: Option<SystemTime>,
    /// When this version expires, if the store says so.
    pub expires: Option<SystemTime>,
}

impl StoredSecret {
    /// The name of a version in a store that names none: what it holds, as a hash.
    fn content_version(value: &Secret) -> String {
        format!("content:{}", value.fingerprint())
    }
}

/// Why a store gave no secret. The texts are for the operator and contain nothing of an answer's body.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No answer, or "not now": it may work soon.
    #[error("{0}")]
    Unavailable(String),
    /// The store asks for a pause of this length.
    #[error("{0}")]
    Throttled(String, Duration),
    /// The store refused.
    #[error("{0}")]
    Refused(String),
    /// The store does not accept the gate's own credentials.
    #[error("{0}")]
    Login(String),
    /// A secret of the gate's own, which it logs in with, cannot be read: nothing was sent.
    #[error("a secret of the gate's own cannot be read: {0}")]
    OwnSecret(String),
    /// The store has no such secret, version or field.
    #[error("{0}")]
    Missing(String),
    /// The secret exists but is not usable.
    #[error("{0}")]
    Unusable(String),
}

impl StoreError {
    /// The kind, for metrics and for `--json`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Throttled(..) => "throttled",
            Self::Refused(_) => "refused",
            Self::Login(_) | Self::OwnSecret(_) => "login",
            Self::Missing(_) => "missing",
            Self::Unusable(_) => "unusable",
        }
    }

    /// Whether the same read may succeed soon.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Throttled(..))
    }

    /// The pause that the store asks for.
    pub fn pause(&self) -> Duration {
        match self {
            Self::Throttled(_, pause) => *pause,
            Self::Unavailable(_) | Self::Refused(_) | Self::Login(_) => Duration::ZERO,
            Self::OwnSecret(_) | Self::Missing(_) | Self::Unusable(_) => Duration::ZERO,
        }
    }

    /// The same error, of the gate's own login to the store.
    pub fn in_login(self) -> Self {
        match self {
            Self::Refused(text) | Self::Missing(text) | Self::Unusable(text) => Self::Login(text),
            passing => passing,
        }
    }

    /// The same error, with a prefix before its text.
    pub fn prefixed(self, place: &str) -> Self {
        let at = |text: String| format!("{place}: {text}");
        match self {
            Self::Unavailable(text) => Self::Unavailable(at(text)),
            Self::Throttled(text, pause) => Self::Throttled(at(text), pause),
            Self::Refused(text) => Self::Refused(at(text)),
            Self::Login(text) => Self::Login(at(text)),
            Self::OwnSecret(text) => Self::OwnSecret(at(text)),
            Self::Missing(text) => Self::Missing(at(text)),
            Self::Unusable(text) => Self::Unusable(at(text)),
        }
    }

    /// The kind of the fault that a request ends with.
    pub fn fault_kind(&self) -> Kind {
        match self {
            Self::Unavailable(_) => Kind::StoreUnavailable,
            Self::Throttled(..) => Kind::StoreThrottled,
            Self::Login(_) | Self::OwnSecret(_) => Kind::StoreLogin,
            Self::Missing(_) => Kind::SecretMissing,
            Self::Refused(_) => Kind::StoreRefused,
            Self::Unusable(_) => Kind::SecretUnusable,
        }
    }
}

impl From<StoreError> for Fault {
    /// The fault for the client after a failed read.
    fn from(error: StoreError) -> Self {
        Self::new(error.fault_kind()).with_cause(error)
    }
}

/// A boxed future, which a trait object needs.
pub type ReadFuture<'a> = Pin<Box<dyn Future<Output = Result<StoredSecret, StoreError>> + Send + 'a>>;

/// A secrets manager.
pub trait SecretStore: Send + Sync {
    /// Reads the current version of a secret.
    fn read<'a>(&'a self, path: &'a str) -> ReadFuture<'a>;

    /// Reads the version that a rotation has written and not yet promoted, if the store has such versions. The gate
    /// calls it only after Snowflake has refused the current version.
    fn read_successor<'a>(&'a self, _path: &'a str) -> Option<ReadFuture<'a>> {
        None
    }

    /// Writes a new version of a secret, whose name it returns; only if the store still has the version before.
    fn write<'a>(&'a self, write: Write<'a>) -> WriteFuture<'a>;

    /// Whether a read is nearly free, so that the gate may look for a change each `pat.watch`.
    fn is_local(&self) -> bool {
        false
    }
}

/// The configured stores by name.
pub type Stores = HashMap<Arc<str>, Arc<dyn SecretStore>>;

/// Why a store cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file that it names is unusable.
    #[error("[stores.{name}]: {why}")]
    File {
        /// The store.
        name: Arc<str>,
        /// Which file, and why.
        why: String,
    },
    /// This build does not have this kind.
    #[allow(dead_code, reason = "the default build has all kinds")]
    #[error("[stores.{name}]: this patgate was built without the kind {kind}")]
    Absent {
        /// The store.
        name: Arc<str>,
        /// The cargo feature.
        kind: &'static str,
    },
}

/// Sets the stores up, without a read: the gate must start while a store is unreachable.
///
/// # Errors
/// If a file that one of them names is unusable, or a kind is not in this build.
#[allow(unused_variables, reason = "a build without remote stores needs neither times nor TLS")]
pub fn stores(config: &Config, clock: &Arc<dyn Clock>) -> Result<Stores, SetupError> {
    let timeout = config.pat.read;
    let absent = |name: &Arc<str>, store: &Store| SetupError::Absent { name: name.clone(), kind: store.kind() };
    let mut stores = Stores::new();
    for (name, store) in &config.stores {
        let unusable = |error: &(dyn Error + 'static)| SetupError::File { name: name.clone(), why: chain(error) };
        let set_up: Arc<dyn SecretStore> = match store {
            Store::File(file) => Arc::new(file::File::new(file.path.clone())),
            Store::Env => Arc::new(env::Env),
            #[cfg(feature = "vault")]
            Store::Vault(vault) => {
                Arc::new(vault::Vault::new(vault, timeout, clock.clone()).map_err(|error| unusable(&error))?)
            }
            #[cfg(feature = "aws")]
            Store::Aws(aws) => Arc::new(aws::Aws::new(aws, timeout).map_err(|error| unusable(&error))?),
            #[cfg(feature = "azure")]
            Store::Azure(azure) => Arc::new(azure::Azure::new(azure, timeout).map_err(|error| unusable(&error))?),
            #[cfg(feature = "gcp")]
            Store::Gcp(gcp) => Arc::new(gcp::Gcp::new(gcp, timeout).map_err(|error| unusable(&error))?),
            #[cfg(not(feature = "vault"))]
            Store::Vault(_) => return Err(absent(name, store)),
            #[cfg(not(feature = "aws"))]
            Store::Aws(_) => return Err(absent(name, store)),
            #[cfg(not(feature = "azure"))]
            Store::Azure(_) => return Err(absent(name, store)),
            #[cfg(not(feature = "gcp"))]
            Store::Gcp(_) => return Err(absent(name, store)),
        };
        stores.insert(name.clone(), set_up);
    }
    Ok(stores)
}
