//! Tests of what a chain and its key say of themselves.

#![cfg(feature = "demo")]

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair as Key,
    date_time_ymd,
};

use super::certificate::Flaw;
use super::{ServerCertificate, TlsError, end_of};
use crate::base::clock::{Clock, SystemClock};
use crate::base::fault::chain;
use crate::base::rfc3339;
use crate::config::KeyPair;

/// Authority information access with caIssuers `http://ca.test` (RFC 5280, section 4.2.2.1).
const CA_ISSUERS: &[u8] = b"\x30\x1c\x30\x1a\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x02\x86\x0ehttp://ca.test";

/// A root, an intermediate that it signed, and a server's certificate that the intermediate signed.
struct Chain {
    home: tempfile::TempDir,
    root: Certificate,
    between: Certificate,
    own: Certificate,
    key: Key,
    issuer: Issuer<'static, Key>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn ca(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Chain {
    fn new(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (root_key, between_key, key) =
            (Key::generate().unwrap(), Key::generate().unwrap(), Key::generate().unwrap());
        let root = ca("root").self_signed(&root_key).unwrap();
        let between = ca("between").signed_by(&between_key, &Issuer::new(ca("root"), root_key)).unwrap();
        let issuer = Issuer::new(ca("between"), between_key);
        let mut own = CertificateParams::new(vec!["gate.test".to_owned(), "10.1.2.3".to_owned()]).unwrap();
        own.distinguished_name.push(DnType::CommonName, "gate");
        change(&mut own);
        let own = own.signed_by(&key, &issuer).unwrap();
        Self { home: tempfile::tempdir().unwrap(), root, between, own, key, issuer }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn read(&self, certificates: &[&Certificate]) -> Result<ServerCertificate, TlsError> {
        let text: String = certificates.iter().map(|one| one.pem()).collect();
        self.read_with(&text, &self.key.serialize_pem())
    }

    fn read_with(&self, chain: &str, key: &str) -> Result<ServerCertificate, TlsError> {
        let pair = KeyPair { certificate: self.write("chain.pem", chain), key: self.write("own.key", key) };
        ServerCertificate::read(&pair)
    }
}

fn said(outcome: Result<ServerCertificate, TlsError>, home: &Path) -> String {
    let text = outcome.map_err(|error| chain(&error)).unwrap_err();
    for raw in ["KeyMismatch", "Other(", "InvalidCertificate", "CertificateError", "BadEncoding"] {
        assert!(!text.contains(raw), "{text}");
    }
    text.replace(&format!("{}{}", home.display(), std::path::MAIN_SEPARATOR), "")
}

#[test]
fn a_certificate_says_whom_it_is_for_and_when_the_first_of_its_chain_ends() {
    let chain = Chain::new(|own| {
        (own.not_before, own.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
    });
    let read = chain.read(&[&chain.own, &chain.between, &chain.root]).unwrap();
    assert_eq!((&*read.subject, &*read.issuer), ("CN=gate", "CN=between"));
    assert_eq!(read.names, ["gate.test", "10.1.2.3"]);
    assert_eq!([read.starts, read.ends].map(rfc3339::show), ["2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"]);
    assert_eq!(read.flaws, []);
    // An intermediate that ends first ends the chain; clients do not look at the root that the gate sends.
    let (mut short, mut root) = (ca("between"), ca("root"));
    (short.not_after, root.not_after) = (date_time_ymd(2026, 6, 1), date_time_ymd(2025, 1, 1));
    let root_key = Key::generate().unwrap();
    let old = root.self_signed(&root_key).unwrap();
    let short = short.signed_by(chain.issuer.key(), &Issuer::new(ca("root"), root_key)).unwrap();
    let read = chain.read(&[&chain.own, &short, &old]).unwrap();
    assert_eq!(rfc3339::show(read.ends), "2026-06-01T00:00:00Z");
}

#[test]
fn what_tools_refuse_is_found_although_tls_can_use_it() {
    let chain = Chain::new(|_| {});
    let flaws = |all: &[&Certificate]| chain.read(all).unwrap().flaws;
    assert_eq!(flaws(&[&chain.own, &chain.between]), []);
    assert_eq!(flaws(&[&chain.own]), [], "a private CA may sign without an intermediate");
    assert_eq!(flaws(&[&chain.own, &chain.root, &chain.between]), [Flaw::Order]);
    assert_eq!(flaws(&[&chain.own, &chain.root]), [Flaw::Gap { issuer: "CN=between".into() }]);
    let public = Chain::new(|own| {
        let access = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], CA_ISSUERS.to_vec());
        own.custom_extensions.push(access);
    });
    assert_eq!(public.read(&[&public.own]).unwrap().flaws, [Flaw::Alone { issuer: "CN=between".into() }]);
    assert_eq!(public.read(&[&public.own, &public.between]).unwrap().flaws, []);
    let nameless = Chain::new(|own| own.subject_alt_names.clear());
    assert_eq!(nameless.read(&[&nameless.own, &nameless.between]).unwrap().flaws, [Flaw::NoNames]);
}

#[test]
fn what_tls_cannot_use_is_told_in_words() {
    let chain = Chain::new(|_| {});
    let (own, between) = (chain.own.pem(), chain.between.pem());
    // On Windows its lines end otherwise.
    let key = chain.key.serialize_pem().replace("\r\n", "\n");
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let legacy = key.replace("-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n");
    let damaged = format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", "MAUCAQE=\n");
    let cases = [
        (&*own, &*Key::generate().unwrap().serialize_pem(), "is not the key of the certificate in chain.pem"),
        (&*format!("{between}{own}"), &*key, "in the wrong order: the certificate of the key is number 2"),
        (&*own, &*encrypted, "the private key in own.key is encrypted"),
        (&*own, &*legacy, "the private key in own.key is encrypted"),
        (&*own, "", "own.key holds no private key in PEM form"),
        ("", &*key, "chain.pem holds no certificate in PEM form"),
        (&*format!("{own}{damaged}"), &*key, "certificate 2 in chain.pem is damaged"),
    ];
    for (certificate, key, wanted) in cases {
        let text = said(chain.read_with(certificate, key), chain.home.path());
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn one_that_no_client_accepts_now_says_since_when() {
    let now = SystemClock.wall();
    let chain = Chain::new(|own| own.not_after = date_time_ymd(2020, 1, 1));
    let text = said(chain.read(&[&chain.own]).and_then(|read| read.check_time(now).map(|()| read)), chain.home.path());
    assert!(text.contains("chain.pem ended at 2020-01-01T00:00:00Z"), "{text}");
    let early = Chain::new(|own| own.not_before = date_time_ymd(2999, 1, 1));
    let text = said(early.read(&[&early.own]).and_then(|read| read.check_time(now).map(|()| read)), early.home.path());
    assert!(text.contains("is valid only from 2999-01-01"), "{text}");
}

#[test]
fn the_end_is_read_in_both_forms_of_a_time_and_never_out_of_bounds() {
    for (year, end) in [(2031, "2031-01-01T00:00:00Z"), (2049, "2049-01-01T00:00:00Z"), (2110, "2110-01-01T00:00:00Z")]
    {
        let mut params = params("a client");
        params.not_after = date_time_ymd(year, 1, 1);
        let der = params.self_signed(&Key::generate().unwrap()).unwrap().der().to_vec();
        assert_eq!(end_of(&der).map(rfc3339::show).as_deref(), Some(end));
        assert!((0..der.len()).all(|cut| end_of(&der[..cut]).is_none()), "{year}");
    }
}
