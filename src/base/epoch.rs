//! [`EpochMillis`]: points in time in tickets, in files and for replicas.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::clock::Clock;

/// A point of wall-clock time in milliseconds of the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EpochMillis(pub u64);

impl EpochMillis {
    /// The point in time; a time before 1970 becomes 1970.
    pub fn of(at: SystemTime) -> Self {
        Self(millis(at.duration_since(UNIX_EPOCH).unwrap_or_default()))
    }

    /// The wall-clock time of a point of monotonic time.
    pub fn of_instant(at: Instant, clock: &dyn Clock) -> Self {
        let (now, wall) = (clock.now(), clock.wall());
        Self::of(match at.checked_duration_since(now) {
            Some(ahead) => wall + ahead,
            None => wall.checked_sub(now.saturating_duration_since(at)).unwrap_or(UNIX_EPOCH),
        })
    }

    /// From whole seconds of the Unix epoch.
    pub fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }

    /// Whole seconds of the Unix epoch.
    pub fn as_secs(self) -> u64 {
        self.0 / 1_000
    }

    /// The same as a system time; a time that the system cannot represent becomes 1970.
    pub fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.0)).unwrap_or(UNIX_EPOCH)
    }

    /// The same on the monotonic clock, at most `furthest` in the future: a wall clock that was set back must not block
    /// a user.
    pub fn to_instant(self, clock: &dyn Clock, furthest: Duration) -> Instant {
        let (now, wall) = (clock.now(), clock.wall());
        match self.to_system_time().duration_since(wall) {
            Ok(ahead) => now + ahead.min(furthest),
            Err(past) => now.checked_sub(past.duration()).unwrap_or(now),
        }
    }

    /// How long this is after `other`; zero if it is before.
    pub fn since(self, other: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(other.0))
    }
}

/// A time span in whole milliseconds.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;

    #[test]
    fn both_clocks_agree_on_a_point_in_time() {
        let clock = ManualClock::start();
        let ahead = clock.now() + Duration::from_secs(90);
        let written = EpochMillis::of_instant(ahead, &*clock);
        assert!(written.to_instant(&*clock, Duration::MAX).duration_since(ahead) < Duration::from_millis(2));
        assert_eq!(written.to_instant(&*clock, Duration::from_secs(60)), clock.now() + Duration::from_secs(60));
        clock.jump(Duration::from_secs(3_600));
        assert!(written.to_instant(&*clock, Duration::MAX) < clock.now());
        assert_eq!(EpochMillis::from_secs(7).as_secs(), 7);
        assert_eq!(EpochMillis(u64::MAX).since(EpochMillis(0)), Duration::from_millis(u64::MAX));
    }
}
