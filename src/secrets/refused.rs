//! [`Refused`]: which versions Snowflake has refused lately, so that a store that still gives one is passed over.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many are remembered. Snowflake keeps fifteen tokens a user.
const REMEMBERED: usize = 64;

/// Fingerprints of refused PATs, the youngest last.
#[derive(Default)]
pub(super) struct Refused(Mutex<VecDeque<String>>);

impl Refused {
    pub(super) fn add(&self, id: &str) {
        let mut all = self.lock();
        if !all.iter().any(|known| known == id) {
            all.push_back(id.to_owned());
        }
        if all.len() > REMEMBERED {
            all.pop_front();
        }
    }

    pub(super) fn remove(&self, id: &str) {
        self.lock().retain(|known| known != id);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.lock().iter().any(|known| known == id)
    }

    /// All of them, as they are now.
    pub(super) fn all(&self) -> HashSet<String> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
