//! Secrets managers and the cache of PATs.
//!
//! A store is one file behind [`SecretStore`]; the types of its client library never leave that file. [`Pats`] answers for a
//! grant from memory, reads again in the background, keeps the last good value when a read fails, and gives it up only when
//! it is older than the operator allows.

mod env;
mod file;
mod pats;
mod value;
mod vault;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use pats::{Held, Pats};

use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::config::{Config, Store};
use crate::tls::TlsError;

/// What a store gave.
pub struct Fetched {
    /// The value as it stands in the store; see [`value`] for what becomes of it.
    pub value: Secret,
    /// How the store itself tells versions apart.
    pub version: String,
}

/// Why a store gave nothing. The texts are for the operator and hold nothing of an answer's body.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No answer, or "not now": it may work in a moment.
    #[error("{0}")]
    Unavailable(String),
    /// The store answered no, or knows no such secret.
    #[error("{0}")]
    Refused(String),
    /// The secret is there and is not usable.
    #[error("{0}")]
    Unusable(String),
}

/// A future behind a pointer, as a trait that is used as an object needs it.
pub type Reading<'a> = Pin<Box<dyn Future<Output = Result<Fetched, StoreError>> + Send + 'a>>;

/// A secrets manager.
pub trait SecretStore: Send + Sync {
    /// Reads the newest version of a secret.
    fn read<'a>(&'a self, path: &'a str) -> Reading<'a>;
}

/// The configured stores by name.
pub type Stores = HashMap<Arc<str>, Arc<dyn SecretStore>>;

/// Sets the stores up. Nothing is read yet: a store that is away must not keep the gate from starting.
///
/// # Errors
/// When a CA file cannot be used.
pub fn stores(config: &Config, clock: &Arc<dyn Clock>) -> Result<Stores, TlsError> {
    let mut stores = Stores::new();
    for (name, store) in &config.stores {
        let store: Arc<dyn SecretStore> = match store {
            Store::File(file) => Arc::new(file::File::new(file.path.clone())),
            Store::Env => Arc::new(env::Env),
            Store::Vault(vault) => Arc::new(vault::Vault::new(vault, config.pat.read, clock.clone())?),
        };
        stores.insert(name.clone(), store);
    }
    Ok(stores)
}
