//! Why the gate does not trust the server that answers for Snowflake, without the names of the TLS library.

use std::io;

use rustls::{CertificateError, Error};

use crate::base::fault::chain;

/// The cause of a connection that could not be opened.
pub(super) fn in_words(error: &io::Error) -> String {
    let Some(Error::InvalidCertificate(why)) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return chain(error);
    };
    let why = match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "no trusted root has signed it",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has ended",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another name than the account's host"
        }
        CertificateError::Revoked => "it is revoked",
        // The platform's verifier has reasons of its own, in the system's words.
        CertificateError::Other(other) => return format!("the server's certificate cannot be verified: {}", other.0),
        other => return format!("the server's certificate cannot be verified: {other}"),
    };
    format!("the server's certificate is not accepted: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_not_accepted_is_told_in_words() {
        let told = |error: Error| in_words(&io::Error::new(io::ErrorKind::InvalidData, error));
        for (why, wanted) in [
            (CertificateError::UnknownIssuer, "no trusted root has signed it"),
            (CertificateError::BadSignature, "no trusted root has signed it"),
            (CertificateError::Expired, "it has ended"),
            (CertificateError::NotValidForName, "another name than the account's host"),
        ] {
            assert!(told(why.clone().into()).ends_with(wanted), "{why:?}");
        }
        let own = rustls::OtherError(std::sync::Arc::new(io::Error::other("no revocation list")));
        let text = told(CertificateError::Other(own).into());
        assert_eq!(text, "the server's certificate cannot be verified: no revocation list");
        assert_eq!(in_words(&io::Error::other("refused")), "refused");
    }
}
