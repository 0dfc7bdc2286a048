//! [`Secret`]: text that cannot be printed by accident.
//!
//! The type has no `Display`, no `Serialize`, and a `Debug` that prints a constant. Only [`Secret::expose`] gives the
//! content, so that a reviewer finds every use with one search. A drop wipes the memory, but not the copies in TLS and
//! HTTP buffers.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret, SecretString};

/// A PAT, a store token, a private key, a client key: anything whose disclosure is an incident.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes ownership of `text`, so that the caller keeps no copy.
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The only way to the content. Every call site is a place to review.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The first 48 bits of the SHA-256, in hex: enough to tell two versions apart in a log, too little to guess from.
    pub fn fingerprint(&self) -> String {
        hex::encode(&digest(&SHA256, self.expose().as_bytes()).as_ref()[..6])
    }

    /// Compares in constant time, so that the duration does not reveal where the two differ.
    pub fn same_as(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq;
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_content() {
        let secret = Secret::new("canary-1".into());
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(secret.fingerprint().len(), 12);
    }

    #[test]
    fn comparison_is_by_content() {
        assert!(Secret::new("a".into()).same_as(&Secret::new("a".into())));
        assert!(!Secret::new("a".into()).same_as(&Secret::new("b".into())));
    }
}
