//! [`KeyPair`]: the key pair of a Snowflake user, and the tokens by which the user logs in with it.
//!
//! Facts: the token is a JWT (RFC 7519, signed by RFC 7515) with `iss` = `ACCOUNT.USER.SHA256:…`, the fingerprint of
//! the public key in it, and `sub` = `ACCOUNT.USER`, both in capitals; it is valid for an hour at most (`docs`
//! "Authenticating Snowflake REST APIs to Snowflake", "Using key-pair authentication"; `go:auth.go`,
//! `py:auth/keypair.py`). Snowflake takes RSA keys of 2048 bits and more, and EC keys (`docs` "Key-pair authentication
//! and key-pair rotation").
//!
//! The crate for JWTs is not used: it brings a second reader of PEM and of ASN.1 with a second version of each, and all
//! that is needed here is two base64 texts and a signature.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use serde_json::json;

pub use super::key_pem::KeyPairError;
use crate::base::epoch::EpochMillis;
use crate::base::secret::Secret;

/// The longest that a token is valid.
pub const LONGEST: Duration = Duration::from_secs(3_600);

/// `rsaEncryption` (RFC 8017, appendix C).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// `id-ecPublicKey` (RFC 5480, section 2.1.1).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// `secp256r1` (RFC 5480, section 2.1.1.1).
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// The key pair of a Snowflake user. It has no `Debug`.
pub struct KeyPair {
    signer: Signer,
    /// The public key as a `SubjectPublicKeyInfo`.
    public: Vec<u8>,
}

enum Signer {
    Rsa(rsa::KeyPair),
    Ec(EcdsaKeyPair),
}

/// The key did not sign, which a machine without memory or entropy may cause.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the private key did not sign")]
pub struct SigningFailed;

impl KeyPair {
    /// Reads a private key: PEM with PKCS#8 in it, RSA of 2048 bits and more or EC P-256. An encrypted one needs its
    /// passphrase; one that is not encrypted needs none, and a passphrase given with it does no harm.
    ///
    /// # Errors
    /// [`KeyPairError`], which says to a person what the text is instead.
    pub fn parse(pem: &Secret, passphrase: Option<&Secret>) -> Result<Self, KeyPairError> {
        let document = super::key_pem::document(pem, passphrase)?;
        let info = PrivateKeyInfoRef::try_from(&**document).map_err(|_| KeyPairError::Damaged)?;
        if info.algorithm.oid == RSA {
            let key = rsa::KeyPair::from_pkcs8(&document).map_err(|refused| match refused.to_string().as_str() {
                "TooSmall" => KeyPairError::TooShort,
                _ => KeyPairError::Damaged,
            })?;
            let public = key.public_key().as_der().map_err(|_| KeyPairError::Damaged)?;
            Ok(Self { public: spki(&public), signer: Signer::Rsa(key) })
        } else if info.algorithm.oid == EC {
            if info.algorithm.parameters_oid() != Ok(P256) {
                return Err(KeyPairError::Curve);
            }
            let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document);
            let key = key.map_err(|_| KeyPairError::Damaged)?;
            let public = key.public_key().as_der().map_err(|_| KeyPairError::Damaged)?;
            Ok(Self { public: spki(&public), signer: Signer::Ec(key) })
        } else {
            Err(KeyPairError::Algorithm)
        }
    }

    /// `SHA256:` and the SHA-256 of the public key in base64, as `DESC USER` shows it in `RSA_PUBLIC_KEY_FP`.
    pub fn public_fingerprint(&self) -> String {
        public_fingerprint(&self.public)
    }

    /// The public key in base64, as `ALTER USER … SET RSA_PUBLIC_KEY = '…'` takes it: the lines of its PEM without the
    /// first and the last.
    pub fn public_pem_body(&self) -> String {
        BASE64_STANDARD.encode(&self.public)
    }

    /// A fresh token for a user of an account, valid from now for this long, but never longer than [`LONGEST`].
    ///
    /// # Errors
    /// [`SigningFailed`].
    pub fn token(
        &self,
        account: &str,
        user: &str,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Secret, SigningFailed> {
        let algorithm = match &self.signer {
            Signer::Rsa(_) => "RS256",
            Signer::Ec(_) => "ES256",
        };
        let subject = format!("{}.{}", account_name(account), user.to_uppercase());
        let (issued, lifetime) = (EpochMillis::of(now).as_secs(), lifetime.min(LONGEST).as_secs());
        let claims = json!({
            "iss": format!("{subject}.{}", self.public_fingerprint()),
            "sub": subject,
            "iat": issued,
            "exp": issued + lifetime,
        });
        let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let mut token = format!("{}.{}", part(json!({ "alg": algorithm, "typ": "JWT" })), part(claims));
        let signature = self.sign(token.as_bytes())?;
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(Secret::new(token))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        let random = SystemRandom::new();
        match &self.signer {
            Signer::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(|_| SigningFailed)?;
                Ok(signature)
            }
            Signer::Ec(key) => {
                key.sign(&random, message).map(|signature| signature.as_ref().to_vec()).map_err(|_| SigningFailed)
            }
        }
    }
}

fn spki(public: &PublicKeyX509Der<'_>) -> Vec<u8> {
    public.as_ref().to_vec()
}

/// The fingerprint of a public key, a `SubjectPublicKeyInfo`.
pub fn public_fingerprint(spki: &[u8]) -> String {
    format!("SHA256:{}", BASE64_STANDARD.encode(digest(&SHA256, spki)))
}

/// The account as tokens name it: in capitals, without the region of a locator and without a host's domain. A name with
/// `.global` loses what follows its first hyphen instead (`py:auth/keypair.py`; `docs` "Using key-pair
/// authentication").
fn account_name(account: &str) -> String {
    let account = account.to_uppercase();
    let end = if account.contains(".GLOBAL") { '-' } else { '.' };
    account.split(end).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
#[path = "key_pair_tests.rs"]
mod tests;
