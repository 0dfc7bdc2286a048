//! Client keys: `pgk_<client>_<random>_<check>`.
//!
//! The random part is 256 bits in 43 digits of base 62. The check is the first 32 bits, in hex, of the SHA-256 of the
//! text before it, so that the gate can tell a damaged key from a wrong one. With the prefix, secret scanners find
//! keys, and the gate can tell a key from a PAT that was entered by mistake. The gate stores only the SHA-256 of the
//! whole key: with that entropy a slow hash would only make denial of service easier.

use aws_lc_rs::digest::{SHA256, digest};

use crate::base::clock::{NoEntropy, Random};
use crate::base::names::ClientName;
use crate::base::secret::Secret;

pub use crate::base::names::CLIENT_KEY_PREFIX as PREFIX;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_DIGITS: usize = 43;

/// Whether these bytes may contain a key or a part of one.
pub fn stands_in(bytes: &[u8]) -> bool {
    bytes.windows(PREFIX.len()).any(|part| part == PREFIX.as_bytes())
}

/// A key as it was presented: the client it names and the hash that must be on its list.
pub struct ClientKey {
    /// The client that the key names.
    pub client: ClientName,
    /// SHA-256 of the whole key.
    pub hash: [u8; 32],
}

/// Why a text is not a client key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKey {
    /// It does not have the prefix.
    Foreign,
    /// It has the prefix, but a character is missing or wrong.
    Damaged,
}

impl ClientKey {
    /// Reads a key.
    ///
    /// # Errors
    /// [`NoKey`], by its form. This does not check whether the key is valid.
    pub fn parse(presented: &Secret) -> Result<Self, NoKey> {
        let text = presented.expose();
        let rest = text.strip_prefix(PREFIX).ok_or(NoKey::Foreign)?;
        let (signed, check) = text.rsplit_once('_').ok_or(NoKey::Damaged)?;
        let mut parts = rest.split('_');
        let (client, random) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let whole = parts.next() == Some(check) && parts.next().is_none();
        let digits = random.len() == RANDOM_DIGITS && random.bytes().all(|b| b.is_ascii_alphanumeric());
        if !whole || !digits || check != check_of(signed) {
            return Err(NoKey::Damaged);
        }
        let client = ClientName::parse(client).ok_or(NoKey::Damaged)?;
        Ok(Self { client, hash: sha256(text) })
    }
}

/// Makes a new key for a client.
///
/// # Errors
/// [`NoEntropy`].
pub fn issue(client: &ClientName, random: &dyn Random) -> Result<Secret, NoEntropy> {
    let mut bytes = [0; 32];
    random.fill(&mut bytes)?;
    let signed = format!("{PREFIX}{client}_{}", base62(bytes));
    let check = check_of(&signed);
    Ok(Secret::new(format!("{signed}_{check}")))
}

/// A key's hash as the configuration writes it: `sha256:` and 64 hex digits.
pub fn stored(key: &Secret) -> String {
    format!("sha256:{}", hex::encode(sha256(key.expose())))
}

fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

fn check_of(signed: &str) -> String {
    hex::encode(&sha256(signed)[..4])
}

/// The bytes as a number in base 62, with leading zeros.
fn base62(mut number: [u8; 32]) -> String {
    let mut digits = [0; RANDOM_DIGITS];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            rest = value % 62;
        }
        *digit = DIGITS[usize::try_from(rest).unwrap_or(0)];
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}
