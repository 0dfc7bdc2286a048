//! [`Keyring`]: the keys that seal tickets. One seals, several open.

use std::sync::Arc;

use aws_lc_rs::rand;
use secrecy::zeroize::Zeroizing;

use crate::base::cipher::{Cipher, CipherError, LEAST_SECRET, expand};
use crate::base::secret::Secret;

/// Binds the seal to this use and this form.
const PURPOSE: &[u8] = b"patgate sealed token, form 1";
/// Derives a key's name from its secret; the name reveals nothing about the key.
const NAME: &[u8] = b"patgate sealing key, name";
/// More keys than any gate needs within the lifetime of a session.
pub const MOST: usize = 1024;

/// The name of a key. A sealed token has it in clear text.
pub(super) type KeyId = [u8; 4];

/// The keys, the sealing one first.
#[derive(Debug, Clone)]
pub struct Keyring(Vec<Arc<Key>>);

#[derive(Debug)]
struct Key {
    id: KeyId,
    cipher: Cipher,
}

/// Why a text is not a key ring. It quotes nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The text is empty.
    #[error("the ring has no key")]
    Empty,
    /// One is too short to be a key.
    #[error(
        "key number {0} is shorter than {LEAST_SECRET} characters; make keys with `openssl rand -base64 32`, one a line"
    )]
    Short(usize),
    /// There are too many keys.
    #[error("the ring has more than {MOST} keys")]
    TooMany,
    /// Snowflake's token is too long for a header.
    #[error("the token is too long to be sealed")]
    TooLong,
    /// The cryptographic library failed.
    #[error("no key can be derived")]
    Crypto,
}

impl From<CipherError> for KeyringError {
    fn from(_: CipherError) -> Self {
        Self::Crypto
    }
}

impl Keyring {
    /// Reads a ring: secrets of 32 characters or more, between white space or commas. The first seals.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn parse(text: &Secret) -> Result<Self, KeyringError> {
        let words = text.expose().split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
        let mut keys = Vec::new();
        for (number, word) in words.enumerate() {
            if word.len() < LEAST_SECRET {
                return Err(KeyringError::Short(number + 1));
            }
            if number == MOST {
                return Err(KeyringError::TooMany);
            }
            let secret = Secret::new(word.to_owned());
            let name = expand(&secret, NAME)?;
            let id = [name[0], name[1], name[2], name[3]];
            keys.push(Arc::new(Key { id, cipher: Cipher::derive(&secret, PURPOSE)? }));
        }
        if keys.is_empty() { Err(KeyringError::Empty) } else { Ok(Self(keys)) }
    }

    /// A ring with one random key that only this process has.
    ///
    /// # Errors
    /// [`KeyringError::Crypto`].
    pub fn own() -> Result<Self, KeyringError> {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::fill(&mut *bytes).map_err(|_| KeyringError::Crypto)?;
        Self::parse(&Secret::new(hex::encode(bytes.as_slice())))
    }

    /// This ring, and behind it the keys of another ring, which only open.
    #[must_use]
    pub fn and_opens(mut self, other: &Self) -> Self {
        self.0.extend(other.0.iter().cloned());
        self
    }

    /// How many keys it holds.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a key of that name is on it.
    pub(super) fn knows(&self, id: KeyId) -> bool {
        self.0.iter().any(|key| key.id == id)
    }

    /// `head`, the sealing key's name, and the text sealed.
    pub fn seal(&self, text: &[u8]) -> Result<Vec<u8>, KeyringError> {
        let key = self.0.first().ok_or(KeyringError::Empty)?;
        let mut out = key.id.to_vec();
        key.cipher.seal_after(&mut out, text)?;
        Ok(out)
    }

    /// Opens what [`Keyring::seal`] sealed, with the keys of the name in front.
    pub fn open(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let id = name_in(sealed)?;
        // Two keys share a name with a probability of one in 2³²; try both.
        self.0.iter().filter(|key| key.id == id).find_map(|key| key.cipher.open_after(sealed, id.len()))
    }
}

/// The name of the key that sealed a text.
pub(super) fn name_in(sealed: &[u8]) -> Option<KeyId> {
    sealed.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(words: &[&str]) -> Keyring {
        Keyring::parse(&Secret::new(words.join("\n"))).unwrap()
    }

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn the_first_seals_and_all_open() {
        let sealed = ring(&[A]).seal(b"text").unwrap();
        for opener in [ring(&[A]), ring(&[B, A]), ring(&[A, B])] {
            assert_eq!(opener.open(&sealed).unwrap().as_slice(), b"text");
        }
        let other = ring(&[B]);
        assert!(other.open(&sealed).is_none() && !other.knows(name_in(&sealed).unwrap()));
        assert!(ring(&[B, A]).knows(name_in(&sealed).unwrap()));
    }

    #[test]
    fn what_is_no_ring_is_told_without_its_text() {
        let parse = |text: &str| Keyring::parse(&Secret::new(text.into())).map(|ring| ring.len());
        assert_eq!(parse(&format!(" {A},{B}\r\n")), Ok(2));
        assert_eq!(parse(" \n"), Err(KeyringError::Empty));
        assert_eq!(parse(&format!("{A} canary")), Err(KeyringError::Short(2)));
        assert_eq!(parse(&format!("{A} ").repeat(1025)), Err(KeyringError::TooMany));
    }
}
