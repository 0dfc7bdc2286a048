//! [`ConnectionRecord`]: what is written about a connection that is no request.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::observations::Observation;
use super::sinks::Sinks;
use super::story::{FaultStory, Story};
use crate::base::clock::Clock;
use crate::base::epoch::{EpochMillis, millis};
use crate::base::fault::{Fault, Level, Owner};
use crate::base::text::capped;
use crate::base::trace::{SpanId, TraceId};

/// The longest cause; it may come from the wire.
const CAUSE: usize = 1024;

/// The record of a connection, for failures before a request or between two requests.
pub struct ConnectionRecord {
    trace: TraceId,
    span: SpanId,
    listener: Arc<str>,
    peer: IpAddr,
    started: Instant,
}

impl ConnectionRecord {
    /// The record of a connection that was just accepted.
    pub fn open((trace, span): (TraceId, SpanId), listener: &Arc<str>, peer: IpAddr) -> Self {
        Self { trace, span, listener: listener.clone(), peer: peer.to_canonical(), started: Instant::now() }
    }

    /// Sets the address from a balancer's PROXY header.
    pub fn source(&mut self, peer: IpAddr) {
        self.peer = peer;
    }

    /// The connection was closed before its first request. The count has all of them; the log, which a scan must not
    /// fill, has what the sinks keep.
    pub fn refused(&self, fault: Fault, sinks: &Sinks, clock: &dyn Clock) {
        let rule = fault.kind().rule();
        sinks.metrics.connection_refused(rule.name);
        if !sinks.refusals.keeps(rule.name, self.peer, Instant::now().into_std()) {
            return;
        }
        let ms = millis(self.started.elapsed());
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    trace = %self.trace, kind = rule.name, code = %rule.code, owner = rule.owner.as_str(),
                    cause = fault.cause(), peer = %self.peer, listener = &*self.listener, ms,
                    next_step = fault.kind().page().next_step,
                    "connection refused: {}", rule.message
                )
            };
        }
        match rule.level {
            Level::Error => line!(error),
            Level::Warn | Level::Debug => line!(warn),
        }
        if let Some(observations) = &sinks.observations {
            observations.add(Observation::Connection(Box::new(self.story(&fault, clock))));
        }
    }

    fn story(&self, fault: &Fault, clock: &dyn Clock) -> Story {
        let took = self.started.elapsed();
        Story {
            trace: self.trace.to_string(),
            span: self.span.to_string(),
            at: EpochMillis::of(clock.wall() - took),
            us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            route: "connection".to_owned(),
            outcome: "failed".to_owned(),
            peer: self.peer.to_string(),
            listener: self.listener.to_string(),
            fault: Some(FaultStory::new(fault.kind(), fault.cause(), None)),
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
