//! [`Operator`]: the operator's commands to a running gate.
//!
//! Each command is a function with typed values. `admin` offers them over HTTP, and the command line reads the same
//! types.

mod clients;
mod rotation;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

pub use rotation::RevocationReport;

pub use crate::app::answers::{
    ClientLogin, ConsoleToken, EndedSessions, FailureEntry, FailureList, LogLevels, PatList, Readiness, Refreshed,
    RotatedKeys, SessionList, SessionStatus,
};
use crate::app::generations::{Generations, Reloaded};
use crate::app::reload::Reloads;
use crate::app::status::{self, Running, Status};
use crate::base::clock::Env;
use crate::base::epoch::EpochMillis;
use crate::pat::{CachedPatStatus, PatStatus, Proof, RotationFailure};
use crate::proxy::Generation;
use crate::session::{Revocation, Sessions};
use crate::telemetry::act::{self, Act};
use crate::telemetry::history::Reader;
use crate::telemetry::metrics::{Gauges, PatGauges};

/// The least time between two retries of a credential. Each may cost the service user bad logins; five lock it.
const RETRY: Duration = Duration::from_secs(10);

/// How many failures the console shows.
const FAILURES: u32 = 50;

/// The operator's commands to a running gate.
#[derive(Clone)]
pub struct Operator {
    generations: Arc<Generations>,
    /// Set if the configuration came from a file.
    reloads: Arc<OnceLock<Reloads>>,
    stopping: tokio_util::sync::CancellationToken,
    running: Arc<Running>,
    /// Who asks, for the audit log.
    who: Arc<str>,
    /// When a credential was last retried.
    retried: Arc<Mutex<HashMap<String, Instant>>>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A name that the configuration does not have.
    #[error("no credential has the name {name}; known are {known}")]
    NoSuchCredential {
        /// The name.
        name: String,
        /// The names that it has.
        known: String,
    },
    /// The gate was started without a file.
    #[error("this gate has no configuration file")]
    NoFile,
    /// The error in the configuration; the old one stays in use.
    #[error("{0}")]
    NotReloaded(String),
    /// Tokens are not sealed, so the gate knows no sessions.
    #[error("the gate does not seal tokens (seal = false), so it knows no sessions")]
    NotSealed,
    /// A retry of the same credential was a moment ago.
    #[error("each retry of {name} may cost its user bad logins, and the last was a moment ago; again in {seconds} s")]
    TooSoon {
        /// The credential.
        name: String,
        /// How long to wait.
        seconds: u64,
    },
    /// The gate does not rotate this credential.
    #[error(
        "credentials.{name} has no `rotation`, so the gate cannot make a new PAT for it. Add a rotator and a rotation \
         to the configuration, or make the PAT yourself and put it into the store"
    )]
    NoRotation {
        /// The credential.
        name: String,
    },
    /// Why a PAT was not rotated.
    #[error("{}. {}", .0.cause, .0.next_step)]
    PatNotRotated(Box<RotationFailure>),
    /// A text that names no levels.
    #[error("{0}")]
    NoLevel(String),
    /// Why the gate cannot add a key to the ring.
    #[error("{0}")]
    NotRotated(String),
}

impl Operator {
    /// The operator of these generations.
    pub fn new(
        generations: Arc<Generations>,
        reloads: Arc<OnceLock<Reloads>>,
        stopping: tokio_util::sync::CancellationToken,
        running: Running,
    ) -> Self {
        let running = Arc::new(running);
        Self { generations, reloads, stopping, running, who: "".into(), retried: Arc::default() }
    }

    /// The same, asked by this user.
    #[must_use]
    pub fn asked_by(&self, who: &str) -> Self {
        Self { who: who.into(), ..self.clone() }
    }

    /// Whether a refusal of a command by a local user is written: anybody can cause one.
    pub fn tells_of_refusal(&self) -> bool {
        let services = &self.generations.services;
        services.sinks.refusals.keeps("command", IpAddr::from(Ipv4Addr::LOCALHOST), services.env.clock.now())
    }

    /// The users who may give commands, beside root and the gate's own user.
    pub fn users(&self) -> Vec<String> {
        self.generation().config.admin.users.clone()
    }

    /// Whether logins are served.
    pub async fn ready(&self) -> Readiness {
        if self.stopping.is_cancelled() {
            return Readiness { why: Some("the gate is stopping".to_owned()), ..Readiness::default() };
        }
        if self.generation().config.audit.required && !self.generations.services.audit_works() {
            let why = "the audit log cannot be written, and audit.required is set";
            return Readiness { why: Some(why.to_owned()), ..Readiness::default() };
        }
        let status = self.generation().pats.status().await;
        let names = |which: &dyn Fn(&PatStatus) -> bool| -> Vec<String> {
            status.iter().filter(|one| which(one)).map(|one| one.credential.clone()).collect()
        };
        let cached = |which: fn(&CachedPatStatus) -> bool| names(&|one| one.cached.as_ref().is_some_and(which));
        let credentials = names(&|one| !one.ready);
        let refused = cached(|cached| cached.refused);
        let paused = names(&|one| one.is_paused() && !refused.contains(&one.credential));
        let why = if status.iter().any(|one| one.cached.is_none() && one.failure.is_none()) {
            Some("not every credential's PAT has been read yet")
        } else if status.iter().any(PatStatus::works) || status.is_empty() {
            None
        } else if credentials.len() == status.len() {
            Some("no credential has a usable PAT; `patgate pat status` says why")
        } else {
            Some("Snowflake refuses every credential; `patgate pat status` says why, and what to do")
        };
        Readiness {
            ready: why.is_none(),
            why: why.map(str::to_owned),
            stale: cached(|cached| cached.overdue),
            refused,
            paused,
            credentials,
        }
    }

    /// The whole gate on one screen.
    pub async fn status(&self) -> Status {
        let reload = self.reloads.get().and_then(Reloads::last);
        let not_ready = self.ready().await.why;
        status::look(&self.generations, &self.running, reload, not_ready).await
    }

    /// The metrics, in the form for a scrape.
    ///
    /// # Errors
    /// Never in practice: writing text to memory does not fail.
    pub async fn metrics(&self) -> Result<String, std::fmt::Error> {
        self.generations.services.metrics.text(&self.gauges().await)
    }

    /// The state of the gate at this moment.
    async fn gauges(&self) -> Gauges {
        let (services, generation) = (&self.generations.services, self.generation());
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64());
        let pats = generation.pats.status().await.into_iter().map(|one| {
            let (ready, cached, credential) = (one.works(), one.cached.as_ref(), one.credential);
            let refused = cached.is_some_and(|cached| cached.refused);
            PatGauges {
                ready,
                refused,
                age: cached.map(|cached| cached.age.as_secs_f64()),
                expires: cached.and_then(|cached| seconds(cached.expires?)),
                successor: one.successor.is_some(),
                credential,
            }
        });
        let sessions = services.sessions.as_ref().map(|sessions| {
            // A client without a session has a line too: its end would look like a gate that is away.
            let mut counts: BTreeMap<_, u64> =
                generation.config.clients.keys().map(|client| (client.to_string(), 0)).collect();
            for (_, live, _) in sessions.list() {
                *counts.entry(live.client.to_string()).or_default() += 1;
            }
            counts.into_iter().collect()
        });
        let certificates = self.generations.certificates();
        let accounts =
            generation.accounts.iter().filter_map(|(name, account)| Some((name.to_string(), account.is_up()?)));
        Gauges {
            pats: pats.collect(),
            sessions,
            audit: services.sinks.observations.is_some().then(|| services.audit_works()),
            accounts: accounts.collect(),
            certificates: certificates.filter_map(|(name, one)| Some((name.to_string(), seconds(one.ends)?))).collect(),
            replicas: services.replicas.as_ref().map(|replicas| (replicas.is_up(), replicas.errors())),
        }
    }

    /// The status of each credential's PAT; never the PAT.
    pub async fn pats(&self) -> PatList {
        PatList { pats: self.generation().pats.status().await, clients: Vec::new() }
    }

    /// The same, with the last login of every client.
    pub async fn pats_with_clients(&self) -> PatList {
        PatList { clients: self.clients().await, ..self.pats().await }
    }

    /// Reads the PAT of a credential now, or all PATs.
    ///
    /// # Errors
    /// [`OperatorError::NoSuchCredential`].
    pub async fn refresh(&self, credential: Option<&str>) -> Result<Refreshed, OperatorError> {
        if let Some(credential) = credential {
            self.known(credential)?;
        }
        let outcomes = self.generation().pats.refresh(credential).await;
        let failed = outcomes.iter().any(|(_, outcome)| outcome.is_err());
        tracing::info!(credential, references = outcomes.len(), failed, "read PATs again for the operator");
        self.acted(act::PAT_REFRESH, credential.unwrap_or("all credentials"));
        Ok(Refreshed { failed, pats: self.pats().await })
    }

    /// Forgets the bad logins of a credential's user, and reads its PAT.
    ///
    /// # Errors
    /// [`OperatorError::NoSuchCredential`], [`OperatorError::TooSoon`].
    pub async fn retry(&self, credential: &str) -> Result<Refreshed, OperatorError> {
        self.known(credential)?;
        self.pace(credential)?;
        self.acted(act::PAT_RETRY, credential);
        let outcomes = self.generation().pats.retry(credential).await.unwrap_or_default();
        let failed = outcomes.iter().any(|(_, outcome)| outcome.is_err());
        Ok(Refreshed { failed, pats: self.pats().await })
    }

    /// Sends the gate's own login with the PAT of a credential, under the guard, and tries what its session can do.
    ///
    /// # Errors
    /// [`OperatorError::NoSuchCredential`].
    pub async fn prove(&self, credential: &str) -> Result<Proof, OperatorError> {
        self.known(credential)?;
        self.acted(act::PAT_LOGIN, credential);
        Ok(self.generation().pats.prove(credential).await.unwrap_or_default())
    }

    /// Reads the configuration again, with the files that it names.
    ///
    /// # Errors
    /// [`OperatorError::NoFile`], [`OperatorError::NotReloaded`].
    pub async fn reload(&self) -> Result<Reloaded, OperatorError> {
        let reloads = self.reloads.get().ok_or(OperatorError::NoFile)?;
        reloads.now("the operator's request").await.map_err(OperatorError::NotReloaded)
    }

    /// The recently served sessions.
    ///
    /// # Errors
    /// [`OperatorError::NotSealed`].
    pub fn sessions(&self) -> Result<SessionList, OperatorError> {
        let all = self.sealed()?.list();
        let sessions = all.into_iter().map(|(id, live, idle)| SessionStatus {
            session: id.to_string(),
            client: live.client.to_string(),
            account: live.account.to_string(),
            pat: live.pat.to_string(),
            from: live.from,
            opened: Some(live.opened.to_system_time()),
            idle_s: idle.as_secs(),
        });
        Ok(SessionList { sessions: sessions.collect() })
    }

    /// Ends the sessions opened until now.
    ///
    /// # Errors
    /// [`OperatorError::NotSealed`].
    pub async fn end_sessions(&self, what: Revocation) -> Result<EndedSessions, OperatorError> {
        let client = match &what {
            Revocation::Client(client) => Some(self.generation().config.clients.contains_key(client)),
            Revocation::All => Some(true),
            Revocation::Pat(_) | Revocation::Session(_) => None,
        };
        let name = what.to_string();
        let ended = self.sealed()?.end(what).await;
        self.acted(act::SESSIONS_ENDED, &name);
        let unwritten = |error| format!("it holds only until the gate restarts: it cannot be written to disk: {error}");
        Ok(EndedSessions {
            ended: ended.here,
            known: client == Some(true) || ended.here > 0,
            error: ended.unwritten.map(unwritten),
        })
    }

    /// Clock and randomness.
    pub fn env(&self) -> Env {
        self.generations.services.env.clone()
    }

    /// What failed last, the newest first; nothing without a history.
    pub async fn failures(&self) -> FailureList {
        let services = &self.generations.services;
        let now = EpochMillis::of(services.env.clock.wall());
        let Some(directory) = services.sinks.history.clone() else { return FailureList::default() };
        // The disk may be slow.
        let read = move || Reader::open(&directory)?.last_failures(now, FAILURES);
        let stories = tokio::task::spawn_blocking(read).await.ok().and_then(Result::ok).unwrap_or_default();
        FailureList { failures: stories.iter().filter_map(FailureEntry::of).collect() }
    }

    /// A token for the console, with the address of the page.
    pub fn console_token(&self, token: String) -> ConsoleToken {
        self.acted(act::CONSOLE_TOKEN, "a token for the console");
        ConsoleToken { address: self.running.admin, token }
    }

    /// Drains the gate, and ends the process.
    pub fn drain(&self) {
        tracing::warn!("the operator drains the gate");
        self.acted(act::DRAIN, "");
        self.running.drain.cancel();
    }

    /// What is written to the log.
    pub fn log_levels(&self) -> LogLevels {
        LogLevels { level: self.generations.services.log_level.get() }
    }

    /// Sets what is written to the log, until the gate restarts.
    ///
    /// # Errors
    /// [`OperatorError::NoLevel`].
    pub fn set_log_levels(&self, levels: &str) -> Result<LogLevels, OperatorError> {
        self.generations.services.log_level.set(levels).map_err(OperatorError::NoLevel)?;
        tracing::warn!(levels, "the operator changed what is logged");
        self.acted(act::LOG_LEVEL, levels);
        Ok(self.log_levels())
    }

    /// Adds a key to a ring that the gate makes; the key seals from now on.
    ///
    /// # Errors
    /// [`OperatorError::NotSealed`], [`OperatorError::NotRotated`].
    pub async fn rotate_keys(&self) -> Result<RotatedKeys, OperatorError> {
        let keys = self.sealed()?.rotate_keys().await.map_err(OperatorError::NotRotated)?;
        self.acted(act::RING_ROTATED, &format!("{keys} keys open"));
        Ok(RotatedKeys { keys })
    }

    fn acted(&self, event: &str, detail: &str) {
        self.generations.services.act(Act::of(event, detail).by(&self.who));
    }

    fn generation(&self) -> Arc<Generation> {
        self.generations.current.load_full()
    }

    fn sealed(&self) -> Result<&Arc<Sessions>, OperatorError> {
        self.generations.services.sessions.as_ref().ok_or(OperatorError::NotSealed)
    }

    /// Notes a retry, unless the last one was a moment ago.
    fn pace(&self, credential: &str) -> Result<(), OperatorError> {
        let now = self.generations.services.env.clock.now();
        let mut retried = self.retried.lock();
        retried.retain(|_, last| now.saturating_duration_since(*last) < RETRY);
        if let Some(last) = retried.get(credential) {
            let left = RETRY.saturating_sub(now.saturating_duration_since(*last));
            let seconds = left.as_secs_f64().ceil() as u64;
            return Err(OperatorError::TooSoon { name: credential.to_owned(), seconds });
        }
        retried.insert(credential.to_owned(), now);
        Ok(())
    }

    fn known(&self, credential: &str) -> Result<(), OperatorError> {
        let credentials = &self.generation().config.credentials;
        if credentials.contains_key(credential) {
            return Ok(());
        }
        let known = credentials.keys().map(|name| &**name).collect::<Vec<_>>().join(", ");
        Err(OperatorError::NoSuchCredential { name: credential.to_owned(), known })
    }
}
