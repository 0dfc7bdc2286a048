//! [`Settings`]: names and values that stand together in a file, and where each value stands. A reader of a format
//! finds them; what they mean is said in `login` alone.

use std::ops::Range;

use crate::base::secret::Secret;

/// A value of a file. It may be a secret, so that none of them can be printed by accident.
pub(super) struct Spot {
    /// Its bytes in the text, without quotes.
    pub range: Range<usize>,
    pub value: Secret,
    /// Whether the value stands there letter by letter, so that a part of it can be replaced.
    pub plain: bool,
}

impl Spot {
    /// A value that stands in the text as it is.
    pub(super) fn of(text: &str, range: Range<usize>) -> Self {
        Self { value: Secret::new(text[range.clone()].to_owned()), range, plain: true }
    }

    /// A value that the text may have in another spelling, with escapes.
    pub(super) fn spelt(text: &str, range: Range<usize>, value: &str) -> Self {
        let plain = text.get(range.clone()) == Some(value);
        Self { range, value: Secret::new(value.to_owned()), plain }
    }

    /// A part of a value.
    pub(super) fn part(&self, part: Range<usize>) -> Self {
        let range = self.range.start + part.start..self.range.start + part.end;
        Self { range, value: Secret::new(self.value.expose()[part].to_owned()), plain: self.plain }
    }
}

/// How a setting is added where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// A line of an ODBC file or of snowsql's.
    Ini { server: &'static str },
    /// A line of an export of the registry.
    Registry,
    /// A line of a TOML table.
    Toml,
    /// A line of a YAML mapping, with what stands before its names.
    Yaml(String),
    /// An attribute of an element.
    Xml,
    /// A member of an object, with what stands between its members; `apart`: a port is a member of its own.
    Json { between: String, apart: bool },
    /// A part of a connection string.
    Pairs,
    /// Nothing can be added; a host stands with its port.
    Fixed,
}

impl Form {
    /// What the format calls the host.
    fn server(&self) -> &'static str {
        match self {
            Self::Ini { server } => server,
            Self::Registry => "Server",
            Self::Xml => "server",
            _ => "host",
        }
    }

    /// Whether a port is a setting of its own.
    pub(super) fn has_port(&self) -> bool {
        !matches!(self, Self::Fixed | Self::Json { apart: false, .. })
    }

    /// The text that adds a host.
    pub(super) fn host(&self, host: &str) -> String {
        self.line(self.server(), host, true)
    }

    /// The text that adds a port.
    pub(super) fn port(&self, port: u16) -> String {
        let name = match self {
            Self::Registry => "Port",
            Self::Ini { server: "Server" } => "Port",
            _ => "port",
        };
        self.line(name, &port.to_string(), false)
    }

    fn line(&self, name: &str, value: &str, text: bool) -> String {
        match self {
            Self::Ini { .. } => format!("{name} = {value}\n"),
            Self::Registry => format!("\"{name}\"=\"{value}\"\n"),
            Self::Toml if text => format!("{name} = \"{value}\"\n"),
            Self::Toml => format!("{name} = {value}\n"),
            Self::Yaml(before) => format!("{name}: {value}\n{before}"),
            Self::Xml => format!("{name}='{value}' "),
            Self::Json { between, .. } if text => format!("\"{name}\": \"{value}\",{between}"),
            Self::Json { between, .. } => format!("\"{name}\": {value},{between}"),
            Self::Pairs => format!("{name}={value};"),
            Self::Fixed => String::new(),
        }
    }
}

/// Settings that stand together.
pub(super) struct Settings {
    /// What the file calls them: a section, a table, an element.
    pub label: String,
    /// Names in small letters, with their values.
    pub entries: Vec<(String, Spot)>,
    /// Whether the place alone says that they are Snowflake's; otherwise a host must say it.
    pub known: bool,
    /// Where a setting is added, and how.
    pub at: usize,
    pub form: Form,
    /// Why they cannot be changed here, if they cannot.
    pub unfit: Option<&'static str>,
}

impl Settings {
    /// The first value with one of these names.
    pub(super) fn get(&self, names: &[&str]) -> Option<&Spot> {
        names.iter().find_map(|name| self.all(&[*name]).next())
    }

    /// Each value with one of these names.
    pub(super) fn all<'a>(&'a self, names: &[&str]) -> impl Iterator<Item = &'a Spot> {
        self.entries.iter().filter(|(own, _)| names.contains(&own.as_str())).map(|(_, spot)| spot)
    }
}
