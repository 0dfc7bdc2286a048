//! Clock and randomness as replaceable parts: [`Clock`] and [`Random`], with the system's versions of both.
//!
//! Both are small object-safe traits behind `Arc`, so that a test can set the clock or fix the random bytes without
//! type parameters in other modules.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

/// Clock and randomness for a whole gate; tests replace them.
#[derive(Clone)]
pub struct Env {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub random: Arc<dyn Random>,
}

impl Default for Env {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) }
    }
}

/// The source of time.
pub trait Clock: Send + Sync {
    /// Monotonic time, for ages and deadlines within one run of the process.
    fn now(&self) -> Instant;
    /// Wall-clock time; it continues while a laptop sleeps, and it may jump.
    fn wall(&self) -> SystemTime;
}

/// The clock of the machine.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

#[expect(clippy::disallowed_methods, reason = "the one place that may ask the machine for the time")]
impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that tests set; it does not move by itself.
pub struct ManualClock {
    start: (Instant, SystemTime),
    advanced: Mutex<(Duration, Duration)>,
}

impl ManualClock {
    /// A clock that starts at the machine's current time.
    pub fn start() -> Arc<Self> {
        Arc::new(Self { start: (SystemClock.now(), SystemClock.wall()), advanced: Mutex::default() })
    }

    /// Moves both times forward.
    pub fn advance(&self, by: Duration) {
        let mut advanced = self.advanced.lock();
        *advanced = (advanced.0 + by, advanced.1 + by);
    }

    /// Moves only the wall clock, as a laptop's sleep or a correction does.
    pub fn jump(&self, by: Duration) {
        self.advanced.lock().1 += by;
    }

    fn advanced(&self) -> (Duration, Duration) {
        *self.advanced.lock()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.start.0 + self.advanced().0
    }

    fn wall(&self) -> SystemTime {
        self.start.1 + self.advanced().1
    }
}

/// The source of random bytes.
pub trait Random: Send + Sync {
    /// Fills `into` with bytes fit for keys.
    ///
    /// # Errors
    /// [`NoEntropy`] if the machine gives no random bytes; code that needs a key must then stop.
    fn fill(&self, into: &mut [u8]) -> Result<(), NoEntropy>;
}

/// The machine gave no random bytes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the machine gave no random bytes")]
pub struct NoEntropy;

/// The generator of aws-lc, seeded by the kernel.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, into: &mut [u8]) -> Result<(), NoEntropy> {
        aws_lc_rs::rand::fill(into).map_err(|_| NoEntropy)
    }
}
