//! [`TunnelMetrics`]: the tunnels of the proxy way in, for a gate that has one.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Open, OutcomeLabel};

#[derive(Debug, Clone, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

/// The tunnels of one gate.
#[derive(Default)]
pub struct TunnelMetrics {
    ended: Family<OutcomeLabel, Counter>,
    open: Gauge,
    bytes: Family<DirectionLabel, Counter>,
}

/// The bytes of tunnels, by direction.
#[derive(Debug)]
pub struct TunnelBytes {
    to_host: Counter,
    from_host: Counter,
}

impl TunnelMetrics {
    /// Counts a tunnel as open until the guard is dropped.
    pub fn one(&self) -> Open {
        Open::one_of(&self.open)
    }

    /// Counts a CONNECT to a host that is no account's, by outcome: `closed`, `quiet` and `broken` are tunnels that
    /// were, `refused` and `away` those that came to nothing.
    pub fn ended(&self, outcome: &'static str) {
        self.ended.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Where the bytes of a tunnel are counted.
    pub fn bytes(&self) -> TunnelBytes {
        let counter = |direction| self.bytes.get_or_create_owned(&DirectionLabel { direction });
        TunnelBytes { to_host: counter("to_host"), from_host: counter("from_host") }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("tunnels", "Tunnels to listed hosts that have ended, by outcome", self.ended.clone());
        registry.register("tunnels_open", "Open tunnels to listed hosts", self.open.clone());
        registry.register("tunnel_bytes", "Bytes of tunnels, by direction", self.bytes.clone());
    }
}

impl TunnelBytes {
    /// Counts what a client sent.
    pub fn sent(&self, length: usize) {
        self.to_host.inc_by(length as u64);
    }

    /// Counts what a host sent.
    pub fn received(&self, length: usize) {
        self.from_host.inc_by(length as u64);
    }

    /// What was counted: to hosts, and from them.
    #[cfg(test)]
    pub fn counted(&self) -> (u64, u64) {
        (self.to_host.get(), self.from_host.get())
    }
}
