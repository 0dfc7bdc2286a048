//! [`Worker`]: one thread's part of one generation; [`WorkerSlot`]: always a worker of the generation in use.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::generation::{Current, Generation};
use super::trace_ids::TraceIds;
use crate::base::fault::{Fault, Kind};
use crate::base::names::TraceId;
use crate::upstream::AccountClient;

/// A thread's worker, renewed when another generation is published.
pub struct WorkerSlot {
    current: Arc<Current>,
    worker: Mutex<Arc<Worker>>,
}

impl WorkerSlot {
    /// A thread's slot.
    ///
    /// # Errors
    /// When an account's host cannot be used as a name.
    pub fn new(current: Arc<Current>) -> std::io::Result<Self> {
        let worker = Worker::new(current.load_full(), None)?;
        Ok(Self { current, worker: Mutex::new(worker) })
    }

    /// The worker of the generation in use. After a change it takes over the connections to accounts that stayed as
    /// they were.
    pub fn worker(&self) -> Arc<Worker> {
        let mut worker = self.worker.lock();
        let generation = self.current.load();
        if !Arc::ptr_eq(&generation, &worker.generation) {
            match Worker::new(Arc::clone(&generation), Some(&worker)) {
                Ok(next) => *worker = next,
                // The generation was tried out before it was published.
                Err(error) => tracing::error!(owner = "gate", cause = %error, "the gate keeps the old configuration"),
            }
        }
        worker.clone()
    }
}

/// One thread's part of one generation: its own connections to Snowflake, its own stock of trace ids.
pub struct Worker {
    pub(super) generation: Arc<Generation>,
    accounts: BTreeMap<Arc<str>, Arc<AccountClient>>,
    traces: Arc<TraceIds>,
}

impl Worker {
    /// A worker of this generation; `before` is the one whose place it takes.
    fn new(generation: Arc<Generation>, before: Option<&Self>) -> std::io::Result<Arc<Self>> {
        let mut accounts = BTreeMap::new();
        for (name, state) in &generation.accounts {
            let kept = before.and_then(|before| before.accounts.get(name));
            accounts.insert(name.clone(), Arc::new(AccountClient::new(state, kept.map(|kept| &**kept))?));
        }
        let traces = before.map(|before| before.traces.clone()).unwrap_or_default();
        Ok(Arc::new(Self { generation, accounts, traces }))
    }

    /// Whether whose socket a local connection is matters to anybody.
    pub fn asks_for_users(&self) -> bool {
        self.generation.admission.asks_for_users()
    }

    /// Closes connections to Snowflake that have waited too long for a request.
    pub fn sweep(&self) {
        self.accounts.values().for_each(|account| account.sweep());
    }

    /// A new trace id.
    pub fn new_trace(&self) -> TraceId {
        self.traces.next(&*self.generation.services.env.random)
    }

    pub(super) fn account(&self, name: &str) -> Result<&Arc<AccountClient>, Fault> {
        let missing = || Fault::new(Kind::GateBroken).with_cause("the account has no connections");
        self.accounts.get(name).ok_or_else(missing)
    }

    /// The account of requests that carry no client: the only one, which the configuration's check makes sure of.
    pub(super) fn only_account(&self) -> Result<&Arc<AccountClient>, Fault> {
        self.accounts.values().next().ok_or_else(|| Fault::new(Kind::GateBroken).with_cause("no account"))
    }
}
