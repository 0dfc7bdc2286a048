//! The machine's certificate store: Unix has none, and the configuration's check refuses to name one.

use std::io;

use rustls::sign::CertifiedKey;

/// None.
///
/// # Errors
/// Always.
pub(super) fn certified(_name: &str) -> io::Result<CertifiedKey> {
    Err(io::Error::other("only Windows has a certificate store"))
}

/// None.
///
/// # Errors
/// Always.
pub(super) fn content(_name: &str) -> io::Result<Vec<u8>> {
    Err(io::Error::other("only Windows has a certificate store"))
}
