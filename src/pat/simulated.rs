//! A simulated Snowflake with its store, for tests of the guard, on a clock that moves with tokio's paused time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::contexts::Context;
use super::guard::{Answer, Guard};
use super::keeper::keep;
use super::ledger::Outcome;
use super::question::{Helper, Question, Work};
use super::queue::RequestKind;
use crate::base::clock::{Clock, ManualClock};
use crate::base::fault::Kind;
use crate::base::ids::{PatId, ServiceUser};
use crate::base::names::ClientName;
use crate::base::verdict::Widths;
use crate::snowflake::refusal::Refusal;

/// The paused time of tokio as the gate's clock.
struct Virtual(Arc<ManualClock>, tokio::time::Instant);

impl Clock for Virtual {
    fn now(&self) -> Instant {
        self.0.now() + self.1.elapsed()
    }

    fn wall(&self) -> SystemTime {
        self.0.wall() + self.1.elapsed()
    }
}

/// Snowflake and the store, as a test wants them.
pub(super) struct Snowflake {
    pub(super) guard: Arc<Guard>,
    /// How long an answer takes.
    pub(super) latency: Mutex<Duration>,
    /// The versions that Snowflake accepts, with the time of their death.
    pub(super) alive: Mutex<HashMap<String, Option<tokio::time::Instant>>>,
    pub(super) store: Mutex<String>,
    /// What it answers to requests in a role, or to all in "".
    pub(super) refuses: Mutex<HashMap<String, Refusal>>,
    /// Requests of these clients are lost; "own" is the gate.
    pub(super) loses: Mutex<Vec<String>>,
    pub(super) bad: Mutex<BTreeMap<String, usize>>,
    pub(super) own: AtomicUsize,
    pub(super) sent: Mutex<Vec<String>>,
}

pub(super) fn pat_refused() -> Refusal {
    Refusal::read("394400", "Programmatic access token is invalid.")
}

pub(super) fn user() -> ServiceUser {
    ServiceUser::new("prod", "bi")
}

pub(super) fn widths(budget: usize, in_flight: usize) -> Widths {
    Widths { budget, in_flight }
}

impl Snowflake {
    pub(super) fn start(widths: Widths) -> Arc<Self> {
        Self::with(Guard::open(widths, clock(), None).unwrap())
    }

    pub(super) fn with(guard: Arc<Guard>) -> Arc<Self> {
        Arc::new(Self {
            guard,
            latency: Mutex::new(Duration::from_millis(500)),
            alive: Mutex::new(HashMap::from([("v1".to_owned(), None)])),
            store: Mutex::new("v1".to_owned()),
            refuses: Mutex::default(),
            loses: Mutex::default(),
            bad: Mutex::default(),
            own: AtomicUsize::new(0),
            sent: Mutex::default(),
        })
    }

    pub(super) fn takes(&self, latency: Duration) {
        *self.latency.lock() = latency;
    }

    pub(super) fn kill(&self, version: &str) {
        self.alive.lock().remove(version);
    }

    /// A rotation without overlap.
    pub(super) fn rotate(&self, version: &str) {
        *self.alive.lock() = HashMap::from([(version.to_owned(), None)]);
    }

    async fn judge(&self, client: &str, role: &str, version: &PatId) -> Outcome {
        self.sent.lock().push(client.to_owned());
        let latency = *self.latency.lock();
        tokio::time::sleep(latency / 2).await;
        let alive = self.alive.lock().contains_key(version.as_str());
        let refused = self.refuses.lock().get(role).cloned();
        tokio::time::sleep(latency / 2).await;
        if self.loses.lock().iter().any(|lost| lost == client) {
            return Outcome::Lost;
        }
        match (alive, refused) {
            (true, None) => Outcome::Accepted,
            (_, Some(refused)) => {
                *self.bad.lock().entry(version.to_string()).or_default() += 1;
                Outcome::Refused(refused)
            }
            (false, None) => {
                *self.bad.lock().entry(version.to_string()).or_default() += 1;
                Outcome::Refused(pat_refused())
            }
        }
    }

    /// One login of a client, as the lease does it.
    pub(super) async fn login(self: &Arc<Self>, client: &str, role: &str) -> Result<(), Kind> {
        self.request(client, role, RequestKind::Login).await
    }

    pub(super) async fn request(self: &Arc<Self>, client: &str, role: &str, kind: RequestKind) -> Result<(), Kind> {
        let (mut again, mut until) = (false, tokio::time::Instant::now() + Duration::from_secs(30));
        loop {
            let question = Question {
                user: user(),
                client: ClientName::parse(client).unwrap(),
                kind,
                version: PatId::trusted(&self.store.lock().clone()),
                context: Context { places: vec![role.to_owned()], is_client_s: !role.is_empty() },
                hold: Duration::from_secs(6),
                again,
                since: self.guard.clock.now(),
                helper: self.clone(),
            };
            let answered = tokio::time::timeout_at(until, self.guard.ask(question)).await;
            let mut permit = match answered.map_err(|_late| Kind::GateBusy)?.unwrap() {
                Answer::Granted(permit) => permit,
                Answer::Refused(kind, _cause) => return Err(kind),
            };
            permit.sending();
            let version = permit.version().clone();
            match self.judge(client, role, &version).await {
                Outcome::Accepted => {
                    permit.accepted();
                    return Ok(());
                }
                Outcome::Refused(refusal) => {
                    permit.refused(refusal);
                    (again, until) = (true, until.max(tokio::time::Instant::now() + Duration::from_secs(36)));
                }
                Outcome::Lost | Outcome::Unsent => return Err(Kind::SnowflakeSilent),
            }
        }
    }

    /// So many logins of eight clients at once; returns how long the last took and how many failed.
    pub(super) async fn storm(self: &Arc<Self>, logins: usize) -> (Duration, usize) {
        let (start, mut all) = (tokio::time::Instant::now(), JoinSet::new());
        for number in 0..logins {
            let snowflake = self.clone();
            all.spawn(async move { snowflake.login(&format!("c{}", number % 8), "").await });
        }
        let failed = all.join_all().await.into_iter().filter(Result::is_err).count();
        (start.elapsed(), failed)
    }

    pub(super) fn bad(&self, version: &str) -> usize {
        self.bad.lock().get(version).copied().unwrap_or(0)
    }
}

impl Helper for Snowflake {
    fn newer<'a>(&'a self, version: &'a PatId) -> Work<'a, Result<PatId, String>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let store = self.store.lock().clone();
            if store == version.as_str() {
                Err("the store has no newer one".into())
            } else {
                Ok(PatId::trusted(&store))
            }
        })
    }

    fn log_in<'a>(&'a self, version: &'a PatId) -> Work<'a, Outcome> {
        Box::pin(async move {
            self.own.fetch_add(1, Ordering::Relaxed);
            self.judge("own", "", version).await
        })
    }

    fn keep(&self, user: ServiceUser, version: PatId) {
        tokio::spawn(keep(self.guard.clone(), user, version));
    }
}

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(Virtual(ManualClock::start(), tokio::time::Instant::now()))
}

pub(super) const fn seconds(seconds: f64) -> Duration {
    Duration::from_millis((seconds * 1000.0) as u64)
}
