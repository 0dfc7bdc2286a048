//! [`LoginSecret`]: what a Snowflake user logs in with, as a store has it; and [`Presented`]: what stands for it in one
//! login or REST request.
//!
//! Facts: a PAT is sent as it is, by its own authenticator (`py:auth/pat.py`). In place of a key pair goes a token that
//! it signs, fresh each time: `AUTHENTICATOR` = `SNOWFLAKE_JWT` and the token in `TOKEN` (`go:auth.go`,
//! `py:auth/keypair.py`); for REST `Bearer` and the kind `KEYPAIR_JWT` (`docs` "Authenticating Snowflake REST APIs to
//! Snowflake"). Drivers let it live for 60 s (`go:dsn.go`, `py:auth/keypair.py`).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::PAT_AUTHENTICATOR;
use super::key_pair::{KeyPair, KeyPairError, SigningFailed};
use crate::base::ids::PatId;
use crate::base::secret::Secret;

/// How long a signed token lives: the minute that drivers give, and one more for a clock that is behind and for a
/// connection that is slow.
const LIFETIME: Duration = Duration::from_secs(120);

/// What a Snowflake user logs in with.
#[derive(Clone)]
pub enum LoginSecret {
    /// A programmatic access token.
    Pat(Secret),
    /// A key pair.
    KeyPair(Arc<PrivateKey>),
}

/// A private key as it is stored, and the key pair that was made of it. It has no `Debug`.
pub struct PrivateKey {
    pem: Secret,
    passphrase: Option<Secret>,
    pair: KeyPair,
}

impl PrivateKey {
    /// Its public half, as Snowflake takes it: [`KeyPair::public_pem_body`].
    pub fn public_pem_body(&self) -> String {
        self.pair.public_pem_body()
    }
}

impl LoginSecret {
    /// The secret in a PEM, with the passphrase of an encrypted one.
    ///
    /// # Errors
    /// [`KeyPairError`].
    pub fn key_pair(pem: Secret, passphrase: Option<Secret>) -> Result<Self, KeyPairError> {
        let pair = KeyPair::parse(&pem, passphrase.as_ref())?;
        Ok(Self::KeyPair(Arc::new(PrivateKey { pem, passphrase, pair })))
    }

    /// Which version it is: the fingerprint of what is stored.
    pub fn id(&self) -> PatId {
        PatId::of(self.stored().0)
    }

    /// The token or the PEM, and the passphrase.
    pub fn stored(&self) -> (&Secret, Option<&Secret>) {
        match self {
            Self::Pat(pat) => (pat, None),
            Self::KeyPair(key) => (&key.pem, key.passphrase.as_ref()),
        }
    }

    /// Whether it was made of this token or PEM, and this passphrase.
    pub fn is_made_of(&self, stored: &Secret, passphrase: Option<&Secret>) -> bool {
        let (own, own_passphrase) = self.stored();
        let same = match (own_passphrase, passphrase) {
            (None, None) => true,
            (Some(one), Some(two)) => one.same_as(two),
            (None, Some(_)) | (Some(_), None) => false,
        };
        own.same_as(stored) && same
    }

    /// The PAT, if it is one.
    pub fn pat(&self) -> Option<&Secret> {
        match self {
            Self::Pat(pat) => Some(pat),
            Self::KeyPair(_) => None,
        }
    }

    /// What stands for it in one request of a user at that time. A key pair signs a new token each time.
    ///
    /// # Errors
    /// [`SigningFailed`].
    pub fn present(&self, account: &str, user: &str, now: SystemTime) -> Result<Presented, SigningFailed> {
        Ok(match self {
            Self::Pat(pat) => Presented::pat(pat.clone()),
            Self::KeyPair(key) => {
                let token = key.pair.token(account, user, now, LIFETIME)?;
                Presented::key_pair(token)
            }
        })
    }
}

/// What stands for a secret in one request.
#[derive(Debug, Clone)]
pub struct Presented {
    token: Secret,
    is_key_pair: bool,
}

impl Presented {
    /// A PAT as it is.
    pub fn pat(token: Secret) -> Self {
        Self { token, is_key_pair: false }
    }

    /// A token that a key pair has signed.
    pub fn key_pair(token: Secret) -> Self {
        Self { token, is_key_pair: true }
    }

    /// The token.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// Whether a key pair has signed the token.
    pub fn is_key_pair(&self) -> bool {
        self.is_key_pair
    }

    /// `AUTHENTICATOR` of a login.
    pub fn authenticator(&self) -> &'static str {
        if self.is_key_pair { "SNOWFLAKE_JWT" } else { PAT_AUTHENTICATOR }
    }

    /// The kind of the bearer token of a REST request.
    pub fn token_type(&self) -> &'static str {
        if self.is_key_pair { "KEYPAIR_JWT" } else { PAT_AUTHENTICATOR }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn a_pat_goes_as_it_is_and_a_key_pair_as_a_token_of_that_moment() {
        let pat = LoginSecret::Pat(secret("the-pat"));
        let sent = pat.present("acct", "svc", UNIX_EPOCH).unwrap();
        assert_eq!((sent.token().expose(), sent.authenticator()), ("the-pat", PAT_AUTHENTICATOR));
        assert_eq!((sent.token_type(), sent.is_key_pair()), (PAT_AUTHENTICATOR, false));

        let pem = include_str!("../../tests/keys/ec.pem");
        let key = LoginSecret::key_pair(secret(pem), None).unwrap_or_else(|error| panic!("{error}"));
        let at = |seconds| key.present("acct", "svc", UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        let (first, second) = (at(1_790_000_000), at(1_790_000_001));
        assert_eq!((first.authenticator(), first.token_type()), ("SNOWFLAKE_JWT", "KEYPAIR_JWT"));
        assert!(!first.token().same_as(second.token()) && first.token().expose().split('.').count() == 3);
        assert_eq!(key.id(), PatId::of(&secret(pem)), "the version is that of the store");
        assert!(key.pat().is_none());
    }

    #[test]
    fn another_passphrase_is_another_secret() {
        let pem = include_str!("../../tests/keys/ec.pem");
        let key = |phrase: Option<&str>| LoginSecret::key_pair(secret(pem), phrase.map(secret)).ok().unwrap();
        let made = |one: Option<&str>, two: Option<&str>| key(one).is_made_of(&secret(pem), two.map(secret).as_ref());
        assert!(made(None, None) && made(Some("a"), Some("a")));
        assert!(!made(None, Some("a")) && !made(Some("a"), None) && !made(Some("a"), Some("b")));
    }
}
