//! Secrets managers.
//!
//! A store is one file behind [`SecretStore`]; the types of its client library never leave that file. [`Resolver`] is
//! the way from a list of references to a secret, fallbacks included. The gate's own secrets, such as the password of a
//! store, are read by [`load_now`].

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
mod env;
mod file;
#[cfg(feature = "gcp")]
mod gcp;
#[cfg(any(feature = "vault", feature = "aws", feature = "azure", feature = "gcp"))]
mod http;
#[cfg(any(feature = "vault", feature = "aws", feature = "azure", feature = "gcp"))]
mod login;
mod resolver;
mod secret_source;
mod value;
#[cfg(feature = "vault")]
mod vault;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use resolver::{FailedReference, FetchedPat, Resolution, Resolver, together};
pub use secret_source::load_now;

use crate::base::clock::Clock;
use crate::base::fault::{Fault, Kind, chain};
use crate::base::secret::Secret;
use crate::config::{Config, Store};
use crate::tls::TlsError;

/// What a store gave.
pub struct StoredSecret {
    /// The value as it stands in the store; see [`value`] for what becomes of it.
    pub value: Secret,
    /// How the store itself tells versions apart.
    pub version: String,
    /// When this version was written, where the store tells.
    pub created: Option<SystemTime>,
    /// When this version ends, where the store knows.
    pub expires: Option<SystemTime>,
}

/// Why a store gave nothing. The texts are for the operator and hold nothing of an answer's body.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No answer, or "not now": it may work in a moment.
    #[error("{0}")]
    Unavailable(String),
    /// "Not before so long from now".
    #[error("{0}")]
    Throttled(String, Duration),
    /// The store answered no, or knows no such secret.
    #[error("{0}")]
    Refused(String),
    /// The secret is there and is not usable.
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
            Self::Unusable(_) => "unusable",
        }
    }

    /// Whether the same read may well succeed in a moment.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Throttled(..))
    }

    /// How long the store wants to be left alone.
    pub fn pause(&self) -> Duration {
        match self {
            Self::Throttled(_, pause) => *pause,
            Self::Unavailable(_) | Self::Refused(_) | Self::Unusable(_) => Duration::ZERO,
        }
    }

    /// The same error, with its place before its text.
    pub fn prefixed(self, place: &str) -> Self {
        let at = |text: String| format!("{place}: {text}");
        match self {
            Self::Unavailable(text) => Self::Unavailable(at(text)),
            Self::Throttled(text, pause) => Self::Throttled(at(text), pause),
            Self::Refused(text) => Self::Refused(at(text)),
            Self::Unusable(text) => Self::Unusable(at(text)),
        }
    }
}

impl From<StoreError> for Fault {
    /// What a failed read means to a client.
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Unavailable(_) | StoreError::Throttled(..) => Kind::StoreUnavailable,
            StoreError::Refused(_) => Kind::StoreRefused,
            StoreError::Unusable(_) => Kind::SecretUnusable,
        };
        Self::new(kind).with_cause(error)
    }
}

/// A future behind a pointer, as a trait that is used as an object needs it.
pub type ReadFuture<'a> = Pin<Box<dyn Future<Output = Result<StoredSecret, StoreError>> + Send + 'a>>;

/// A secrets manager.
pub trait SecretStore: Send + Sync {
    /// Reads the version of a secret that is to be used.
    fn read<'a>(&'a self, path: &'a str) -> ReadFuture<'a>;

    /// Reads the version that a rotation has written and not yet promoted, where a store keeps such a thing. It is
    /// asked for only after Snowflake has refused the other.
    fn read_successor<'a>(&'a self, _path: &'a str) -> Option<ReadFuture<'a>> {
        None
    }

    /// Whether a read costs next to nothing, so that a change may be looked for each `pat.watch`.
    fn is_local(&self) -> bool {
        false
    }
}

/// The configured stores by name.
pub type Stores = HashMap<Arc<str>, Arc<dyn SecretStore>>;

/// Why a store cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file of its TLS cannot be used.
    #[error("[stores.{name}]: {why}")]
    Tls {
        /// The store.
        name: Arc<str>,
        /// Which file, and why.
        why: String,
    },
    /// The program was built without this kind.
    #[error("[stores.{name}]: this patgate was built without the kind {kind}")]
    Absent {
        /// The store.
        name: Arc<str>,
        /// The cargo feature.
        kind: &'static str,
    },
}

/// Sets the stores up. Nothing is read yet: a store that is away must not keep the gate from starting.
///
/// # Errors
/// When a CA file cannot be used, or a kind is not in this build.
pub fn stores(config: &Config, clock: &Arc<dyn Clock>) -> Result<Stores, SetupError> {
    let timeout = config.pat.read;
    let mut stores = Stores::new();
    for (name, store) in &config.stores {
        let tls = |error: TlsError| SetupError::Tls { name: name.clone(), why: chain(&error) };
        let set_up: Arc<dyn SecretStore> = match store {
            Store::File(file) => Arc::new(file::File::new(file.path.clone())),
            Store::Env => Arc::new(env::Env),
            #[cfg(feature = "vault")]
            Store::Vault(vault) => Arc::new(vault::Vault::new(vault, timeout, clock.clone()).map_err(tls)?),
            #[cfg(feature = "aws")]
            Store::Aws(aws) => Arc::new(aws::Aws::new(aws, timeout).map_err(tls)?),
            #[cfg(feature = "azure")]
            Store::Azure(azure) => Arc::new(azure::Azure::new(azure, timeout).map_err(tls)?),
            #[cfg(feature = "gcp")]
            Store::Gcp(gcp) => Arc::new(gcp::Gcp::new(gcp, timeout).map_err(tls)?),
            #[allow(unreachable_patterns, reason = "all kinds are in the default build")]
            absent => {
                let _unused = (tls, timeout, clock);
                return Err(SetupError::Absent { name: name.clone(), kind: absent.kind() });
            }
        };
        stores.insert(name.clone(), set_up);
    }
    Ok(stores)
}
