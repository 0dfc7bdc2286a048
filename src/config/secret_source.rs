//! [`SecretSource`]: where one of the gate's own secrets is.

use std::path::{Path, PathBuf};

use super::read::{Found, Section};

/// The source of one of the gate's own secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// `file:PATH`; a trailing newline does not count.
    File(PathBuf),
    /// `env:NAME`.
    Env(String),
    /// `credential:NAME`: a file of that name where systemd puts a unit's credentials.
    Credential(String),
    /// `dpapi:PATH`: a file that Windows has encrypted, by `patgate service protect`.
    Protected(PathBuf),
}

impl SecretSource {
    /// The file that holds it, where one does that the configuration names.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Protected(path) => Some(path),
            Self::Env(_) | Self::Credential(_) => None,
        }
    }
}

const SOURCE: &str =
    "\"file:PATH\", \"env:NAME\", \"credential:NAME\" or on Windows \"dpapi:PATH\", never the secret itself";

/// What every source matches, and few secrets.
const PATTERN: &str = "^(file|env|credential|dpapi):.";

/// A value that names one of the gate's own secrets.
pub(super) fn secret_source(section: &Section<'_>, key: &'static str) -> Option<Found<SecretSource>> {
    let base = section.base().to_owned();
    section.matches(key, PATTERN);
    let source = section.parsed(key, SOURCE, |text| match text.split_once(':')? {
        ("file", path) if !path.is_empty() => Some(SecretSource::File(base.join(path))),
        ("dpapi", path) if !path.is_empty() => Some(SecretSource::Protected(base.join(path))),
        ("env", name) if !name.is_empty() => Some(SecretSource::Env(name.to_owned())),
        ("credential", name) if !name.is_empty() && !name.contains(['/', '\\']) => {
            Some(SecretSource::Credential(name.to_owned()))
        }
        _ => None,
    });
    if let Some(Found { value: SecretSource::Protected(_), span }) = source.as_ref().filter(|_| cfg!(unix)) {
        section.error_at(span, key, "only Windows has DPAPI", "Write file:PATH, env:NAME or credential:NAME");
    }
    source
}

/// The same for a key that must be there.
pub(super) fn required_source(section: &Section<'_>, key: &'static str) -> Option<SecretSource> {
    if !section.has(key) {
        let _reported = section.required(key, SOURCE);
        return None;
    }
    secret_source(section, key).map(|found| found.value)
}
