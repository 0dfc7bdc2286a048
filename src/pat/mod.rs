//! The life of a PAT. For now: how often a version may be refused before it is not tried any more.
//!
//! Snowflake locks a user after five bad logins, and a locked service user stops every report. So a version that was refused
//! [`BUDGET`] times is not sent again; only a newer version reopens the way. The count is in this process's memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How many bad logins one version of a PAT may cost.
pub const BUDGET: u32 = 2;

/// Counts refusals, per credential and version.
#[derive(Default)]
pub struct BadLogins(Mutex<HashMap<Arc<str>, Refused>>);

#[derive(Default)]
struct Refused {
    /// The fingerprint of the version.
    id: String,
    times: u32,
}

impl BadLogins {
    /// Whether that version may be sent to Snowflake.
    pub fn may_try(&self, credential: &str, id: &str) -> bool {
        self.lock().get(credential).is_none_or(|refused| refused.id != id || refused.times < BUDGET)
    }

    /// Snowflake refused that version; returns how often it has by now.
    pub fn refused(&self, credential: &Arc<str>, id: &str) -> u32 {
        let mut all = self.lock();
        let refused = all.entry(credential.clone()).or_default();
        if refused.id != id {
            *refused = Refused { id: id.to_owned(), times: 0 };
        }
        refused.times = refused.times.saturating_add(1);
        refused.times
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Refused>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_tried_twice_and_a_new_one_starts_anew() {
        let (bad, bi): (_, Arc<str>) = (BadLogins::default(), "bi".into());
        assert_eq!(bad.refused(&bi, "a"), 1);
        assert!(bad.may_try("bi", "a"));
        assert_eq!(bad.refused(&bi, "a"), 2);
        assert!(!bad.may_try("bi", "a") && bad.may_try("bi", "b") && bad.may_try("other", "a"));
        assert_eq!(bad.refused(&bi, "b"), 1);
        assert!(bad.may_try("bi", "b"));
    }
}
