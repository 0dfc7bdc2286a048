//! [`Worker`]: one thread's state of one generation. [`WorkerSlot`]: a worker of the generation in use.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Services;
use super::generation::{Current, Generation};
use super::trace_ids::TraceIds;
use crate::admit::{Admission, Peer};
use crate::base::fault::{Fault, Kind};
use crate::base::trace::{SpanId, TraceId};
use crate::upstream::AccountClient;

/// A thread's worker. The slot makes a new one when the gate publishes another generation.
pub struct WorkerSlot {
    current: Arc<Current>,
    worker: Mutex<Arc<Worker>>,
}

impl WorkerSlot {
    /// A thread's slot.
    ///
    /// # Errors
    /// If TLS cannot verify an account's host name.
    pub fn new(current: Arc<Current>) -> std::io::Result<Self> {
        let worker = Worker::new(current.load_full(), None)?;
        Ok(Self { current, worker: Mutex::new(worker) })
    }

    /// The worker of the generation in use. After a change the new worker takes over the connections to unchanged
    /// accounts.
    pub fn worker(&self) -> Arc<Worker> {
        let mut worker = self.worker.lock();
        let generation = self.current.load();
        if !Arc::ptr_eq(&generation, &worker.generation) {
            match Worker::new(Arc::clone(&generation), Some(&worker)) {
                Ok(next) => *worker = next,
                // Unlikely: the gate tests a generation before it publishes it.
                Err(error) => tracing::error!(owner = "gate", cause = %error, "the gate keeps the old configuration"),
            }
        }
        worker.clone()
    }
}

/// One thread's state of one generation: its connections to Snowflake and its stock of trace ids.
pub struct Worker {
    pub(super) generation: Arc<Generation>,
    accounts: BTreeMap<Arc<str>, Arc<AccountClient>>,
    traces: Arc<TraceIds>,
}

impl Worker {
    /// A worker of this generation; it replaces `before`.
    fn new(generation: Arc<Generation>, before: Option<&Self>) -> std::io::Result<Arc<Self>> {
        let mut accounts = BTreeMap::new();
        for (name, state) in &generation.accounts {
            let kept = before.and_then(|before| before.accounts.get(name));
            accounts.insert(name.clone(), Arc::new(AccountClient::new(state, kept.map(|kept| &**kept))?));
        }
        let traces = before.map(|before| before.traces.clone()).unwrap_or_default();
        Ok(Arc::new(Self { generation, accounts, traces }))
    }

    /// Who may enter.
    pub fn admission(&self) -> &Admission {
        &self.generation.admission
    }

    /// Whether a client's rules need the user of a local connection.
    pub fn asks_for_users(&self) -> bool {
        self.generation.admission.asks_for_users()
    }

    /// Whether any client may come from this address.
    pub fn expects(&self, peer: &Peer) -> bool {
        self.generation.admission.is_expected(peer)
    }

    /// The state that outlives a configuration.
    pub fn services(&self) -> &Services {
        &self.generation.services
    }

    /// Closes connections to Snowflake that were idle for too long.
    pub fn sweep(&self) {
        self.accounts.values().for_each(|account| account.sweep());
    }

    /// A new trace, and a new span of it.
    pub fn new_ids(&self) -> (TraceId, SpanId) {
        self.traces.next(&*self.generation.services.env.random)
    }

    pub(super) fn account(&self, name: &str) -> Result<&Arc<AccountClient>, Fault> {
        let missing = || Fault::new(Kind::GateBroken).with_cause("the account has no connections");
        self.accounts.get(name).ok_or_else(missing)
    }

    /// The account of requests without a client. It is the only account; the configuration's check ensures that.
    pub(super) fn only_account(&self) -> Result<&Arc<AccountClient>, Fault> {
        self.accounts.values().next().ok_or_else(|| Fault::new(Kind::GateBroken).with_cause("no account"))
    }
}
