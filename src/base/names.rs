//! Names: the code that reads input parses them once; all other code trusts them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The prefix of every client key, so that secret scanners find keys, and the gate can tell a key from a PAT that was
/// entered by mistake.
pub const CLIENT_KEY_PREFIX: &str = "pgk_";

/// The prefix of every sealed token, for secret scanners, and to tell it from Snowflake's tokens.
pub const SEALED_PREFIX: &str = "pgs1_";

/// The name of a client in the configuration and in its key.
///
/// 1 to 63 of `a-z 0-9 -`, beginning and ending with a letter or digit. An underscore is not among them, because it
/// separates the parts of a client key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientName(Arc<str>);

impl ClientName {
    /// What [`ClientName::parse`] accepts, for error texts.
    pub const RULE: &str = "1 to 63 of a-z, 0-9 and '-', with a letter or a digit at both ends";

    /// Reads a name; `None` when it breaks [`ClientName::RULE`].
    pub fn parse(text: &str) -> Option<Self> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fits =
            (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-');
        fits.then(|| Self(text.into()))
    }

    /// The name, shared.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name in a certificate: `dns:NAME` or `uri:URI`, compared whole. A wildcard is a name like any other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CertificateName {
    /// A DNS name, in small letters.
    Dns(String),
    /// A URI, such as a SPIFFE id.
    Uri(String),
}

impl CertificateName {
    /// Reads a name; `None` if it has neither prefix, or nothing after it.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty())?;
        match kind {
            "dns" => Some(Self::Dns(name.to_ascii_lowercase())),
            "uri" => Some(Self::Uri(name.to_owned())),
            _ => None,
        }
    }
}

/// `STORE:PATH#FIELD`: the reference of a secret. It names a secret and contains none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretRef {
    /// The name of a configured store.
    pub store: Arc<str>,
    /// The store's name of the secret: a path, a file, a variable.
    pub path: Arc<str>,
    /// The member to take if the value is a JSON object; without it, the whole value is the secret.
    pub field: Option<Arc<str>>,
}

impl SecretRef {
    /// What every reference matches, and neither a token nor a key.
    pub const PATTERN: &str = "^[^:]+:.";

    /// Reads `STORE:PATH` or `STORE:PATH#FIELD`; `None` when a part is missing.
    pub fn parse(text: &str) -> Option<Self> {
        let (store, rest) = text.split_once(':')?;
        let (path, field) = match rest.rsplit_once('#') {
            Some((path, field)) => (path, Some(field)),
            None => (rest, None),
        };
        let empty = store.is_empty() || path.is_empty() || field.is_some_and(str::is_empty);
        (!empty).then(|| Self { store: store.into(), path: path.into(), field: field.map(Into::into) })
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.store, self.path)?;
        match &self.field {
            Some(field) => write!(f, "#{field}"),
            None => Ok(()),
        }
    }
}

/// One or more references in their order: the first, and its fallbacks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretRefs(Arc<[SecretRef]>);

impl SecretRefs {
    /// These references; `None` if there is none.
    pub fn new(references: Vec<SecretRef>) -> Option<Self> {
        (!references.is_empty()).then(|| Self(references.into()))
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, SecretRef> {
        self.0.iter()
    }
}

impl fmt::Display for SecretRefs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, reference) in self.iter().enumerate() {
            let or = if number == 0 { "" } else { " or " };
            write!(f, "{or}{reference}")?;
        }
        Ok(())
    }
}

/// What a Snowflake user logs in with, by reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LoginRefs {
    /// A programmatic access token.
    Pat(SecretRefs),
    /// A private key, and the passphrase of an encrypted one.
    KeyPair(SecretRefs, Option<SecretRef>),
}

impl LoginRefs {
    /// The references of the token or the key: the first, and its fallbacks.
    pub fn secret(&self) -> &SecretRefs {
        match self {
            Self::Pat(references) | Self::KeyPair(references, _) => references,
        }
    }

    /// The reference of the passphrase.
    pub fn passphrase(&self) -> Option<&SecretRef> {
        match self {
            Self::Pat(_) => None,
            Self::KeyPair(_, passphrase) => passphrase.as_ref(),
        }
    }

    /// All references.
    pub fn all(&self) -> impl Iterator<Item = &SecretRef> {
        self.secret().iter().chain(self.passphrase())
    }

    /// The word for the kind, which is also its key in the configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pat(_) => "pat",
            Self::KeyPair(..) => "key_pair",
        }
    }
}

impl fmt::Display for LoginRefs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pat(references) => references.fmt(f),
            Self::KeyPair(references, _) => write!(f, "key pair {references}"),
        }
    }
}

/// Whether a `Host` header names this machine: `localhost` or a loopback address, with any port.
pub fn is_this_machine(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_names_keep_to_the_rule() {
        for good in ["a", "powerbi-gateway", "x9", "0"] {
            assert!(ClientName::parse(good).is_some(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a b", "é", &"x".repeat(64)] {
            assert!(ClientName::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn references_split_at_the_first_colon_and_the_last_hash() {
        let full = SecretRef::parse("vault:kv/a#b/c#token").unwrap();
        assert_eq!((&*full.store, &*full.path, full.field.as_deref()), ("vault", "kv/a#b/c", Some("token")));
        assert_eq!(SecretRef::parse("env:PAT").unwrap().to_string(), "env:PAT");
        let both = SecretRefs::new(vec![full, SecretRef::parse("aws:arn:aws:x").unwrap()]).unwrap();
        assert_eq!(both.to_string(), "vault:kv/a#b/c#token or aws:arn:aws:x");
        assert!(SecretRefs::new(Vec::new()).is_none());
        for bad in ["", "vault", ":x", "vault:", "vault:#f", "vault:x#"] {
            assert!(SecretRef::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_host_is_this_machine_by_its_own_names_alone() {
        for ours in ["localhost", "LocalHost:8443", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8443"] {
            assert!(is_this_machine(ours.as_bytes()), "{ours}");
        }
        for foreign in
            ["", "localhost.evil.test", "10.0.0.1", "evil.test:8443", "[2001:db8::1]:1", "127.0.0.1.evil.test"]
        {
            assert!(!is_this_machine(foreign.as_bytes()), "{foreign}");
        }
    }
}
