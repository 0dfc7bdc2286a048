//! `[history]`, `[audit]` and `[traces]`: what is written down about requests.

use std::path::PathBuf;
use std::time::Duration;

use super::read::Section;
use super::units;

/// What `otlp` takes.
const ADDRESS: &str = "http://HOST:PORT or https://HOST:PORT, without user and password";
const DAY: Duration = Duration::from_secs(86_400);

/// `[history]`.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// How long records are kept; zero: none are.
    pub keep: Duration,
    /// How many bytes the database may have.
    pub size: usize,
}

/// `[audit]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Audit {
    /// How long the audit log is kept; zero: there is none.
    pub keep: Duration,
    /// Whether logins are refused while it cannot be written.
    pub required: bool,
}

/// What of a client's statements is recorded, in history, spans and `patgate explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SqlRecord {
    /// Nothing.
    #[default]
    Off,
    /// A hash of the statement without its literals.
    Fingerprint,
    /// The text.
    Full,
}

/// `[metrics]`; what is `None` may come from the standard variables.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// The collector: OTLP over HTTP. `None`, here and in the variables: metrics are only scraped.
    pub otlp: Option<String>,
    /// How often they are sent; `None`: each minute.
    pub every: Option<Duration>,
    /// The roots of the collector's certificate; `None`: the platform's.
    pub ca: Option<PathBuf>,
}

/// `[traces]`; what is `None` may come from the standard variables.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// The collector: OTLP over HTTP. `None`, here and in the variables: no traces.
    pub otlp: Option<String>,
    /// The part of what went well that is exported, from 0 to 1. Failures and logins always are.
    pub sample: Option<f64>,
    /// The roots of the collector's certificate; `None`: the platform's.
    pub ca: Option<PathBuf>,
}

/// `[history]`, or its defaults.
pub(super) fn history(section: Option<Section<'_>>) -> History {
    let usual = History { keep: 30 * DAY, size: 1 << 30 };
    let Some(section) = section else { return usual };
    let keep = section.duration("keep", usual.keep, Duration::ZERO..3_650 * DAY);
    let size = section.size("size", usual.size, 16 << 20..64 << 30);
    section.finish();
    History { keep, size }
}

/// `[audit]`, or its defaults.
pub(super) fn audit(section: Option<Section<'_>>) -> Audit {
    let usual = Audit { keep: 400 * DAY, required: false };
    let Some(section) = section else { return usual };
    let keep = section.duration("keep", usual.keep, Duration::ZERO..3_650 * DAY);
    let required = section.flag("required");
    if let Some(found) = required.as_ref().filter(|found| found.value && keep.is_zero()) {
        let what = "an audit log that is not kept cannot be required";
        section.error_at(&found.span, "required", what, "Write a longer `keep`, or remove `required`");
    }
    section.finish();
    Audit { keep, required: required.is_some_and(|found| found.value) }
}

/// `[metrics]`, or its defaults.
pub(super) fn metrics(section: Option<Section<'_>>) -> Metrics {
    let Some(section) = section else { return Metrics { otlp: None, every: None, ca: None } };
    let otlp = section.parsed("otlp", ADDRESS, address);
    let wanted = "a duration from 1s to 1h";
    let fits = |every: &Duration| (Duration::from_secs(1)..=Duration::from_secs(3_600)).contains(every);
    section.matches("every", units::DURATION);
    let every = section.parsed("every", wanted, |text| units::duration(text).filter(fits));
    let ca = section.path("ca");
    section.finish();
    Metrics {
        otlp: otlp.map(|found| found.value),
        every: every.map(|found| found.value),
        ca: ca.map(|found| found.value),
    }
}

/// `[traces]`, or its defaults.
pub(super) fn traces(section: Option<Section<'_>>) -> Traces {
    let Some(section) = section else { return Traces { otlp: None, sample: None, ca: None } };
    let otlp = section.parsed("otlp", ADDRESS, address);
    let sample = section.number("sample", "a number from 0.0 to 1.0", |sample| (0.0..=1.0).contains(&sample));
    let ca = section.path("ca");
    section.finish();
    Traces {
        otlp: otlp.map(|found| found.value),
        sample: sample.map(|found| found.value),
        ca: ca.map(|found| found.value),
    }
}

fn address(text: &str) -> Option<String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
    let fits = !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['@', '?', '#', ' ']);
    fits.then(|| text.to_owned())
}
