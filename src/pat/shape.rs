//! [`Shape`]: what a PAT says of itself. It is for display only: Snowflake alone decides what is a PAT.
//!
//! A PAT is usually a JWT (RFC 7519): header, payload and signature in base64url, the first two JSON. Another form may
//! be a PAT all the same.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::base::names::CLIENT_KEY_PREFIX;
use crate::base::secret::Secret;

/// The form of a PAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A JWT; when it ends, if it says so.
    Jwt {
        /// `exp`.
        ends: Option<SystemTime>,
    },
    /// Something else, which may be a PAT.
    Opaque,
    /// A client key of a gate, which is never a PAT.
    ClientKey,
}

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "alg")]
    _algorithm: String,
}

#[derive(Deserialize)]
struct Payload {
    exp: Option<f64>,
}

impl Shape {
    /// The form of this PAT.
    pub fn of(pat: &Secret) -> Self {
        let text = pat.expose();
        if text.starts_with(CLIENT_KEY_PREFIX) {
            return Self::ClientKey;
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Self::Opaque;
        };
        let (Some(Header { .. }), Some(payload)) = (json::<Header>(header), json::<Payload>(payload)) else {
            return Self::Opaque;
        };
        let seconds = payload.exp.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Self::Jwt { ends: seconds.and_then(|seconds| UNIX_EPOCH.checked_add(seconds)) }
    }
}

fn json<T: DeserializeOwned>(part: &str) -> Option<T> {
    let bytes = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?);
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Shape {
        Shape::of(&Secret::new(text.into()))
    }

    fn jwt(payload: &str) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2lnbmF0dXJl", part(r#"{"kid":"1","alg":"ES256"}"#), part(payload))
    }

    #[test]
    fn the_end_of_a_jwt_is_read_and_any_other_form_stays_a_pat() {
        let ends = |seconds| Shape::Jwt { ends: Some(UNIX_EPOCH + Duration::from_secs(seconds)) };
        assert_eq!(shape(&jwt(r#"{"p":"1:2","exp":1790000000}"#)), ends(1_790_000_000));
        for none in [r#"{"p":"1"}"#, r#"{"exp":-5}"#, r#"{"exp":1e300}"#, r#"{"exp":null}"#] {
            assert_eq!(shape(&jwt(none)), Shape::Jwt { ends: None }, "{none}");
        }
        for other in ["", "the-pat", "a.b.c", "a.b.c.d", &jwt("[]"), &jwt(r#"{"exp":"x"}"#), "ver:3-hint:1-x"] {
            assert_eq!(shape(other), Shape::Opaque, "{other}");
        }
        assert_eq!(shape("pgk_x_y_z"), Shape::ClientKey);
    }
}
