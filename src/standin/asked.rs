//! A request to the stand-in, read whole.

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::Value;

use super::state::Seen;
use crate::base::secret::Secret;

/// A request.
pub(super) struct Asked {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Asked {
    /// Whether anything in it looks like a client key.
    pub(super) fn leaks(&self) -> bool {
        let key = |bytes: &[u8]| bytes.windows(4).any(|part| part == b"pgk_");
        key(&self.body[..self.body.len().min(1 << 20)])
            || key(self.query.as_bytes())
            || self.headers.values().any(|value| key(value.as_bytes()))
    }

    /// The record of a request with a credential.
    pub(super) fn seen(&self, user: String, credential: &str) -> Seen {
        let line = |(name, value): (&http::HeaderName, &HeaderValue)| {
            format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))
        };
        Seen {
            user,
            credential: Secret::new(credential.to_owned()).fingerprint(),
            body: String::from_utf8_lossy(&self.body).into_owned(),
            query: self.query.clone(),
            headers: self.headers.iter().map(line).collect(),
            ok: false,
        }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// `Authorization: Snowflake Token="…"`.
    pub(super) fn token(&self) -> Option<&str> {
        let value = self.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        value.strip_prefix("Snowflake Token=\"")?.strip_suffix('"')
    }

    pub(super) fn parameter(&self, name: &str) -> String {
        let found = self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    }
}
