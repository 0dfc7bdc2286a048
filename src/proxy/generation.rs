//! [`Generation`]: one configuration, ready to answer requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Services;
use crate::admit::Admission;
use crate::config::Config;
use crate::pat::Pats;
use crate::upstream::{AccountError, AccountState};

/// The state of one configuration that all workers share. The gate publishes it whole; workers read it without a lock.
pub struct Generation {
    /// The configuration.
    pub config: Arc<Config>,
    /// Who may enter.
    pub admission: Admission,
    /// The PATs.
    pub pats: Pats,
    /// The state that outlives the configuration.
    pub services: Services,
    pub(super) accounts: BTreeMap<Arc<str>, Arc<AccountState>>,
}

/// The generation in use. A request keeps the generation that it began with.
pub type Current = ArcSwap<Generation>;

impl Generation {
    /// Makes a configuration ready, without connecting to anything. It keeps the state of unchanged accounts and limits
    /// from the generation `before` that it replaces.
    ///
    /// # Errors
    /// [`AccountError`].
    pub fn new(
        config: Arc<Config>,
        pats: Pats,
        services: Services,
        before: Option<&Self>,
    ) -> Result<Self, AccountError> {
        let mut accounts = BTreeMap::new();
        for (name, account) in &config.accounts {
            let kept = before.and_then(|before| before.accounts.get(name));
            accounts.insert(name.clone(), AccountState::new(account, &config.upstream, kept)?);
        }
        let (replicas, clock) = (services.replicas.clone(), &services.env.clock);
        let admission = Admission::new(&config, replicas, before.map(|before| &before.admission), clock);
        Ok(Self { config, admission, pats, services, accounts })
    }
}
