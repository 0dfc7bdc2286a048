//! [`ConnectionRecord`]: what is written about a connection that is no request.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::log_throttle::LogThrottle;
use crate::base::epoch::millis;
use crate::base::fault::Owner;
use crate::base::names::TraceId;

/// The record of a connection, for failures before a request or between two requests.
pub struct ConnectionRecord {
    trace: TraceId,
    listener: Arc<str>,
    peer: IpAddr,
    started: Instant,
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

    /// The connection failed before its first request. The line is a warning if `throttle` allows it, so that a scan
    /// does not fill the disk.
    pub fn refused(&self, owner: Owner, cause: &str, what: &str, throttle: &LogThrottle) {
        let (owner, ms) = (owner.as_str(), millis(self.started.elapsed()));
        if throttle.now() {
            tracing::warn!(
                trace = %self.trace, peer = %self.peer, listener = &*self.listener, owner, cause, ms, "{what}"
            );
        } else {
            tracing::debug!(
                trace = %self.trace, peer = %self.peer, listener = &*self.listener, owner, cause, ms, "{what}"
            );
        }
    }

    /// The connection ended abnormally, which concerns only its client.
    pub fn ended(&self, owner: Owner, what: &str, cause: &str) {
        let (owner, ms) = (owner.as_str(), millis(self.started.elapsed()));
        tracing::debug!(trace = %self.trace, peer = %self.peer, listener = &*self.listener, owner, cause, ms, "{what}");
    }
}
