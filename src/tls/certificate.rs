//! [`ServerCertificate`]: what a certificate chain of the gate says of itself, and whether its key fits.
//!
//! A tool that refuses the gate's certificate rarely says why, and the gate learns nothing of it. So the gate reads its
//! own certificate as a client does: its names, its end, the order of the chain (RFC 5280; RFC 8446, section 4.4.2).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate, X509Version};
use x509_parser::time::ASN1Time;

use super::{TlsError, certificates, read_only};
use crate::base::rfc3339;
use crate::config::KeyPair;

/// `id-ad-caIssuers` (RFC 5280, section 4.2.2.1): where the issuer's certificate can be had. The CAs that sign servers
/// by an intermediate write it; private CAs seldom do.
const CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";

/// The facts of a chain that a listener shows. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCertificate {
    /// Its file.
    pub path: PathBuf,
    /// Whom it is for.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The DNS names, addresses and URIs that it is valid for.
    pub names: Vec<String>,
    /// From when the whole chain is valid.
    pub starts: SystemTime,
    /// When the first certificate of the chain ends.
    pub ends: SystemTime,
    /// The mistakes that make tools refuse it, although TLS can use it.
    pub flaws: Vec<Flaw>,
}

/// A mistake in a chain that TLS can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// It has no subjectAltName. Clients look at nothing else (RFC 9525, section 2).
    NoNames,
    /// The certificates are there, but not each after the one that it signs.
    Order,
    /// The certificate of an issuer is missing within the chain.
    Gap {
        /// The missing one.
        issuer: String,
    },
    /// The server's certificate stands alone, and its CA signs by an intermediate.
    Alone {
        /// Who signed it.
        issuer: String,
    },
}

impl Flaw {
    /// What is wrong, and what follows.
    pub fn what(&self) -> String {
        match self {
            Self::NoNames => "it has no subjectAltName, so no tool can verify the gate's name".to_owned(),
            Self::Order => "its chain is out of order, which some tools refuse".to_owned(),
            Self::Gap { issuer } => format!("its chain lacks the certificate of {issuer}, so tools may refuse it"),
            Self::Alone { issuer } => format!(
                "the file has no intermediate certificate; if {issuer} is an intermediate CA, tools refuse the gate"
            ),
        }
    }

    /// What to do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoNames => "Get one with the host name that tools enter as a DNS name in subjectAltName",
            Self::Order => "Write the gate's own certificate first, and after each the one of its issuer",
            Self::Gap { .. } | Self::Alone { .. } => {
                "Append the intermediate certificate; CAs call the whole file the full chain"
            }
        }
    }
}

impl ServerCertificate {
    /// Reads a chain and its key.
    ///
    /// # Errors
    /// [`TlsError`], if TLS cannot use the two together. One that has ended is no error.
    pub fn read(pair: &KeyPair) -> Result<Self, TlsError> {
        Self::of(pair, &read_only(pair)?)
    }

    /// The same, for what was read from these files.
    pub(super) fn of(pair: &KeyPair, certified: &CertifiedKey) -> Result<Self, TlsError> {
        let path = &pair.certificate;
        let all: Vec<_> =
            certified.cert.iter().enumerate().map(|(at, der)| parsed(path, at + 1, der)).collect::<Result<_, _>>()?;
        let Some(own) = all.first() else {
            return Err(TlsError::Empty { path: path.clone(), what: "certificate" });
        };
        fits(pair, &all, &*certified.key)?;
        if own.version() != X509Version::V3 {
            let why = "has X.509 version 1, which has no place for the gate's host name; get one of version 3";
            return Err(TlsError::Certificate { path: path.clone(), number: 1, why });
        }
        let names = names(own);
        let mut flaws: Vec<_> = names.is_empty().then_some(Flaw::NoNames).into_iter().collect();
        flaws.extend(order(&all));
        // Clients have the root already, and do not look at the end of the one that the gate sends.
        let counted: Vec<_> = all.iter().enumerate().filter(|(at, one)| *at == 0 || !is_root(one)).collect();
        let times = |of: fn(&X509Certificate<'_>) -> ASN1Time| counted.iter().map(move |(_, one)| at(of(one)));
        Ok(Self {
            path: path.clone(),
            subject: own.subject().to_string(),
            issuer: own.issuer().to_string(),
            names,
            starts: times(|one| one.validity().not_before).max().unwrap_or(UNIX_EPOCH),
            ends: times(|one| one.validity().not_after).min().unwrap_or(UNIX_EPOCH),
            flaws,
        })
    }

    /// Whether it has ended.
    pub fn has_ended(&self, now: SystemTime) -> bool {
        self.ends <= now
    }

    /// Refuses one that no client accepts now.
    ///
    /// # Errors
    /// [`TlsError::Time`].
    pub fn check_time(&self, now: SystemTime) -> Result<(), TlsError> {
        let when = if self.has_ended(now) {
            format!("ended at {}", rfc3339::show(self.ends))
        } else if self.starts > now {
            format!("is valid only from {}", rfc3339::show(self.starts))
        } else {
            return Ok(());
        };
        Err(TlsError::Time { path: self.path.clone(), when })
    }

    /// How long it is valid in all.
    pub fn life(&self) -> Duration {
        self.ends.duration_since(self.starts).unwrap_or_default()
    }

    /// How long it is still valid.
    pub fn left(&self, now: SystemTime) -> Duration {
        self.ends.duration_since(now).unwrap_or_default()
    }
}

/// When the first certificate of a file with roots ends.
///
/// # Errors
/// [`TlsError`], which names the file.
pub fn roots_end(path: &Path) -> Result<SystemTime, TlsError> {
    let mut ends = Vec::new();
    for (number, der) in certificates(path)?.iter().enumerate() {
        ends.push(at(parsed(path, number + 1, der)?.validity().not_after));
    }
    // A file without certificates is an error before.
    Ok(ends.into_iter().min().unwrap_or(UNIX_EPOCH))
}

/// When a certificate in DER form ends; `None` if it is unreadable. One before 1970 has ended in any case.
pub fn end_of(der: &[u8]) -> Option<SystemTime> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| at(certificate.validity().not_after))
}

fn parsed<'a>(path: &Path, number: usize, der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, TlsError> {
    let why = "is damaged: it has the frame of a certificate, but not the content; copy the file again";
    let damaged = |_| TlsError::Certificate { path: path.to_owned(), number, why };
    X509Certificate::from_der(der).map(|(_, certificate)| certificate).map_err(damaged)
}

/// Whether the key is that of the first certificate.
fn fits(pair: &KeyPair, all: &[X509Certificate<'_>], key: &dyn SigningKey) -> Result<(), TlsError> {
    // Every key of a file knows its public half; the system's store has a key with its certificate.
    let Some(public) = key.public_key() else { return Ok(()) };
    match all.iter().position(|one| one.public_key().raw == &public[..]) {
        Some(0) => Ok(()),
        Some(at) => Err(TlsError::Order { path: pair.certificate.clone(), place: at + 1 }),
        None => Err(TlsError::Mismatch { certificate: pair.certificate.clone(), key: pair.key.clone() }),
    }
}

/// What is wrong with the order of a chain whose first certificate is the server's.
fn order(all: &[X509Certificate<'_>]) -> Option<Flaw> {
    if let [own] = all {
        let alone = !is_root(own) && by_an_intermediate(own);
        return alone.then(|| Flaw::Alone { issuer: own.issuer().to_string() });
    }
    let broken = all.windows(2).find(|two| two[0].issuer().as_raw() != two[1].subject().as_raw())?;
    let issuer = broken[0].issuer();
    match all.iter().any(|one| one.subject().as_raw() == issuer.as_raw()) {
        true => Some(Flaw::Order),
        false => Some(Flaw::Gap { issuer: issuer.to_string() }),
    }
}

fn is_root(one: &X509Certificate<'_>) -> bool {
    one.issuer().as_raw() == one.subject().as_raw()
}

fn by_an_intermediate(one: &X509Certificate<'_>) -> bool {
    one.extensions().iter().any(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => {
            access.accessdescs.iter().any(|one| one.access_method.to_id_string() == CA_ISSUERS)
        }
        _ => false,
    })
}

/// The names that a certificate is valid for.
pub(super) fn names(one: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = one.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        GeneralName::IPAddress(bytes) => <[u8; 4]>::try_from(*bytes)
            .map(|four| Ipv4Addr::from(four).to_string())
            .or_else(|_| <[u8; 16]>::try_from(*bytes).map(|sixteen| Ipv6Addr::from(sixteen).to_string()))
            .ok(),
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

/// A time before 1970 is that of 1970.
pub(super) fn at(time: ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
}
