//! Composition: a configuration becomes a running gate.

mod admin;
mod admin_client;
mod check;
pub mod cli;
mod client;
mod demo;
mod online;
mod pat;
mod ring;
mod run;
mod sessions;
mod shell;
#[cfg_attr(unix, path = "signal_unix.rs")]
#[cfg_attr(windows, path = "signal_windows.rs")]
mod signal;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::base::clock::{Clock, Random, SystemClock, SystemRandom};
use crate::base::drain::{Drain, drain};
use crate::base::fault::chain;
use crate::config::{self, Config};
use crate::listen::{Acceptor, Workers, bind};
use crate::pat::Budget;
use crate::proxy::{Gate, Sealing};
use crate::secrets::{self, Pats, Reader, SetupError, Warm};
use crate::state::StateDir;
use crate::telemetry::metrics::Metrics;
use crate::tls;

/// Time and chance for a whole gate; a test puts its own in.
#[derive(Clone)]
pub struct Seams {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
}

impl Default for Seams {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) }
    }
}

/// A gate that serves.
pub struct App {
    /// Where drivers connect: the configured address with the port that the system chose.
    pub address: SocketAddr,
    /// Where the operator connects.
    pub admin: SocketAddr,
    drain: Drain,
    deadline: Duration,
    ended: oneshot::Receiver<()>,
    budget: Arc<Budget>,
}

impl App {
    /// Starts a gate on the present runtime, which becomes its control runtime; workers get threads of their own.
    ///
    /// # Errors
    /// When an address, a certificate or a root cannot be used. A store or a Snowflake that is away is no error.
    pub async fn start(config: Config, seams: Seams) -> io::Result<Self> {
        let config = Arc::new(config);
        let broken = |error: tls::TlsError| io::Error::other(chain(&error));
        let state = open_state(&config.state)?;
        let server_tls = config.listen.tls.as_ref().map(tls::server).transpose().map_err(broken)?;
        let metrics = Arc::<Metrics>::default();
        let warm = open_warm(&config.state, state.as_ref())?;
        let reader = Arc::new(reader(&config, &seams.clock, &metrics).map_err(io::Error::other)?);
        let sealing = match &config.seal {
            Some(settings) => Some(ring::open(settings, &reader, state.as_ref(), &seams).await?),
            None => None,
        };
        let pats = Pats::new(secrets::Setup {
            settings: config.pat.clone(),
            credentials: config.credentials.iter().map(|(name, one)| (name.clone(), one.pat.clone())).collect(),
            reader,
            warm,
            metrics: metrics.clone(),
            clock: seams.clock.clone(),
            random: seams.random.clone(),
            control: Handle::current(),
        });
        let budget = open_budget(&config, &seams.clock, state)?;
        let gate =
            Gate::new(config.clone(), pats.clone(), budget.clone(), sealing.clone(), metrics.clone(), seams.random);
        let gate = Arc::new(gate.map_err(broken)?);
        let listener = bind(config.listen.address).await?;
        let admin = bind(config.admin.address).await?;
        let (address, admin_address) = (listener.local_addr()?, admin.local_addr()?);
        let longest = config.seal.as_ref().map(|seal| seal.keep).unwrap_or_default();
        let (workers, threads) = Workers::start(&config.listen, &gate, server_tls.as_ref())?;
        let (drain, watch) = drain();
        pats.keep_fresh().await;
        tokio::spawn(tidy(budget.clone(), sealing.clone(), longest));
        let desk = admin::Desk { config: config.clone(), pats, budget: budget.clone(), sealing, metrics };
        tokio::spawn(admin::serve(admin, desk, watch.clone()));
        tokio::spawn(Acceptor::new(listener, workers, config.listen.connections).run(watch));
        Ok(Self { address, admin: admin_address, drain, deadline: config.listen.drain, ended: joined(threads), budget })
    }

    /// Stops accepting, closes idle connections, lets running requests end within `listen.drain`; `true` when all did.
    pub async fn stop(self) -> bool {
        let clean = self.drain.stop(self.deadline).await;
        if clean {
            // Nothing is left to wait for but the threads' own end.
            let _gone = self.ended.await;
        }
        // What is still written down as under way by now would count as lost.
        self.budget.tidy();
        clean
    }
}

/// Keeps what is written down of logins under way close to the truth, and forgets sessions that are over.
async fn tidy(budget: Arc<Budget>, sealing: Option<Arc<Sealing>>, longest: Duration) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        budget.tidy();
        let Some(sealing) = &sealing else { continue };
        sealing.sessions.sweep(sealing.clock.now());
        if let Err(error) = sealing.revoked.tidy(sealing.clock.wall(), longest) {
            tracing::warn!(cause = %error, owner = "gate", "ended sessions cannot be written down");
        }
    }
}

/// The way to the configured stores.
fn reader(config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> Result<Reader, SetupError> {
    let stores = secrets::stores(config, clock)?;
    Ok(Reader::new(stores, config.pat.read, clock.clone(), metrics.clone()))
}

/// What outlives the process: where the operator says, or systemd, or beside the configuration if that can be written to.
fn open_state(state: &config::State) -> io::Result<Option<StateDir>> {
    let systemd = std::env::var("STATE_DIRECTORY").ok().and_then(|all| all.split(':').next().map(PathBuf::from));
    if let Some(directory) = state.directory.clone().or(systemd) {
        let failed = |error| io::Error::other(format!("the state directory {}: {error}", directory.display()));
        return StateDir::open(&directory).map(Some).map_err(failed);
    }
    let opened = StateDir::open(&state.beside);
    if let Err(error) = &opened {
        tracing::warn!(
            directory = %state.beside.display(),
            cause = %error,
            "bad logins are not remembered over a restart; name a directory in state.directory"
        );
    }
    Ok(opened.ok())
}

/// The budget of bad logins; one that cannot be kept on disk is kept in memory, unless the operator has named the place.
fn open_budget(config: &Config, clock: &Arc<dyn Clock>, state: Option<StateDir>) -> io::Result<Arc<Budget>> {
    match Budget::open(config.pat.budget, clock.clone(), state) {
        Err(error) if config.state.directory.is_none() => {
            tracing::warn!(cause = %error, "bad logins are not remembered over a restart: nothing can be written");
            Budget::open(config.pat.budget, clock.clone(), None)
        }
        opened => opened,
    }
}

fn open_warm(settings: &config::State, state: Option<&StateDir>) -> io::Result<Option<Warm>> {
    let Some(source) = &settings.warm_key else { return Ok(None) };
    let missing = "state.warm_key is set, and there is no state directory to keep the copy in";
    let directory = state.ok_or_else(|| io::Error::other(missing))?;
    Warm::open(directory.clone(), source).map(Some).map_err(io::Error::other)
}

/// Ends when all worker threads have.
fn joined(threads: Vec<JoinHandle<()>>) -> oneshot::Receiver<()> {
    let (tell, ended) = oneshot::channel();
    // A thread of its own: a runtime waits at its end for what it was asked to run, and a late drain must not wait.
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
