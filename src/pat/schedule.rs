//! [`Schedule`]: when the background reader reads a credential's references again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::base::clock::Random;
use crate::config;
use crate::stores::StoreError;

/// The first pause after a failed read when nothing is in memory; it doubles up to the pace.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The operator's settings, and randomness for jitter.
pub(super) struct Schedule {
    settings: config::Pat,
    random: Arc<dyn Random>,
}

impl Schedule {
    pub(super) fn new(settings: config::Pat, random: Arc<dyn Random>) -> Self {
        Self { settings, random }
    }

    /// The least time between two reads. Reads of local files cost nothing.
    pub(super) fn pace(&self, is_local: bool) -> Duration {
        if is_local { self.settings.watch } else { self.settings.pace }
    }

    /// How long until the next read after a success: `refresh`, or less if the value expires soon.
    pub(super) fn after_success(&self, is_local: bool, expires: Option<SystemTime>, now: SystemTime) -> Duration {
        if is_local {
            return self.settings.watch;
        }
        match expires.and_then(|end| end.duration_since(now).ok()) {
            Some(left) if left < self.settings.refresh * 2 => self.settings.pace,
            _ => self.jittered(self.settings.refresh).max(self.settings.pace),
        }
    }

    /// How long to wait after this many failures in a row: the pace if memory has a value, less at first if it has
    /// none.
    pub(super) fn after_failure(&self, failures: u32, is_local: bool, holds: bool, error: &StoreError) -> Duration {
        let pace = self.pace(is_local);
        let soon = || self.jittered(pace.min(FIRST_PAUSE * 2_u32.saturating_pow(failures.saturating_sub(1))));
        let pause = if holds { pace } else { soon() };
        pause.max(error.pause())
    }

    /// The age at which the background reader must have failed or been asleep.
    pub(super) fn overdue(&self) -> Duration {
        self.settings.refresh + self.settings.read * 2
    }

    /// Up to a tenth less, so that many gates that started together do not read together.
    fn jittered(&self, pause: Duration) -> Duration {
        let mut byte = [0];
        let _without_entropy_no_jitter = self.random.fill(&mut byte);
        pause - pause / 10 * u32::from(byte[0]) / 256
    }
}
