//! [`Peer`]: the other end of a connection, as the gate knows it before the first request.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

use crate::base::names::{CertificateName, ClientName};
use crate::base::trace::{SpanId, TraceId};
use crate::tls;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The name of its listener.
    pub listener: Arc<str>,
    /// Its address; an IPv4 address in IPv6 form becomes IPv4.
    pub ip: IpAddr,
    /// The trace and the span of its connection, for records.
    pub connection: Option<(TraceId, SpanId)>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Whether the address is from a PROXY header, not from the system.
    pub proxied: bool,
    /// Its client certificate, signed by a trusted root.
    pub certificate: Option<Arc<PeerCertificate>>,
    /// The user of its socket, if it is on this machine and a client's rules need the user.
    pub user: Option<LocalUser>,
    /// What its CONNECT said, where the listener is a proxy's way in.
    pub way: Option<ProxyWay>,
    /// Whether a request of its connection was admitted; [`Peer::admit`] sets it.
    pub admitted: Arc<AtomicBool>,
}

/// A verified client certificate.
#[derive(Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The DNS and URI names that it is for (RFC 5280, section 4.2.1.6).
    pub names: Vec<CertificateName>,
    /// The SHA-256 of its DER form.
    pub fingerprint: [u8; 32],
    /// When it ends, or one of those between it and its root.
    pub ends: SystemTime,
    /// Its issuer's name and its serial number, in DER form.
    pub issued: (Box<[u8]>, Box<[u8]>),
}

/// What a CONNECT said of the connection behind it. It limits what may follow, and never takes the place of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyWay {
    /// The account that the tool connects to; more, where they have one host.
    pub accounts: Vec<Arc<str>>,
    /// The client whose key it showed to the proxy.
    pub client: Option<ClientName>,
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalUser {
    /// The user's number; on Windows the SID, in lower case.
    pub id: String,
    /// The user's name, where the system knows one.
    pub name: Option<String>,
}

impl Peer {
    /// A peer with only a listener and an address.
    pub fn at(listener: &Arc<str>, ip: IpAddr) -> Self {
        Self {
            listener: listener.clone(),
            ip: ip.to_canonical(),
            connection: None,
            tls: true,
            proxied: false,
            certificate: None,
            user: None,
            way: None,
            admitted: Arc::default(),
        }
    }

    /// Notes that a request of its connection was admitted.
    pub fn admit(&self) {
        self.admitted.store(true, Ordering::Relaxed);
    }

    /// Whether a request of its connection was admitted. This decides about the places of strangers and about nothing
    /// else.
    pub fn is_admitted(&self) -> bool {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Whether it is a program on this machine, according to the system.
    pub(super) fn is_local(&self) -> bool {
        self.ip.is_loopback() && !self.proxied
    }

    /// Whether it has a certificate for one of these names.
    pub(super) fn shows(&self, names: &[CertificateName]) -> bool {
        self.certificate.as_ref().is_some_and(|shown| shown.names.iter().any(|name| names.contains(name)))
    }
}

impl PeerCertificate {
    /// Reads a chain that TLS has verified, the client's certificate first; `None` if it is unreadable.
    pub fn read(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let der = chain.first()?;
        let ends = chain.iter().map(|der| tls::end_of(der)).collect::<Option<Vec<_>>>()?.into_iter().min()?;
        let certificate = webpki::EndEntityCert::try_from(der).ok()?;
        let dns = certificate.valid_dns_names().map(|name| CertificateName::Dns(name.to_ascii_lowercase()));
        let uris = certificate.valid_uri_names().map(|name| CertificateName::Uri(name.to_owned()));
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, der).as_ref());
        let issued = (certificate.issuer().into(), certificate.serial().into());
        Some(Self { names: dns.chain(uris).collect(), fingerprint, ends, issued })
    }
}

impl LocalUser {
    /// Whether the configuration means this user, by name or by number.
    pub fn is(&self, meant: &str) -> bool {
        self.name.as_deref() == Some(meant) || meant == self.id
    }

    /// The name, else the number.
    pub fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}
