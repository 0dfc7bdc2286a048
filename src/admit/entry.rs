//! [`Entry`]: one client's rules, and whether a connection fits them.

use std::sync::Arc;

use ipnet::IpNet;

use super::limits::{ConcurrencyLimit, RateLimits};
use super::upkeep::Upkeep;
use super::{Grant, Peer, ProxyWay};
use crate::base::fault::{Fault, Kind};
use crate::base::login_names::LoginName;
use crate::base::names::{CertificateName, ClientName};
use crate::config::Bind;
use crate::ticket::Bound;

/// A client, and what it may.
pub(super) struct Entry {
    pub hashes: [[u8; 32]; 2],
    pub keyed: bool,
    pub certificates: Vec<CertificateName>,
    /// Programs on this machine need no key; the users whose programs may log in, if that is limited.
    pub trusted: Option<Vec<String>>,
    pub networks: Vec<IpNet>,
    /// The user names that its tools may type; none means all.
    pub login_names: Vec<LoginName>,
    /// The listeners that it may use; none means all.
    pub listeners: Vec<Arc<str>>,
    pub bind: Bind,
    pub rates: RateLimits,
    pub credential: Arc<RateLimits>,
    pub concurrency: ConcurrencyLimit,
    pub upkeep: Upkeep,
    pub grant: Option<Grant>,
}

impl Entry {
    /// The binding of a session that opens from this peer.
    pub(super) fn bound(&self, peer: &Peer) -> Bound {
        let network = match self.bind {
            Bind::Client | Bind::Certificate => None,
            Bind::Network => self.networks.iter().find(|network| network.contains(&peer.ip)).copied(),
            Bind::Address => Some(IpNet::from(peer.ip)),
        };
        let shown = peer.certificate.as_ref().filter(|_| self.bind == Bind::Certificate);
        Bound { network, certificate: shown.map(|shown| shown.fingerprint) }
    }

    /// Whether the rules need more than the address.
    pub(super) fn asks_for_something(&self) -> bool {
        !self.certificates.is_empty() || self.trusted.is_some()
    }

    pub(super) fn admits(&self, peer: &Peer) -> bool {
        self.networks.iter().any(|network| network.contains(&peer.ip))
    }

    /// Checks whether this client may use the connection: its network, its listener, its certificate, its user.
    pub(super) fn fits(&self, peer: &Peer, name: &ClientName) -> Result<(), Fault> {
        if !self.admits(peer) {
            return Err(denied(peer).with_cause(format_args!("the address is not in the networks of client {name}")));
        }
        let refused = |action: &str, cause: &str| {
            Err(Fault::new(Kind::PeerDenied).detail(action).with_cause(format_args!("client {name}: {cause}")))
        };
        if !self.listeners.is_empty() && !self.listeners.contains(&peer.listener) {
            return refused(
                "it must use another listener",
                &format!("it used {} and may use only {:?}", peer.listener, self.listeners),
            );
        }
        if let Some(way) = &peer.way {
            self.fits_way(way, name)?;
        }
        if !self.certificates.is_empty() && !peer.shows(&self.certificates) {
            let cause = match &peer.certificate {
                None => "the connection has no certificate".to_owned(),
                Some(shown) => format!("the certificate is for {:?}", shown.names),
            };
            return refused("it must show a TLS certificate of its own", &cause);
        }
        if self.bind == Bind::Certificate && peer.certificate.is_none() {
            return refused("it must show a TLS certificate", "the connection has no certificate");
        }
        if let Some(users) = &self.trusted {
            if !peer.is_local() {
                return refused(
                    "only programs on the gate's machine may use it",
                    "the connection is not from this machine",
                );
            }
            if !users.is_empty() && !peer.user.as_ref().is_some_and(|user| users.iter().any(|one| user.is(one))) {
                return refused(
                    "only programs of certain users may use it",
                    &format!("the socket belongs to {:?}", peer.user),
                );
            }
        }
        Ok(())
    }

    /// Checks whether what a CONNECT said fits this client.
    fn fits_way(&self, way: &ProxyWay, name: &ClientName) -> Result<(), Fault> {
        if let Some(other) = way.client.as_ref().filter(|client| *client != name) {
            let cause = format_args!("the proxy's key is that of client {other}, the login's that of client {name}");
            return Err(Fault::new(Kind::ClientMixed)
                .detail("the key of the proxy's setting and the key of the login are of two clients")
                .with_cause(cause));
        }
        match self.grant.as_ref().map(Grant::account) {
            Some(own) if !way.accounts.contains(own) => Err(Fault::new(Kind::AccountOther).with_cause(format_args!(
                "client {name} is for account {own}, and the CONNECT was for account {}",
                way.accounts.join(", ")
            ))),
            _ => Ok(()),
        }
    }
}

/// The fault of an address that is in no network that counts.
pub(super) fn denied(peer: &Peer) -> Fault {
    Fault::new(Kind::NetworkDenied).detail(peer.ip)
}
