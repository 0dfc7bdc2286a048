//! [`Record`]: observes one request, from its first byte to its last.
//!
//! The gate opens the record when the head arrives, adds facts during the request, lends it to spawned tasks
//! ([`Record::lend`]), and moves it into the answer's body. The record closes with the body's last byte, when the body
//! fails, or when the client leaves. Closing counts, writes the log line, and hands the facts to whoever writes them
//! down; nothing else is formatted on the request's path. The record only observes: no code path may depend on its
//! content.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::facts::{self, Ending, Facts, Steps};
use super::observations::Observation;
use super::record_log;
use super::refusal_log::Whose;
use super::sinks::Sinks;
use crate::base::fault::{Fault, Kind, Said};
use crate::base::trace::{SpanId, TraceId};
use crate::snowflake::route::Route;

pub use super::facts::{Step, Unset, fact};

/// The record of one request. Dropping it closes it.
pub struct Record {
    trace: TraceId,
    started: Instant,
    sinks: Arc<Sinks>,
    /// Empty while it is lent; otherwise one allocation, so that the record moves through tasks and bodies as a
    /// pointer.
    facts: Option<Box<Facts>>,
}

/// What is known of a request when its head has arrived.
pub struct Opening<'a> {
    /// Its trace and its own span.
    pub ids: (TraceId, SpanId),
    /// The client's span.
    pub parent: Option<SpanId>,
    /// Where it came from.
    pub peer: IpAddr,
    /// The listener.
    pub listener: &'a Arc<str>,
    /// The trace and the span of its connection.
    pub connection: Option<(TraceId, SpanId)>,
    /// What is asked.
    pub route: Route,
}

impl Record {
    /// The record of a request whose head has arrived.
    pub fn open(opening: Opening<'_>, sinks: &Arc<Sinks>) -> Self {
        let Opening { ids: (trace, span), parent, peer, listener, connection, route } = opening;
        let started = Instant::now();
        let facts = Facts {
            trace,
            span,
            parent,
            peer,
            listener: listener.clone(),
            connection,
            route,
            client: None,
            key: None,
            account: None,
            gate_address: None,
            credential: None,
            pat: None,
            session: None,
            request_id: None,
            query_id: None,
            statement: None,
            edges: None,
            status: 0,
            login: None,
            bytes_down: 0,
            ending: Ending::Open,
            started,
            ended: None,
            steps: Steps::default(),
            earlier: Vec::new(),
            earlier_left_out: 0,
            store: None,
        };
        Self { trace, started, sinks: sinks.clone(), facts: Some(Box::new(facts)) }
    }

    /// The trace id of everything about this request.
    pub fn trace(&self) -> TraceId {
        self.trace
    }

    /// When the request began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Notes facts.
    pub fn note(&mut self, note: impl FnOnce(&mut Facts)) {
        if let Some(facts) = &mut self.facts {
            note(facts);
        }
    }

    /// Notes that a step is done.
    pub fn step(&mut self, step: Step) {
        self.note(|facts| facts.step(step));
    }

    /// Notes why another attempt follows.
    pub fn again(&mut self, kind: Kind) {
        self.note(|facts| facts.again(kind));
    }

    /// The same record for a separate task, which continues when the client leaves. Until it is returned, its holder
    /// closes it.
    #[must_use]
    pub fn lend(&mut self) -> Self {
        Self { trace: self.trace, started: self.started, sinks: self.sinks.clone(), facts: self.facts.take() }
    }

    /// Takes a lent record back.
    pub fn take_back(&mut self, mut lent: Self) {
        self.facts = lent.facts.take();
    }

    /// Snowflake refused, for a reason of the client's.
    pub fn refused(&mut self, kind: Kind, said: Said) {
        self.note(|facts| facts.ending = Ending::Refused(kind, said));
    }

    /// The gate could not serve the request; the answer says so.
    pub fn failed(&mut self, fault: Fault, status: u16) {
        self.note(|facts| {
            facts.status = status;
            facts.ending = Ending::Failed(fault);
        });
    }

    /// An answer is on its way.
    pub fn answered(&mut self, status: u16) {
        self.note(|facts| {
            facts.status = status;
            if let Ending::Open = facts.ending {
                facts.ending = Ending::Answered;
            }
        });
    }

    /// Adds bytes of the answer's body that the client's connection took.
    pub fn sent_down(&mut self, bytes: usize) {
        self.note(|facts| facts.bytes_down += bytes as u64);
    }

    /// The last byte of the answer was sent.
    pub fn complete(&mut self) {
        self.note(|facts| {
            if let Ending::Open | Ending::Answered = facts.ending {
                facts.ending = Ending::Complete;
            }
        });
        self.close();
    }

    /// The answer's body failed after its head was sent.
    pub fn broke_off(&mut self, cause: String) {
        self.note(|facts| facts.ending = Ending::BrokeOff(facts::cause(cause)));
        self.close();
    }

    fn close(&mut self) {
        let Some(mut facts) = self.facts.take() else { return };
        let ended = Instant::now();
        facts.ended = Some(ended);
        let Sinks { metrics, refusals, observations, history: _, .. } = &*self.sinks;
        // Whoever is not admitted can cause as many failures as he likes.
        let refused = facts.ending.kind().filter(|_| !facts.is_admitted());
        let whose = || facts.client.clone().map_or_else(|| facts.peer.into(), Whose::Client);
        let written = refused.is_none_or(|kind| refusals.keeps(kind.rule().name, whose(), ended.into_std()));
        metrics.request(&facts, written);
        if !written {
            return;
        }
        record_log::write(&facts);
        if let Some(observations) = observations {
            observations.add(Observation::Request(facts));
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failed(Fault::new(Kind::GateBroken).with_cause("a bug: the task that served the request panicked"), 0);
        }
        self.close();
    }
}
