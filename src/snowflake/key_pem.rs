//! The PEM of a private key (RFC 7468), and what a person is told who gave something else.
//!
//! Snowflake's users make PKCS#8 keys with `openssl pkcs8 -topk8`, mostly encrypted with triple DES (`docs` "Key-pair
//! authentication and key-pair rotation"). aws-lc-rs signs with them but does not decrypt them: that needs triple DES
//! and scrypt too, so the crate `pkcs8` does it, and nothing else.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use secrecy::zeroize::Zeroizing;

use crate::base::secret::Secret;

/// Why a text is no private key that a Snowflake user can log in with. Each sentence says what to do; none holds
/// anything of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyPairError {
    /// No PEM at all.
    #[error("this is no PEM: a private key begins with -----BEGIN PRIVATE KEY-----")]
    NoPem,
    /// The end or the encoding of the PEM is damaged.
    #[error("the PEM is damaged: copy the whole file, from -----BEGIN to -----END, with its line breaks")]
    Damaged,
    /// The public half.
    #[error(
        "this is the public key, which belongs to Snowflake (ALTER USER … SET RSA_PUBLIC_KEY): give the private key"
    )]
    PublicKey,
    /// A certificate.
    #[error("this is a certificate: give the private key of a Snowflake user (BEGIN PRIVATE KEY)")]
    Certificate,
    /// PKCS#1 or SEC 1.
    #[error("this key is in an old form: convert it with openssl pkcs8 -topk8 -nocrypt -in OLD.pem -out NEW.pem")]
    OldForm,
    /// OpenSSH's own.
    #[error("this key is in OpenSSH's form: convert a copy of it with ssh-keygen -p -m PKCS8 -f COPY")]
    OpenSsh,
    /// Another PEM.
    #[error("this PEM holds something else than a private key: it has to begin with -----BEGIN PRIVATE KEY-----")]
    OtherPem,
    /// Encrypted, and no passphrase is there.
    #[error("this key is encrypted: name its passphrase too")]
    NoPassphrase,
    /// Encrypted with another passphrase.
    #[error("the passphrase does not open this key")]
    WrongPassphrase,
    /// Encrypted in a way that is too old or unknown.
    #[error(
        "this key is encrypted in another way than PBES2: encrypt it anew with openssl pkcs8 -topk8 -v2 aes-256-cbc"
    )]
    Encryption,
    /// An EC key of another curve.
    #[error("this is an EC key of another curve than P-256")]
    Curve,
    /// An algorithm that Snowflake does not take.
    #[error("this is neither an RSA nor an EC key: Snowflake takes these two alone")]
    Algorithm,
    /// An RSA key that is too short.
    #[error("this RSA key has less than 2048 bits, which Snowflake does not take")]
    TooShort,
}

/// The PKCS#8 document in a PEM, decrypted.
pub(super) fn document(pem: &Secret, passphrase: Option<&Secret>) -> Result<Zeroizing<Vec<u8>>, KeyPairError> {
    let mut first_error = None;
    for (label, body) in blocks(pem.expose()) {
        match label {
            "PRIVATE KEY" => return decoded(body),
            "ENCRYPTED PRIVATE KEY" => {
                let passphrase = passphrase.ok_or(KeyPairError::NoPassphrase)?;
                return decrypted(&decoded(body)?, passphrase);
            }
            // `openssl ecparam -genkey` writes them before the key.
            "EC PARAMETERS" => {}
            other => drop(first_error.get_or_insert(complaint(other))),
        }
    }
    match pem.expose().contains("-----BEGIN ") {
        true => Err(first_error.unwrap_or(KeyPairError::Damaged)),
        false => Err(KeyPairError::NoPem),
    }
}

/// The label and the text of every block.
fn blocks(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("-----BEGIN ").skip(1).filter_map(|block| {
        let (label, rest) = block.split_once("-----")?;
        let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
        Some((label, body))
    })
}

fn complaint(label: &str) -> KeyPairError {
    match label {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => KeyPairError::PublicKey,
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => KeyPairError::Certificate,
        "RSA PRIVATE KEY" | "EC PRIVATE KEY" => KeyPairError::OldForm,
        "OPENSSH PRIVATE KEY" => KeyPairError::OpenSsh,
        _ => KeyPairError::OtherPem,
    }
}

fn decoded(body: &str) -> Result<Zeroizing<Vec<u8>>, KeyPairError> {
    let text: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    BASE64_STANDARD.decode(&*text).map(Zeroizing::new).map_err(|_| KeyPairError::Damaged)
}

fn decrypted(document: &[u8], passphrase: &Secret) -> Result<Zeroizing<Vec<u8>>, KeyPairError> {
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document).map_err(|error| match error {
        pkcs8::Error::Asn1(error) if matches!(error.kind(), pkcs8::der::ErrorKind::OidUnknown { .. }) => {
            KeyPairError::Encryption
        }
        _ => KeyPairError::Damaged,
    })?;
    let opened: Result<SecretDocument, pkcs8::Error> = encrypted.decrypt(passphrase.expose());
    match opened {
        Ok(document) => Ok(Zeroizing::new(document.as_bytes().to_vec())),
        Err(pkcs8::Error::EncryptedPrivateKey(
            pkcs8::pkcs5::Error::NoPbes1CryptSupport
            | pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. }
            | pkcs8::pkcs5::Error::AlgorithmParametersInvalid { .. },
        )) => Err(KeyPairError::Encryption),
        // A wrong passphrase gives wrong padding, and one time in 256 something that is no document.
        Err(_) => Err(KeyPairError::WrongPassphrase),
    }
}
