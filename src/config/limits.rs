//! Limits: over the whole gate, over a credential, over a client.

use std::sync::Arc;
use std::time::Duration;

use super::read::Section;
use super::units::{self, Rate};
use super::{ClientLimits, Limits, Rates};

const WANTED: &str = "a rate such as \"60/min\", \"200/s\", \"300/10min\" or \"1000/h\", or a list of them";
const SECOND: Duration = Duration::from_secs(1);

/// The default limits for wrong keys.
const FAILURES: [&str; 2] = ["10/min", "30/10min"];

/// `[limits]`.
pub(super) fn limits(section: Option<&Section<'_>>) -> Limits {
    let below = |key| section.and_then(|section| section.section(key)).map(own_rates).unwrap_or_default();
    let usual = || FAILURES.iter().filter_map(|rate| units::rate(rate)).collect();
    let duration = |key, default, range| section.map_or(default, |section| section.duration(key, default, range));
    Limits {
        gate: below("gate"),
        source: below("source"),
        failures: section
            .filter(|section| section.has("failures"))
            .map_or_else(usual, |section| rates(section, "failures")),
        slow_down: duration("slow_down", 5 * SECOND, Duration::ZERO..30 * SECOND),
        unadmitted: section
            .and_then(|section| section.count("unadmitted", 8..1_000_000))
            .map_or(512, |found| found.value),
        wait: duration("wait", 5 * SECOND, Duration::ZERO..60 * SECOND),
        delay: duration("delay", 2 * SECOND, Duration::ZERO..60 * SECOND),
    }
}

/// A table of rates alone.
pub(super) fn own_rates(section: Section<'_>) -> Rates {
    let rates = both(&section);
    section.finish();
    rates
}

/// `limits` of a client.
pub(super) fn of_client(section: Section<'_>) -> ClientLimits {
    let limits = ClientLimits {
        rates: both(&section),
        sessions: section.count("sessions", 1..1_000_000).map(|found| found.value),
        in_flight: section.count("in_flight", 1..1_000_000).map(|found| found.value),
        upkeep: if section.has("upkeep") { rates(&section, "upkeep") } else { upkeep() },
        upkeep_in_flight: section.count("upkeep_in_flight", 1..1_000_000).map_or(UPKEEP.1, |found| found.value),
    };
    section.finish();
    limits
}

/// The default rate and places of upkeep, for one client.
const UPKEEP: (&str, usize) = ("50/s", 16);

fn upkeep() -> Arc<[Rate]> {
    units::rate(UPKEEP.0).into_iter().collect()
}

impl Default for ClientLimits {
    fn default() -> Self {
        let rates = Rates::default();
        Self { rates, sessions: None, in_flight: None, upkeep: upkeep(), upkeep_in_flight: UPKEEP.1 }
    }
}

fn both(section: &Section<'_>) -> Rates {
    Rates { logins: rates(section, "logins"), requests: rates(section, "requests") }
}

/// One rate or a list; none if the key is missing.
fn rates(section: &Section<'_>, key: &'static str) -> Arc<[Rate]> {
    section.matches(key, units::RATE);
    section
        .zero_or_more(key, WANTED, units::rate)
        .map_or_else(|| Arc::new([]) as Arc<[Rate]>, |found| found.value.into())
}
