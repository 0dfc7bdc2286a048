//! [`InflateBudget`]: how much the gate inflates for connections that are not admitted.
//!
//! A kilobyte of gzip can be a thousand kilobytes of text, and anybody can send it. What strangers send is inflated at
//! a limited rate, in the order of arrival. A login of a driver has a few kilobytes, so that hundreds of them at once
//! wait for nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

use crate::base::clock::Clock;

/// Bytes a second, and how many at once. To inflate a megabyte takes some 3 ms.
const RATE: f64 = 16.0 * 1024.0 * 1024.0;

/// The budget of one gate.
pub struct InflateBudget {
    clock: Arc<dyn Clock>,
    left: Mutex<(f64, Instant)>,
}

/// The right to inflate one body; there is one at a time.
pub struct Turn<'a>(MutexGuard<'a, (f64, Instant)>);

impl InflateBudget {
    /// A full budget.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let left = Mutex::new((RATE, clock.now()));
        Self { clock, left }
    }

    /// Waits until there is something left, and for those who came before.
    pub async fn turn(&self) -> Turn<'_> {
        // Those that come later wait for the lock, in order.
        let mut left = self.left.lock().await;
        loop {
            let now = self.clock.now();
            let gained = now.saturating_duration_since(left.1).as_secs_f64() * RATE;
            *left = ((left.0 + gained).min(RATE), now);
            if left.0 >= 0.0 {
                return Turn(left);
            }
            tokio::time::sleep(Duration::from_secs_f64(-left.0 / RATE)).await;
        }
    }
}

impl Turn<'_> {
    /// What it took, in bytes.
    pub fn took(mut self, bytes: usize) {
        self.0.0 -= bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;

    /// Whether a body of that size is inflated at once.
    fn inflates(budget: &InflateBudget, bytes: usize) -> bool {
        // Not limited by tokio either, which lets a task take only so many locks at a time.
        let mut turn = std::pin::pin!(tokio::task::unconstrained(budget.turn()));
        match turn.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(turn) => turn.took(bytes),
            std::task::Poll::Pending => return false,
        }
        true
    }

    #[tokio::test]
    async fn strangers_have_so_much_inflated_a_second() {
        let clock = ManualClock::start();
        let budget = InflateBudget::new(clock.clone());
        let bomb = 256 << 10;
        let at_once = (0..1000).take_while(|_| inflates(&budget, bomb)).count();
        assert_eq!(at_once, 65, "16 MiB, and the one that goes over");
        clock.advance(Duration::from_millis(10));
        assert!(!inflates(&budget, 1), "what went over is paid back first");
        clock.advance(Duration::from_secs(1));
        assert_eq!((0..1000).take_while(|_| inflates(&budget, bomb)).count(), 64);
        let logins = InflateBudget::new(clock);
        assert_eq!((0..2000).take_while(|_| inflates(&logins, 4 << 10)).count(), 2000, "what drivers send");
    }
}
