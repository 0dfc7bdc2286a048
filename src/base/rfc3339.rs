//! Points in time as text (RFC 3339), in UTC and to the second.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Reads a point in time; `None` for an empty text or another form.
pub fn parse(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(Into::into)
}

/// `2026-11-25T02:51:00Z`.
pub fn show(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = i64::try_from(since.as_secs()).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    // Years beyond 9999 have no such form.
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| "never".to_owned())
}

/// An optional point in time in JSON: such a text, or null.
pub mod option {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// For `#[serde(with = "…")]`.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(at: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
        at.map(super::show).serialize(to)
    }

    /// For `#[serde(with = "…")]`.
    ///
    /// # Errors
    /// The deserializer's. A text of another form is not an error; it means that the time is unknown.
    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Option<SystemTime>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.and_then(|text| super::parse(&text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_and_shown_to_the_second() {
        let at = parse("2026-11-25T03:51:00.123456789+01:00").unwrap();
        assert_eq!(show(at), "2026-11-25T02:51:00Z");
        assert_eq!(show(UNIX_EPOCH + std::time::Duration::from_secs(600_000_000_000)), "never");
        assert!(parse("").is_none() && parse("yesterday").is_none());
    }
}
