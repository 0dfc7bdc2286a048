//! Identifiers: each has its own type, so that the compiler finds a mix-up. None of them is a secret.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::clock::{NoEntropy, Random};
use super::secret::Secret;

/// Which version of a PAT: the first 48 bits of the SHA-256 of the token, in 12 hex digits. That is enough to tell
/// versions apart in a log and too little to guess the token from. Stores have version names of their own; this one is
/// the same in all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct PatId(Arc<str>);

impl PatId {
    /// The id of a token.
    pub fn of(pat: &Secret) -> Self {
        Self(pat.fingerprint().into())
    }

    /// Reads 12 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let whole = text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        whole.then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// An id that was written by a gate: in a ticket, or in the state directory.
    pub fn trusted(text: &str) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for PatId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<PatId> for String {
    fn from(id: PatId) -> Self {
        id.0.as_ref().into()
    }
}

impl fmt::Display for PatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Snowflake user of an account, which Snowflake locks after bad logins. Two credentials may name the same user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceUser {
    account: Arc<str>,
    user: Arc<str>,
}

impl ServiceUser {
    /// The user of the account at this host. Both are case-insensitive: a host by RFC 9110, section 4.2.3, and a user
    /// because Snowflake resolves login names without case (CREATE USER, parameter LOGIN_NAME).
    pub fn new(host: &str, user: &str) -> Self {
        Self { account: host.to_lowercase().into(), user: user.to_uppercase().into() }
    }

    /// Whether the other is of the same account.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.account == other.account
    }

    /// The account's host, in small letters. Its name in a configuration may change.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The user, in capitals.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Its form in a ticket.
    pub fn tag(&self) -> UserTag {
        UserTag::of(format!("{}\n{}", self.account, self.user).as_bytes())
    }
}

impl fmt::Display for ServiceUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.user)
    }
}

/// The first 64 bits of a SHA-256.
fn tag(bytes: &[u8]) -> [u8; 8] {
    let mut tag = [0; 8];
    tag.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..8]);
    tag
}

/// A [`ServiceUser`] in 64 bits, for tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserTag(pub [u8; 8]);

impl UserTag {
    fn of(bytes: &[u8]) -> Self {
        Self(tag(bytes))
    }
}

/// A client key in 64 bits, for tickets: the first bytes of its SHA-256. It tells the two keys of a client apart, and
/// reveals nothing about the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyTag(pub [u8; 8]);

impl KeyTag {
    /// The tag of a client without a key.
    pub const NONE: Self = Self([0; 8]);

    /// The tag of the key with this SHA-256.
    pub fn of_hash(hash: &[u8; 32]) -> Self {
        let mut tag = [0; 8];
        tag.copy_from_slice(&hash[..8]);
        Self(tag)
    }
}

/// The gate's own id of a session, the same over its renewals: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// A new one.
    ///
    /// # Errors
    /// [`NoEntropy`].
    pub fn new(random: &dyn Random) -> Result<Self, NoEntropy> {
        let mut bytes = [0; 16];
        random.fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Its bits in the form of a UUID (RFC 9562, section 4), as Snowflake has ids of requests.
    pub fn as_uuid(&self) -> String {
        let hex = hex::encode(self.0);
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// Reads 32 hex digits, as `Display` writes them.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_are_read_as_they_are_written() {
        let id = SessionId([0xab; 16]);
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        for bad in ["", "+f", &"g".repeat(32), &"a".repeat(31), "+aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
            assert_eq!(SessionId::parse(bad), None);
        }
    }

    #[test]
    fn one_service_user_has_one_name_however_it_is_written() {
        let user = ServiceUser::new("Org-Prod.snowflakecomputing.com", "bi_service");
        assert_eq!(user, ServiceUser::new("org-prod.snowflakecomputing.com", "BI_SERVICE"));
        assert_eq!(user.to_string(), "org-prod.snowflakecomputing.com/BI_SERVICE");
        assert_ne!(user.tag(), ServiceUser::new("org-prod.snowflakecomputing.com", "OTHER").tag());
    }

    #[test]
    fn pat_ids_are_twelve_hex_digits() {
        let id = PatId::of(&Secret::new("canary".into()));
        assert_eq!(PatId::parse(id.as_str()), Some(id));
        assert_eq!(PatId::parse("0123456789AB").unwrap().as_str(), "0123456789ab");
        for bad in ["", "x", "0123456789a", "0123456789abc", "0123456789ag"] {
            assert!(PatId::parse(bad).is_none(), "{bad}");
        }
    }
}
