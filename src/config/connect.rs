//! A listener of kind `connect`: the proxy way in.
//!
//! It takes its address, its certificate, its key and its deadlines from its own table, and what the process shares
//! (workers, connections, the drain) from `[listen]`. Nothing else of `[listen]` counts here: a balancer's header or a
//! client's certificate is trusted where the operator says so, and nowhere else.

use std::sync::Arc;

use super::listen::{CONNECTIONS, MINUTE, SECOND, deadlines, own_settings};
use super::read::Section;
use super::{KeyPair, Listen};
use crate::base::tunnel_target::TunnelTarget;

/// What `tunnel` takes.
const TARGET: &str = "HOST:PORT, such as \"sfc-stage.s3.amazonaws.com:443\", or \"*.DOMAIN:PORT\"";

/// What a listener speaks.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Snowflake's driver protocol: tools enter the gate as their server.
    Driver,
    /// The same behind a CONNECT: tools enter the gate as their proxy.
    Connect(Arc<Connect>),
}

impl Kind {
    /// The word of the first in the file.
    pub const DRIVER: &str = "driver";
    /// The word of the second.
    pub const CONNECT: &str = "connect";
}

impl Listen {
    /// The settings of the proxy way in, if it is one.
    pub fn connect(&self) -> Option<&Arc<Connect>> {
        match &self.kind {
            Kind::Driver => None,
            Kind::Connect(connect) => Some(connect),
        }
    }
}

/// What a listener of kind `connect` has beside other listeners.
#[derive(Debug, Clone, PartialEq)]
pub struct Connect {
    /// The CA that signs certificates for the accounts' hosts.
    pub ca: KeyPair,
    /// The hosts that a tunnel may go to.
    pub tunnel: Vec<TunnelTarget>,
    /// A file with the answer of `SYSTEM$ALLOWLIST()`: its stages and its hosts of revocation lists count too.
    pub allowlist: Option<std::path::PathBuf>,
    /// Whether every CONNECT has to say whose it is.
    pub auth: bool,
    /// How many tunnels at once.
    pub tunnels: usize,
}

/// `[listeners.NAME]` with `kind = "connect"`.
pub(super) fn connect(name: Arc<str>, section: Section<'_>, main: &Listen) -> Option<(Arc<str>, Listen)> {
    let own = own_settings(&section, Kind::CONNECT, None);
    let pem = "the path of a PEM file";
    let (ca, key) = (section.required_path("ca", pem), section.required_path("ca_key", pem));
    let tunnel = section.list("tunnel", TARGET, TunnelTarget::parse);
    let allowlist = section.path("allowlist");
    let auth = section.flag("auth").is_some_and(|flag| flag.value);
    let most = (main.connections / 2).max(1);
    let tunnels = section.count("tunnels", 1..most).map_or(most, |found| found.value);
    // It depends on the file: a schema knows the widest range alone.
    section.between("tunnels", 1..CONNECTIONS / 2);
    let (handshake, admission, head) = deadlines(&section);
    let idle = section.duration("idle", 10 * MINUTE, SECOND..24 * 60 * MINUTE);
    section.finish();
    let ca = ca.zip(key).map(|(ca, key)| KeyPair { certificate: ca.value, key: key.value })?;
    let tunnel = tunnel.map_or_else(Vec::new, |found| found.value);
    let connect = Connect { ca, tunnel, allowlist: allowlist.map(|found| found.value), auth, tunnels };
    let listen = Listen {
        name: name.clone(),
        kind: Kind::Connect(Arc::new(connect)),
        address: own.address,
        public: own.public,
        tls: own.tls,
        client_ca: own.client_ca,
        client_crl: own.client_crl,
        proxy: own.proxy,
        handshake,
        admission,
        head,
        idle,
        ..main.clone()
    };
    Some((name, listen))
}
