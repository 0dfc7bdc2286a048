//! TLS configurations of the gate as a server and as a client, and the transport below them.
//!
//! The server offers TLS 1.2, because some drivers in use support nothing newer (JDBC of 2023). There is no option to
//! switch verification off.

mod certificate;
#[cfg(test)]
mod certificate_tests;
pub mod crl;
mod error;
pub mod expiry;
mod handshake;
mod intercept;
pub mod local_ca;
mod shown;
#[cfg_attr(unix, path = "system_store_unix.rs")]
#[cfg_attr(windows, path = "system_store_windows.rs")]
mod system_store;
pub mod transport;
mod trusted;

use std::io;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use secrecy::zeroize::Zeroizing;

use crate::config::KeyPair;
pub use certificate::{Flaw, ServerCertificate, end_of, roots_end};
pub use crl::Crls;
pub use error::TlsError;
use error::unread;
pub use handshake::HandshakeFailure;
pub use intercept::Intercept;
pub use shown::{Shown, is_trusted_here, looking, recording};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The server's side: the gate's certificate, HTTP/1.1 only. With `client_ca` the gate asks clients for a certificate.
/// These roots must have signed it; a client without a certificate may still be admitted by other means.
///
/// # Errors
/// [`TlsError`], which names the file.
pub fn server(pair: &KeyPair, client_ca: Option<&Path>) -> Result<Arc<ServerConfig>, TlsError> {
    server_with(pair, client_ca, &Crls::default())
}

/// The same, with revoked client certificates. A certificate whose issuer has no list there is not revoked.
///
/// # Errors
/// [`TlsError`], which names the file.
pub fn server_with(pair: &KeyPair, client_ca: Option<&Path>, crls: &Crls) -> Result<Arc<ServerConfig>, TlsError> {
    let certified = read(pair)?;
    let unusable = |source| pair_error(pair, source);
    let verifier = match client_ca {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(path) => {
            let roots = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider());
            let roots = roots.with_crls(crls.der()).allow_unknown_revocation_status();
            let built = roots.allow_unauthenticated().build();
            built.map_err(|error| TlsError::Roots(rustls::Error::General(error.to_string())))?
        }
    };
    serving(verifier, certified).map_err(unusable)
}

/// The server's side with this chain and key.
fn serving(verifier: Arc<dyn ClientCertVerifier>, certified: CertifiedKey) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// The client's side: the roots of `ca`, or the platform's.
///
/// # Errors
/// [`TlsError`], which names the file.
pub fn client(ca: Option<&Path>) -> Result<ClientConfig, TlsError> {
    client_as(ca, None)
}

/// The client's side, with a client certificate if the server asks for one.
///
/// # Errors
/// [`TlsError`], which names the file.
pub fn client_as(ca: Option<&Path>, identity: Option<&KeyPair>) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Roots)?;
    // Those of the file, or of the platform, and nobody else: see `trusted`.
    let builder = builder.dangerous().with_custom_certificate_verifier(trusted::verifier(ca)?);
    let mut config = match identity {
        Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(read(pair)?))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The SHA-256 of a file, to notice a change of its content.
///
/// # Errors
/// [`TlsError::Read`].
pub fn fingerprint(path: &Path) -> Result<[u8; 32], TlsError> {
    let content = content(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &content).as_ref());
    Ok(hash)
}

/// The content of a file, or the certificate that the path names in the machine's store.
///
/// # Errors
/// If it cannot be read.
pub fn content(path: &Path) -> io::Result<Vec<u8>> {
    match KeyPair::system_store(path) {
        Some(name) => system_store::content(name),
        None => std::fs::read(path),
    }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in certificates(path)?.into_iter().enumerate() {
        let why = "is damaged, or of a kind that cannot be a trusted root; name the certificate of a CA";
        let unusable = |_| TlsError::Certificate { path: path.to_owned(), number: number + 1, why };
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

/// A chain and its key, which fit each other.
fn read(pair: &KeyPair) -> Result<CertifiedKey, TlsError> {
    let certified = read_only(pair)?;
    ServerCertificate::of(pair, &certified)?;
    Ok(certified)
}

/// A chain and a key; whether they fit is not asked.
fn read_only(pair: &KeyPair) -> Result<CertifiedKey, TlsError> {
    if let Some(name) = KeyPair::system_store(&pair.certificate) {
        let unread = |source| TlsError::Read { path: pair.certificate.clone(), source };
        return system_store::certified(name).map_err(unread);
    }
    let chain = certificates(&pair.certificate)?;
    Ok(CertifiedKey::new(chain, signing_key(pair, private_key(&pair.key)?)?))
}

/// A key as TLS signs with it.
fn signing_key(pair: &KeyPair, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, TlsError> {
    provider().key_provider.load_private_key(key).map_err(|_| TlsError::Key { path: pair.key.clone() })
}

fn pair_error(pair: &KeyPair, source: rustls::Error) -> TlsError {
    TlsError::Pair { certificate: pair.certificate.clone(), key: pair.key.clone(), source }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|error| unread(path, "certificate", error))?;
    if chain.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned(), what: "certificate" });
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match is_encrypted(path) {
        true => TlsError::Encrypted { path: path.to_owned() },
        false => unread(path, "private key", error),
    })
}

/// Whether a file has a key that needs a password: PKCS #8 (RFC 5958), or the older form of OpenSSL (RFC 1421).
fn is_encrypted(path: &Path) -> bool {
    let text = std::fs::read(path).map(Zeroizing::new).unwrap_or_default();
    let starts = |line: &[u8]| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY") || line.starts_with(b"Proc-Type: 4,ENCRYPTED")
    };
    text.split(|byte| *byte == b'\n').any(starts)
}
