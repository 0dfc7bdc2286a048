//! Tokens in the form of a JWT: those of key pairs, which the stand-in verifies, and PATs, which it makes.
//!
//! Facts: see [`crate::snowflake::key_pair`] for the former; a PAT has `kid` and `alg` in its header and a payload such
//! as `{"p":"…","iss":"SF:1049","exp":…}`, as people show theirs.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::base::clock::Random;
use crate::base::epoch::EpochMillis;
use crate::base::secret::Secret;
use crate::snowflake::key_pair::{LONGEST, public_fingerprint};

/// How far the clocks of a client may be ahead.
const LEEWAY_SECONDS: u64 = 60;

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    iat: u64,
    exp: u64,
}

/// A fresh secret of a PAT that ends then.
pub(super) fn pat(random: &dyn Random, ends: EpochMillis) -> Secret {
    let mut bytes = [0; 80];
    // Without entropy two tokens would be one, and a test would see it.
    let _entropy = random.fill(&mut bytes);
    let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "kid": number(0).to_string(), "alg": "ES256" }));
    let owner = format!("{}:{}", number(4), number(8));
    let payload = part(json!({ "p": owner, "iss": "SF:1049", "exp": ends.as_secs() }));
    Secret::new(format!("{header}.{payload}.{}", BASE64_URL_SAFE_NO_PAD.encode(&bytes[16..])))
}

/// The user that a token of a key pair names; nothing is verified.
pub(super) fn user(token: &str) -> Option<String> {
    let claims: Claims = json_part(token.split('.').nth(1)?)?;
    claims.sub.split_once('.').map(|(_, user)| user.to_owned())
}

/// Whether a token of a key pair is good for a login of this user with these public keys, now.
pub(super) fn verify(token: &str, user: &str, keys: &[Vec<u8>], account: Option<&str>, now: EpochMillis) -> bool {
    verified(token, user, keys, account, now).is_some()
}

fn verified(token: &str, user: &str, keys: &[Vec<u8>], account: Option<&str>, now: EpochMillis) -> Option<()> {
    let (message, signature) = token.rsplit_once('.')?;
    let (header, payload) = message.split_once('.')?;
    let (header, claims): (Header, Claims) = (json_part(header)?, json_part(payload)?);
    let named = claims.sub.strip_suffix(&format!(".{}", user.to_uppercase()))?;
    if named.is_empty() || named.contains('.') || named != named.to_uppercase() || account.is_some_and(|it| it != named)
    {
        return None;
    }
    let print = claims.iss.strip_prefix(&claims.sub)?.strip_prefix('.')?;
    let key = keys.iter().find(|key| public_fingerprint(key) == print)?;
    let ends = claims.exp.min(claims.iat.checked_add(LONGEST.as_secs())?);
    if claims.iat > now.as_secs() + LEEWAY_SECONDS || ends <= now.as_secs() {
        return None;
    }
    let algorithm: &'static dyn VerificationAlgorithm = match header.alg.as_str() {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &RSA_PKCS1_2048_8192_SHA512,
        "ES256" => &ECDSA_P256_SHA256_FIXED,
        "ES384" => &ECDSA_P384_SHA384_FIXED,
        _ => return None,
    };
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
    UnparsedPublicKey::new(algorithm, key).verify(message.as_bytes(), &signature).ok()
}

fn json_part<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock::SystemRandom;
    use crate::snowflake::key_pair::KeyPair;

    const NOW: EpochMillis = EpochMillis(1_790_000_000_000);

    fn pair(pem: &str) -> (KeyPair, Vec<Vec<u8>>) {
        let pair = KeyPair::parse(&Secret::new(pem.into()), None).unwrap();
        let spki = base64::prelude::BASE64_STANDARD.decode(pair.public_pem_body()).unwrap();
        (pair, vec![spki])
    }

    #[test]
    fn a_token_is_good_for_its_user_account_key_and_time() {
        for pem in [include_str!("../../tests/keys/rsa.pem"), include_str!("../../tests/keys/ec.pem")] {
            let (pair, keys) = pair(pem);
            let token = pair.token("acct", "Rot", NOW.to_system_time(), Duration::from_secs(60)).unwrap();
            let token = token.expose();
            let good = |user, keys, account, now| verify(token, user, keys, account, now);
            let later = |seconds: u64| EpochMillis(NOW.0 + seconds * 1_000);
            assert!(good("rot", &keys, None, NOW) && good("ROT", &keys, Some("ACCT"), later(59)));
            assert_eq!(user(token).as_deref(), Some("ROT"));
            assert!(!good("other", &keys, None, NOW), "another user");
            assert!(!good("rot", &[], None, NOW), "no key");
            assert!(!good("rot", &keys, Some("OTHER"), NOW), "another account");
            assert!(!good("rot", &keys, None, later(60)), "expired");
            assert!(!good("rot", &keys, None, EpochMillis(NOW.0 - 61_000)), "from the future");
            let (start, signature) = token.rsplit_once('.').unwrap();
            let forged = format!("{start}.{}", signature.chars().rev().collect::<String>());
            assert!(!verify(&forged, "rot", &keys, None, NOW), "forged");
            for bad in ["", "a.b.c", start] {
                assert!(!verify(bad, "rot", &keys, None, NOW), "{bad}");
            }
        }
    }

    #[test]
    fn no_token_is_good_for_longer_than_an_hour() {
        let (pair, keys) = pair(include_str!("../../tests/keys/ec.pem"));
        let token = pair.token("acct", "rot", NOW.to_system_time(), Duration::from_secs(86_400)).unwrap();
        let at = |seconds: u64| verify(token.expose(), "rot", &keys, None, EpochMillis(NOW.0 + seconds * 1_000));
        assert!(at(3_599) && !at(3_600));
    }

    #[test]
    fn a_pat_tells_its_end_and_is_never_the_same() {
        let first = pat(&SystemRandom, NOW);
        let payload: serde_json::Value = json_part(first.expose().split('.').nth(1).unwrap()).unwrap();
        assert_eq!((&payload["exp"], &payload["iss"]), (&1_790_000_000_u64.into(), &"SF:1049".into()));
        assert!(!pat(&SystemRandom, NOW).same_as(&first));
    }
}
