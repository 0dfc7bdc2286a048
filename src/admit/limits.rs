//! [`Limits`]: limits on the rates of logins and requests.
//!
//! Rates apply to a client, to the credential that several clients share, to a source address and to the whole gate;
//! each may have several windows. A request over a rate waits, up to the configured time; then the gate refuses it with
//! the remaining seconds. The gate counts a source before it knows the client; it counts against all other rates after
//! admission, so that a stranger does not use up a client's share.
//!
//! If gates on several hosts share their counts, each first asks its own, which is cheap, and then the others.
//!
//! A source, or a name in keys, with more wrong keys than a rate allows is slowed down: the answer waits until the rate
//! allows one more, up to a limit. A right key never waits for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Peer;
use super::counted::Counted;
use super::rate::{Keyed, MultiRateLimiter};
use crate::base::clock::Clock;
use crate::base::fault::{Fault, Kind};
use crate::base::names::ClientName;
use crate::base::source::Source;
use crate::config::units::Rate;
use crate::config::{self, Rates};
use crate::replicas::{RateQuestion, Replicas};

/// What the limits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Login,
    Request,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Login => "logins",
            Self::Request => "requests",
        }
    }
}

/// The rates over all clients.
pub(super) struct Limits {
    settings: config::Limits,
    replicas: Option<Arc<Replicas>>,
    gate: RateLimits,
    sources: ByAction<Arc<Keyed<Source>>>,
    failures: (Arc<Keyed<Source>>, Arc<Keyed<ClientName>>),
}

/// Rates over the logins and requests of one scope.
pub(super) struct RateLimits(ByAction<Arc<MultiRateLimiter>>);

/// One value for each [`Action`].
#[derive(Clone)]
struct ByAction<T> {
    logins: T,
    requests: T,
}

impl<T> ByAction<T> {
    fn of(&self, action: Action) -> &T {
        match action {
            Action::Login => &self.logins,
            Action::Request => &self.requests,
        }
    }
}

/// A client's limits beside rates: its sessions, and its requests in flight.
pub(super) struct ConcurrencyLimit {
    pub sessions: Arc<AtomicUsize>,
    most_sessions: Option<usize>,
    in_flight: Option<(usize, Arc<Semaphore>)>,
}

/// A rate and its scope.
struct LimitedBy<'a> {
    limiter: Arc<MultiRateLimiter>,
    scope: Scope<'a>,
}

/// The scope of a rate.
#[derive(Clone, Copy)]
enum Scope<'a> {
    Source(Source),
    Client(&'a ClientName),
    Credential(&'a str),
    Gate,
}

impl Scope<'_> {
    /// The text for the user of the tool.
    fn said(self) -> &'static str {
        match self {
            Self::Source(_) => "your address",
            Self::Client(_) => "this client",
            Self::Credential(_) => "the credential of this client",
            Self::Gate => "this gate",
        }
    }

    /// The name that replicas share.
    fn name(self, action: Action) -> String {
        let action = action.as_str();
        match self {
            Self::Source(source) => format!("source:{source}:{action}"),
            Self::Client(name) => format!("client:{name}:{action}"),
            Self::Credential(name) => format!("credential:{name}:{action}"),
            Self::Gate => format!("gate:{action}"),
        }
    }
}

impl Limits {
    /// The rates of a configuration. Unchanged rates of `before` keep their counts.
    pub(super) fn new(
        settings: &config::Limits,
        replicas: Option<Arc<Replicas>>,
        before: Option<&Self>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let gate = RateLimits::new(&settings.gate, before.map(|before| &before.gate), clock);
        let keyed = |rates: &Arc<[Rate]>| Arc::new(Keyed::new(rates.clone(), clock));
        let sources = match before.filter(|before| before.settings.source == settings.source) {
            Some(before) => before.sources.clone(),
            None => ByAction { logins: keyed(&settings.source.logins), requests: keyed(&settings.source.requests) },
        };
        let failures = match before.filter(|before| before.settings.failures == settings.failures) {
            Some(before) => before.failures.clone(),
            None => (keyed(&settings.failures), Arc::new(Keyed::new(settings.failures.clone(), clock))),
        };
        Self { settings: settings.clone(), replicas, gate, sources, failures }
    }

    /// How long a request may wait for a rate.
    pub(super) fn delay(&self) -> Duration {
        self.settings.delay
    }

    /// Counts an action against its source, before the gate knows the client.
    pub(super) async fn source(&self, action: Action, peer: &Peer) -> Result<(), Fault> {
        let source = Source::of(peer.ip);
        let Some(limiter) = self.sources.of(action).of(source) else { return Ok(()) };
        self.pass(action, &[LimitedBy { limiter, scope: Scope::Source(source) }]).await
    }

    /// Counts an action against its client, its credential and the gate.
    pub(super) async fn client(
        &self,
        action: Action,
        (client, client_name): (&RateLimits, &ClientName),
        (credential, credential_name): (&RateLimits, &str),
    ) -> Result<(), Fault> {
        let all = [
            (client, Scope::Client(client_name)),
            (credential, Scope::Credential(credential_name)),
            (&self.gate, Scope::Gate),
        ];
        self.pass(action, &all.map(|(pair, scope)| LimitedBy { limiter: pair.0.of(action).clone(), scope })).await
    }

    async fn pass(&self, action: Action, scopes: &[LimitedBy<'_>]) -> Result<(), Fault> {
        let within = match action {
            Action::Login => self.settings.wait,
            Action::Request => self.settings.delay,
        };
        let started = Instant::now();
        let may_wait = |wait| started.elapsed() + wait <= within;
        for scope in scopes {
            scope.limiter.wait(may_wait).await.map_err(|wait| over_limit(action, scope.scope, wait))?;
        }
        let Some(replicas) = &self.replicas else { return Ok(()) };
        // One gate may allow what is too much for all gates together.
        let names: Vec<_> = scopes.iter().map(|scope| scope.scope.name(action)).collect();
        let (counted, scope): (Vec<_>, Vec<_>) = scopes
            .iter()
            .zip(&names)
            .flat_map(|(scope, name)| scope.limiter.rates().iter().map(move |rate| (scope, name, *rate)))
            .map(|(scope, name, rate)| (RateQuestion { name, rate }, scope.scope))
            .unzip();
        if counted.is_empty() {
            return Ok(());
        }
        while let Err(over) = replicas.count(&counted).await {
            if !may_wait(over.wait) {
                return Err(over_limit(action, scope.get(over.which).copied().unwrap_or(Scope::Gate), over.wait));
            }
            tokio::time::sleep(over.wait).await;
        }
        Ok(())
    }

    /// How long to delay the answer to a wrong key.
    pub(super) fn slow_down(&self, peer: &Peer, name: Option<&ClientName>) -> Duration {
        let (sources, names) = &self.failures;
        let source = sources.of(Source::of(peer.ip)).and_then(|limiter| limiter.count().err());
        let name = name.and_then(|name| names.of(name.clone())).and_then(|limiter| limiter.count().err());
        source.max(name).unwrap_or_default().min(self.settings.slow_down)
    }
}

/// A fault that names the limit's scope and the time to wait.
fn over_limit(action: Action, scope: Scope<'_>, wait: Duration) -> Fault {
    let kind = match action {
        Action::Login => Kind::LoginLimit,
        Action::Request => Kind::RequestLimit,
    };
    let (many, seconds) = (action.as_str(), wait.as_secs_f64().ceil());
    let text = format!("{} has made too many {many}; the next is possible in {seconds} s", scope.said());
    Fault::new(kind)
        .with_cause(format_args!("a rate limit of {} is reached: {text}", scope.name(action)))
        .detail(text)
        .after(wait)
}

impl RateLimits {
    pub(super) fn new(rates: &Rates, before: Option<&Self>, clock: &Arc<dyn Clock>) -> Self {
        let limiter = |rates: &Arc<[Rate]>, before: Option<&Arc<MultiRateLimiter>>| match before {
            Some(before) if before.rates() == rates => before.clone(),
            _ => Arc::new(MultiRateLimiter::new(rates, clock)),
        };
        let before = before.map(|before| &before.0);
        Self(ByAction {
            logins: limiter(&rates.logins, before.map(|before| &before.logins)),
            requests: limiter(&rates.requests, before.map(|before| &before.requests)),
        })
    }
}

impl ConcurrencyLimit {
    pub(super) fn new(limits: &config::ClientLimits, before: Option<&Self>) -> Self {
        let in_flight = limits.in_flight.map(|most| {
            let kept = before.and_then(|before| before.in_flight.as_ref()).filter(|(before, _)| *before == most);
            kept.cloned().unwrap_or_else(|| (most, Arc::new(Semaphore::new(most))))
        });
        let sessions = before.map(|before| before.sessions.clone()).unwrap_or_default();
        Self { sessions, most_sessions: limits.sessions, in_flight }
    }

    /// Counts one more session if the limit allows it.
    pub(super) fn session(&self) -> Result<Counted, Fault> {
        let most = self.most_sessions.unwrap_or(usize::MAX);
        Counted::up_to(&self.sessions, most).ok_or_else(|| {
            let open = self.sessions.load(Ordering::Relaxed);
            Fault::new(Kind::SessionLimit).detail(most).with_cause(format_args!("limits.sessions: {open} are in use"))
        })
    }

    /// Waits for a permit for one more request in flight.
    pub(super) async fn request(&self, within: Duration) -> Result<Option<OwnedSemaphorePermit>, Fault> {
        let Some((most, concurrency)) = &self.in_flight else { return Ok(None) };
        match tokio::time::timeout(within, concurrency.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => {
                let text = format_args!(
                    "this client has {most} requests under way; the next is possible when one of them ends"
                );
                Err(Fault::new(Kind::RequestLimit).detail(text).with_cause("limits.in_flight"))
            }
        }
    }
}
