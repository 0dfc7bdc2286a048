//! [`ConnectionRecord`]: what is written about a connection: why it came to no request, or how long it served.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::observations::Observation;
use super::sinks::Sinks;
use super::story::{FaultStory, StepTimes, Story, micros};
use crate::base::clock::Clock;
use crate::base::epoch::{EpochMillis, millis};
use crate::base::fault::{Fault, Level, Owner};
use crate::base::names::ClientName;
use crate::base::text::capped;
use crate::base::trace::{SpanId, TraceId};

/// The longest cause; it may come from the wire.
const CAUSE: usize = 1024;

/// The record of a connection. Dropping it closes it.
pub struct ConnectionRecord {
    trace: TraceId,
    span: SpanId,
    listener: Arc<str>,
    peer: IpAddr,
    started: Instant,
    /// When it was ready for requests.
    ready: Option<Duration>,
    /// What its CONNECT named, `HOST:PORT`, and whose it is.
    connect: (Option<String>, Option<ClientName>),
    /// The bytes that the host sent, if it was a tunnel.
    bytes: u64,
    sinks: Arc<Sinks>,
    clock: Arc<dyn Clock>,
}

impl ConnectionRecord {
    /// The record of a connection that was just accepted.
    pub fn open(
        (trace, span): (TraceId, SpanId),
        listener: &Arc<str>,
        peer: IpAddr,
        (sinks, clock): (&Arc<Sinks>, &Arc<dyn Clock>),
    ) -> Self {
        let (listener, peer, started) = (listener.clone(), peer.to_canonical(), Instant::now());
        Self {
            trace,
            span,
            listener,
            peer,
            started,
            ready: None,
            connect: (None, None),
            bytes: 0,
            sinks: sinks.clone(),
            clock: clock.clone(),
        }
    }

    /// Its trace and its span, to which its requests link.
    pub fn ids(&self) -> (TraceId, SpanId) {
        (self.trace, self.span)
    }

    /// It is ready for requests: TLS is set up.
    pub fn ready(&mut self) {
        self.ready = Some(self.started.elapsed());
    }

    /// Sets the address from a balancer's PROXY header.
    pub fn source(&mut self, peer: IpAddr) {
        self.peer = peer;
    }

    /// It began with a CONNECT to this `HOST:PORT`, of this client if it said so.
    pub fn connects(&mut self, target: Option<String>, client: Option<ClientName>) {
        self.connect = (target, client);
    }

    /// It was a tunnel, and so many bytes came from the host.
    pub fn tunnelled(&mut self, bytes: u64) {
        self.bytes = bytes;
    }

    /// The connection was closed before its first request. The count has all of them; the log, which a scan must not
    /// fill, has what the sinks keep.
    pub fn refused(&mut self, fault: Fault) {
        // What is refused has served nothing.
        self.ready = None;
        let rule = fault.kind().rule();
        let sinks = self.sinks.clone();
        sinks.metrics.connection_refused(rule.name);
        let (now, kind) = (Instant::now(), fault.kind());
        let written = sinks.refusals.keeps(rule.name, self.peer, now.into_std());
        sinks.metrics.note_failure(kind, now, written.then_some(self.trace));
        if !written {
            return;
        }
        let (ms, client) = (millis(self.started.elapsed()), self.connect.1.as_ref().map(ClientName::as_str));
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    trace = %self.trace, kind = rule.name, code = %rule.code, owner = rule.owner.as_str(),
                    cause = fault.cause(), peer = %self.peer, listener = &*self.listener, ms,
                    next_step = fault.kind().page().next_step, host = self.connect.0, client,
                    "connection refused: {}", fault.message()
                )
            };
        }
        match rule.level {
            Level::Error => line!(error),
            Level::Warn | Level::Debug => line!(warn),
        }
        if let Some(observations) = &sinks.observations {
            observations.add(Observation::Connection(Box::new(self.story(Some(&fault)))));
        }
    }

    fn story(&self, fault: Option<&Fault>) -> Story {
        let took = self.started.elapsed();
        let (target, client) = &self.connect;
        Story {
            target: target.clone(),
            client: client.as_ref().map(ToString::to_string),
            bytes: self.bytes,
            trace: self.trace.to_string(),
            span: self.span.to_string(),
            at: EpochMillis::of(self.clock.wall() - took),
            us: micros(took),
            route: "connection".to_owned(),
            outcome: if fault.is_some() { "failed" } else { "success" }.to_owned(),
            peer: self.peer.to_string(),
            listener: self.listener.to_string(),
            steps: StepTimes { admitted: self.ready.map(micros), ..StepTimes::default() },
            fault: fault.map(|fault| FaultStory::new(fault.kind(), fault.cause(), None)),
            ..Story::default()
        }
    }

    /// The connection was opened and closed without a byte, as health checks do.
    pub fn probed(&self) {
        tracing::debug!(trace = %self.trace, peer = %self.peer, listener = &*self.listener, "closed without a byte");
    }

    /// The connection ended abnormally, which concerns only its client.
    pub fn ended(&self, owner: Owner, what: &str, cause: &str) {
        let (owner, cause, ms) = (owner.as_str(), capped(cause, CAUSE), millis(self.started.elapsed()));
        tracing::debug!(trace = %self.trace, peer = %self.peer, listener = &*self.listener, owner, cause, ms, "{what}");
    }
}

impl Drop for ConnectionRecord {
    fn drop(&mut self) {
        if let (Some(_), Some(observations)) = (self.ready, &self.sinks.observations) {
            observations.add(Observation::Connection(Box::new(self.story(None))));
        }
    }
}
