//! What answering needs: [`Gate`], shared by all workers, and [`Worker`], one a thread.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;

use super::Sealing;
use crate::admit::Admission;
use crate::base::clock::Random;
use crate::base::fault::{Fault, Kind};
use crate::base::names::TraceId;
use crate::config::{Account, Config};
use crate::pat::Budget;
use crate::secrets::Pats;
use crate::telemetry::metrics::Metrics;
use crate::tls::{self, TlsError};
use crate::upstream::{Breaker, Pool};

/// What all workers share. It is read without a lock, but for the count of bad logins.
pub struct Gate {
    /// The configuration.
    pub config: Arc<Config>,
    /// Who may enter.
    pub admission: Admission,
    /// PATs in memory.
    pub pats: Pats,
    /// The logins that may be risked with each PAT version.
    pub budget: Arc<Budget>,
    /// How sessions' tokens are sealed, where they are.
    pub sealing: Option<Arc<Sealing>>,
    /// What is counted for the operator.
    pub metrics: Arc<Metrics>,
    random: Arc<dyn Random>,
    accounts: HashMap<Arc<str>, Shared>,
}

/// What all workers share of one account.
struct Shared {
    account: Account,
    tls: Arc<ClientConfig>,
    breaker: Arc<Breaker>,
}

impl Gate {
    /// Sets the gate up; nothing is connected to yet.
    ///
    /// # Errors
    /// When an account's CA file cannot be used.
    pub fn new(
        config: Arc<Config>,
        pats: Pats,
        budget: Arc<Budget>,
        sealing: Option<Arc<Sealing>>,
        metrics: Arc<Metrics>,
        random: Arc<dyn Random>,
    ) -> Result<Self, TlsError> {
        let mut accounts = HashMap::new();
        for (name, account) in &config.accounts {
            let tls = Arc::new(tls::client(account.ca.as_deref())?);
            accounts.insert(name.clone(), Shared { account: account.clone(), tls, breaker: Arc::default() });
        }
        let admission = Admission::new(&config);
        Ok(Self { config, admission, pats, budget, sealing, metrics, random, accounts })
    }

    /// How long a sealed token may live at most.
    pub(super) fn longest(&self) -> Duration {
        self.config.seal.as_ref().map(|seal| seal.keep).unwrap_or_default()
    }
}

/// One worker's part: its own connections to Snowflake, its own stock of trace ids.
pub struct Worker {
    pub(super) gate: Arc<Gate>,
    accounts: HashMap<Arc<str>, Lanes>,
    traces: Mutex<TraceIds>,
}

/// One worker's way to one account.
pub(super) struct Lanes {
    pub account: Account,
    pub authority: http::HeaderValue,
    pub pool: Arc<Pool>,
    pub breaker: Arc<Breaker>,
}

/// Random bytes drawn in larger pieces: one draw serves 64 requests.
struct TraceIds {
    stock: [u8; 1024],
    used: usize,
}

impl Worker {
    /// A worker of this gate.
    ///
    /// # Errors
    /// When an account's host cannot be used as a name.
    pub fn new(gate: Arc<Gate>) -> std::io::Result<Arc<Self>> {
        let mut accounts = HashMap::new();
        for (name, shared) in &gate.accounts {
            let pool = Pool::new(&shared.account, shared.tls.clone(), gate.config.upstream.clone())?;
            let authority = shared.account.authority().parse().map_err(std::io::Error::other)?;
            let (account, breaker) = (shared.account.clone(), shared.breaker.clone());
            accounts.insert(name.clone(), Lanes { account, authority, pool, breaker });
        }
        let traces = Mutex::new(TraceIds { stock: [0; 1024], used: 1024 });
        Ok(Arc::new(Self { gate, accounts, traces }))
    }

    /// Closes connections to Snowflake that have waited too long for a request.
    pub fn sweep(&self) {
        self.accounts.values().for_each(|lanes| lanes.pool.sweep());
    }

    pub(super) fn lanes(&self, account: &str) -> Result<&Lanes, Fault> {
        self.accounts.get(account).ok_or_else(|| Fault::new(Kind::GateBroken).because("an account without connections"))
    }

    /// The account of requests that carry no client: the only one, which the configuration's check makes sure of.
    pub(super) fn only_lanes(&self) -> Result<&Lanes, Fault> {
        self.accounts.values().next().ok_or_else(|| Fault::new(Kind::GateBroken).because("no account"))
    }

    pub(super) fn new_trace(&self) -> TraceId {
        let mut ids = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.used + 16 > ids.stock.len() {
            // Without entropy the old bytes serve once more: an id that is not unique is better than no answer.
            let _stale = self.gate.random.fill(&mut ids.stock);
            ids.used = 0;
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&ids.stock[ids.used..ids.used + 16]);
        ids.used += 16;
        TraceId::from_bytes(bytes)
    }
}
