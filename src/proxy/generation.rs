//! [`Generation`]: one configuration, ready to answer requests.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Services;
use crate::admit::Admission;
use crate::config::{self, Config};
use crate::pat::{Accounts, Pats};
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
    /// The accounts.
    pub accounts: Accounts,
}

/// The generation in use. A request keeps the generation that it began with.
pub type Current = ArcSwap<Generation>;

impl Generation {
    /// Makes a configuration ready, without connecting to anything. It keeps the state of unchanged limits from the
    /// generation `before` that it replaces.
    pub fn new(config: Arc<Config>, accounts: Accounts, pats: Pats, services: Services, before: Option<&Self>) -> Self {
        let (replicas, clock) = (services.replicas.clone(), &services.env.clock);
        let admission = Admission::new(&config, replicas, before.map(|before| &before.admission), clock);
        let rotated = config.credentials.iter().filter(|(_, one)| one.rotation.is_some()).map(|(name, _)| &**name);
        services.metrics.expects(config.clients.keys(), rotated);
        Self { config, admission, pats, services, accounts }
    }

    /// The accounts of a configuration. It keeps the state of unchanged ones from the generation `before`.
    ///
    /// # Errors
    /// [`AccountError`].
    pub fn accounts(config: &Config, before: Option<&Self>) -> Result<Accounts, AccountError> {
        let state = |(name, account): (&Arc<str>, &config::Account)| {
            let kept = before.and_then(|before| before.accounts.get(name));
            Ok((name.clone(), AccountState::new(account, &config.upstream, kept)?))
        };
        config.accounts.iter().map(state).collect()
    }
}
