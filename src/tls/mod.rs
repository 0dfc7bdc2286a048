//! TLS configurations of the gate as a server and as a client, and the transport below them.
//!
//! The server offers TLS 1.2, because some drivers in use support nothing newer (JDBC of 2023). There is no option to
//! switch verification off.

pub mod crl;
mod handshake;
pub mod transport;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::config::KeyPair;
pub use crl::Crls;
pub use handshake::HandshakeFailure;

/// Why TLS cannot be set up. It contains nothing of a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file has no certificate, or no private key.
    #[error("{} holds no {what} in PEM form", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// The missing object.
        what: &'static str,
    },
    /// Certificate and key do not match, or have an unsupported kind.
    #[error("certificate {} and key {} cannot be used together", certificate.display(), key.display())]
    Pair {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
    /// A root cannot be used, or the platform has none.
    #[error("the trusted roots cannot be used")]
    Roots(#[source] rustls::Error),
}

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
    let (chain, key) = read(pair)?;
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
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(unusable)?;
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
    let builder = match ca {
        Some(path) => builder.with_root_certificates(roots(path)?),
        None => builder.with_platform_verifier().map_err(TlsError::Roots)?,
    };
    let mut config = match identity {
        Some(pair) => {
            let (chain, key) = read(pair)?;
            builder.with_client_auth_cert(chain, key).map_err(|source| pair_error(pair, source))?
        }
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
    let content = std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &content).as_ref());
    Ok(hash)
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(TlsError::Roots)?;
    }
    Ok(roots)
}

fn read(pair: &KeyPair) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = certificates(&pair.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&pair.key).map_err(|error| unread(&pair.key, "private key", error))?;
    Ok((chain, key))
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

fn unread(path: &Path, what: &'static str, error: pem::Error) -> TlsError {
    match error {
        pem::Error::Io(source) => TlsError::Read { path: path.to_owned(), source },
        _ => TlsError::Empty { path: path.to_owned(), what },
    }
}
