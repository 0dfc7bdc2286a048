//! The background's part: looks at each token, and rotates it when it is time.
//!
//! What is overdue at the start goes at once. What is not has a jitter, so that the tokens of many users, and many
//! gates, do not rotate in one moment. After a failure the gate waits longer each time.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use super::failure::RotationFailure;
use super::journal::Failure;
use super::run::Rotated;
use super::settings::RotatedToken;
use crate::base::clock::Random;
use crate::pat::Inner;

/// How often the gate looks at its clock, which may jump, and at the version in memory.
const TICK: Duration = Duration::from_secs(1);
/// How long a look at Snowflake is good for: others may rotate too.
const LOOK: Duration = Duration::from_secs(3_600);
/// How soon the gate looks again after a rotation, or while another gate is at it.
const SOON: Duration = Duration::from_secs(60);
/// The pauses after failures.
const FAILED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(6 * 3_600));

/// Keeps one token rotated, while the configuration that says so is in use.
pub(super) async fn keep(inner: Weak<Inner>, token: Arc<RotatedToken>) {
    let (mut next, mut was_refused): (Option<SystemTime>, _) = (None, false);
    let mut soonest = None;
    for looks in 0_u64.. {
        // What was broken off is taken up at once.
        if looks > 0 {
            tokio::time::sleep(TICK).await;
        }
        let Some(inner) = inner.upgrade() else { return };
        let refused = inner.notice(&token).await;
        if refused && !was_refused {
            // Snowflake may say why.
            next = None;
        }
        was_refused = refused;
        if std::mem::take(&mut token.look.lock().wanted) {
            next = None;
        }
        let now = inner.env.clock.wall();
        // An operator's rotation may have left something to remove.
        let removal = token.next_removal().map(|at| soonest.map_or(at, |soonest| at.max(soonest)));
        if next.is_some_and(|next| now < removal.map_or(next, |removal| next.min(removal))) {
            continue;
        }
        // A task of its own: a reload in the middle of a rotation does not break it off.
        let (rotating, of) = (inner.clone(), token.clone());
        let rotated = inner.control.spawn(async move { rotating.rotate(&of, None, None).await }).await;
        let now = inner.env.clock.wall();
        // What could not be removed is not tried each second.
        soonest = token.next_removal().filter(|at| *at <= now).map(|_| now + SOON);
        next = Some(match rotated {
            Ok(rotated) => inner.next_look(&token, &rotated, now),
            // It panicked, or the gate stops.
            Err(_) => now + SOON,
        });
    }
}

impl Inner {
    /// When to look again.
    fn next_look(
        &self,
        token: &RotatedToken,
        rotated: &Result<Rotated, RotationFailure>,
        now: SystemTime,
    ) -> SystemTime {
        match rotated {
            Ok(Rotated::Waits(until)) => {
                let due = *until + jitter(&*self.env.random, token.terms.every);
                token.look.lock().next = Some(due);
                due.min(now + LOOK)
            }
            Ok(Rotated::Done(_)) => now + SOON,
            Err(failure) if failure.busy => now + SOON,
            Err(_) => {
                let failed = token.look.lock().entry.failure.clone();
                now + failed.map_or(FAILED.0, |failed| failed.pause())
            }
        }
    }
}

impl RotatedToken {
    /// When something has to be removed next.
    fn next_removal(&self) -> Option<SystemTime> {
        self.look.lock().entry.removals.iter().map(|removal| removal.at.to_system_time()).min()
    }
}

impl Failure {
    /// How long to wait after it.
    pub(super) fn pause(&self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.times.saturating_sub(1).min(16));
        FAILED.1.min(FAILED.0.saturating_mul(doubled))
    }
}

/// Up to an hour, and never more than a twenty-fourth of the time between two rotations.
fn jitter(random: &dyn Random, every: Duration) -> Duration {
    let mut bytes = [0; 2];
    let _without_entropy_no_jitter = random.fill(&mut bytes);
    let longest = LOOK.min(every / 24);
    longest * u32::from(u16::from_le_bytes(bytes)) / 65_536
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemRandom;
    use crate::base::epoch::EpochMillis;
    use crate::base::fault::Owner;

    #[test]
    fn jitter_is_short_and_pauses_grow_up_to_a_bound() {
        let every = Duration::from_secs(86_400);
        let all: Vec<_> = (0..100).map(|_| jitter(&SystemRandom, every)).collect();
        assert!(all.iter().all(|one| *one < Duration::from_secs(3_600)) && all.iter().any(|one| *one != all[0]));
        let pause = |times| {
            let (cause, next_step) = (String::new(), String::new());
            Failure { at: EpochMillis(0), times, owner: Owner::Gate, cause, next_step }.pause().as_secs()
        };
        assert_eq!([1, 2, 3, 40].map(pause), [60, 120, 240, 21_600]);
    }
}
