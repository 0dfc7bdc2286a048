//! What a gate opens before it serves: its state directory, the state that outlives a configuration, its sockets.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::base::clock::{Clock, Env};
use crate::config::{self, Config, Listen};
use crate::listen::bind;
use crate::pat::{DiskCache, Guard};
use crate::proxy::{InflateBudget, Services};
use crate::replicas::Replicas;
use crate::session::Sessions;
use crate::state::StateDir;
use crate::state::place::StatePlace;
use crate::stores::{Resolver, load_now};
use crate::telemetry::audit::Audit;
use crate::telemetry::history::History;
use crate::telemetry::logs::LogControl;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::observations::Observations;
use crate::telemetry::observer::{Observer, Writers};
use crate::telemetry::sinks::Sinks;
use crate::telemetry::traces::SpanQueue;

use super::caller::AdminSocket;
use super::descriptors;
use super::generations;

/// Opens the state that outlives a configuration, and the stores of the first configuration.
///
/// # Errors
/// If the state directory, a key or the address of Redis is unusable.
pub(super) async fn services(
    config: &Config,
    env: Env,
    log: LogControl,
) -> io::Result<(Services, Arc<Resolver>, Option<Observer>)> {
    let state = state(&config.state)?;
    let guard = guard(config, &env.clock, state.clone())?;
    let (replicas, metrics) = (replicas(config, &env)?, Arc::new(Metrics::with_dropped_lines(log.dropped)));
    let disk_cache = disk_cache(&config.state, state.as_ref())?;
    let resolver = generations::resolver(config, &env.clock, &metrics).map_err(io::Error::other)?;
    let (sinks, observer) = observed(config, state.as_ref(), &metrics, &env)?;
    let sessions = match &config.seal {
        Some(settings) => {
            Some(Sessions::open(settings, &resolver, state.as_ref(), (replicas.clone(), sinks.clone()), &env).await?)
        }
        None => None,
    };
    let control = Handle::current();
    let inflating = Arc::new(InflateBudget::new(env.clock.clone()));
    let log_level = log.level;
    let services =
        Services { log_level, guard, sessions, replicas, state, disk_cache, metrics, sinks, inflating, env, control };
    Ok((services, resolver, observer))
}

/// The state directory; `None` if nobody has named one, and the gate cannot write beside its configuration.
fn state(state: &config::State) -> io::Result<Option<StateDir>> {
    let StatePlace { path, named } = StatePlace::of(state.directory.as_deref(), &state.beside);
    match StateDir::open(&path) {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if named => Err(io::Error::other(format!("the state directory {}: {error}", path.display()))),
        Err(error) => {
            tracing::warn!(
                directory = %path.display(),
                cause = %error,
                "a restart forgets bad logins; name a directory in state.directory"
            );
            Ok(None)
        }
    }
}

/// Where records go, and the thread that writes them down.
pub(super) fn observed(
    config: &Config,
    state: Option<&StateDir>,
    metrics: &Arc<Metrics>,
    env: &Env,
) -> io::Result<(Arc<Sinks>, Option<Observer>)> {
    let history = state.map(|state| History::open(&config.history, state)).transpose();
    let history = history.unwrap_or_else(|error| {
        tracing::error!(owner = "gate", cause = %error, "there is no history: `patgate explain` knows no request");
        None
    });
    let opened = state.map(|state| Audit::open(&config.audit, state)).transpose();
    let named = |error: io::Error| {
        let place = state.map(|state| state.path().join("audit").display().to_string()).unwrap_or_default();
        io::Error::other(format!("the audit log {place} cannot be opened: {error}. Mend its rights, or move it away"))
    };
    let audit = match opened.map_err(named) {
        Ok(None) if config.audit.required => {
            Err(io::Error::other("audit.required is set, but the gate has no state directory for the audit log"))
        }
        Err(error) if !config.audit.required => {
            tracing::error!(owner = "gate", cause = %error, "there is no audit log");
            Ok(None)
        }
        opened => opened,
    };
    let spans = SpanQueue::start(&config.traces, metrics, &Handle::current())?;
    let writers = Writers { history: history.flatten(), audit: audit?.flatten(), spans };
    let observations = (!writers.is_empty()).then(Observations::default);
    let sample = writers.spans.as_ref().map(SpanQueue::sample);
    let history = state.filter(|_| writers.history.is_some()).map(|state| state.path().to_owned());
    let sinks = Arc::new(Sinks { metrics: metrics.clone(), observations, history, sample, ..Sinks::default() });
    let observer = Observer::start(sinks.clone(), writers, env.clock.clone())?;
    Ok((sinks, observer))
}

/// The guard of PATs. If it cannot write to disk, it keeps its counts in memory, unless the operator has named the
/// directory.
fn guard(config: &Config, clock: &Arc<dyn Clock>, state: Option<StateDir>) -> io::Result<Arc<Guard>> {
    let widths = config.pat.widths;
    match Guard::open(widths, clock.clone(), state) {
        Err(error) if config.state.directory.is_none() => {
            tracing::warn!(cause = %error, "a restart forgets bad logins: cannot write to the state directory");
            Guard::open(widths, clock.clone(), None)
        }
        opened => opened,
    }
}

/// The other gates, if there are any.
///
/// # Errors
/// If the password or the address of Redis is unusable.
pub(super) fn replicas(config: &Config, env: &Env) -> io::Result<Option<Arc<Replicas>>> {
    let Some(settings) = &config.replicas else { return Ok(None) };
    let password = settings.password.as_ref().map(load_now).transpose().map_err(io::Error::other)?;
    Replicas::open(settings, password.as_ref(), env).map(Some).map_err(io::Error::other)
}

pub(super) fn disk_cache(settings: &config::State, state: Option<&StateDir>) -> io::Result<Option<DiskCache>> {
    let Some(source) = &settings.warm_key else { return Ok(None) };
    let missing = "state.warm_key is set, but the gate has no state directory for the copy";
    let directory = state.ok_or_else(|| io::Error::other(missing))?;
    DiskCache::open(directory.clone(), source).map(Some).map_err(io::Error::other)
}

/// Descriptors that are never for clients and their requests: the operator, stores, the state, listeners.
const KEPT: usize = 128;

/// How many connections the descriptors of this process allow, up to the configured number; says it if they are fewer.
pub(super) fn connections(wanted: usize) -> usize {
    let Some(descriptors) = descriptors::most() else { return wanted };
    let connections = fitting(wanted, descriptors);
    if connections < wanted {
        tracing::warn!(
            owner = "gate",
            descriptors,
            wanted,
            connections,
            needed = wanted * 2 + KEPT,
            "the limit of descriptors is too small for listen.connections: raise LimitNOFILE or the hard ulimit -n to \
             what is needed, or lower listen.connections"
        );
    }
    connections
}

/// The descriptors of this process, if the system tells, and for how many connections they are enough, up to the
/// configured number.
pub fn room_for_connections(wanted: usize) -> (Option<usize>, usize) {
    let descriptors = descriptors::most();
    (descriptors, descriptors.map_or(wanted, |descriptors| fitting(wanted, descriptors)))
}

/// Each client's connection may need one to Snowflake; the rest is kept.
fn fitting(wanted: usize, descriptors: usize) -> usize {
    let kept = KEPT.min(descriptors / 2);
    wanted.min((descriptors - kept) / 2).max(1)
}

/// The sockets of a gate.
pub struct Listeners {
    /// For drivers, by the names of the listeners.
    pub(super) drivers: BTreeMap<Arc<str>, TcpListener>,
    /// For the operator.
    pub(super) admin: TcpListener,
    /// For probes and scrapes from other hosts.
    pub(super) health: Option<TcpListener>,
    /// For the operator's commands alone.
    pub(super) admin_socket: Option<AdminSocket>,
}

impl Listeners {
    /// Binds the addresses of the configuration.
    ///
    /// # Errors
    /// If an address is unusable.
    pub fn bind(config: &Config) -> io::Result<Self> {
        Self::given_or_bound(config, [None, None])
    }

    /// The same, with sockets from the service manager: the first for drivers, the second for the operator.
    ///
    /// # Errors
    /// Like [`Listeners::bind`].
    pub fn given_or_bound(config: &Config, given: [Option<std::net::TcpListener>; 2]) -> io::Result<Self> {
        let [drivers, admin] = given.map(|socket| socket.map(TcpListener::from_std).transpose());
        let or_bound = |given: Option<TcpListener>, address| match given {
            Some(socket) => Ok(socket),
            None => bind(address, config.listen.reuse_port),
        };
        let mut all = BTreeMap::from([(config.listen.name.clone(), or_bound(drivers?, config.listen.address)?)]);
        for (name, listen) in &config.listeners {
            all.insert(name.clone(), or_bound(None, listen.address)?);
        }
        let admin = or_bound(admin?, config.admin.address)?;
        let admin_socket = config.admin.socket.as_deref().map(AdminSocket::bind).transpose()?;
        let health = config.health.map(|address| bind(address, config.listen.reuse_port)).transpose()?;
        Ok(Self { drivers: all, admin, health, admin_socket })
    }

    /// The address of each listener for drivers, that of `[listen]` first.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn addresses(&self) -> io::Result<Vec<(Arc<str>, SocketAddr)>> {
        let all = self.drivers.iter().map(|(name, socket)| Ok((name.clone(), socket.local_addr()?)));
        let mut all = all.collect::<io::Result<Vec<_>>>()?;
        all.sort_by_key(|(name, _)| **name != *Listen::MAIN);
        Ok(all)
    }

    /// Refuses a socket that must be a loopback address and is not, also one from a service manager, which reads
    /// another file.
    ///
    /// # Errors
    /// An error that names the socket.
    pub(super) fn check_private(&self, config: &Config) -> io::Result<()> {
        let private = |what: &str, address: SocketAddr| {
            let text = format!(
                "{what} is bound to {address}, which is not a loopback address; check the service manager's socket"
            );
            if address.ip().is_loopback() { Ok(()) } else { Err(io::Error::other(text)) }
        };
        private("the admin address", self.admin.local_addr()?)?;
        // A proxy's way in may be plain elsewhere too: what goes through it is encrypted.
        let private_ones = |listen: &&Listen| listen.tls.is_none() && listen.connect().is_none();
        for listen in config.all_listeners().filter(private_ones) {
            if let Some(listener) = self.drivers.get(&listen.name) {
                private("a listener without TLS", listener.local_addr()?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_into_the_descriptors_beside_what_is_kept() {
        for (wanted, descriptors, fits) in [
            (10_000, 65_536, 10_000),
            (10_000, 4096, 1984),
            (10_000, 1024, 448),
            (10_000, 60, 15),
            (5, 60, 5),
            (9, 2, 1),
        ] {
            assert_eq!(fitting(wanted, descriptors), fits, "{wanted} in {descriptors}");
        }
    }
}
