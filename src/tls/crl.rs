//! [`Crls`]: the revoked client certificates of a file (RFC 5280, section 5).

use std::path::Path;

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use webpki::{CertRevocationList, OwnedCertRevocationList};

use super::error::{TlsError, unread};

/// Revocation lists, one of each issuer. An old list still counts: a list that is not replaced in time must not shut
/// all clients out.
#[derive(Default)]
pub struct Crls {
    der: Vec<CertificateRevocationListDer<'static>>,
    lists: Vec<CertRevocationList<'static>>,
}

impl Crls {
    /// Reads the lists of a file, PEM.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn read(path: &Path) -> Result<Self, TlsError> {
        const WHAT: &str = "certificate revocation list";
        let read = CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let der: Vec<_> = read.map_err(|error| unread(path, WHAT, error))?;
        let lists: Result<Vec<_>, _> = der.iter().map(|der| OwnedCertRevocationList::from_der(der)).collect();
        match lists {
            Ok(lists) if !lists.is_empty() => Ok(Self { der, lists: lists.into_iter().map(Into::into).collect() }),
            _ => Err(TlsError::Empty { path: path.to_owned(), what: WHAT }),
        }
    }

    /// Their bytes, for the handshake.
    pub(super) fn der(&self) -> Vec<CertificateRevocationListDer<'static>> {
        self.der.clone()
    }

    /// Whether a certificate with this issuer and serial number is revoked. What cannot be read revokes.
    pub fn revoke(&self, issuer: &[u8], serial: &[u8]) -> bool {
        let of_issuer = self.lists.iter().filter(|list| list.issuer() == issuer);
        of_issuer.map(|list| list.find_serial(serial)).any(|found| !matches!(found, Ok(None)))
    }
}
