//! The configuration: one file, read once, into complete typed values.
//!
//! There are two forms: [`mod@file`] reads the TOML and collects every error with its place, and the other modules use
//! [`Config`], which is complete, immutable and free of secrets. The file has only references to secrets.

mod admin;
pub mod change;
mod clients;
mod connect;
mod entries;
pub mod file;
mod forward_proxy;
pub mod keys;
mod limits;
mod listen;
mod observe;
mod pat;
mod read;
mod replicas;
pub mod report;
mod rotation;
mod secret_source;
pub mod stores;
mod syntax;
pub mod units;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::base::login_names::LoginName;
use crate::base::names::{CertificateName, ClientName, LoginRefs, SecretRefs};
use crate::base::pins::Pins;
pub use connect::{Connect, Kind};
pub use listen::KeyPair;
pub use observe::{Audit, History, Metrics, SqlRecord, Traces};
pub use pat::Pat;
pub use rotation::{Rotation, Rotator};
pub use secret_source::SecretSource;
pub use stores::Store;
use units::Rate;

/// All settings of the operator, with defaults for the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The listener for drivers.
    pub listen: Listen,
    /// More listeners, by name.
    pub listeners: BTreeMap<Arc<str>, Listen>,
    /// The admin address.
    pub admin: Admin,
    /// The address for probes and scrapes from other hosts; `None`: the admin address alone serves them.
    pub health: Option<SocketAddr>,
    /// How the gate notices changes of the file.
    pub reload: Reload,
    /// How the gate reads and holds logins.
    pub login: Login,
    /// Limits over all clients.
    pub limits: Limits,
    /// Redis for gates on several hosts; `None`: the gate counts for itself.
    pub replicas: Option<Replicas>,
    /// Deadlines towards Snowflake.
    pub upstream: Upstream,
    /// The cache of PATs.
    pub pat: Pat,
    /// The state that outlives the process.
    pub state: State,
    /// How the gate seals the tokens of sessions; `None` passes Snowflake's tokens on.
    pub seal: Option<Seal>,
    /// Logs.
    pub log: Log,
    /// The records of the last days.
    pub history: History,
    /// The audit log.
    pub audit: Audit,
    /// Traces for a collector.
    pub traces: Traces,
    /// Metrics for a collector.
    pub metrics: Metrics,
    /// Snowflake accounts by name.
    pub accounts: BTreeMap<Arc<str>, Account>,
    /// Secrets managers by name.
    pub stores: BTreeMap<Arc<str>, Store>,
    /// Rotators by name.
    pub rotators: BTreeMap<Arc<str>, Rotator>,
    /// Credentials by name.
    pub credentials: BTreeMap<Arc<str>, Credential>,
    /// Clients by name.
    pub clients: BTreeMap<ClientName, Client>,
}

impl Config {
    /// All listeners, that of `[listen]` first.
    pub fn all_listeners(&self) -> impl Iterator<Item = &Listen> {
        std::iter::once(&self.listen).chain(self.listeners.values())
    }

    /// The files that it names and that a reload reads again: certificates, keys, roots, and the passwords of forward
    /// proxies.
    pub fn files(&self) -> Vec<PathBuf> {
        let of = |listen: &'_ Listen| -> Vec<PathBuf> {
            let pair = listen.tls.iter().flat_map(|pair| [pair.certificate.clone(), pair.key.clone()]);
            let own = listen.connect().into_iter().flat_map(|connect| {
                let KeyPair { certificate, key } = connect.ca.clone();
                [certificate, key].into_iter().chain(connect.allowlist.clone())
            });
            pair.chain(listen.client_ca.clone()).chain(listen.client_crl.clone()).chain(own).collect()
        };
        let listeners = self.all_listeners().flat_map(of);
        let of = |account: &'_ Account| -> Vec<PathBuf> {
            let password = account.proxy.as_ref().and_then(|proxy| Some(&proxy.user.as_ref()?.1));
            let password = password.and_then(SecretSource::path);
            account.ca.as_deref().into_iter().chain(password).map(Path::to_owned).collect()
        };
        listeners.chain(self.accounts.values().flat_map(of)).collect()
    }
}

/// `[listen]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// The name for `listeners` of a client.
    pub name: Arc<str>,
    /// What it speaks.
    pub kind: Kind,
    /// The address for drivers.
    pub address: SocketAddr,
    /// What tools are told to connect to; `None`: what the certificate and the address say.
    pub public: Option<(String, u16)>,
    /// Certificate and key; `None` only with `danger_plaintext` on a loopback address.
    pub tls: Option<KeyPair>,
    /// The roots of client certificates; `None` asks for none.
    pub client_ca: Option<PathBuf>,
    /// Revoked client certificates; `None` knows of none.
    pub client_crl: Option<PathBuf>,
    /// The balancers that must send a PROXY header, which the gate trusts.
    pub proxy: Vec<IpNet>,
    /// How many workers; `None` is one per core.
    pub workers: Option<usize>,
    /// How many connections at once; others wait in the kernel's queue.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a connection may take in all until a request is admitted.
    pub admission: Duration,
    /// How long a request's head may take from its first byte.
    pub head: Duration,
    /// How long a connection may be silent between requests. Drivers' pools keep connections for 30 s and more.
    pub idle: Duration,
    /// How long `/readyz` says "stopping" before the gate closes anything, so that a balancer notices.
    pub notice: Duration,
    /// How long running requests may continue after that.
    pub drain: Duration,
    /// Lets a second process listen on the same port, which then takes over (`SO_REUSEPORT`; Unix).
    pub reuse_port: bool,
}

impl Listen {
    /// The name of the listener of `[listen]`.
    pub const MAIN: &str = "main";
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// A loopback address, plain HTTP.
    pub address: SocketAddr,
    /// A Unix socket for the operator's commands, which only the gate's own user and root can open.
    pub socket: Option<PathBuf>,
    /// The local users, by name or number, who may use the commands beside root and the gate's own user.
    pub users: Vec<String>,
}

/// `[reload]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    /// How often the gate checks the file, certificates and roots for a change; zero: never.
    pub watch: Duration,
}

/// `[login]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// The largest body as sent, in bytes.
    pub body: usize,
    /// The largest body after inflating, in bytes.
    pub inflated: usize,
    /// How long the body may take.
    pub deadline: Duration,
    /// How long the gate holds and retries a login while the store or Snowflake is unreachable, before it answers with
    /// the failure. The newest JDBC gives up after 8 s.
    pub hold: Duration,
}

/// `[upstream]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// How long TCP and TLS may take together.
    pub connect: Duration,
    /// How long the first byte of an answer may take; Snowflake holds long polls for 45 s.
    pub first_byte: Duration,
    /// How long a running body may be silent; its total time has no limit.
    pub silence: Duration,
    /// How long an unused connection stays in the idle pool.
    pub keep: Duration,
}

/// `[state]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The gate's state directory. `None` uses systemd's `STATE_DIRECTORY`, and without that the next one.
    pub directory: Option<PathBuf>,
    /// `state` beside the file, used if the gate can write there.
    pub beside: PathBuf,
    /// The key of the sealed copy of PATs for a cold start; `None` keeps no copy.
    pub warm_key: Option<SecretSource>,
}

/// `[seal]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The references of the key ring; `None` makes one in the state directory.
    pub keys: Option<SecretRefs>,
    /// How long one key of the gate's own ring seals.
    pub rotate: Duration,
    /// The longest lifetime of a sealed token, and how long a key of the gate's own ring opens after its last seal.
    pub keep: Duration,
    /// How often the gate reads the ring.
    pub refresh: Duration,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// The lowest level that the gate writes.
    pub level: Level,
    /// The form of a line.
    pub format: LogFormat,
}

/// The levels of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Problems that the operator must handle.
    Error,
    /// Problems that the operator may have to handle.
    Warn,
    /// Logins and changes of state.
    Info,
    /// Every request.
    Debug,
    /// Everything.
    Trace,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// JSON unless stderr is a terminal.
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// `[accounts.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// SNI, `Host` and the name that the certificate must have.
    pub host: String,
    /// The port of `host`.
    pub port: u16,
    /// Where to connect instead of `host`: `NAME:PORT` or `IP:PORT`.
    pub address: Option<String>,
    /// Roots to trust instead of the platform's.
    pub ca: Option<PathBuf>,
    /// `ACCOUNT_NAME` in the login.
    pub name: String,
    /// The in-flight limit over the requests of all clients.
    pub in_flight: Option<usize>,
    /// The forward proxy on the way there.
    pub proxy: Option<ForwardProxy>,
}

/// A forward proxy that makes tunnels with CONNECT (RFC 9110, section 9.3.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardProxy {
    /// `HOST:PORT`; the gate connects without TLS.
    pub address: String,
    /// User and password for `Proxy-Authorization`, if any.
    pub user: Option<(String, SecretSource)>,
}

impl Account {
    /// Where to connect: the override, or the host itself.
    pub fn connect_to(&self) -> String {
        self.address.clone().unwrap_or_else(|| format!("{}:{}", self.host, self.port))
    }

    /// The `Host` header: without the port if it is that of https.
    pub fn authority(&self) -> String {
        if self.port == 443 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

/// `[credentials.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Credential {
    /// The name of an account.
    pub account: Arc<str>,
    /// The Snowflake service user.
    pub user: String,
    /// What it logs in with.
    pub login: LoginRefs,
    /// How the gate rotates its PAT, or another credential with the same PAT says so; `None` leaves it to others.
    pub rotation: Option<Rotation>,
    /// The context that every session gets, whatever the client asks for.
    pub pins: Pins,
    /// Limits over all its clients together.
    pub limits: Rates,
}

/// `[clients.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Client {
    /// The name of a credential.
    pub credential: Arc<str>,
    /// SHA-256 of each valid key: one, or two during a change of keys; none if a certificate or the machine identifies
    /// the client.
    pub keys: Vec<[u8; 32]>,
    /// The certificate names, one of which its connections must have; empty if it needs no certificate.
    pub certificates: Vec<CertificateName>,
    /// Whether programs on this machine need no key.
    pub trust_loopback: bool,
    /// The user names that its tools may type; empty for all. Where several clients fit a connection, they say which it
    /// is.
    pub login_names: Vec<LoginName>,
    /// The local users whose programs may log in, by name or number; empty for all.
    pub users: Vec<String>,
    /// The networks that it may connect from; an empty list admits no address.
    pub networks: Vec<IpNet>,
    /// The listeners that it may use; empty for all.
    pub listeners: Vec<Arc<str>>,
    /// The context that its sessions may have; it takes precedence over that of the credential.
    pub pins: Pins,
    /// Whether a session that sets no query tag of its own gets one with the client's name and the trace id.
    pub query_tag: bool,
    /// What of its statements is recorded.
    pub sql: SqlRecord,
    /// What its sessions are bound to, beside the client.
    pub bind: Bind,
    /// Limits.
    pub limits: ClientLimits,
}

/// What the sessions of a client are bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bind {
    /// The client alone: from any of its networks.
    #[default]
    Client,
    /// The one of its networks that the login came from.
    Network,
    /// The address that the login came from.
    Address,
    /// The client certificate that the login came with.
    Certificate,
}

/// `limits` of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// How often.
    pub rates: Rates,
    /// Sessions at once, of those that were used within the last hour.
    pub sessions: Option<usize>,
    /// Requests at once.
    pub in_flight: Option<usize>,
    /// Heartbeats, cancellations, logouts, renewals and telemetry.
    pub upkeep: Arc<[Rate]>,
    /// The same, at once.
    pub upkeep_in_flight: usize,
}

/// Rates of actions; every window of a list must allow an action, and an empty list limits nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rates {
    /// Logins.
    pub logins: Arc<[Rate]>,
    /// Requests in sessions, and REST requests.
    pub requests: Arc<[Rate]>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { logins: Arc::new([]), requests: Arc::new([]) }
    }
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Over the whole gate.
    pub gate: Rates,
    /// Over each source address.
    pub source: Rates,
    /// How many wrong keys a source, or a name, may send before the gate delays its answers.
    pub failures: Arc<[Rate]>,
    /// The longest delay of the answer to a wrong key.
    pub slow_down: Duration,
    /// How many connections may be without an admitted request; an eighth of them of one source.
    pub unadmitted: usize,
    /// How long a login over its limit may wait.
    pub wait: Duration,
    /// How long a request over its limit may wait.
    pub delay: Duration,
}

/// `[replicas]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replicas {
    /// `redis://HOST:PORT`, or `rediss://` for TLS.
    pub redis: String,
    /// The Redis user; `None` is Redis' own default.
    pub user: Option<String>,
    /// That user's password.
    pub password: Option<SecretSource>,
    /// Roots to trust instead of the platform's.
    pub ca: Option<PathBuf>,
    /// The prefix of all keys in Redis; gates with the same prefix are replicas of each other.
    pub prefix: String,
    /// How long Redis may take to answer.
    pub timeout: Duration,
}
