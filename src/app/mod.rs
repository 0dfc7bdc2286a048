//! Composition: a configuration becomes a running gate.

mod admin;
mod admin_client;
mod check;
pub mod cli;
mod client;
mod demo;
mod house;
mod online;
mod pat;
mod reload;
mod ring;
mod run;
#[cfg_attr(unix, path = "service_unix.rs")]
#[cfg_attr(windows, path = "service_windows.rs")]
mod service;
mod sessions;
mod shell;
#[cfg_attr(unix, path = "signal_unix.rs")]
#[cfg_attr(windows, path = "signal_windows.rs")]
mod signal;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot, watch};

pub use house::Reloaded;

use crate::base::clock::{Clock, Random, SystemClock, SystemRandom};
use crate::base::drain::{Drain, drain};
use crate::config::{self, Config, Listen};
use crate::listen::{Acceptor, Workers, bind};
use crate::pat::Budget;
use crate::proxy::Sealing;
use crate::replicas::Replicas;
use crate::secrets::{self, Warm};
use crate::session::{Target, millis};
use crate::state::StateDir;
use house::{House, Lasting};
use reload::{Reloads, Seen};
use shell::ConfigArgs;

/// What a signal or an event of the system asks for; with its name.
enum Asked {
    /// The end of the process.
    Stop(&'static str),
    /// Another look at the configuration. Not every system has such a signal.
    #[cfg_attr(windows, expect(dead_code, reason = "there is no such event"))]
    Reload(&'static str),
}

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
    /// The other doors, by name.
    pub others: BTreeMap<Arc<str>, SocketAddr>,
    /// Where the operator connects.
    pub admin: SocketAddr,
    drain: Drain,
    ended: oneshot::Receiver<()>,
    house: Arc<House>,
    reloads: Arc<OnceLock<Reloads>>,
    stopping: watch::Sender<bool>,
}

impl App {
    /// Starts a gate on the present runtime, which becomes its control runtime; workers get threads of their own.
    ///
    /// # Errors
    /// When an address, a certificate or a root cannot be used. A store or a Snowflake that is away is no error.
    pub async fn start(config: Config, seams: Seams) -> io::Result<Self> {
        let listeners = Listeners::bind(&config)?;
        Self::start_on(listeners, config, seams).await
    }

    /// The same on listeners that are there already.
    ///
    /// # Errors
    /// Like [`App::start`].
    pub async fn start_on(listeners: Listeners, config: Config, seams: Seams) -> io::Result<Self> {
        let config = Arc::new(config);
        let state = open_state(&config.state)?;
        let mut lasting = Lasting {
            budget: open_budget(&config, &seams.clock, state.clone())?,
            sealing: None,
            replicas: open_replicas(&config, &seams)?,
            warm: open_warm(&config.state, state.as_ref())?,
            metrics: Arc::default(),
            seams: seams.clone(),
            control: Handle::current(),
        };
        let reader = house::reader(&config, &seams.clock, &lasting.metrics).map_err(io::Error::other)?;
        if let Some(settings) = &config.seal {
            lasting.sealing = Some(ring::open(settings, &reader, state.as_ref(), &seams).await?);
        }
        let house = Arc::new(House::new(config.clone(), reader, lasting)?);
        let Listeners { drivers, admin } = listeners;
        let admin_address = admin.local_addr()?;
        private(&config, &drivers, admin_address)?;
        let (workers, threads) = Workers::start(config.listen.workers, &house.current)?;
        let (drain, watch) = drain();
        let pats = house.current.load().pats.clone();
        pats.warm_up().await;
        pats.keep_fresh();
        tokio::spawn(tidy(house.clone()));
        let (stopping, stops) = watch::channel(false);
        let reloads = Arc::<OnceLock<Reloads>>::default();
        let desk = admin::Desk { house: house.clone(), reloads: reloads.clone(), stopping: stops };
        tokio::spawn(admin::serve(admin, desk));
        let permits = Arc::new(Semaphore::new(config.listen.connections));
        let mut addresses = BTreeMap::new();
        for (name, listener) in drivers {
            let Some(door) = house.doors.get(&name).cloned() else { continue };
            addresses.insert(name, listener.local_addr()?);
            let acceptor = Acceptor::new(listener, door, workers.clone(), permits.clone());
            tokio::spawn(acceptor.run(watch.clone()));
        }
        drop((workers, watch));
        let address = addresses.remove(Listen::MAIN).ok_or_else(|| io::Error::other("no socket for [listen]"))?;
        Ok(Self {
            address,
            others: addresses,
            admin: admin_address,
            drain,
            ended: joined(threads),
            house,
            reloads,
            stopping,
        })
    }

    /// Puts another configuration in the place of the one in use; no request and no connection notices.
    ///
    /// # Errors
    /// When it cannot be used; the old one stays.
    pub async fn reload(&self, config: Config) -> io::Result<Reloaded> {
        self.house.reload(config).await
    }

    /// From now on the configuration is read from a file again: when it changes, and when somebody asks for it.
    fn follow(&self, args: ConfigArgs, used: Seen) {
        let _once = self.reloads.set(Reloads::new(args, self.house.clone(), used));
        let reloads = self.reloads.clone();
        tokio::spawn(async move {
            if let Some(reloads) = reloads.get() {
                reloads.watch().await;
            }
        });
    }

    /// Ends when the PATs have been read once, or a store has had its time for it.
    async fn settled(&self) {
        let gate = self.house.current.load_full();
        gate.pats.first_reads(gate.config.pat.read).await;
    }

    /// Reads the file again.
    async fn read_again(&self, why: &str) {
        if let Some(reloads) = self.reloads.get() {
            // What came of it stands in the log.
            let _told = reloads.now(why).await;
        }
    }

    /// Comes to an end: says so on `/readyz` for `listen.notice`, stops accepting, closes idle connections, lets running
    /// requests end within `listen.drain`; `true` when all did.
    pub async fn stop(self) -> bool {
        let listen = self.house.current.load().config.listen.clone();
        self.stopping.send_replace(true);
        tokio::time::sleep(listen.notice).await;
        let clean = self.drain.stop(listen.drain).await;
        if clean {
            // Nothing is left to wait for but the threads' own end.
            let _gone = self.ended.await;
        }
        // What is still written down as under way by now would count as lost.
        self.house.lasting.budget.tidy();
        clean
    }
}

/// What may be reached from this machine alone has to be bound so, whoever has bound it: a service manager reads another file.
fn private(config: &Config, drivers: &BTreeMap<Arc<str>, TcpListener>, admin: SocketAddr) -> io::Result<()> {
    let public = |what: &str, address: SocketAddr| {
        let text =
            format!("{what} is bound to {address}, which is no loopback address; look at the service manager's socket");
        if address.ip().is_loopback() { Ok(()) } else { Err(io::Error::other(text)) }
    };
    public("the operator's door", admin)?;
    for listen in config.doors().filter(|listen| listen.tls.is_none()) {
        if let Some(listener) = drivers.get(&listen.name) {
            public("a door without TLS", listener.local_addr()?)?;
        }
    }
    Ok(())
}

/// The sockets of a gate.
pub struct Listeners {
    /// For drivers, by the names of the doors.
    drivers: BTreeMap<Arc<str>, TcpListener>,
    /// For the operator.
    admin: TcpListener,
}

impl Listeners {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// When an address cannot be used.
    pub fn bind(config: &Config) -> io::Result<Self> {
        Self::given_or_bound(config, [None, None])
    }

    /// The same, but for sockets that somebody has bound for us.
    fn given_or_bound(config: &Config, given: [Option<std::net::TcpListener>; 2]) -> io::Result<Self> {
        let [drivers, admin] = given.map(|socket| socket.map(TcpListener::from_std).transpose());
        let or_bound = |given: Option<TcpListener>, address| match given {
            Some(socket) => Ok(socket),
            None => bind(address, config.listen.reuse_port),
        };
        let mut all = BTreeMap::from([(config.listen.name.clone(), or_bound(drivers?, config.listen.address)?)]);
        for (name, listen) in &config.listeners {
            all.insert(name.clone(), or_bound(None, listen.address)?);
        }
        Ok(Self { drivers: all, admin: or_bound(admin?, config.admin.address)? })
    }
}

/// Keeps what is written down of logins under way close to the truth, and forgets sessions that are over.
async fn tidy(house: Arc<House>) {
    let Lasting { budget, sealing, replicas, .. } = &house.lasting;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        budget.tidy();
        let Some(sealing) = sealing else { continue };
        if let Some(replicas) = replicas {
            replicas.mend();
            exchange_ended(sealing, replicas).await;
        }
        if let Err(error) = sealing.revoked.catch_up() {
            tracing::warn!(cause = %error, owner = "gate", "ended sessions cannot be read");
        }
        sealing.sessions.sweep(sealing.clock.now());
        if let Err(error) = sealing.revoked.tidy(sealing.clock.wall(), sealing.longest) {
            tracing::warn!(cause = %error, owner = "gate", "ended sessions cannot be written down");
        }
    }
}

/// Ends the sessions that another gate was told to end, and tells the others what they do not know: Redis may have been away, or
/// have forgotten.
async fn exchange_ended(sealing: &Sealing, replicas: &Replicas) {
    let Some(told) = replicas.ended_sessions().await else { return };
    for (target, until) in sealing.revoked.all() {
        let target = target.to_string();
        if !told.iter().any(|(known, told)| *known == target && *told >= until) {
            replicas.end_sessions(&target, until, sealing.longest).await;
        }
    }
    let oldest = sealing.clock.wall().checked_sub(sealing.longest).map(millis).unwrap_or_default();
    let known = |(target, until): (String, u64)| Some((Target::parse(&target)?, until));
    let matters = told.into_iter().filter_map(known).filter(|(_, until)| *until >= oldest);
    match sealing.revoked.merge(matters) {
        Ok(true) => tracing::warn!("sessions are ended because another gate was told so"),
        Ok(false) => {}
        Err(error) => tracing::warn!(cause = %error, owner = "gate", "ended sessions cannot be written down"),
    }
}

fn open_replicas(config: &Config, seams: &Seams) -> io::Result<Option<Arc<Replicas>>> {
    let Some(settings) = &config.replicas else { return Ok(None) };
    let password = settings.password.as_ref().map(secrets::load_now).transpose().map_err(io::Error::other)?;
    Replicas::open(settings, password.as_ref(), seams.clock.clone()).map(Some).map_err(io::Error::other)
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
