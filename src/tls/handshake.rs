//! [`HandshakeFailure`]: why a TLS handshake of a client failed, in words for an operator.
//!
//! A client says what it did not like in an alert (RFC 8446, section 6.2). Drivers send different ones for the same
//! reason: OpenSSL sends `unknown_ca`, Go `bad_certificate`, Java `certificate_unknown`; some close the connection
//! without a word.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::base::fault::{Kind, chain};

/// A failed handshake.
pub struct HandshakeFailure {
    /// Its kind.
    pub kind: Kind,
    /// What happened, in words.
    pub cause: String,
}

impl HandshakeFailure {
    /// Reads the error of a handshake.
    pub fn of(error: &io::Error) -> Self {
        let told = |kind, cause: &str| Self { kind, cause: cause.to_owned() };
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            let cause = match error.kind() {
                io::ErrorKind::UnexpectedEof => "the client closed the connection in the handshake, without a word: \
                     often it does not trust the certificate"
                    .to_owned(),
                _ => chain(error),
            };
            return Self { kind: Kind::TlsFailed, cause };
        };
        match error {
            Error::AlertReceived(alert) => Self::alert(*alert),
            Error::InvalidMessage(_) => told(Kind::TlsAbsent, "the first bytes are no TLS handshake"),
            Error::PeerIncompatible(_) => told(Kind::TlsTooOld, "the client offers nothing that the gate accepts"),
            Error::InvalidCertificate(why) => Self::certificate(why),
            other => Self { kind: Kind::TlsFailed, cause: chain(other) },
        }
    }

    fn alert(alert: AlertDescription) -> Self {
        let (kind, what) = match alert {
            AlertDescription::UnknownCA => {
                (Kind::TlsDistrusted, "it does not know the issuer of the gate's certificate")
            }
            AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
                (Kind::TlsDistrusted, "it does not accept the gate's certificate: the issuer or the name")
            }
            AlertDescription::DecryptError => (
                Kind::TlsDistrusted,
                "it finds the signature of the gate's certificate bad: it trusts another CA with the same name",
            ),
            AlertDescription::UnsupportedCertificate => {
                (Kind::TlsDistrusted, "it does not support the kind of the gate's certificate")
            }
            AlertDescription::CertificateExpired => {
                (Kind::CertificateExpired, "it finds the gate's certificate expired; its clock may be wrong")
            }
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity => {
                (Kind::TlsTooOld, "it accepts none of the gate's versions and cipher suites")
            }
            _ => (Kind::TlsFailed, "it gave up the handshake"),
        };
        Self { kind, cause: format!("the client says {}: {what}", spelt(&format!("{alert:?}"))) }
    }

    fn certificate(why: &CertificateError) -> Self {
        let told = |kind, cause: String| Self { kind, cause };
        match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                told(Kind::ClientCertificateExpired, "the client's certificate has expired".into())
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                told(Kind::ClientCertificateExpired, "the client's certificate is not valid yet".into())
            }
            CertificateError::Revoked => {
                told(Kind::ClientCertificateRevoked, "the client's certificate is on the revocation list".into())
            }
            CertificateError::UnknownIssuer => told(
                Kind::ClientCertificateUnknown,
                "the client's certificate was not issued by a root of listen.client_ca".into(),
            ),
            other => told(Kind::ClientCertificateUnknown, format!("the client's certificate: {other}")),
        }
    }
}

/// `UnknownCA` as RFC 8446 spells it: `unknown_ca`.
fn spelt(name: &str) -> String {
    let mut text = String::new();
    let mut before_is_small = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && before_is_small {
            text.push('_');
        }
        before_is_small = c.is_ascii_lowercase();
        text.push(c.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_is_told_in_words() {
        let of = |error: Error| {
            let failure = HandshakeFailure::of(&io::Error::new(io::ErrorKind::InvalidData, error));
            (failure.kind, failure.cause)
        };
        let (kind, cause) = of(Error::AlertReceived(AlertDescription::UnknownCA));
        assert_eq!(kind, Kind::TlsDistrusted);
        assert!(cause.starts_with("the client says unknown_ca: it does not know"), "{cause}");
        for (error, kind) in [
            (Error::AlertReceived(AlertDescription::CertificateExpired), Kind::CertificateExpired),
            (Error::AlertReceived(AlertDescription::ProtocolVersion), Kind::TlsTooOld),
            (Error::AlertReceived(AlertDescription::DecodeError), Kind::TlsFailed),
            (Error::AlertReceived(AlertDescription::DecryptError), Kind::TlsDistrusted),
            (Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), Kind::TlsAbsent),
            (CertificateError::Expired.into(), Kind::ClientCertificateExpired),
            (CertificateError::Revoked.into(), Kind::ClientCertificateRevoked),
            (CertificateError::UnknownIssuer.into(), Kind::ClientCertificateUnknown),
            (CertificateError::BadSignature.into(), Kind::ClientCertificateUnknown),
        ] {
            assert_eq!(of(error.clone()).0, kind, "{error:?}");
        }
        let gone = HandshakeFailure::of(&io::ErrorKind::UnexpectedEof.into());
        assert!(gone.kind == Kind::TlsFailed && gone.cause.contains("without a word"));
    }
}
