//! What answering needs: [`Gate`], shared by all workers, and [`Worker`], one a thread.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response};
use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::Sealing;
use crate::admit::Admission;
use crate::base::clock::{Clock, Random};
use crate::base::fault::{Fault, Kind};
use crate::base::names::TraceId;
use crate::config::{Account, Config, ForwardProxy};
use crate::pat::Budget;
use crate::replicas::Replicas;
use crate::secrets::{self, Pats, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::tls::{self, TlsError};
use crate::upstream::{Answer, Breaker, Failure, Pool, RequestBody, Tunnel, Way};

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
    /// The other gates, where there are any.
    pub replicas: Option<Arc<Replicas>>,
    /// What is counted for the operator.
    pub metrics: Arc<Metrics>,
    pub(super) random: Arc<dyn Random>,
    accounts: HashMap<Arc<str>, Shared>,
}

/// Why a gate cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A CA file of an account.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The password of a forward proxy.
    #[error(transparent)]
    Secret(#[from] StoreError),
    /// A name that TLS cannot verify, or a user of a forward proxy that cannot be one.
    #[error(transparent)]
    Name(#[from] std::io::Error),
}

/// What a gate is made of.
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// PATs in memory.
    pub pats: Pats,
    /// The logins that may be risked with each PAT version.
    pub budget: Arc<Budget>,
    /// How sessions' tokens are sealed, where they are.
    pub sealing: Option<Arc<Sealing>>,
    /// The other gates, where there are any.
    pub replicas: Option<Arc<Replicas>>,
    /// What is counted for the operator.
    pub metrics: Arc<Metrics>,
    /// Time, for limits.
    pub clock: Arc<dyn Clock>,
    /// Chance, for trace ids.
    pub random: Arc<dyn Random>,
}

/// What all workers share of one account.
#[derive(Clone)]
struct Shared {
    account: Account,
    /// The content of its CA file.
    roots: Option<[u8; 32]>,
    tls: Arc<ClientConfig>,
    tunnel: Option<Tunnel>,
    breaker: Arc<Breaker>,
    /// The places for requests that are under way there at a time.
    places: Option<Arc<Semaphore>>,
}

impl Gate {
    /// Sets the gate up; nothing is connected to yet. From the gate `before`, whose place it takes, it keeps the state of
    /// accounts that stay as they are.
    ///
    /// # Errors
    /// [`GateError`].
    pub fn new(parts: Parts, before: Option<&Self>) -> Result<Self, GateError> {
        let Parts { config, pats, budget, sealing, replicas, metrics, clock, random } = parts;
        let mut accounts = HashMap::new();
        for (name, account) in &config.accounts {
            let roots = account.ca.as_deref().map(tls::fingerprint).transpose()?;
            let tunnel = account.proxy.as_ref().map(tunnel).transpose()?;
            let kept = before.and_then(|before| before.accounts.get(name));
            let same = |kept: &&Shared| kept.account == *account && kept.roots == roots && kept.tunnel == tunnel;
            let shared = match kept.filter(same) {
                Some(kept) => kept.clone(),
                None => Shared {
                    account: account.clone(),
                    roots,
                    tls: Arc::new(tls::client(account.ca.as_deref())?),
                    tunnel,
                    breaker: Arc::default(),
                    places: account.in_flight.map(|most| Arc::new(Semaphore::new(most))),
                },
            };
            // Workers make pools of their own, later; what would fail there fails here.
            Pool::new(account, None, shared.tls.clone(), config.upstream.clone())?;
            accounts.insert(name.clone(), shared);
        }
        let admission = Admission::new(&config, replicas.clone(), before.map(|before| &before.admission), &clock);
        Ok(Self { config, admission, pats, budget, sealing, replicas, metrics, random, accounts })
    }
}

/// The gate in use. It is published whole and read without a lock; what began with one gate ends with it.
pub type Current = ArcSwap<Gate>;

/// A thread's worker: always one of the gate in use.
pub struct Post {
    current: Arc<Current>,
    worker: Mutex<Arc<Worker>>,
}

impl Post {
    /// A thread's post.
    ///
    /// # Errors
    /// When an account's host cannot be used as a name.
    pub fn new(current: Arc<Current>) -> std::io::Result<Self> {
        let worker = Worker::new(current.load_full(), None)?;
        Ok(Self { current, worker: Mutex::new(worker) })
    }

    /// The worker of the gate in use. After a change of gates it takes over the connections to accounts that stayed as they were.
    pub fn worker(&self) -> Arc<Worker> {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = self.current.load();
        if !Arc::ptr_eq(&gate, &worker.gate) {
            match Worker::new(Arc::clone(&gate), Some(&worker)) {
                Ok(next) => *worker = next,
                // The gate was tried out before it was published.
                Err(error) => tracing::error!(owner = "gate", cause = %error, "the old configuration serves on"),
            }
        }
        worker.clone()
    }
}

/// One worker's part of one gate: its own connections to Snowflake, its own stock of trace ids.
pub struct Worker {
    pub(super) gate: Arc<Gate>,
    accounts: HashMap<Arc<str>, Arc<Lanes>>,
    traces: Arc<Mutex<TraceIds>>,
}

/// One worker's way to one account.
pub(super) struct Lanes {
    pub account: Account,
    pub authority: http::HeaderValue,
    pub pool: Arc<Pool>,
    pub breaker: Arc<Breaker>,
    places: Option<Arc<Semaphore>>,
}

impl Lanes {
    /// A place among the requests that may be under way there, once there is one.
    pub async fn place(&self, within: Duration) -> Result<Option<OwnedSemaphorePermit>, Fault> {
        let Some(places) = &self.places else { return Ok(None) };
        match tokio::time::timeout(within, places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(Some(place)),
            _ => Err(Fault::new(Kind::AccountBusy).because(format_args!("in_flight of account {}", self.account.host))),
        }
    }

    /// Sends a request that is sent once, unless Snowflake is known to be away.
    pub async fn send(&self, request: Request<RequestBody>) -> Result<Response<Answer>, Failure> {
        self.send_noting(request, oneshot::channel().0).await
    }

    /// The same; `written` hears when the request is about to be written.
    pub async fn send_noting(
        &self,
        request: Request<RequestBody>,
        written: oneshot::Sender<()>,
    ) -> Result<Response<Answer>, Failure> {
        let sent = match self.breaker.ask() {
            Way::Free | Way::Look => self.pool.send_noting(request, written).await,
            Way::Away => return Err(Failure::Unsent(self.breaker.cause())),
        };
        match &sent {
            Ok(_) => self.breaker.close(),
            Err(Failure::Unsent(cause)) => self.breaker.failed(cause),
            Err(_) => {}
        }
        sent
    }
}

/// The way through an account's forward proxy, with what the proxy wants to hear.
fn tunnel(proxy: &ForwardProxy) -> Result<Tunnel, GateError> {
    let login = match &proxy.user {
        Some((user, source)) => Some((user.as_str(), secrets::load_now(source)?)),
        None => None,
    };
    Ok(Tunnel::new(&proxy.address, login.as_ref().map(|(user, password)| (*user, password)))?)
}

/// Random bytes drawn in larger pieces: one draw serves 64 requests.
struct TraceIds {
    stock: [u8; 1024],
    used: usize,
}

impl Worker {
    /// A worker of this gate; `before` is the one whose place it takes.
    fn new(gate: Arc<Gate>, before: Option<&Self>) -> std::io::Result<Arc<Self>> {
        let mut accounts = HashMap::new();
        for (name, shared) in &gate.accounts {
            let kept = before.and_then(|before| {
                let same = Arc::ptr_eq(&before.gate.accounts.get(name)?.tls, &shared.tls);
                before.accounts.get(name).filter(|_| same && before.gate.config.upstream == gate.config.upstream)
            });
            let pool = match kept {
                Some(kept) => kept.pool.clone(),
                None => {
                    let (tunnel, tls) = (shared.tunnel.clone(), shared.tls.clone());
                    Pool::new(&shared.account, tunnel, tls, gate.config.upstream.clone())?
                }
            };
            let authority = shared.account.authority().parse().map_err(std::io::Error::other)?;
            let (account, breaker, places) = (shared.account.clone(), shared.breaker.clone(), shared.places.clone());
            let lanes = Lanes { account, authority, pool, breaker, places };
            accounts.insert(name.clone(), Arc::new(lanes));
        }
        let traces = before.map_or_else(
            || Arc::new(Mutex::new(TraceIds { stock: [0; 1024], used: 1024 })),
            |before| before.traces.clone(),
        );
        Ok(Arc::new(Self { gate, accounts, traces }))
    }

    /// Whether whose socket a local connection is matters to anybody.
    pub fn asks_for_users(&self) -> bool {
        self.gate.admission.asks_for_users()
    }

    /// Closes connections to Snowflake that have waited too long for a request.
    pub fn sweep(&self) {
        self.accounts.values().for_each(|lanes| lanes.pool.sweep());
    }

    pub(super) fn lanes(&self, account: &str) -> Result<&Arc<Lanes>, Fault> {
        self.accounts.get(account).ok_or_else(|| Fault::new(Kind::GateBroken).because("an account without connections"))
    }

    /// The account of requests that carry no client: the only one, which the configuration's check makes sure of.
    pub(super) fn only_lanes(&self) -> Result<&Arc<Lanes>, Fault> {
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
