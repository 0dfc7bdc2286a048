//! What connections share: the settings of their listener, and the state of their worker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;

use super::tunnels::Tunnels;
use super::unadmitted::Unadmitted;
use crate::admit::PeerCertificate;
use crate::base::fault::{Fault, Kind};
use crate::base::tunnel_target::TunnelTarget;
use crate::config::{Connect, Listen};
use crate::proxy::WorkerSlot;
use crate::telemetry::connection_record::ConnectionRecord;
use crate::tls::{Crls, Intercept, ServerCertificate};

/// The settings for new connections. The gate replaces them whole; a connection keeps those that it began with.
pub struct ListenerState {
    /// Deadlines.
    pub listen: Listen,
    /// The gate's certificate; `None` with `danger_plaintext`.
    pub tls: Option<Arc<ServerConfig>>,
    /// What that certificate says of itself.
    pub certificate: Option<Arc<ServerCertificate>>,
    /// The content of the client certificates' roots.
    pub roots: [u8; 32],
    /// Revoked client certificates.
    pub crls: Crls,
    /// What a proxy's way in needs beside that.
    pub connect: Option<ConnectState>,
}

/// A host of accounts, in small letters, its port, and the accounts that it is the host of.
pub type Host = (String, u16, Vec<Arc<str>>);

/// What a proxy's way in needs beside a certificate of its own.
pub struct ConnectState {
    /// Its settings.
    pub settings: Arc<Connect>,
    /// The certificates for the accounts' hosts.
    pub intercept: Arc<Intercept>,
    /// The accounts.
    pub accounts: Vec<Host>,
    /// Where a tunnel may go.
    pub targets: Vec<TunnelTarget>,
    /// The places of tunnels.
    pub tunnels: Arc<Tunnels>,
}

impl ListenerState {
    /// Whether a certificate that was verified under `before` still counts: TLS verifies it in a full handshake alone.
    pub(super) fn still_trusts(&self, shown: &PeerCertificate, before: &Self, now: SystemTime) -> bool {
        let (issuer, serial) = &shown.issued;
        self.roots == before.roots && now <= shown.ends && !self.crls.revoke(issuer, serial)
    }
}

/// The state that all connections of a worker share.
pub(super) struct WorkerContext {
    pub slot: WorkerSlot,
    /// The places of connections that are not admitted.
    pub unadmitted: Arc<Unadmitted>,
}

impl WorkerContext {
    /// Counts a connection that is closed before its first request, and writes a line about it.
    pub(super) fn refused(&self, record: &mut ConnectionRecord, kind: Kind, cause: &str) {
        record.refused(Fault::new(kind).with_cause(cause));
    }

    /// The record of a new connection.
    pub(super) fn record(&self, listener: &Arc<str>, from: SocketAddr) -> ConnectionRecord {
        let worker = self.slot.worker();
        let services = worker.services();
        ConnectionRecord::open(worker.new_ids(), listener, from.ip(), (&services.sinks, &services.env.clock))
    }

    /// The time, as the gate's clock has it.
    pub(super) fn wall(&self) -> SystemTime {
        self.slot.worker().services().env.clock.wall()
    }
}
