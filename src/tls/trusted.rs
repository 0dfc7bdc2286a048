//! Whom the gate trusts as a client: the platform's roots, or those of `ca`; there also a certificate that stands in
//! the file itself, as appliances and test servers have one: self-signed, and marked as a CA.
//!
//! Web PKI refuses such a certificate as a server's because it is one of a CA (RFC 5280, section 4.2.1.9). An operator
//! who names exactly this certificate trusts it for its own names, as long as it is valid, if there is no other
//! objection. As any certificate of the file it is a root too: what its key signs is trusted.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::at;
use super::{TlsError, certificates, provider, roots};

/// The verifier with the roots of `ca`, or with the platform's.
///
/// # Errors
/// [`TlsError`], which names the file.
pub(super) fn verifier(ca: Option<&Path>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let Some(path) = ca else {
        return Ok(Arc::new(rustls_platform_verifier::Verifier::new(provider()).map_err(TlsError::Roots)?));
    };
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(path)?), provider()).build();
    let by_roots = built.map_err(|error| TlsError::Roots(Error::General(error.to_string())))?;
    Ok(Arc::new(Trusted { by_roots, named: certificates(path)? }))
}

/// The part of a verifier that is about signatures: the verifier in this field does it.
macro_rules! signatures_by {
    ($inner:ident) => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.$inner.verify_tls12_signature(message, certificate, signature)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.$inner.verify_tls13_signature(message, certificate, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.$inner.supported_verify_schemes()
        }
    };
}
pub(super) use signatures_by;

/// Verifies by roots, and by the certificates that are named.
#[derive(Debug)]
struct Trusted {
    by_roots: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let by_roots = self.by_roots.verify_server_cert(own, chain, name, ocsp, now);
        let is_named = || self.named.iter().any(|named| named.as_ref() == own.as_ref());
        if !by_roots.as_ref().is_err_and(is_of_a_ca) || !is_named() {
            return by_roots;
        }
        verify_server_name(&ParsedCertificate::try_from(own)?, name)?;
        is_usable(own, now).map(|()| ServerCertVerified::assertion())
    }

    signatures_by!(by_roots);
}

/// Whether a certificate was refused because it is that of a CA.
fn is_of_a_ca(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(why)) = error else { return false };
    matches!(why.0.downcast_ref::<webpki::Error>(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// What web PKI would look at next: the time, and whether it may be a server's.
fn is_usable(own: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, certificate) = X509Certificate::from_der(own).map_err(|_| CertificateError::BadEncoding)?;
    let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
    let usage = certificate.extended_key_usage().map_err(|_| CertificateError::BadEncoding)?;
    if usage.is_some_and(|usage| !usage.value.any && !usage.value.server_auth) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    let validity = certificate.validity();
    match (at(validity.not_before) <= now, now <= at(validity.not_after)) {
        (true, true) => Ok(()),
        (false, _) => Err(CertificateError::NotValidYet.into()),
        (_, false) => Err(CertificateError::Expired.into()),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    const DAY: u64 = 86_400;
    /// A day in 2026, in seconds since 1970.
    const NOW: u64 = 20_500 * DAY;

    fn own(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["vault.example".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn verdict(ca: &CertificateDer<'_>, shown: &CertificateDer<'_>, name: &str, after: u64) -> Result<(), Error> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ca.pem");
        let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, ca);
        std::fs::write(&path, format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW + after));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier(Some(&path)).unwrap().verify_server_cert(shown, &[], &name, &[], now).map(|_| ())
    }

    #[test]
    fn a_self_signed_certificate_is_its_own_root_for_its_own_names_while_it_is_valid() {
        let until = |days| UNIX_EPOCH + Duration::from_secs(NOW + days * DAY);
        let one = own(|params| params.not_after = until(30).into());
        assert_eq!(verdict(&one, &one, "vault.example", 0), Ok(()));
        let wrong_name = verdict(&one, &one, "other.example", 0);
        assert!(matches!(wrong_name, Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }))));
        let ended = verdict(&one, &one, "vault.example", 31 * DAY);
        assert!(matches!(ended, Err(Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))), "{ended:?}");
        let early = own(|params| params.not_before = until(2).into());
        let early = verdict(&early, &early, "vault.example", 0);
        assert!(
            matches!(early, Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { .. }))),
            "{early:?}"
        );
        let signs = own(|params| params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth]);
        assert_eq!(verdict(&signs, &signs, "vault.example", 0), Err(CertificateError::InvalidPurpose.into()));
        // Another certificate of the same name and kind is a stranger.
        let other = own(|_| {});
        assert!(verdict(&one, &other, "vault.example", 0).is_err());
    }
}
