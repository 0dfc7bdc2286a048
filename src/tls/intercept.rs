//! [`Intercept`]: certificates for the accounts' hosts, for tools that enter the gate as their proxy.
//!
//! The operator's CA signs them. The gate makes one for each account, and none for any other name, keeps it in memory
//! alone, and makes another when half of its life is over. Its life is short: what a stolen one is good for ends soon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rcgen::Issuer;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::ServerCertificate;
use super::{TlsError, certificates, local_ca, pair_error, private_key, serving, signing_key, trusted};
use crate::config::KeyPair;

/// How long a certificate is valid.
const LIFE: Duration = Duration::from_secs(7 * 86_400);
/// The clocks of tools' machines may be behind.
const BEFORE: Duration = Duration::from_secs(3_600);

/// A CA, and what it has signed for the accounts' hosts.
pub struct Intercept {
    pair: KeyPair,
    issuer: Issuer<'static, rcgen::KeyPair>,
    chain: Vec<CertificateDer<'static>>,
    /// What the CA says of itself.
    pub ca: Arc<ServerCertificate>,
    hosts: BTreeMap<String, Mutex<Option<Leaf>>>,
}

struct Leaf {
    tls: Arc<ServerConfig>,
    renew: SystemTime,
}

impl Intercept {
    /// The CA of these files, for these hosts.
    ///
    /// # Errors
    /// [`TlsError`], which names the file; also if the certificate is no CA's, or may not sign for a host.
    pub fn new(pair: &KeyPair, hosts: impl Iterator<Item = String>, now: SystemTime) -> Result<Self, TlsError> {
        let (chain, key) = (certificates(&pair.certificate)?, private_key(&pair.key)?);
        let certified = CertifiedKey::new(chain.clone(), signing_key(pair, key.clone_key())?);
        let ca = ServerCertificate { flaws: Vec::new(), ..ServerCertificate::of(pair, &certified)? };
        let unfit = |why| TlsError::Certificate { path: pair.certificate.clone(), number: 1, why };
        let Some(own) = chain.first() else { return Err(unfit("is missing")) };
        let (_, parsed) = X509Certificate::from_der(own).map_err(|_| unfit("is damaged"))?;
        if !parsed.is_ca() {
            return Err(unfit("is no CA's, so no tool accepts what it signs; make a CA with `patgate cert init`"));
        }
        let key = rcgen::KeyPair::try_from(&key).map_err(|_| TlsError::Key { path: pair.key.clone() })?;
        let issuer =
            Issuer::from_ca_cert_der(own, key).map_err(|_| unfit("is damaged, or of a kind that cannot sign"))?;
        let hosts = hosts.map(|host| (host.to_ascii_lowercase(), Mutex::default())).collect();
        let all = Self { pair: pair.clone(), issuer, chain, ca: Arc::new(ca), hosts };
        // What no tool would accept is found now, not at the first login.
        for host in all.hosts.keys() {
            all.verified(host, now)?;
        }
        Ok(all)
    }

    /// The server's side for a host of an account; `None` for any other name.
    ///
    /// # Errors
    /// If no certificate can be made.
    pub fn server(&self, host: &str, now: SystemTime) -> Result<Option<Arc<ServerConfig>>, TlsError> {
        let Some(place) = self.hosts.get(host) else { return Ok(None) };
        let mut leaf = place.lock();
        if let Some(leaf) = leaf.as_ref().filter(|leaf| now < leaf.renew) {
            return Ok(Some(leaf.tls.clone()));
        }
        let (chain, key) = self.sign(host, now)?;
        let certified = CertifiedKey::new(chain, signing_key(&self.pair, key)?);
        let tls = serving(WebPkiClientVerifier::no_client_auth(), certified).map_err(|error| self.failed(error))?;
        *leaf = Some(Leaf { tls: tls.clone(), renew: now + LIFE / 2 });
        Ok(Some(tls))
    }

    fn sign(
        &self,
        host: &str,
        now: SystemTime,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let valid = now - BEFORE..(now + LIFE).min(self.ca.ends);
        let signed = rcgen::KeyPair::generate().and_then(|key| {
            let own = local_ca::server(&[host.to_owned()], valid)?.signed_by(&key, &self.issuer)?;
            Ok((own.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
        });
        let (own, key) = signed.map_err(|error| self.failed(rustls::Error::General(error.to_string())))?;
        Ok((std::iter::once(own).chain(self.chain.iter().cloned()).collect(), key))
    }

    /// Verifies a certificate for this host as a tool does, at a time when the CA is valid: the log says when it ends.
    fn verified(&self, host: &str, now: SystemTime) -> Result<(), TlsError> {
        let now = now.clamp(self.ca.starts, self.ca.ends.max(self.ca.starts));
        let (chain, _) = self.sign(host, now)?;
        let refused =
            |source| TlsError::CannotSign { path: self.pair.certificate.clone(), host: host.to_owned(), source };
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| refused(rustls::Error::General("no name".into())))?;
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let [own, rest @ ..] = &chain[..] else { return Ok(()) };
        let verifier = trusted::verifier(Some(&self.pair.certificate))?;
        let verified = verifier.verify_server_cert(own, rest, &name, &[], UnixTime::since_unix_epoch(since));
        verified.map(|_| ()).map_err(refused)
    }

    fn failed(&self, source: rustls::Error) -> TlsError {
        pair_error(&self.pair, source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::local_ca::LocalCa;

    const DAY: Duration = Duration::from_secs(86_400);

    fn ca(names: &[&str], days: u32, test: impl FnOnce(&KeyPair, SystemTime)) {
        let (home, now) = (tempfile::tempdir().unwrap(), UNIX_EPOCH + DAY * 20_500);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = LocalCa::new(&names, now - DAY..now + DAY * days).unwrap();
        let pair = KeyPair { certificate: home.path().join("ca.pem"), key: home.path().join("ca.key") };
        std::fs::write(&pair.certificate, &made.certificate).unwrap();
        std::fs::write(&pair.key, made.key.expose()).unwrap();
        test(&pair, now);
    }

    fn hosts(names: &[&str]) -> impl Iterator<Item = String> {
        names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn a_certificate_for_each_account_is_kept_until_half_of_its_life_is_over() {
        ca(&["a.example.com", "b.example.com"], 365, |pair, now| {
            let made = Intercept::new(pair, hosts(&["A.example.com", "b.example.com"]), now).unwrap();
            let server = |host, after| made.server(host, now + after).unwrap();
            let first = server("a.example.com", Duration::ZERO).unwrap();
            let same =
                |other: &Option<Arc<ServerConfig>>| other.as_ref().is_some_and(|other| Arc::ptr_eq(other, &first));
            assert!(same(&server("a.example.com", LIFE / 2 - Duration::from_secs(1))));
            assert!(!same(&server("b.example.com", Duration::ZERO)));
            assert!(!same(&server("a.example.com", LIFE / 2)));
            assert!(server("c.example.com", Duration::ZERO).is_none());
            // What it signs is valid no longer than it is itself.
            let (chain, _) = made.sign("a.example.com", now + DAY * 364).unwrap();
            assert!(super::super::end_of(&chain[0]).unwrap() <= made.ca.ends);
        });
    }

    #[test]
    fn a_ca_that_may_not_sign_is_refused_with_its_reason() {
        ca(&["a.example.com"], 365, |pair, now| {
            let error = Intercept::new(pair, hosts(&["other.example.com"]), now).err().unwrap();
            assert!(error.to_string().contains("may not sign for other.example.com"), "{error}");
            let signed = LocalCa::sign(
                &std::fs::read_to_string(&pair.certificate).unwrap(),
                &crate::base::secret::Secret::new(std::fs::read_to_string(&pair.key).unwrap()),
                &["a.example.com".to_owned()],
                now - DAY..now + DAY,
            );
            let signed = signed.unwrap();
            std::fs::write(&pair.certificate, &signed.certificate).unwrap();
            std::fs::write(&pair.key, signed.key.expose()).unwrap();
            let error = Intercept::new(pair, hosts(&["a.example.com"]), now).err().unwrap();
            assert!(error.to_string().contains("is no CA's"), "{error}");
        });
        // One that has ended is told by the log, like any certificate of a listener.
        ca(&["a.example.com"], 1, |pair, now| {
            let late = Intercept::new(pair, hosts(&["a.example.com"]), now + DAY * 2).unwrap();
            assert!(late.ca.has_ended(now + DAY * 2));
        });
    }
}
