//! [`Expiry`]: when the gate says that a certificate ends.
//!
//! The value has no clock and writes no log: the caller looks at it regularly, with the time, and writes what it says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::ServerCertificate;

const DAY: Duration = Duration::from_secs(86_400);
/// The days left at which the gate warns, once at each.
const WARNINGS: [u32; 4] = [30, 14, 3, 1];
/// How often the gate says that a certificate has ended.
const AGAIN: Duration = Duration::from_secs(3_600);

/// What to write about a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It ends soon.
    Soon,
    /// It has ended, or is not valid yet: every client refuses it.
    Invalid,
}

/// What was said about the certificates of the listeners.
#[derive(Default)]
pub struct Expiry {
    said: BTreeMap<Arc<str>, Said>,
}

struct Said {
    /// The certificate that it was about.
    ends: SystemTime,
    /// The last warning, in days left.
    warned: Option<u32>,
    /// When it was last called invalid.
    invalid: Option<SystemTime>,
}

impl Expiry {
    /// What to write now about the certificate of a listener. A new certificate begins anew.
    pub fn look(&mut self, listener: &Arc<str>, certificate: &ServerCertificate, now: SystemTime) -> Option<Notice> {
        let new = || Said { ends: certificate.ends, warned: None, invalid: None };
        let said = self.said.entry(listener.clone()).or_insert_with(new);
        if said.ends != certificate.ends {
            *said = new();
        }
        if certificate.check_time(now).is_err() {
            // After a correction of the clock the last time may be in the future.
            let recent = said.invalid.is_some_and(|last| now.duration_since(last).is_ok_and(|since| since < AGAIN));
            if recent {
                return None;
            }
            said.invalid = Some(now);
            return Some(Notice::Invalid);
        }
        let left = certificate.left(now);
        // One that lives for a week must not warn all its life: its owner renews it in the last third of that.
        let worth = |days: &u32| *days * DAY <= certificate.life() / 3;
        let reached = WARNINGS.into_iter().filter(worth).rfind(|days| left <= *days * DAY)?;
        if said.warned.is_some_and(|warned| warned <= reached) {
            return None;
        }
        said.warned = Some(reached);
        Some(Notice::Soon)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::base::clock::{Clock, ManualClock};

    fn certificate(starts: SystemTime, life: Duration) -> ServerCertificate {
        ServerCertificate {
            path: "server.pem".into(),
            subject: String::new(),
            issuer: String::new(),
            names: Vec::new(),
            starts,
            ends: starts + life,
            flaws: Vec::new(),
        }
    }

    /// The days left at which something is said, from the first hour of a life until two hours after its end.
    fn said(life: Duration) -> (Vec<f64>, usize) {
        let (clock, mut expiry) = (ManualClock::start(), Expiry::default());
        let certificate = certificate(clock.wall(), life);
        let (mut warned, mut errors) = (Vec::new(), 0);
        let step = Duration::from_secs(1_800);
        for _ in 0..=(life + 2 * AGAIN).as_secs() / step.as_secs() {
            match expiry.look(&"main".into(), &certificate, clock.wall()) {
                Some(Notice::Soon) => warned.push(certificate.left(clock.wall()).as_secs_f64() / 86_400.0),
                Some(Notice::Invalid) => errors += 1,
                None => {}
            }
            clock.advance(step);
        }
        (warned, errors)
    }

    #[test]
    fn a_certificate_warns_once_at_each_step_and_then_hourly_that_it_has_ended() {
        assert_eq!(said(365 * DAY), (vec![30.0, 14.0, 3.0, 1.0], 3));
        assert_eq!(said(90 * DAY), (vec![30.0, 14.0, 3.0, 1.0], 3));
        assert_eq!(said(10 * DAY), (vec![3.0, 1.0], 3), "a short life has no warning at its start");
        assert_eq!(said(DAY), (vec![], 3));
    }

    #[test]
    fn a_start_near_the_end_says_one_thing_and_a_new_certificate_begins_anew() {
        let (clock, mut expiry) = (ManualClock::start(), Expiry::default());
        let main: Arc<str> = "main".into();
        let old = certificate(clock.wall() - 88 * DAY, 90 * DAY);
        assert_eq!(expiry.look(&main, &old, clock.wall()), Some(Notice::Soon));
        assert_eq!(expiry.look(&main, &old, clock.wall()), None);
        assert_eq!(expiry.look(&"other".into(), &old, clock.wall()), Some(Notice::Soon), "each listener has its own");
        let new = certificate(clock.wall(), 90 * DAY);
        assert_eq!(expiry.look(&main, &new, clock.wall()), None);
        clock.advance(61 * DAY);
        assert_eq!(expiry.look(&main, &new, clock.wall()), Some(Notice::Soon));
    }

    #[test]
    fn one_that_is_not_valid_yet_is_an_error_and_a_clock_that_is_set_back_hides_none() {
        let (clock, mut expiry) = (ManualClock::start(), Expiry::default());
        let main: Arc<str> = "main".into();
        let early = certificate(clock.wall() + DAY, 90 * DAY);
        assert_eq!(expiry.look(&main, &early, clock.wall()), Some(Notice::Invalid));
        assert_eq!(expiry.look(&main, &early, UNIX_EPOCH), Some(Notice::Invalid));
    }
}
