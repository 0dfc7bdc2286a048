use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::Value;

use super::*;

macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("../../tests/keys/", $name))
    };
}

fn parse(text: &str, passphrase: Option<&str>) -> Result<KeyPair, KeyPairError> {
    let passphrase = passphrase.map(|text| Secret::new(text.to_owned()));
    KeyPair::parse(&Secret::new(text.to_owned()), passphrase.as_ref())
}

fn refused(text: &str, passphrase: Option<&str>) -> Option<KeyPairError> {
    parse(text, passphrase).err()
}

/// What `openssl pkey -pubout -outform DER | openssl dgst -sha256 -binary | base64` prints for the two keys.
const RSA_PRINT: &str = "SHA256:ZIOpiUMlwqD2OU6mE646/YSExoBqSlfSFqtLnLgzYKE=";
const EC_PRINT: &str = "SHA256:RrOCLxNl+6Zv0nu0apboI4zBHPecg4W722VI+VHcvJY=";

fn claims(token: &Secret) -> Value {
    let payload = token.expose().split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[test]
fn an_rsa_token_is_byte_for_byte_what_openssl_signs() {
    let pair = parse(key!("rsa.pem"), None).unwrap();
    assert_eq!(pair.public_fingerprint(), RSA_PRINT);
    let body: String = key!("rsa-public.pem").lines().filter(|line| !line.starts_with("-----")).collect();
    assert_eq!(pair.public_pem_body(), body);
    let now = UNIX_EPOCH + Duration::from_millis(1_790_000_000_999);
    let token = pair.token("myorg-acct", "Rotator", now, Duration::from_secs(60)).unwrap();
    // Signed by `openssl dgst -sha256 -sign`: PKCS#1 v1.5 has no chance in it.
    assert_eq!(token.expose(), key!("rsa.jwt").trim());
}

#[test]
fn an_ec_token_is_verified_by_its_public_key() {
    let pair = parse(key!("ec.pem"), None).unwrap();
    assert_eq!(pair.public_fingerprint(), EC_PRINT);
    let now = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let token = pair.token("xy12345.eu-central-1", "u", now, Duration::from_secs(86_400)).unwrap();
    let claims = claims(&token);
    assert_eq!(claims["iss"], format!("XY12345.U.{EC_PRINT}"));
    assert_eq!((&claims["sub"], &claims["exp"]), (&"XY12345.U".into(), &1_790_003_600_u64.into()), "an hour at most");
    let (message, signature) = token.expose().rsplit_once('.').unwrap();
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    // The public key is read out of the structure here, not taken as the pair gives it.
    let spki = BASE64_STANDARD.decode(pair.public_pem_body()).unwrap();
    let (_, spki) =
        <x509_parser::x509::SubjectPublicKeyInfo as x509_parser::prelude::FromDer<_>>::from_der(&spki).unwrap();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, spki.subject_public_key.data.as_ref());
    key.verify(message.as_bytes(), &signature).unwrap();
    assert!(key.verify(b"another message", &signature).is_err());
}

#[test]
fn encrypted_keys_open_with_their_passphrase_alone() {
    for (pem, name) in [(key!("ec-aes.pem"), "AES"), (key!("ec-3des.pem"), "3DES"), (key!("ec-scrypt.pem"), "scrypt")] {
        let pair = parse(pem, Some("canary-pass")).ok().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(pair.public_fingerprint(), EC_PRINT, "{name}");
        assert_eq!(refused(pem, None), Some(KeyPairError::NoPassphrase));
        assert_eq!(refused(pem, Some("other")), Some(KeyPairError::WrongPassphrase));
        assert_eq!(refused(pem, Some("")), Some(KeyPairError::WrongPassphrase));
    }
    assert_eq!(refused(key!("ec-pbes1.pem"), Some("canary-pass")), Some(KeyPairError::Encryption));
    assert!(parse(key!("ec.pem"), Some("not needed")).is_ok());
}

#[test]
fn what_is_no_such_key_is_named() {
    let half = &key!("ec.pem")[..90];
    let certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    for (text, error) in [
        ("", KeyPairError::NoPem),
        ("MIGHAgEAMBMG", KeyPairError::NoPem),
        (half, KeyPairError::Damaged),
        ("-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----", KeyPairError::Damaged),
        ("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----", KeyPairError::Damaged),
        (key!("rsa-public.pem"), KeyPairError::PublicKey),
        (certificate, KeyPairError::Certificate),
        (key!("rsa-pkcs1.pem"), KeyPairError::OldForm),
        (key!("ec-sec1.pem"), KeyPairError::OldForm),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAA\n-----END OPENSSH PRIVATE KEY-----", KeyPairError::OpenSsh),
        ("-----BEGIN CMS-----\nAA\n-----END CMS-----", KeyPairError::OtherPem),
        (key!("p384.pem"), KeyPairError::Curve),
        (key!("ed25519.pem"), KeyPairError::Algorithm),
        (key!("rsa-1024.pem"), KeyPairError::TooShort),
    ] {
        assert_eq!(refused(text, None), Some(error), "{text}");
    }
    assert!(KeyPairError::OldForm.to_string().contains("openssl pkcs8 -topk8"));
    // A certificate before its key, line breaks of Windows, and no line breaks at all.
    let key = key!("ec.pem");
    for text in [format!("{certificate}{key}"), key.replace('\n', "\r\n"), key.replace('\n', " ")] {
        assert!(parse(&text, None).is_ok(), "{text}");
    }
}

#[test]
fn an_account_is_named_without_its_region() {
    for (account, named) in [
        ("myorg-my_acct", "MYORG-MY_ACCT"),
        ("xy12345.eu-central-1.azure", "XY12345"),
        ("MyOrg-Acct.snowflakecomputing.com", "MYORG-ACCT"),
        ("acct-external.global", "ACCT"),
    ] {
        assert_eq!(account_name(account), named);
    }
}
