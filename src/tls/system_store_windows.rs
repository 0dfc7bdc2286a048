//! The certificate store of Windows: the key stays in it, also one that cannot be exported, and signs there (CNG).
#![expect(unsafe_code, reason = "rustls-cng opens a store to write to it too, which a service's account may not")]

use std::io;
use std::ptr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls_cng::cert::CertContext;
use rustls_cng::signer::CngSigningKey;
use windows_sys::Win32::Security::Cryptography::{
    CERT_CONTEXT, CERT_STORE_OPEN_EXISTING_FLAG, CERT_STORE_PROV_SYSTEM_W, CERT_STORE_READONLY_FLAG,
    CERT_SYSTEM_STORE_CURRENT_USER_ID, CERT_SYSTEM_STORE_LOCAL_MACHINE_ID, CERT_SYSTEM_STORE_LOCATION_SHIFT,
    CertCloseStore, CertDuplicateCertificateContext, CertEnumCertificatesInStore, CertOpenStore,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate;
use crate::state::account::wide;

/// Where it is looked for: a service sees the machine's store, a gate in the foreground also that of its user.
const PLACES: [u32; 2] = [CERT_SYSTEM_STORE_LOCAL_MACHINE_ID, CERT_SYSTEM_STORE_CURRENT_USER_ID];

/// The certificate of this name, with its chain and its key: `STORE/THUMBPRINT`, or `STORE/HOST` for the one for this
/// host that is valid now, has a key, and ends last, so that a renewed one is taken by itself.
///
/// # Errors
/// If there is none, or the gate's account may not use its key.
pub(super) fn certified(name: &str) -> io::Result<CertifiedKey> {
    let mut why = None;
    for found in candidates(name)? {
        match found.acquire_key(true).and_then(CngSigningKey::new) {
            Ok(key) => {
                let chain = found.as_chain_der().map_err(io::Error::other)?;
                let chain = chain.into_iter().map(CertificateDer::from).collect();
                return Ok(CertifiedKey::new(chain, Arc::new(key)));
            }
            Err(error) => why = why.or(Some(error)),
        }
    }
    Err(io::Error::other(match why {
        None => format!("no store of this machine has a certificate {name} that is valid now"),
        Some(error) => format!(
            "the certificate has no key that the gate's account may use, or none of CNG: in certlm.msc, All Tasks, \
             Manage Private Keys, let the account read it ({error})"
        ),
    }))
}

/// The certificate alone, in DER form, to notice another.
///
/// # Errors
/// If there is none.
pub(super) fn content(name: &str) -> io::Result<Vec<u8>> {
    let found = candidates(name)?.into_iter().next();
    found.map(|one| one.as_der().to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Those that the name means, the one that ends last first.
fn candidates(name: &str) -> io::Result<Vec<CertContext>> {
    let Some((store, wanted)) = name.split_once('/') else {
        return Err(io::Error::other("write windows:STORE/THUMBPRINT or windows:STORE/HOST; the usual store is MY"));
    };
    let bare: String = wanted.chars().filter(|c| !c.is_whitespace()).collect();
    let thumbprint = hex::decode(&bare).ok().filter(|hash| hash.len() == 20);
    let (mut found, mut refused, mut opened) = (Vec::new(), None, false);
    for place in PLACES {
        match all(place, store) {
            Ok(all) => {
                opened = true;
                found.extend(all.into_iter().filter_map(|one| Some((fits(&one, wanted, thumbprint.as_deref())?, one))))
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    if let Some(error) = refused.filter(|_| !opened) {
        return Err(io::Error::other(format!("the store {store} cannot be opened: {error}")));
    }
    found.sort_by_key(|(ends, _)| std::cmp::Reverse(*ends));
    Ok(found.into_iter().map(|(_, one)| one).collect())
}

/// When one ends, if it is meant. By its host only one that is valid now is.
fn fits(one: &CertContext, wanted: &str, thumbprint: Option<&[u8]>) -> Option<SystemTime> {
    let (_, read) = X509Certificate::from_der(one.as_der()).ok()?;
    let ends = certificate::at(read.validity().not_after);
    let is_meant = match thumbprint {
        Some(thumbprint) => sha1(one.as_der()) == thumbprint,
        None => {
            read.validity().is_valid() && certificate::names(&read).iter().any(|name| name.eq_ignore_ascii_case(wanted))
        }
    };
    is_meant.then_some(ends)
}

/// A thumbprint, as Windows has it.
fn sha1(der: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref().to_vec()
}

/// All certificates of a store, which is opened to read alone.
fn all(place: u32, store: &str) -> io::Result<Vec<CertContext>> {
    let name = wide(store);
    let flags = place << CERT_SYSTEM_STORE_LOCATION_SHIFT | CERT_STORE_OPEN_EXISTING_FLAG | CERT_STORE_READONLY_FLAG;
    // SAFETY: the name ends with a zero and lives over the call.
    let opened = unsafe { CertOpenStore(CERT_STORE_PROV_SYSTEM_W, 0, 0, flags, name.as_ptr().cast()) };
    if opened.is_null() {
        return Err(io::Error::last_os_error());
    }
    let (mut found, mut last) = (Vec::new(), ptr::null::<CERT_CONTEXT>());
    // SAFETY: the store is open; each call frees the context that it is given, so that a duplicate is kept, which
    // `CertContext` frees and which keeps what it needs of the store.
    unsafe {
        loop {
            last = CertEnumCertificatesInStore(opened, last);
            if last.is_null() {
                break;
            }
            found.push(CertContext::new_owned(CertDuplicateCertificateContext(last)));
        }
        CertCloseStore(opened, 0);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    // That a certificate of the store serves shows on Windows alone: Wine has no keys of CNG for certificates.
    #[test]
    fn one_that_is_not_there_is_told_and_so_is_a_name_that_is_none() {
        let told = |name| certified(name).map(drop).unwrap_err().to_string();
        // The store of roots is everywhere; it has no keys.
        for name in ["Root/gate.example.com", "Root/0123456789abcdef0123456789abcdef01234567"] {
            assert!(told(name).contains(&format!("a certificate {name} that is valid now")), "{}", told(name));
        }
        assert!(told("nosuchstore/gate.example.com").contains("the store nosuchstore cannot be opened"));
        assert!(told("gate.example.com").contains("windows:STORE/THUMBPRINT"));
    }
}
