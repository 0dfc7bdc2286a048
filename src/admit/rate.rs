//! [`MultiRateLimiter`]: several rates at once over one scope, such as a client's logins: per second, per minute, per
//! ten minutes.
//!
//! Each rate is a GCRA of governor, which cannot check without counting. The limiter therefore asks one rate after the
//! other, the shortest window first, and stops at the first that refuses: requests that the shortest window refuses do
//! not use up the longer ones.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::Clock as Timer;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};
use moka::sync::Cache;

use crate::base::clock::Clock;
use crate::config::units::Rate;

/// How many sources, or names, the gate counts at a time: the most frequent ones. An entry takes some 200 bytes.
const KEYS: u64 = 64 << 10;

/// The gate's clock, for governor.
#[derive(Clone)]
struct Seam(Arc<dyn Clock>);

impl Timer for Seam {
    type Instant = Instant;

    fn now(&self) -> Instant {
        self.0.now()
    }
}

/// Rates over one scope.
pub(super) struct MultiRateLimiter {
    rates: Arc<[Rate]>,
    limiters: Vec<Limiter>,
    clock: Seam,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, Seam>;

impl MultiRateLimiter {
    pub(super) fn new(rates: &Arc<[Rate]>, clock: &Arc<dyn Clock>) -> Self {
        let clock = Seam(clock.clone());
        let mut shortest_first = rates.to_vec();
        shortest_first.sort_by_key(|rate| rate.per);
        let limiter = |rate: &Rate| RateLimiter::direct_with_clock(quota(*rate), clock.clone());
        Self { rates: rates.clone(), limiters: shortest_first.iter().map(limiter).collect(), clock }
    }

    /// The rates, in the order of the configuration.
    pub(super) fn rates(&self) -> &Arc<[Rate]> {
        &self.rates
    }

    /// Counts one more if all rates allow it.
    ///
    /// # Errors
    /// How long to wait for the first window that refuses it.
    pub(super) fn count(&self) -> Result<(), Duration> {
        (0..self.limiters.len()).try_for_each(|number| self.count_in(number))
    }

    /// Counts one more, and waits for that up to `may_wait`.
    ///
    /// # Errors
    /// The remaining time to wait.
    pub(super) async fn wait(&self, may_wait: impl Fn(Duration) -> bool) -> Result<(), Duration> {
        for number in 0..self.limiters.len() {
            while let Err(wait) = self.count_in(number) {
                if !may_wait(wait) {
                    return Err(wait);
                }
                tokio::time::sleep(wait).await;
            }
        }
        Ok(())
    }

    fn count_in(&self, number: usize) -> Result<(), Duration> {
        let not_until = |not_until: NotUntil<Instant>| not_until.wait_time_from(self.clock.now());
        self.limiters[number].check().map_err(not_until)
    }
}

/// Rates over each of many scopes. The number of entries is limited; an entry that was unused for its longest window
/// holds no count and can go.
pub(super) struct Keyed<K> {
    rates: Arc<[Rate]>,
    clock: Arc<dyn Clock>,
    all: Cache<K, Arc<MultiRateLimiter>>,
}

impl<K: Hash + Eq + Send + Sync + 'static> Keyed<K> {
    pub(super) fn new(rates: Arc<[Rate]>, clock: &Arc<dyn Clock>) -> Self {
        let longest = rates.iter().map(|rate| rate.per).max().unwrap_or_default();
        let all = Cache::builder().max_capacity(KEYS).time_to_idle(longest.max(Duration::from_secs(1))).build();
        Self { rates, clock: clock.clone(), all }
    }

    /// The rates over this scope; `None` if there are no rates.
    pub(super) fn of(&self, key: K) -> Option<Arc<MultiRateLimiter>> {
        (!self.rates.is_empty())
            .then(|| self.all.get_with(key, || Arc::new(MultiRateLimiter::new(&self.rates, &self.clock))))
    }
}

/// The whole count at once, and then one more after each such fraction of the window.
fn quota(rate: Rate) -> Quota {
    let each = rate.per / rate.count.get();
    Quota::with_period(each).unwrap_or(Quota::per_second(NonZeroU32::MAX)).allow_burst(rate.count)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::base::clock::ManualClock;
    use crate::base::source::Source;
    use crate::config::units::rate;

    fn rates(all: &[&str]) -> Arc<[Rate]> {
        all.iter().map(|text| rate(text).unwrap()).collect()
    }

    #[test]
    fn every_window_has_to_fit() {
        let manual = ManualClock::start();
        let clock: Arc<dyn Clock> = manual.clone();
        let limiter = MultiRateLimiter::new(&rates(&["2/s", "5/min"]), &clock);
        let counted = |limiter: &MultiRateLimiter| (0..10).take_while(|_| limiter.count().is_ok()).count();
        assert_eq!(counted(&limiter), 2, "the burst");
        assert_eq!(limiter.count().unwrap_err(), Duration::from_millis(500));
        manual.advance(Duration::from_secs(1));
        assert_eq!(counted(&limiter), 2);
        (0..100).for_each(|_| assert!(limiter.count().is_err()));
        manual.advance(Duration::from_secs(1));
        assert_eq!(counted(&limiter), 1, "what the burst turned away took nothing of the minute");
        manual.advance(Duration::from_secs(1));
        assert!(limiter.count().unwrap_err() > Duration::from_secs(8), "the minute");
        manual.advance(Duration::from_secs(120));
        assert_eq!(counted(&limiter), 2);
    }

    #[test]
    fn each_key_counts_by_itself_and_their_number_is_bounded() {
        let clock: Arc<dyn Clock> = ManualClock::start();
        let keyed = Keyed::new(rates(&["1/h"]), &clock);
        let source = |text: &str| Source::of(text.parse().unwrap());
        assert!(keyed.of(source("192.0.2.1")).unwrap().count().is_ok());
        assert!(keyed.of(source("192.0.2.1")).unwrap().count().is_err());
        assert!(keyed.of(source("192.0.2.2")).unwrap().count().is_ok());
        assert!(keyed.of(source("2001:db8::1")).unwrap().count().is_ok());
        assert!(keyed.of(source("2001:db8::ffff:1")).unwrap().count().is_err(), "one host");
        for number in 0..100_000_u32 {
            let _counted = keyed.of(Source::of(IpAddr::from(number.to_be_bytes())));
        }
        keyed.all.run_pending_tasks();
        assert!(keyed.all.entry_count() <= KEYS, "{}", keyed.all.entry_count());
        assert!(Keyed::<u8>::new(rates(&[]), &clock).of(1).is_none());
    }
}
