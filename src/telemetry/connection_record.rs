//! [`ConnectionRecord`]: what is written about a connection that is no request.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::metrics::Metrics;
use super::refusal_log::RefusalLog;
use crate::base::epoch::millis;
use crate::base::fault::Owner;
use crate::base::names::TraceId;
use crate::base::text::capped;

/// The longest cause; it may come from the wire.
const CAUSE: usize = 1024;

/// The record of a connection, for failures before a request or between two requests.
pub struct ConnectionRecord {
    trace: TraceId,
    listener: Arc<str>,
    peer: IpAddr,
    started: Instant,
}

/// Why a connection was closed before its first request.
#[derive(Debug, Clone, Copy)]
pub struct Refused {
    /// The word for the metric.
    pub reason: &'static str,
    /// Whose fault it is.
    pub owner: Owner,
    /// The text of the line.
    pub what: &'static str,
}

impl ConnectionRecord {
    /// The record of a connection that was just accepted.
    pub fn open(trace: TraceId, listener: &Arc<str>, peer: IpAddr) -> Self {
        Self { trace, listener: listener.clone(), peer: peer.to_canonical(), started: Instant::now() }
    }

    /// Sets the address from a balancer's PROXY header.
    pub fn source(&mut self, peer: IpAddr) {
        self.peer = peer;
    }

    /// The connection was closed before its first request. The count has all of them; the log, which a scan must not
    /// fill, has what `log` keeps.
    pub fn refused(&self, refused: Refused, cause: &str, (metrics, log): (&Metrics, &RefusalLog)) {
        let Refused { reason, owner, what } = refused;
        metrics.connection_refused(reason);
        if log.keeps(reason, self.peer, Instant::now().into_std()) {
            let (owner, cause, ms) = (owner.as_str(), capped(cause, CAUSE), millis(self.started.elapsed()));
            tracing::warn!(
                trace = %self.trace, peer = %self.peer, listener = &*self.listener, owner, cause, ms, "{what}"
            );
        }
    }

    /// The connection ended abnormally, which concerns only its client.
    pub fn ended(&self, owner: Owner, what: &str, cause: &str) {
        let (owner, cause, ms) = (owner.as_str(), capped(cause, CAUSE), millis(self.started.elapsed()));
        tracing::debug!(trace = %self.trace, peer = %self.peer, listener = &*self.listener, owner, cause, ms, "{what}");
    }
}
