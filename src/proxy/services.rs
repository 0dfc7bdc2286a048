//! [`Services`]: the state that outlives a configuration.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::inflate_budget::InflateBudget;

use crate::base::clock::Env;
use crate::pat::{DiskCache, Guard, PatParts};
use crate::replicas::Replicas;
use crate::session::Sessions;
use crate::state::StateDir;
use crate::stores::Resolver;
use crate::telemetry::act::Act;
use crate::telemetry::log_level::LogLevel;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sinks::Sinks;

/// The state that all generations of the process share.
#[derive(Clone)]
pub struct Services {
    /// The budget of bad logins of each PAT version.
    pub guard: Arc<Guard>,
    /// The sessions, if the gate seals tokens.
    pub sessions: Option<Arc<Sessions>>,
    /// The other gates, if there are any.
    pub replicas: Option<Arc<Replicas>>,
    /// The state directory, if there is one.
    pub state: Option<StateDir>,
    /// The copy of the PATs on disk, if the gate keeps one.
    pub disk_cache: Option<DiskCache>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Which lines are logged.
    pub log_level: LogLevel,
    /// Where records go.
    pub sinks: Arc<Sinks>,
    /// What the gate inflates for connections that are not admitted.
    pub inflating: Arc<InflateBudget>,
    /// Clock and randomness.
    pub env: Env,
    /// The runtime for slow work.
    pub control: Handle,
}

impl Services {
    /// Writes an act down.
    pub fn act(&self, act: Act) {
        self.sinks.act(act, &*self.env.clock);
    }

    /// Whether the audit log is written.
    pub fn audit_works(&self) -> bool {
        self.sinks.audit_works(&*self.env.clock)
    }

    /// The parts that PATs need, with this resolver for the stores.
    pub fn pat_parts(&self, resolver: Arc<Resolver>) -> PatParts {
        PatParts {
            resolver,
            guard: self.guard.clone(),
            replicas: self.replicas.clone(),
            disk_cache: self.disk_cache.clone(),
            state: self.state.clone(),
            sinks: self.sinks.clone(),
            metrics: self.metrics.clone(),
            env: self.env.clone(),
            control: self.control.clone(),
        }
    }
}
