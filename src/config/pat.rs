//! `[pat]`: the cache of PATs, what is at risk with one, and when to warn of its end.

use std::ops::Range;
use std::time::Duration;

use super::read::Section;
use super::units;
use crate::base::verdict::Widths;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// `[pat]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pat {
    /// How old a PAT in memory may be before the gate reads it again in the background.
    pub refresh: Duration,
    /// The least time between two reads of a reference, except after a refusal or a push.
    pub pace: Duration,
    /// How often the gate checks a file with a PAT for a change.
    pub watch: Duration,
    /// How old a PAT may be if the store does not answer; the gate does not use older ones.
    pub stale: Duration,
    /// How long one read of a store may take.
    pub read: Duration,
    /// How long before its end a PAT without a successor is warned of, the longest first.
    pub warn: Vec<Duration>,
    /// How many requests may be at risk at once with one version. Snowflake locks a user at five bad logins.
    pub widths: Widths,
}

/// The table, or its defaults where there is none.
pub(super) fn pat(section: Option<&Section<'_>>) -> Pat {
    let duration =
        |key, default, range: Range<Duration>| section.map_or(default, |section| section.duration(key, default, range));
    let refresh = duration("refresh", MINUTE, SECOND..24 * HOUR);
    Pat {
        refresh,
        // An operator who sets a shorter refresh and no pace wants that refresh.
        pace: duration("pace", (30 * SECOND).min(refresh), SECOND..HOUR),
        watch: duration("watch", SECOND, Duration::from_millis(50)..HOUR),
        stale: duration("stale", 24 * HOUR, SECOND..30 * 24 * HOUR),
        read: duration("read", 5 * SECOND, Duration::from_millis(50)..MINUTE),
        warn: warn(section),
        widths: widths(section),
    }
}

/// `warn`, the longest first.
fn warn(section: Option<&Section<'_>>) -> Vec<Duration> {
    let wanted = "a duration from 1h to 365d, such as \"14d\"";
    let fits = |text: &str| units::duration(text).filter(|time| (HOUR..=365 * 24 * HOUR).contains(time));
    let found = section.and_then(|section| {
        section.matches("warn", units::DURATION);
        section.zero_or_more("warn", wanted, fits)
    });
    let mut warn = found.map_or_else(|| [14, 7, 3, 1].map(|days| days * 24 * HOUR).to_vec(), |found| found.value);
    warn.sort_unstable_by(|one, two| two.cmp(one));
    warn.dedup();
    warn
}

/// `budget` and `in_flight`, which is never smaller.
fn widths(section: Option<&Section<'_>>) -> Widths {
    let count = |name, range| section.and_then(|section| section.count(name, range));
    let budget = count("budget", 1..4).map_or(2, |found| found.value);
    let in_flight = count("in_flight", 2..256).map_or(32, |found| found.value);
    Widths { budget, in_flight: in_flight.max(budget) }
}
