//! [`Shown`]: the certificate that a server shows, also where it is not accepted.
//!
//! The TLS library does not say whose certificate it refuses. A proxy that opens TLS shows one of its own, and its
//! issuer tells the operator whose proxy that is. Verification is the same as everywhere.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, Error};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::{ServerCertificate, at, names};
use super::{TlsError, provider, trusted};

/// The facts of a server's certificate. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Whom it is for.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Who signed the last certificate of the chain.
    pub top: String,
    /// The names that it is valid for.
    pub names: Vec<String>,
    /// From when it is valid.
    pub starts: SystemTime,
    /// When it ends.
    pub ends: SystemTime,
    /// How many certificates the server has sent.
    pub sent: usize,
    der: Vec<u8>,
}

impl Shown {
    fn of(own: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(own).ok()?;
        let last = chain.last().unwrap_or(own);
        let (_, last) = X509Certificate::from_der(last).ok()?;
        Some(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            top: last.issuer().to_string(),
            names: names(&certificate),
            starts: at(certificate.validity().not_before),
            ends: at(certificate.validity().not_after),
            sent: 1 + chain.len(),
            der: own.to_vec(),
        })
    }

    /// Whether it is the first certificate in a file.
    ///
    /// # Errors
    /// [`TlsError`], if the file has none.
    pub fn is_in(&self, path: &Path) -> Result<bool, TlsError> {
        Ok(super::certificates(path)?.first().is_some_and(|own| own.as_ref() == self.der))
    }
}

/// Keeps the certificate of the last handshake.
#[derive(Debug, Clone)]
pub struct Recorder {
    inner: Arc<dyn ServerCertVerifier>,
    takes_any: bool,
    shown: Arc<Mutex<Option<Shown>>>,
}

impl Recorder {
    /// The certificate that the server has shown, if the handshake came so far.
    pub fn shown(&self) -> Option<Shown> {
        self.shown.lock().clone()
    }
}

/// The client's side with the roots of `ca`, or the platform's, and a recorder of what the server shows.
///
/// # Errors
/// [`TlsError`], which names the file.
pub fn recording(ca: Option<&Path>) -> Result<(ClientConfig, Recorder), TlsError> {
    recorded(ca, false)
}

/// The same for a look at a listener of one's own: the handshake goes on with any certificate, so that the listener
/// sees a client that is content. Nothing may be sent over such a connection.
///
/// # Errors
/// [`TlsError`], which names the file.
pub fn looking(ca: Option<&Path>) -> Result<(ClientConfig, Recorder), TlsError> {
    recorded(ca, true)
}

fn recorded(ca: Option<&Path>, takes_any: bool) -> Result<(ClientConfig, Recorder), TlsError> {
    let recorder = Recorder { inner: trusted::verifier(ca)?, takes_any, shown: Arc::default() };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Roots)?;
    // It records, and asks the verifier that all connections have.
    let verifier = Arc::new(recorder.clone());
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((config, recorder))
}

/// Whether this machine trusts the chain in a file, as a tool does that looks into the platform's roots alone.
pub fn is_trusted_here(path: &Path, read: &ServerCertificate, now: SystemTime) -> bool {
    let (Ok(chain), Ok(verifier)) = (super::certificates(path), rustls_platform_verifier::Verifier::new(provider()))
    else {
        return false;
    };
    let Some((own, rest)) = chain.split_first() else { return false };
    let names = read.names.iter().map(|name| name.replacen("*.", "any.", 1));
    let since = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let trusted = |name| verifier.verify_server_cert(own, rest, &name, &[], since).is_ok();
    names.filter_map(|name| ServerName::try_from(name).ok()).any(trusted)
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.shown.lock() = Shown::of(own, chain);
        if self.takes_any {
            return Ok(ServerCertVerified::assertion());
        }
        self.inner.verify_server_cert(own, chain, name, ocsp, now)
    }

    trusted::signatures_by!(inner);
}
