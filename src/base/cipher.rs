//! [`Cipher`]: AES-256-GCM (NIST SP 800-38D) with a key derived from a secret for one purpose.
//!
//! The key is HKDF-SHA256 (RFC 5869) of the secret with the purpose as its info, so that two uses of one secret share
//! no key. aws-lc makes the nonces, not [`super::clock::Random`]: if a test could fix a nonce, a mistake could repeat
//! one. 96 random bits allow 2³² messages under a key; the gate seals a few per login.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use secrecy::zeroize::Zeroizing;

use super::secret::Secret;

const NONCE: usize = 12;
/// The least length of the secret for a key: 256 bits in base64 are 44 characters, in hex 64.
pub const LEAST_SECRET: usize = 32;

/// A key and its purpose.
pub struct Cipher {
    key: RandomizedNonceKey,
    purpose: &'static [u8],
}

/// The cryptographic library could not derive a key, or could not seal with it.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the cryptographic library failed")]
pub struct CipherError;

impl Cipher {
    /// The key of a secret for a purpose.
    ///
    /// # Errors
    /// [`CipherError`].
    pub fn derive(secret: &Secret, purpose: &'static [u8]) -> Result<Self, CipherError> {
        let key = expand(secret, purpose)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &*key).map_err(|_| CipherError)?;
        Ok(Self { key, purpose })
    }

    /// Appends nonce, sealed text and tag to `into`, and authenticates the text already there.
    ///
    /// # Errors
    /// [`CipherError`].
    pub fn seal_after(&self, into: &mut Vec<u8>, text: &[u8]) -> Result<(), CipherError> {
        let mut sealed = Zeroizing::new(text.to_vec());
        let aad = Aad::from([self.purpose, into].concat());
        let (nonce, tag) = self.key.seal_in_place_separate_tag(aad, &mut sealed).map_err(|_| CipherError)?;
        into.extend_from_slice(nonce.as_ref());
        into.extend_from_slice(&sealed);
        into.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens the output of [`Cipher::seal_after`], whose first `clear` bytes are in clear text; `None` if the key or
    /// the purpose differs, or if any byte has changed.
    pub fn open_after(&self, sealed: &[u8], clear: usize) -> Option<Zeroizing<Vec<u8>>> {
        let (clear, sealed) = sealed.split_at_checked(clear)?;
        let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(sealed.to_vec());
        let length = self.key.open_in_place(nonce, Aad::from([self.purpose, clear].concat()), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(…)")
    }
}

/// Derives 32 bytes from a secret for a purpose; they reveal nothing about those for another purpose.
///
/// # Errors
/// [`CipherError`].
pub fn expand(secret: &Secret, purpose: &'static [u8]) -> Result<Zeroizing<[u8; 32]>, CipherError> {
    let extracted = Salt::new(HKDF_SHA256, b"patgate").extract(secret.expose().as_bytes());
    let mut bytes = Zeroizing::new([0; 32]);
    let expanded = extracted.expand(&[purpose], Aes256).and_then(|expanded| expanded.fill(&mut *bytes));
    expanded.map_err(|_| CipherError).map(|()| bytes)
}

struct Aes256;

impl KeyType for Aes256 {
    fn len(&self) -> usize {
        AES_256_GCM.key_len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_secret_for_the_same_purpose_alone() {
        let secret = Secret::new("0123456789abcdef0123456789abcdef".into());
        let cipher = Cipher::derive(&secret, b"a").unwrap();
        let mut sealed = b"head".to_vec();
        cipher.seal_after(&mut sealed, b"text").unwrap();
        assert_eq!(sealed.len(), 4 + NONCE + 4 + 16, "nonce, text and tag");
        assert_eq!(cipher.open_after(&sealed, 4).unwrap().as_slice(), b"text");
        let mut again = b"head".to_vec();
        cipher.seal_after(&mut again, b"text").unwrap();
        assert_ne!(sealed, again, "a nonce serves once");
        assert!(Cipher::derive(&secret, b"b").unwrap().open_after(&sealed, 4).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(cipher.open_after(&changed, 4).is_none(), "{at}");
            assert!(cipher.open_after(&sealed[..at], 4).is_none(), "{at}");
        }
    }
}
