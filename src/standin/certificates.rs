//! A private CA and a server certificate for loopback, for the demo and the tests.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::config;

/// Where the files are.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The CA that clients have to trust.
    pub ca: PathBuf,
    /// The server's chain.
    pub certificate: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes a CA and a certificate for these names, and writes them to a directory.
    ///
    /// # Errors
    /// If it cannot make a key or write a file.
    pub fn make(directory: &Path, names: &[&str]) -> io::Result<Self> {
        Self::make_valid(directory, names, None)
    }

    /// The same; the server's certificate is valid from and until these times.
    ///
    /// # Errors
    /// Like [`Certificates::make`].
    pub fn make_valid(directory: &Path, names: &[&str], times: Option<Range<SystemTime>>) -> io::Result<Self> {
        let failed = io::Error::other::<rcgen::Error>;
        let ca_key = KeyPair::generate().map_err(failed)?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "patgate private CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_certificate = ca.self_signed(&ca_key).map_err(failed)?;
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().map_err(failed)?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut server = CertificateParams::new(names).map_err(failed)?;
        server.distinguished_name.push(DnType::CommonName, "patgate");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if let Some(Range { start, end }) = times {
            (server.not_before, server.not_after) = (start.into(), end.into());
        }
        let certificate = server.signed_by(&key, &issuer).map_err(failed)?;
        let files = Self {
            ca: directory.join("ca.pem"),
            certificate: directory.join("server.pem"),
            key: directory.join("server.key"),
        };
        std::fs::write(&files.ca, ca_certificate.pem())?;
        std::fs::write(&files.certificate, certificate.pem())?;
        super::write_private(&files.key, &key.serialize_pem())?;
        Ok(files)
    }

    /// Certificate and key as the configuration names them.
    pub fn pair(&self) -> config::KeyPair {
        config::KeyPair { certificate: self.certificate.clone(), key: self.key.clone() }
    }
}
