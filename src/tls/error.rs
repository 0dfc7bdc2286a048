//! [`TlsError`]: why TLS cannot be set up, in words for the operator.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem;

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
    /// The gate has no password for a key.
    #[error(
        "the private key in {} is encrypted, and the gate has no password for it; write it without one, as \
         `openssl pkey -in OLD -out NEW` does, readable for the gate's user alone",
        path.display()
    )]
    Encrypted {
        /// The key's file.
        path: PathBuf,
    },
    /// TLS cannot use such a key.
    #[error(
        "the private key in {} is damaged, or of a kind that TLS cannot use; use RSA of 2048 bits or more, ECDSA on \
         P-256, P-384 or P-521, or Ed25519",
        path.display()
    )]
    Key {
        /// The key's file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together.
    #[error(
        "the private key in {} is not the key of the certificate in {}; name the two files that were made together",
        key.display(), certificate.display()
    )]
    Mismatch {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The server's own certificate is not the first one.
    #[error(
        "the chain in {} is in the wrong order: the certificate of the key is number {place}; it has to come first, \
         then the certificate of its issuer, and so on",
        path.display()
    )]
    Order {
        /// The chain.
        path: PathBuf,
        /// Where the server's own certificate is, from 1.
        place: usize,
    },
    /// A certificate has an unsupported form.
    #[error("certificate {number} in {} {why}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Which of its certificates, from 1.
        number: usize,
        /// What is wrong with it, and what to do.
        why: &'static str,
    },
    /// A new certificate has no use now.
    #[error(
        "the certificate in {} {when}; every tool refuses it; get one that is valid now",
        path.display()
    )]
    Time {
        /// The file.
        path: PathBuf,
        /// Since when, or until when.
        when: String,
    },
    /// A CA may not sign for a host.
    #[error(
        "the CA in {} may not sign for {host}, so no tool would accept what it signs; make one for the accounts' \
         hosts, \
         as `patgate cert init --name {host}` does",
        path.display()
    )]
    CannotSign {
        /// The CA's file.
        path: PathBuf,
        /// The host.
        host: String,
        /// The cause.
        source: rustls::Error,
    },
    /// The platform has no roots, or the TLS library refuses what it got.
    #[error("the trusted roots cannot be used")]
    Roots(#[source] rustls::Error),
    /// The TLS library refuses certificate and key for a reason of its own.
    #[error("certificate {} and key {} cannot be used together", certificate.display(), key.display())]
    Pair {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
}

/// A PEM file that could not be read, or has nothing of the kind.
pub(super) fn unread(path: &Path, what: &'static str, error: pem::Error) -> TlsError {
    match error {
        pem::Error::Io(source) => TlsError::Read { path: path.to_owned(), source },
        _ => TlsError::Empty { path: path.to_owned(), what },
    }
}
