//! The certificate store of Windows: the key stays in it, also one that cannot be exported, and signs there (CNG).

use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls_cng::cert::CertContext;
use rustls_cng::signer::CngSigningKey;
use rustls_cng::store::{CertStore, CertStoreType};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate;

/// Where it is looked for: a service sees the machine's store, a gate in the foreground also that of its user.
const PLACES: [CertStoreType; 2] = [CertStoreType::LocalMachine, CertStoreType::CurrentUser];

/// The certificate of this name, with its chain and its key: `STORE/THUMBPRINT`, or `STORE/HOST` for the one that is
/// valid longest for this host, so that a renewed one is taken by itself.
///
/// # Errors
/// If there is none, or the gate's account may not use its key.
pub(super) fn certified(name: &str) -> io::Result<CertifiedKey> {
    let Some((store, wanted)) = name.split_once('/') else {
        return Err(io::Error::other("write windows:STORE/THUMBPRINT or windows:STORE/HOST; the usual store is MY"));
    };
    let found = PLACES.iter().find_map(|place| newest(&CertStore::open(*place, store).ok()?, wanted));
    let found = found.ok_or_else(|| {
        io::Error::other(format!("the store {store} of this machine has no certificate with a key for {wanted}"))
    })?;
    let key = found.acquire_key(true).and_then(CngSigningKey::new).map_err(|error| {
        io::Error::other(format!(
            "the gate's account may not use the key of this certificate, or it is none of CNG: in certlm.msc, All \
             Tasks, Manage Private Keys, let the account read it ({error})"
        ))
    })?;
    let chain = found.as_chain_der().map_err(io::Error::other)?;
    Ok(CertifiedKey::new(chain.into_iter().map(CertificateDer::from).collect(), Arc::new(key)))
}

/// The one with this thumbprint, or the one for this host that ends last.
fn newest(store: &CertStore, wanted: &str) -> Option<CertContext> {
    let bare: String = wanted.chars().filter(|c| !c.is_whitespace()).collect();
    if let Some(hash) = hex::decode(&bare).ok().filter(|hash| hash.len() == 20) {
        return store.find_by_sha1(hash).ok()?.into_iter().next();
    }
    let ends = |one: &CertContext| {
        let (_, read) = X509Certificate::from_der(one.as_der()).ok()?;
        let is_for = certificate::names(&read).iter().any(|name| name.eq_ignore_ascii_case(wanted));
        is_for.then(|| certificate::at(read.validity().not_after))
    };
    let all = store.find_all().ok()?.into_iter();
    all.filter_map(|one| Some((ends(&one)?, one))).max_by_key(|(ends, _)| *ends).map(|(_, one)| one)
}

#[cfg(test)]
mod tests {
    use super::*;

    // That a certificate of the store serves shows on Windows alone: Wine has no keys of CNG for certificates.
    #[test]
    fn one_that_is_not_there_is_told_and_so_is_a_name_that_is_none() {
        let told = |name| certified(name).map(drop).unwrap_err().to_string();
        assert!(told("MY/gate.example.com").contains("no certificate with a key for gate.example.com"));
        assert!(told("MY/0123456789abcdef0123456789abcdef01234567").contains("no certificate"));
        assert!(told("gate.example.com").contains("windows:STORE/THUMBPRINT"));
    }
}
