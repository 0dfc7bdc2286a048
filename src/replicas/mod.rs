//! [`Replicas`]: the state that gates on several hosts share through Redis or Valkey.
//!
//! Gates share three things: rates, the logins at risk with a PAT version, and ended sessions. The first two are
//! scripts that Redis runs atomically, with its own clock. All keys expire. A script has keys of several slots, so
//! Redis Cluster cannot run it.
//!
//! Redis is optional at run time. If it does not answer within `replicas.timeout`, each gate counts for itself and does
//! not ask Redis again for a second; the metrics show it. No request fails because of Redis.

mod login_leases;
mod turns;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, IntoConnectionInfo, Script, TlsCertificates};
use tokio::sync::mpsc;

pub use login_leases::{Judgement, LeaseOutcome, OwnTurn, ReplicaLease};
pub use turns::{WorkTurn, WorkTurnAsked};

use crate::base::clock::{Clock, Env};
use crate::base::epoch::{EpochMillis, millis};
use crate::base::ids::SessionId;
use crate::base::secret::Secret;
use crate::config;
use crate::config::units::Rate;

/// How long the gate does not ask Redis after a missing answer, in milliseconds.
const REST_MILLIS: u64 = 1000;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How many reports may wait for Redis; more are lost, and leases expire.
const WAITING: usize = 10_000;

/// The state of Redis.
const UNASKED: u8 = 0;
const UP: u8 = 1;
const DOWN: u8 = 2;

/// Counts one more in all of several rates, or in none: the generic cell rate algorithm, with one key per rate for the
/// theoretical arrival time. Returns the number of the rate with the longest wait, from 1, and the microseconds.
const COUNT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local worst, at, arrivals = 0, 0, {}
for i = 1, #KEYS do
  local each, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local arrival = math.max(tonumber(redis.call('GET', KEYS[i]) or now), now) + each
  local wait = arrival - each * burst - now
  if wait > worst then worst, at = wait, i end
  arrivals[i] = arrival
end
if at == 0 then
  for i = 1, #KEYS do
    redis.call('SET', KEYS[i], string.format('%.0f', arrivals[i]), 'PX', math.ceil((arrivals[i] - now) / 1000) + 1)
  end
end
return {at, worst}";

/// The connection of one gate to the others.
pub struct Replicas {
    client: Client,
    manager: ConnectionManagerConfig,
    connection: ArcSwap<ConnectionManager>,
    prefix: String,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    start: Instant,
    /// Until when the gate does not ask Redis, in milliseconds since the start.
    rests: AtomicU64,
    state: AtomicU8,
    errors: AtomicU64,
    count: Script,
    scripts: login_leases::Scripts,
    /// This gate's name among the others, and how many names it has given to leases and turns.
    gate: String,
    names: AtomicU64,
    reports: mpsc::Sender<login_leases::Report>,
}

/// A rate to count in.
pub struct RateQuestion<'a> {
    /// Its scope; gates that share the rate use the same name.
    pub name: &'a str,
    /// The rate.
    pub rate: Rate,
}

/// Redis says to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// Which of the rates.
    pub which: usize,
    /// For how long.
    pub wait: Duration,
}

/// Redis cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("[replicas]: {0}")]
pub struct NotSetUp(String);

impl Replicas {
    /// Sets the connection up on the current runtime, without connecting.
    ///
    /// # Errors
    /// If the address or the roots are unusable.
    pub fn open(settings: &config::Replicas, password: Option<&Secret>, env: &Env) -> Result<Arc<Self>, NotSetUp> {
        let not = |error: &dyn fmt::Display| NotSetUp(error.to_string());
        let info = settings.redis.as_str().into_connection_info().map_err(|error| not(&error))?;
        let mut login = info.redis_settings().clone();
        if let Some(user) = &settings.user {
            login = login.set_username(user);
        }
        if let Some(password) = password {
            login = login.set_password(password.expose());
        }
        let info = info.set_redis_settings(login);
        let client = match &settings.ca {
            None => Client::open(info),
            Some(ca) => {
                let root = read(ca).map_err(|error| not(&error))?;
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(root) })
            }
        };
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(settings.timeout))
            .set_connection_timeout(Some(CONNECT))
            .set_number_of_retries(0);
        let client = client.map_err(|error| not(&error))?;
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), config.clone());
        let connection = connection.map_err(|error| not(&error))?;
        let (reports, reported) = mpsc::channel(WAITING);
        let replicas = Arc::new(Self {
            client,
            manager: config,
            connection: ArcSwap::from_pointee(connection),
            prefix: settings.prefix.clone(),
            timeout: settings.timeout,
            start: env.clock.now(),
            clock: env.clock.clone(),
            names: AtomicU64::new(0),
            gate: SessionId::new(&*env.random).map_err(|error| not(&error))?.to_string(),
            rests: AtomicU64::new(0),
            state: AtomicU8::new(UNASKED),
            errors: AtomicU64::new(0),
            count: Script::new(COUNT),
            scripts: login_leases::Scripts::new(),
            reports,
        });
        tokio::spawn(login_leases::pass_on(Arc::downgrade(&replicas), reported));
        Ok(replicas)
    }

    /// Counts one more in all of these, or in none; does nothing if Redis does not answer.
    pub async fn count(&self, all: &[RateQuestion<'_>]) -> Result<(), Over> {
        let mut script = self.count.prepare_invoke();
        for one in all {
            let per = one.rate.per.as_micros();
            script.key(format!("{}:rate:{}:{}/{per}", self.prefix, one.name, one.rate.count));
        }
        for one in all {
            let each = one.rate.per.as_micros() / u128::from(one.rate.count.get());
            script.arg(u64::try_from(each).unwrap_or(u64::MAX)).arg(one.rate.count.get());
        }
        let asked = self.ask(async |connection| script.invoke_async::<(usize, u64)>(connection).await).await;
        match asked {
            Some((which, wait)) if which > 0 => {
                Err(Over { which: which - 1, wait: Duration::from_micros(wait.max(1)) })
            }
            _ => Ok(()),
        }
    }

    /// Reports to the others that sessions opened until then are ended, and how long to keep that.
    pub async fn end_sessions(&self, target: &str, until: EpochMillis, keep: Duration) {
        let key = self.key("ended");
        let oldest = until.0.saturating_sub(millis(keep));
        let keep = i64::try_from(keep.as_secs()).unwrap_or(i64::MAX);
        let mut pipe = redis::pipe();
        // A later time covers an earlier one.
        pipe.cmd("ZADD").arg(&key).arg("GT").arg(until.0).arg(target).ignore();
        pipe.cmd("ZREMRANGEBYSCORE").arg(&key).arg("-inf").arg(oldest).ignore();
        pipe.expire(&key, keep).ignore();
        let _away = self.ask(async |connection| pipe.query_async::<()>(connection).await).await;
    }

    /// The ended sessions that others have reported.
    ///
    /// `None` if Redis does not answer.
    pub async fn ended_sessions(&self) -> Option<Vec<(String, EpochMillis)>> {
        let key = self.key("ended");
        let mut all = redis::cmd("ZRANGE");
        all.arg(key).arg(0).arg(-1).arg("WITHSCORES");
        let told = self.ask(async |connection| all.query_async::<Vec<(String, u64)>>(connection).await).await?;
        Some(told.into_iter().map(|(target, until)| (target, EpochMillis(until))).collect())
    }

    /// Makes a new connection while Redis does not answer, and tries it: the old one may lead to a host that is gone,
    /// or may be refused permanently. Call it every second or so, on the runtime for the connection.
    pub async fn reconnect(&self) {
        if self.state.load(Ordering::Relaxed) == DOWN
            && let Ok(new) = ConnectionManager::new_lazy_with_config(self.client.clone(), self.manager.clone())
        {
            self.connection.store(Arc::new(new));
            self.rests.store(0, Ordering::Relaxed);
            let ping = redis::cmd("PING");
            let within = CONNECT + self.timeout;
            let _state_is_noted =
                self.ask_within(within, async |connection| ping.query_async::<()>(connection).await).await;
        }
    }

    fn now(&self) -> u64 {
        millis(self.clock.now().saturating_duration_since(self.start))
    }

    /// Whether Redis answered the last command.
    pub fn is_up(&self) -> bool {
        self.state.load(Ordering::Relaxed) == UP
    }

    /// How many commands Redis did not answer.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// Asks Redis; `None` if it does not answer, or did not answer just before.
    async fn ask<T>(&self, ask: impl AsyncFnOnce(&mut ConnectionManager) -> redis::RedisResult<T>) -> Option<T> {
        // A new connection takes longer than an answer; a request does not wait for it.
        self.ask_within(self.timeout * 2, ask).await
    }

    async fn ask_within<T>(
        &self,
        within: Duration,
        ask: impl AsyncFnOnce(&mut ConnectionManager) -> redis::RedisResult<T>,
    ) -> Option<T> {
        if self.now() < self.rests.load(Ordering::Relaxed) {
            return None;
        }
        let mut connection = ConnectionManager::clone(&self.connection.load());
        let answered = tokio::time::timeout(within, ask(&mut connection)).await;
        let cause = match answered {
            Ok(Ok(answer)) => {
                if self.state.swap(UP, Ordering::Relaxed) != UP {
                    tracing::info!("Redis answers: replicas share their limits");
                }
                return Some(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_late) => "no answer in time".to_owned(),
        };
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.rests.store(self.now() + REST_MILLIS, Ordering::Relaxed);
        if self.state.swap(DOWN, Ordering::Relaxed) != DOWN {
            tracing::error!(
                owner = "gate",
                cause,
                "Redis does not answer: until it does, each replica counts for itself"
            );
        }
        None
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
