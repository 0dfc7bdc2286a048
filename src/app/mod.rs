//! The running gate: a configuration becomes listeners, workers and an operator's service.
//!
//! | part | what it is | rank |
//! |---|---|---|
//! | `caller_unix` | who asks the operator's service, and its Unix socket | 1 |
//! | `caller_windows` | the same on Windows | 1 |
//! | `operator_key_unix` | what shows a command to be the operator's, where the connection does not | 1 |
//! | `operator_key_windows` | the same on Windows | 1 |
//! | `descriptors_unix` | how many descriptors the process may have | 1 |
//! | `descriptors_windows` | the same on Windows | 1 |
//! | `answers` | what the operator's commands answer | 1 |
//! | `way_in` | what tools have to be told to reach the gate as a client | 1 |
//! | `certificates` | what the log says of the certificates | 2 |
//! | `pat_ends` | what the log says of PATs that end soon | 2 |
//! | `startup` | what the gate opens before it serves | 2 |
//! | `listeners` | the settings for new connections of a listener | 0 |
//! | `generations` | the configuration in use, and its replacement | 1 |
//! | `alone` | the PATs of a command, where no gate runs | 3 |
//! | `reload` | when the gate reads the file again | 2 |
//! | `status` | the whole gate on one screen | 3 |
//! | `operator` | the operator's commands, as functions with typed values | 4 |
//! | `admin` | the same over HTTP | 5 |
//! | `metrics` | the metrics, to a collector | 5 |

mod admin;
mod alone;
mod answers;
#[cfg_attr(unix, path = "caller_unix.rs")]
#[cfg_attr(windows, path = "caller_windows.rs")]
mod caller;
mod certificates;
#[cfg_attr(unix, path = "descriptors_unix.rs")]
#[cfg_attr(windows, path = "descriptors_windows.rs")]
mod descriptors;
mod generations;
mod listeners;
mod metrics;
pub mod operator;
#[cfg_attr(unix, path = "operator_key_unix.rs")]
#[cfg_attr(windows, path = "operator_key_windows.rs")]
mod operator_key;
mod pat_ends;
mod reload;
mod startup;
pub mod status;
mod way_in;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

pub use admin::Verb;
pub use alone::{Alone, Work, pats_alone};
pub use generations::{Reloaded, resolver};
pub use listeners::proxy_way;
pub use operator_key::OperatorKey;
#[cfg(windows)]
pub use operator_key::directory as operator_keys;
pub use reload::Seen;
pub use startup::{Listeners, room_for_connections};
pub use way_in::WayIn;

use crate::base::clock::Env;
use crate::base::shutdown::Shutdown;
use crate::config::{Config, Listen};
use crate::listen::{Acceptor, Unadmitted, Workers};
use crate::proxy::Services;
use crate::telemetry::act::{self, Act};
use crate::telemetry::logs::LogControl;
use crate::telemetry::observer::Observer;
use crate::telemetry::otlp_metrics::MetricsExport;
use admin::AdminService;
use certificates::Certificates;
use generations::Generations;
use operator::Operator;
use pat_ends::PatEnds;
use reload::Reloads;

/// How long the end of the process waits for a rotation that is under way.
const LAST_ROTATION: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the last records to be written.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// How long a gate with this configuration may take to stop.
pub fn patience(config: &Config) -> Duration {
    config.listen.ending() + LAST_ROTATION + LAST_RECORDS
}

/// A running gate.
pub struct App {
    /// The address for drivers: the configured one, with the port that the system chose.
    pub address: SocketAddr,
    /// The other listeners, by name.
    pub others: BTreeMap<Arc<str>, SocketAddr>,
    /// The admin address.
    pub admin: SocketAddr,
    /// The address for probes and scrapes, where there is one.
    pub health: Option<SocketAddr>,
    shutdown: Shutdown,
    ended: oneshot::Receiver<()>,
    generations: Arc<Generations>,
    reloads: Arc<OnceLock<Reloads>>,
    stopping: CancellationToken,
    observer: Option<Observer>,
    drain: CancellationToken,
    workers: Workers,
}

impl App {
    /// Starts a gate on the current runtime, which becomes its control runtime; workers get their own threads.
    ///
    /// # Errors
    /// If an address, a certificate or a root is unusable. An unreachable store or Snowflake is not an error.
    pub async fn start(config: Config, env: Env) -> io::Result<Self> {
        let listeners = Listeners::bind(&config)?;
        Self::start_on(listeners, config, env, LogControl::default()).await
    }

    /// The same on existing listeners, with the control of this process's log.
    ///
    /// # Errors
    /// Like [`App::start`].
    pub async fn start_on(listeners: Listeners, config: Config, env: Env, log: LogControl) -> io::Result<Self> {
        let config = Arc::new(config);
        let (services, resolver, observer) = startup::services(&config, env, log).await?;
        let connections = startup::connections(config.listen.connections);
        let generations = Arc::new(Generations::first(config.clone(), resolver, services, connections)?);
        listeners.check_private(&config)?;
        let unadmitted = Unadmitted::new(config.limits.unadmitted, connections);
        let (workers, threads) = Workers::start(config.listen.workers, &generations.current, &unadmitted)?;
        let pats = generations.current.load().pats.clone();
        pats.load_disk_cache().await;
        pats.keep_fresh();
        pats.keep_rotating();
        let mut certificates = Certificates::new(generations.clone());
        certificates.look();
        let pat_ends = PatEnds::new(generations.clone());
        tokio::spawn(tidy(generations.services.clone(), certificates, pat_ends));
        let (stopping, reloads) = (CancellationToken::new(), Arc::<OnceLock<Reloads>>::default());
        let drain = CancellationToken::new();
        let running = status::Running {
            since: generations.services.env.clock.wall(),
            admin: listeners.admin.local_addr()?,
            drain: drain.clone(),
            listeners: listeners.addresses()?,
        };
        let operator = Operator::new(generations.clone(), reloads.clone(), stopping.clone(), running);
        let Listeners { drivers, admin, health, admin_socket } = listeners;
        let admin_address = admin.local_addr()?;
        let key = OperatorKey::publish(admin_address, &*generations.services.env.random);
        let service = AdminService::new(operator.clone(), key);
        let health_address = health.as_ref().map(TcpListener::local_addr).transpose()?;
        if let Some(health) = health {
            tokio::spawn(service.clone().serve_health(health));
        }
        if let Some(socket) = admin_socket {
            tokio::spawn(service.clone().serve_socket(socket));
        }
        if let Some(export) = MetricsExport::open(&config.metrics)? {
            tokio::spawn(metrics::export(export, operator.clone()));
        }
        tokio::spawn(service.serve(admin));
        let (shutdown, permits) = (Shutdown::default(), Arc::new(Semaphore::new(connections)));
        let mut addresses = BTreeMap::new();
        for (name, listener) in drivers {
            let Some(state) = generations.listeners.get(&name).cloned() else { continue };
            addresses.insert(name, listener.local_addr()?);
            let acceptor = Acceptor::new(listener, state, workers.clone(), permits.clone());
            tokio::spawn(acceptor.run(shutdown.watch()));
        }
        let version = concat!("patgate ", env!("CARGO_PKG_VERSION"));
        generations.services.act(Act::of(act::STARTED, version));
        let address = addresses.remove(Listen::MAIN).ok_or_else(|| io::Error::other("no socket for [listen]"))?;
        Ok(Self {
            address,
            others: addresses,
            admin: admin_address,
            health: health_address,
            shutdown,
            ended: joined(threads),
            generations,
            reloads,
            stopping,
            observer,
            drain,
            workers,
        })
    }

    /// Replaces the configuration in use, without an effect on running requests and connections.
    ///
    /// # Errors
    /// If it is unusable; the old one stays.
    pub async fn reload(&self, config: Config) -> io::Result<Reloaded> {
        self.generations.reload(config).await
    }

    /// From now on the gate reads the configuration from the file again: when it changes, and on request.
    pub fn follow(&self, file: PathBuf, used: Seen) {
        let _once = self.reloads.set(Reloads::new(file, self.generations.clone(), used));
        let reloads = self.reloads.clone();
        tokio::spawn(async move {
            if let Some(reloads) = reloads.get() {
                reloads.watch().await;
            }
        });
    }

    /// Returns when the gate has read all PATs once, or when the time for the stores is over.
    pub async fn settled(&self) {
        let generation = self.generations.current.load_full();
        generation.pats.first_reads(generation.config.pat.read).await;
    }

    /// Whether every worker looks after its connections, for a watchdog.
    pub fn is_alive(&self) -> bool {
        self.workers.are_alive()
    }

    /// How long [`App::stop`] may take.
    pub fn patience(&self) -> Duration {
        patience(&self.generations.current.load().config)
    }

    /// Returns when an operator drains the gate.
    pub async fn drained(&self) {
        self.drain.cancelled().await;
    }

    /// Reads the file again.
    pub async fn read_again(&self, why: &str) {
        if let Some(reloads) = self.reloads.get() {
            // The log has the outcome.
            let _told = reloads.now(why).await;
        }
    }

    /// Stops the gate: says so on `/readyz` for `listen.notice`, then stops accepting, closes idle connections, and
    /// lets running requests end within `listen.drain`; `true` if all did.
    pub async fn stop(self) -> bool {
        let listen = self.generations.current.load().config.listen.clone();
        self.stopping.cancel();
        self.generations.current.load().pats.stop_rotating();
        tokio::time::sleep(listen.notice).await;
        // The threads end with the last handle to them.
        drop(self.workers);
        let clean = self.shutdown.stop(listen.drain).await;
        if clean {
            // Only the end of the threads is left to wait for.
            let _gone = self.ended.await;
        }
        self.generations.current.load_full().pats.rotations_ended(LAST_ROTATION).await;
        // Requests that the disk still has as under way would count as lost answers.
        self.generations.services.guard.tidy();
        let detail = if clean { "all requests ended" } else { "requests were broken off" };
        self.generations.services.act(Act::of(act::STOPPED, detail));
        // It may wait for the disk or the collector.
        let ended = tokio::task::spawn_blocking(move || drop(self.observer));
        let _late = tokio::time::timeout(LAST_RECORDS, ended).await;
        clean
    }
}

/// Keeps the requests under way on disk up to date, forgets ended sessions, and says when a certificate or a PAT ends.
async fn tidy(services: Services, mut certificates: Certificates, mut pat_ends: PatEnds) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        certificates.look();
        pat_ends.look().await;
        services.guard.tidy();
        services.sinks.refusals.tidy(services.env.clock.now());
        if let Some(replicas) = &services.replicas {
            replicas.reconnect().await;
            services.guard.exchange_forgiveness(replicas).await;
        }
        if let Some(sessions) = &services.sessions {
            sessions.tidy().await;
        }
    }
}

/// Returns when all worker threads have stopped.
fn joined(threads: Vec<JoinHandle<()>>) -> oneshot::Receiver<()> {
    let (tell, ended) = oneshot::channel();
    // A separate thread: a runtime waits at its end for its blocking tasks, and a late drain must not wait.
    std::thread::spawn(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!(owner = "gate", "a worker ended in a panic");
            }
        }
        let _nobody_waits = tell.send(());
    });
    ended
}
