//! [`Services`]: what outlives a configuration.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::base::clock::Env;
use crate::pat::{DiskCache, Guard, PatParts};
use crate::replicas::Replicas;
use crate::session::Sessions;
use crate::stores::Resolver;
use crate::telemetry::metrics::Metrics;

/// What every generation of the process is built around.
#[derive(Clone)]
pub struct Services {
    /// What may be risked with each PAT version.
    pub guard: Arc<Guard>,
    /// The sessions, where their tokens are sealed.
    pub sessions: Option<Arc<Sessions>>,
    /// The other gates, where there are any.
    pub replicas: Option<Arc<Replicas>>,
    /// The copy of PATs on disk, where one is kept.
    pub disk_cache: Option<DiskCache>,
    /// What is counted for the operator.
    pub metrics: Arc<Metrics>,
    /// Time and chance.
    pub env: Env,
    /// Runs what is slow.
    pub control: Handle,
}

impl Services {
    /// What PATs are made of, with this way to the stores.
    pub fn pat_parts(&self, resolver: Arc<Resolver>) -> PatParts {
        PatParts {
            resolver,
            guard: self.guard.clone(),
            replicas: self.replicas.clone(),
            disk_cache: self.disk_cache.clone(),
            metrics: self.metrics.clone(),
            env: self.env.clone(),
            control: self.control.clone(),
        }
    }
}
