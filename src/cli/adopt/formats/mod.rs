//! The formats of files, one reader each. A reader finds settings that stand together and their places in the text;
//! what they mean is not its matter.

mod environment;
mod ini;
mod json;
mod mashup;
mod package;
mod pairs;
mod toml;
mod xml;
mod yaml;

use std::collections::BTreeSet;
use std::path::Path;

use super::document::Document;
use super::login::is_secret_or_user;
use super::settings::Settings;
use super::written::BACKUP;
pub(super) use package::{Package, repacked};

/// A format, by the name of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Odbc,
    Snowsql,
    Registry,
    Environment,
    Toml,
    Yaml,
    Json,
    Xml,
    Mashup,
    /// A zip file with texts in it.
    Package(Package),
}

/// The formats in words, for an error.
pub(super) const KNOWN: &str = "odbc.ini, .reg, .env, connections.toml, config.toml, profiles.yml, .json, .tds, .tdsx, \
     .twb, .twbx, .pq, .pbix, .pbit, and snowsql's config";

/// A text of a file: the file itself, or one in a package.
pub(super) struct Part {
    /// Its name in the package; empty for the file itself.
    pub name: String,
    pub document: Document,
    pub settings: Vec<Settings>,
    /// Why it cannot be written, if it cannot.
    pub fixed: Option<&'static str>,
}

impl Format {
    /// The format of a file; `None` if it is none of these.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        let end = name.rsplit_once('.').map_or("", |(_, end)| end);
        if name.ends_with(BACKUP) {
            return None;
        }
        Some(match (name.as_str(), end) {
            ("config" | "config.cnf", _) if folder == ".snowsql" => Self::Snowsql,
            ("odbc.ini" | ".odbc.ini", _) => Self::Odbc,
            (_, "env") => Self::Environment,
            _ if name.starts_with(".env") => Self::Environment,
            (_, "reg") => Self::Registry,
            (_, "ini") => Self::Odbc,
            (_, "toml") => Self::Toml,
            (_, "yml" | "yaml") => Self::Yaml,
            (_, "json" | "bim") => Self::Json,
            (_, "tds" | "twb") => Self::Xml,
            (_, "pq" | "m" | "tmdl") => Self::Mashup,
            (_, "tdsx" | "twbx") => Self::Package(Package::Tableau),
            (_, "pbix" | "pbit") => Self::Package(Package::PowerBi),
            _ => return None,
        })
    }

    /// The texts of a file with what was found in them; `gate` is the gate's host.
    ///
    /// # Errors
    /// In words, if the file is not what its name says.
    pub(super) fn read(self, path: &Path, bytes: &[u8], gate: Option<&str>) -> Result<Vec<Part>, String> {
        if let Self::Package(package) = self {
            return package.read(bytes, gate);
        }
        let document = Document::read(bytes)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_ascii_lowercase();
        let settings = self.settings(&document.text, &name, gate)?;
        Ok(vec![Part { name: String::new(), document, settings, fixed: None }])
    }

    /// The settings in a text, with those in its connection strings.
    pub(super) fn settings(self, text: &str, file: &str, gate: Option<&str>) -> Result<Vec<Settings>, String> {
        let found = match self {
            Self::Odbc => ini::odbc(text),
            Self::Snowsql => ini::snowsql(text),
            Self::Registry => ini::registry(text),
            Self::Environment => environment::read(text, gate),
            Self::Toml => toml::read(text, file)?,
            Self::Yaml => yaml::read(text)?,
            Self::Json => json::read(text, gate)?,
            Self::Xml => xml::read(text)?,
            Self::Mashup | Self::Package(_) => mashup::read(text, "", gate),
        };
        let mut found: Vec<_> = found.into_iter().flat_map(|one| with_strings(one, gate)).collect();
        // What YAML names once more by an alias stands in one place.
        let mut seen = BTreeSet::new();
        found.retain(|one| one.entries.first().is_none_or(|(_, first)| seen.insert((one.at, first.range.start))));
        Ok(found)
    }
}

/// What a part of a file is called, below what holds it.
fn below(label: &str, name: &str) -> String {
    if label.is_empty() { name.to_owned() } else { format!("{label}.{name}") }
}

/// Where the line of a place begins.
fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |end| end + 1)
}

/// Settings, with those in their values apart: a connection string is a connection of its own. User and secret beside
/// it, as Azure Data Factory and Spring have them, belong to it.
fn with_strings(mut settings: Settings, gate: Option<&str>) -> Vec<Settings> {
    let strings: Vec<(usize, Settings)> = settings
        .entries
        .iter()
        .enumerate()
        .filter_map(|(index, (_, spot))| Some((index, pairs::read(&settings.label, spot, gate)?)))
        .collect();
    let mut found = Vec::new();
    for (index, one) in strings.into_iter().rev() {
        settings.entries.remove(index);
        found.push(one);
    }
    // What stands beside a string belongs to it, unless it is a login of its own.
    let placed = ["server", "host", "hostname", "account"]
        .iter()
        .any(|name| settings.all(&[*name]).any(|spot| !spot.value.expose().is_empty()));
    if !placed && !found.is_empty() {
        let beside = std::mem::take(&mut settings.entries);
        let tells = beside.iter().any(|(name, _)| is_secret_or_user(name));
        match &mut found[..] {
            [one] => one.entries.extend(beside),
            several if tells => {
                several.iter_mut().for_each(|one| one.unfit = Some("it shares a user or a secret with another string"));
            }
            _ => {}
        }
        settings.known = false;
    }
    found.push(settings);
    found.retain(|one| !one.entries.is_empty() || one.known);
    found.reverse();
    found
}
