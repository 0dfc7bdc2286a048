//! [`Peer`]: what is known of the other end of a connection before it has said anything.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

use crate::base::names::CertificateName;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The name of the listener that it came by.
    pub listener: Arc<str>,
    /// Its address; an IPv4 address in IPv6 form is written as IPv4.
    pub ip: IpAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The address is what a PROXY header says, not what the system sees.
    pub proxied: bool,
    /// The client certificate that it has shown, which a trusted root has signed.
    pub certificate: Option<Arc<PeerCertificate>>,
    /// Whose socket it is, where it is on this machine and somebody has asked.
    pub user: Option<LocalUser>,
}

/// A verified client certificate.
#[derive(Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The DNS and URI names that it is for (RFC 5280, section 4.2.1.6).
    pub names: Vec<CertificateName>,
    /// The SHA-256 of its DER form.
    pub fingerprint: [u8; 32],
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalUser {
    /// The user's number.
    pub id: u32,
    /// The user's name, where the system knows one.
    pub name: Option<String>,
}

impl Peer {
    /// A peer of which listener and address are all that is known.
    pub fn at(listener: &Arc<str>, ip: IpAddr) -> Self {
        Self {
            listener: listener.clone(),
            ip: ip.to_canonical(),
            tls: true,
            proxied: false,
            certificate: None,
            user: None,
        }
    }

    /// Whether it is a program on this machine, by the system's own word.
    pub(super) fn is_local(&self) -> bool {
        self.ip.is_loopback() && !self.proxied
    }

    /// Whether it has shown a certificate for one of these names.
    pub(super) fn shows(&self, names: &[CertificateName]) -> bool {
        self.certificate.as_ref().is_some_and(|shown| shown.names.iter().any(|name| names.contains(name)))
    }
}

impl PeerCertificate {
    /// Reads a certificate that TLS has verified; `None` when it cannot be read after all.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = webpki::EndEntityCert::try_from(der).ok()?;
        let dns = certificate.valid_dns_names().map(|name| CertificateName::Dns(name.to_ascii_lowercase()));
        let uris = certificate.valid_uri_names().map(|name| CertificateName::Uri(name.to_owned()));
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, der).as_ref());
        Some(Self { names: dns.chain(uris).collect(), fingerprint })
    }
}

impl LocalUser {
    /// Whether the configuration means this user, by name or by number.
    pub(super) fn is(&self, meant: &str) -> bool {
        self.name.as_deref() == Some(meant) || meant.parse() == Ok(self.id)
    }
}
