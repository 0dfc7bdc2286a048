//! `[replicas]`: Redis for gates on several hosts.

use std::path::PathBuf;
use std::time::Duration;

use super::read::Section;
use super::secret_source::secret_source;
use super::{Replicas, SecretSource};

/// Reads the section.
pub(super) fn replicas(section: Section<'_>) -> Option<Replicas> {
    let wanted = "redis://HOST:PORT or rediss://HOST:PORT, without user and password";
    let redis = section.required_parsed("redis", wanted, address);
    let user = section.text("user", "the name of a Redis user");
    let password: Option<SecretSource> = secret_source(&section, "password").map(|found| found.value);
    let ca: Option<PathBuf> = section.path("ca").map(|found| found.value);
    let prefix = section.parsed("prefix", "letters, digits, '-', '_' and ':'", |text| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_:".contains(&b);
        (!text.is_empty() && text.bytes().all(fits)).then(|| text.to_owned())
    });
    let timeout =
        section.duration("timeout", Duration::from_millis(50), Duration::from_millis(1)..Duration::from_millis(250));
    section.finish();
    Some(Replicas {
        redis: redis?.value,
        user: user.map(|found| found.value),
        password,
        ca,
        prefix: prefix.map_or_else(|| "patgate".to_owned(), |found| found.value),
        timeout,
    })
}

/// An address without a secret.
fn address(text: &str) -> Option<String> {
    let rest = text.strip_prefix("redis://").or_else(|| text.strip_prefix("rediss://"))?;
    let plain = !rest.is_empty() && !rest.contains(['@', '?', '#']) && !rest.starts_with('/');
    plain.then(|| text.to_owned())
}
