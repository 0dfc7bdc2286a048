//! How a credential's PAT is in one word, and why somebody has to act.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::status::{FailureStatus, PatStatus};
use crate::base::rfc3339;

/// How a credential's PAT is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PatState {
    /// All is well.
    Active,
    /// It ends soon, and no successor stands ready.
    Expiring,
    /// It has ended.
    Expired,
    /// Snowflake has a newer token in its place, and ends this one after its overlap.
    Rotated,
    /// It is disabled at Snowflake.
    Disabled,
    /// Snowflake lists it no more.
    Gone,
    /// Snowflake has refused it, and no store has another; or refuses its user, such as by a network policy or a lock.
    Refused,
    /// Snowflake has refused its user, and nobody has logged in since the gate would try again.
    Unknown,
    /// There is none that may be used.
    Missing,
}

impl PatState {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Rotated => "rotated",
            Self::Disabled => "disabled",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Missing => "missing",
        }
    }
}

impl PatStatus {
    /// How it is at that time.
    pub fn state(&self, now: SystemTime) -> PatState {
        let Some(cached) = self.cached.as_ref().filter(|_| self.ready) else { return PatState::Missing };
        let token = self.token.as_ref().map(|token| token.state.as_str());
        match (cached.expires, token) {
            // An operator's word goes first; then what says why Snowflake refuses it.
            _ if cached.revoked => PatState::Refused,
            (_, Some("gone")) => PatState::Gone,
            (_, Some("disabled")) => PatState::Disabled,
            (Some(end), _) if end <= now => PatState::Expired,
            (_, Some("expired")) => PatState::Expired,
            _ if cached.refused => PatState::Refused,
            _ if self.is_paused() => PatState::Refused,
            _ if self.pause.is_some() => PatState::Unknown,
            (_, Some("rotated")) => PatState::Rotated,
            (Some(end), _) if self.ends_soon(end, now) => PatState::Expiring,
            _ => PatState::Active,
        }
    }

    /// Whether Snowflake has refused this version for good.
    fn is_condemned(&self) -> bool {
        self.cached.as_ref().is_some_and(|cached| cached.refused)
    }

    /// Whether an operator has revoked it.
    fn is_revoked(&self) -> bool {
        self.cached.as_ref().is_some_and(|cached| cached.revoked)
    }

    /// Whether no login goes to Snowflake with it for a while.
    pub fn is_paused(&self) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.until.is_some())
    }

    /// Whether logins with it are served, as far as is known.
    pub fn works(&self) -> bool {
        self.ready && !self.is_condemned() && !self.is_paused()
    }

    /// Whole days until its end, rounded down.
    pub fn days_left(&self, now: SystemTime) -> Option<u64> {
        let end = self.cached.as_ref()?.expires?;
        Some(end.duration_since(now).unwrap_or_default().as_secs() / 86_400)
    }

    /// Whether it ends within the time of the first warning, and no successor stands ready.
    fn ends_soon(&self, end: SystemTime, now: SystemTime) -> bool {
        let soon = self.warn_s.first().map_or(Duration::ZERO, |seconds| Duration::from_secs(*seconds));
        self.successor.is_none() && end.duration_since(now).is_ok_and(|left| left < soon)
    }

    /// What it logs in with, for people.
    pub fn what(&self) -> &'static str {
        if self.kind == "key_pair" { "key pair" } else { "PAT" }
    }

    /// What makes a new one.
    fn renewal(&self) -> String {
        match &self.rotation {
            Some(_) => format!("run `patgate pat rotate {}`", self.credential),
            None => "make a new one, and put it into the store".to_owned(),
        }
    }

    /// Why somebody has to act, and what to do; `None` if all is well.
    pub fn attention(&self, now: SystemTime) -> Option<String> {
        let end = self.cached.as_ref().and_then(|cached| cached.expires).map(rfc3339::show).unwrap_or_default();
        let (new, what) = (self.renewal(), self.what());
        Some(match self.state(now) {
            PatState::Active => return self.not_rotated().or_else(|| self.unread()),
            PatState::Expiring => match self.not_rotated() {
                Some(why) => format!("its PAT ends at {end}, and {why}"),
                None => format!("its PAT ends at {end}; {new}"),
            },
            PatState::Expired => format!("its PAT ended at {end}, so its logins fail; {new}"),
            PatState::Rotated => match self.not_rotated() {
                Some(why) => format!("its PAT is not the newest at Snowflake, and ends at {end}: {why}"),
                None => format!(
                    "its PAT was rotated at Snowflake by somebody else, and ends at {end}; put the new one into the \
                     store, or {new}"
                ),
            },
            PatState::Disabled => format!(
                "its PAT is disabled at Snowflake, so its logins fail; it may have leaked: find out who disabled it, \
                 then {new}"
            ),
            PatState::Gone => format!("Snowflake lists its PAT no more, so its logins fail; {new}"),
            PatState::Refused | PatState::Unknown if self.pause.is_some() && !self.is_condemned() => {
                self.pause.as_ref()?.attention()
            }
            PatState::Refused if self.kind == "key_pair" && !self.is_revoked() => format!(
                "Snowflake refuses its key pair, so its logins fail; compare RSA_PUBLIC_KEY_FP of DESC USER with the \
                 key in the store, and run `patgate pat retry {}`",
                self.credential
            ),
            PatState::Refused if self.is_revoked() => format!(
                "an operator has revoked its {what} at this gate, so its logins fail; {new}. If it is good again at \
                 Snowflake, run `patgate pat retry {}`",
                self.credential
            ),
            PatState::Refused | PatState::Unknown => format!(
                "Snowflake refuses its PAT, so its logins fail; put a new one into the store. If it was only \
                 disabled, find out why, enable it, and run `patgate pat retry {}`",
                self.credential
            ),
            PatState::Missing => match &self.failure {
                Some(failure) if failure.kind != "missing" => format!(
                    "no store gives its {what}, so its logins fail: {}; `patgate doctor` looks at the way to it",
                    failure.cause
                ),
                _ => format!("it has no usable {what}, so its logins fail; put one into the store"),
            },
        })
    }

    /// Why it cannot be read, although one in memory serves.
    fn unread(&self) -> Option<String> {
        let FailureStatus { since, cause, .. } = self.failure.as_ref()?;
        let since = since.map(rfc3339::show).unwrap_or_default();
        Some(format!(
            "it cannot be read since {since}: {cause}. The one in memory serves until it is too old (pat.stale), or \
             the gate restarts"
        ))
    }

    /// Why its last rotation failed.
    fn not_rotated(&self) -> Option<String> {
        let failure = self.rotation.as_ref()?.failure.as_ref()?;
        Some(format!("the gate could not rotate its PAT: {}. {}", failure.cause, failure.next_step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pat(held: serde_json::Value, ready: bool) -> PatStatus {
        let pat = serde_json::json!({
            "credential": "bi", "warn_s": [14 * 86_400, 86_400], "references": [], "ready": ready, "held": held,
            "failure": null, "losers": []
        });
        serde_json::from_value(pat).unwrap()
    }

    #[test]
    fn what_is_refused_missing_or_ends_soon_needs_attention() {
        let now = rfc3339::parse("2026-11-01T00:00:00Z").unwrap();
        let held = |refused: bool, expires: Option<&str>| {
            serde_json::json!({
                "id": "3259373ad93c", "version": "1", "from": "f:pat", "created": null, "expires": expires, "age_s": 1,
                "usable": true, "overdue": false, "warm": false, "refused": refused
            })
        };
        let listed = |state: &str| {
            let mut pat = pat(held(true, None), true);
            let token = serde_json::json!({
                "name": "T", "state": state, "created": null, "expires": null, "role": null, "seen": null
            });
            pat.token = serde_json::from_value(token).unwrap();
            pat
        };
        // What Snowflake lists says why it refuses, also after the first refusal.
        assert_eq!(listed("disabled").state(now), PatState::Disabled);
        assert_eq!(listed("gone").state(now), PatState::Gone);
        assert_eq!(pat(held(true, Some("2026-10-01T00:00:00Z")), true).state(now), PatState::Expired);
        for (pat, wanted) in [
            (pat(held(false, None), true), None),
            (pat(held(false, Some("2026-11-15T00:00:00Z")), true), None),
            (pat(held(false, Some("2026-11-14T23:59:59Z")), true), Some("its PAT ends at 2026-11-14T23:59:59Z")),
            (pat(held(false, Some("2026-10-01T00:00:00Z")), true), Some("its PAT ended at 2026-10-01")),
            (pat(held(true, None), true), Some("Snowflake refuses its PAT")),
            (pat(held(false, None), false), Some("it has no usable PAT")),
            (pat(serde_json::Value::Null, false), Some("it has no usable PAT")),
        ] {
            let told = pat.attention(now);
            assert_eq!(told.is_some(), wanted.is_some(), "{told:?}");
            assert!(told.unwrap_or_default().starts_with(wanted.unwrap_or_default()));
        }
    }
}
