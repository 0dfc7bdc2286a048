//! A CA of one's own, for a gate whose name no public CA will certify: it may sign for the gate's names and nothing
//! else, so that a machine that trusts it gives nobody else's name away.

use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints,
};

use crate::base::secret::Secret;

/// A CA, and its key.
pub struct LocalCa {
    /// The certificate, PEM.
    pub certificate: String,
    /// The key, PKCS#8 PEM.
    pub key: Secret,
}

/// A server's certificate, and its key.
pub struct Signed {
    /// The certificate, PEM.
    pub certificate: String,
    /// The key, PKCS#8 PEM.
    pub key: Secret,
}

impl LocalCa {
    /// A new CA for these names: DNS names and IP addresses.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn new(names: &[String], valid: Range<SystemTime>) -> io::Result<Self> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, ca_name(names));
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let permitted_subtrees = names.iter().map(|name| subtree(name)).collect();
        ca.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: excluded(names) });
        (ca.not_before, ca.not_after) = (valid.start.into(), valid.end.into());
        let certificate = ca.self_signed(&key).map_err(failed)?.pem();
        Ok(Self { certificate, key: Secret::new(key.serialize_pem()) })
    }

    /// A certificate for these names, signed by the CA with this certificate, in PEM, and this key.
    ///
    /// # Errors
    /// If the key is damaged, or a name is none.
    pub fn sign(ca: &str, ca_key: &Secret, names: &[String], valid: Range<SystemTime>) -> io::Result<Signed> {
        let key = KeyPair::from_pem(ca_key.expose()).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_pem(ca, key).map_err(failed)?;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate =
            server(names, valid).and_then(|server| server.signed_by(&key, &issuer)).map_err(failed)?.pem();
        Ok(Signed { certificate, key: Secret::new(key.serialize_pem()) })
    }
}

/// The name of a CA. Each has its own: of two CAs with one name a tool that trusts the other one says that the
/// signature
/// is bad, and not that it does not know the issuer.
fn ca_name(names: &[String]) -> String {
    let first = names.first().map_or("gates", String::as_str);
    // At most 64 characters (RFC 5280, appendix A.1, ub-common-name).
    format!("patgate CA of {first}").chars().take(64).collect()
}

/// A server's certificate for these names, before it is signed.
///
/// # Errors
/// If a name is none.
pub(super) fn server(names: &[String], valid: Range<SystemTime>) -> Result<CertificateParams, rcgen::Error> {
    let mut server = CertificateParams::new(names)?;
    // Without a DNS name OpenSSL holds this one against the CA's limits, unless it cannot be a host's.
    let named = names.iter().find(|name| name.parse::<IpAddr>().is_err());
    server.distinguished_name.push(DnType::CommonName, named.map_or("a gate of patgate", String::as_str));
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.use_authority_key_identifier_extension = true;
    (server.not_before, server.not_after) = (valid.start.into(), valid.end.into());
    Ok(server)
}

/// All names of a kind that the gate has none of: a kind that is in no list is not limited at all (RFC 5280, section
/// 4.2.1.10).
fn excluded(names: &[String]) -> Vec<GeneralSubtree> {
    let is_ip = |name: &String| name.parse::<IpAddr>().is_ok();
    let mut all = Vec::new();
    if !names.iter().any(is_ip) {
        let any = [IpAddr::from([0; 4]), IpAddr::from([0; 16])];
        all.extend(any.map(|ip| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(ip, 0))));
    }
    if names.iter().all(is_ip) {
        all.push(GeneralSubtree::DnsName(String::new()));
    }
    all
}

fn subtree(name: &str) -> GeneralSubtree {
    match name.parse::<IpAddr>() {
        Ok(ip) => GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(ip, if ip.is_ipv4() { 32 } else { 128 })),
        Err(_) => GeneralSubtree::DnsName(name.to_owned()),
    }
}

fn failed(error: rcgen::Error) -> io::Error {
    io::Error::other(error)
}
