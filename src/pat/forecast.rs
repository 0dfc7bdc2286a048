//! [`Forecast`]: which PATs end when, and [`Warnings`]: when to say so.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::end::EndSource;
use super::status::PatStatus;
use crate::base::ids::PatId;
use crate::base::rfc3339;

/// The end of a credential's PAT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// The credential.
    pub credential: String,
    /// When its PAT ends; `None` if nobody says.
    #[serde(with = "rfc3339::option")]
    pub expires: Option<SystemTime>,
    /// Who says so.
    pub expires_from: Option<EndSource>,
    /// Whole days until then, rounded down.
    pub days_left: Option<u64>,
    /// Why nobody has to act before; `None` if no successor stands ready.
    pub successor: Option<String>,
    /// Why somebody has to act now, and what to do.
    pub attention: Option<String>,
}

impl Forecast {
    /// The ends of PATs, the next one first; those without a known end, and key pairs, last.
    pub fn of(pats: &[PatStatus], now: SystemTime) -> Vec<Self> {
        let of = |pat: &PatStatus| Self {
            credential: pat.credential.clone(),
            expires: pat.cached.as_ref().and_then(|cached| cached.expires),
            expires_from: pat.cached.as_ref().and_then(|cached| cached.expires_from),
            days_left: pat.days_left(now),
            successor: pat.successor.clone(),
            attention: pat.attention(now),
        };
        let mut all: Vec<_> = pats.iter().map(of).collect();
        all.sort_by_key(|one| (one.expires.is_none(), one.expires));
        all
    }
}

/// Which warnings were given, so that each is given once.
#[derive(Debug, Default)]
pub struct Warnings {
    given: BTreeMap<String, (PatId, usize)>,
}

/// A warning that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The credential.
    pub credential: String,
    /// The version.
    pub version: PatId,
    /// When it ends.
    pub ends: SystemTime,
    /// Whole days until then, rounded down.
    pub days_left: u64,
    /// Whether it has ended.
    pub ended: bool,
    /// What to do.
    pub attention: String,
}

impl Warnings {
    /// The warnings that are due: one for each time of `pat.warn`, and one at the end, while no successor stands ready.
    pub fn due(&mut self, pats: &[PatStatus], now: SystemTime) -> Vec<Warning> {
        pats.iter().filter_map(|pat| self.of(pat, now)).collect()
    }

    fn of(&mut self, pat: &PatStatus, now: SystemTime) -> Option<Warning> {
        let cached = pat.cached.as_ref()?;
        let ends = cached.expires?;
        let left = ends.duration_since(now).unwrap_or_default();
        if pat.successor.is_some() && !left.is_zero() {
            return None;
        }
        let passed = pat.warn_s.iter().filter(|seconds| left.as_secs() < **seconds).count();
        let passed = if left.is_zero() { pat.warn_s.len() + 1 } else { passed };
        let before = self.given.get(&pat.credential).filter(|(version, _)| *version == cached.id);
        if passed <= before.map_or(0, |(_, passed)| *passed) {
            return None;
        }
        self.given.insert(pat.credential.clone(), (cached.id.clone(), passed));
        Some(Warning {
            credential: pat.credential.clone(),
            version: cached.id.clone(),
            ends,
            days_left: left.as_secs() / 86_400,
            ended: left.is_zero(),
            attention: pat.attention(now)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn pat(version: &str, ends: SystemTime, successor: Option<&str>) -> PatStatus {
        let held = serde_json::json!({
            "id": version, "version": "1", "from": "f:pat", "created": null, "expires": rfc3339::show(ends), "age_s": 1,
            "usable": true, "overdue": false, "warm": false, "refused": false
        });
        let days = [14, 7, 3, 1].map(|days| days * 86_400);
        let pat = serde_json::json!({
            "credential": "bi", "warn_s": days, "successor": successor, "references": [], "ready": true, "held": held,
            "failure": null, "losers": []
        });
        serde_json::from_value(pat).unwrap()
    }

    #[test]
    fn each_warning_is_given_once_and_in_time_and_none_where_a_successor_stands_ready() {
        let start = rfc3339::parse("2026-11-01T00:00:00Z").unwrap();
        let end = start + HOUR * 24 * 30;
        let (mut warnings, mut given) = (Warnings::default(), Vec::new());
        for hour in 0..24 * 31 {
            let now = start + HOUR * hour;
            // A successor stands ready on the fifth day before, for a day.
            let ready = (24 * 25..24 * 26).contains(&hour).then_some("the gate rotates it");
            let due = warnings.due(&[pat("v1", end, ready)], now);
            given.extend(due.into_iter().map(|warning| (hour, warning.days_left, warning.ended)));
        }
        let (fourteen, seven) = ((24 * 16 + 1, 13, false), (24 * 23 + 1, 6, false));
        let (three, one, over) = ((24 * 27 + 1, 2, false), (24 * 29 + 1, 0, false), (24 * 30, 0, true));
        assert_eq!(given, [fourteen, seven, three, one, over]);
        let now = end - HOUR;
        assert!(warnings.due(&[pat("v2", end + HOUR * 24 * 90, None)], now).is_empty(), "a new version");
        assert_eq!(warnings.due(&[pat("v3", end, None)], now).len(), 1, "one for all that are passed");
        let forecast = Forecast::of(&[pat("v1", end, Some("later")), pat("v2", now, None)], now);
        assert_eq!((forecast[0].days_left, forecast[1].attention.is_none()), (Some(0), true), "{forecast:?}");
    }
}
