//! [`Limits`]: how fast one may enter, and how fast go on.
//!
//! Rates stand over a client, over the credential that several clients share, over a source address and over the whole gate;
//! each may have several windows. What is over a rate waits, up to the configured time, and is refused with the seconds that
//! are left. A source is counted before anybody knows who it is; everything else only once a client has been admitted, so that
//! a stranger uses up nobody's share.
//!
//! Where gates on several hosts share what they count, each first asks itself, which is cheap, and then the others.
//!
//! Whoever shows more wrong keys than a rate allows, by source or by the name in the key, is slowed down: each answer comes only when
//! the rate allows one more, up to a bound. A right key never waits for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Peer;
use super::windows::{Keyed, Source, Windows};
use crate::base::clock::Clock;
use crate::base::fault::{Fault, Kind};
use crate::base::names::ClientName;
use crate::config::units::Rate;
use crate::config::{self, Rates};
use crate::replicas::{Counted, Replicas};
use crate::session;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Login,
    Request,
}

impl What {
    fn as_str(self) -> &'static str {
        match self {
            Self::Login => "logins",
            Self::Request => "requests",
        }
    }
}

/// The rates that stand over everybody.
pub(super) struct Limits {
    settings: config::Limits,
    replicas: Option<Arc<Replicas>>,
    gate: Pair,
    sources: [Arc<Keyed<Source>>; 2],
    failures: (Arc<Keyed<Source>>, Arc<Keyed<ClientName>>),
}

/// Rates over one thing's logins and requests.
pub(super) struct Pair([Arc<Windows>; 2]);

/// What a client has beside rates: how many sessions, and how many requests at a time.
pub(super) struct Room {
    pub sessions: Arc<AtomicUsize>,
    most_sessions: Option<usize>,
    in_flight: Option<(usize, Arc<Semaphore>)>,
}

/// A rate, and whose it is.
struct Scope<'a> {
    windows: Arc<Windows>,
    whose: Whose<'a>,
}

/// Over what a rate stands.
#[derive(Clone, Copy)]
enum Whose<'a> {
    Source(Source),
    Client(&'a ClientName),
    Credential(&'a str),
    Gate,
}

impl Whose<'_> {
    /// For the person at the tool.
    fn said(self) -> &'static str {
        match self {
            Self::Source(_) => "your address",
            Self::Client(_) => "this client",
            Self::Credential(_) => "the credential of this client",
            Self::Gate => "this gate",
        }
    }

    /// Among replicas.
    fn name(self, what: What) -> String {
        let what = what.as_str();
        match self {
            Self::Source(source) => format!("source:{source}:{what}"),
            Self::Client(name) => format!("client:{name}:{what}"),
            Self::Credential(name) => format!("credential:{name}:{what}"),
            Self::Gate => format!("gate:{what}"),
        }
    }
}

impl Limits {
    /// The rates of a configuration; those that were there `before` and have not changed go on counting.
    pub(super) fn new(
        settings: &config::Limits,
        replicas: Option<Arc<Replicas>>,
        before: Option<&Self>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let gate = Pair::new(&settings.gate, before.map(|before| &before.gate), clock);
        let keyed = |rates: &Arc<[Rate]>| Arc::new(Keyed::new(rates.clone(), clock));
        let sources = match before.filter(|before| before.settings.source == settings.source) {
            Some(before) => before.sources.clone(),
            None => [keyed(&settings.source.logins), keyed(&settings.source.requests)],
        };
        let failures = match before.filter(|before| before.settings.failures == settings.failures) {
            Some(before) => before.failures.clone(),
            None => (keyed(&settings.failures), Arc::new(Keyed::new(settings.failures.clone(), clock))),
        };
        Self { settings: settings.clone(), replicas, gate, sources, failures }
    }

    /// How long a request may wait for its turn.
    pub(super) fn delay(&self) -> Duration {
        self.settings.delay
    }

    /// Counts something against its source, before anybody knows who it is.
    pub(super) async fn source(&self, what: What, peer: &Peer) -> Result<(), Fault> {
        let source = Source::of(peer.ip);
        let Some(windows) = self.sources[what as usize].of(source) else { return Ok(()) };
        self.pass(what, &[Scope { windows, whose: Whose::Source(source) }]).await
    }

    /// Counts something against its client, its credential and the gate.
    pub(super) async fn client(
        &self,
        what: What,
        (client, client_name): (&Pair, &ClientName),
        (credential, credential_name): (&Pair, &str),
    ) -> Result<(), Fault> {
        let all = [
            (client, Whose::Client(client_name)),
            (credential, Whose::Credential(credential_name)),
            (&self.gate, Whose::Gate),
        ];
        self.pass(what, &all.map(|(pair, whose)| Scope { windows: pair.0[what as usize].clone(), whose })).await
    }

    async fn pass(&self, what: What, scopes: &[Scope<'_>]) -> Result<(), Fault> {
        let within = match what {
            What::Login => self.settings.wait,
            What::Request => self.settings.delay,
        };
        let started = Instant::now();
        let may_wait = |wait| started.elapsed() + wait <= within;
        for scope in scopes {
            scope.windows.wait(may_wait).await.map_err(|wait| over_limit(what, scope.whose, wait))?;
        }
        let Some(replicas) = &self.replicas else { return Ok(()) };
        // What one gate alone lets through may be too much of all together.
        let names: Vec<_> = scopes.iter().map(|scope| scope.whose.name(what)).collect();
        let (counted, whose): (Vec<_>, Vec<_>) = scopes
            .iter()
            .zip(&names)
            .flat_map(|(scope, name)| scope.windows.rates().iter().map(move |rate| (scope, name, *rate)))
            .map(|(scope, name, rate)| (Counted { name, rate }, scope.whose))
            .unzip();
        if counted.is_empty() {
            return Ok(());
        }
        while let Err(over) = replicas.count(&counted).await {
            if !may_wait(over.wait) {
                return Err(over_limit(what, whose.get(over.which).copied().unwrap_or(Whose::Gate), over.wait));
            }
            tokio::time::sleep(over.wait).await;
        }
        Ok(())
    }

    /// How much later the answer to a wrong key comes.
    pub(super) fn slow_down(&self, peer: &Peer, name: Option<&ClientName>) -> Duration {
        let (sources, names) = &self.failures;
        let source = sources.of(Source::of(peer.ip)).and_then(|windows| windows.count().err());
        let name = name.and_then(|name| names.of(name.clone())).and_then(|windows| windows.count().err());
        source.max(name).unwrap_or_default().min(self.settings.slow_down)
    }
}

/// A fault that says whose limit it is, and for how long.
fn over_limit(what: What, whose: Whose<'_>, wait: Duration) -> Fault {
    let kind = match what {
        What::Login => Kind::LoginLimit,
        What::Request => Kind::RequestLimit,
    };
    let (many, seconds) = (what.as_str(), wait.as_secs_f64().ceil());
    let text = format!("{} has made too many {many}; the next is possible in {seconds} s", whose.said());
    Fault::new(kind).because(format_args!("a rate of {} is reached: {text}", whose.name(what))).detail(text).after(wait)
}

impl Pair {
    pub(super) fn new(rates: &Rates, before: Option<&Self>, clock: &Arc<dyn Clock>) -> Self {
        let windows = |rates: &Arc<[Rate]>, before: Option<&Arc<Windows>>| match before {
            Some(before) if before.rates() == rates => before.clone(),
            _ => Arc::new(Windows::new(rates, clock)),
        };
        let before = before.map(|before| &before.0);
        Self([
            windows(&rates.logins, before.map(|before| &before[0])),
            windows(&rates.requests, before.map(|before| &before[1])),
        ])
    }
}

impl Room {
    pub(super) fn new(limits: &config::ClientLimits, before: Option<&Self>) -> Self {
        let in_flight = limits.in_flight.map(|most| {
            let kept = before.and_then(|before| before.in_flight.as_ref()).filter(|(before, _)| *before == most);
            kept.cloned().unwrap_or_else(|| (most, Arc::new(Semaphore::new(most))))
        });
        let sessions = before.map(|before| before.sessions.clone()).unwrap_or_default();
        Self { sessions, most_sessions: limits.sessions, in_flight }
    }

    /// One more session, if there is room for it.
    pub(super) fn session(&self) -> Result<session::Counted, Fault> {
        let most = self.most_sessions.unwrap_or(usize::MAX);
        session::Counted::up_to(&self.sessions, most).ok_or_else(|| {
            let open = self.sessions.load(Ordering::Relaxed);
            Fault::new(Kind::SessionLimit).detail(most).because(format_args!("limits.sessions: {open} are in use"))
        })
    }

    /// One more request at a time, once there is room for it.
    pub(super) async fn request(&self, within: Duration) -> Result<Option<OwnedSemaphorePermit>, Fault> {
        let Some((most, room)) = &self.in_flight else { return Ok(None) };
        match tokio::time::timeout(within, room.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => {
                let text = format_args!(
                    "this client has {most} requests under way; the next is possible when one of them ends"
                );
                Err(Fault::new(Kind::RequestLimit).detail(text).because("limits.in_flight"))
            }
        }
    }
}
