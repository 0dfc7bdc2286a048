//! The life of a PAT. For now: how many logins may be risked with one version.
//!
//! Snowflake locks a user after five bad logins in a row, and a locked service user stops every report. So [`Budget`] lets
//! only so many logins be under way with one version at once, counts those that were refused, and sends nothing more with
//! a version whose budget is spent; only a newer version reopens the way. What is under way counts as spent until its
//! answer is there: a PAT that is revoked between two answers must not cost more than one that was revoked long ago.
//!
//! The price is that logins queue: with a budget of two and a Snowflake that answers a login in 0.3 s, seven logins a second
//! and credential. Logins are rare; sessions and queries are not touched by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use crate::base::fault::Kind;

/// How many versions of a PAT are remembered. Two are in use in a rotation; a few more cover one that goes wrong.
const REMEMBERED: usize = 8;

/// How long a login is waited for. Refusals come at once; one that takes longer is the sign of an outage, and two of those
/// must not keep everybody else out.
pub const SLOW: Duration = Duration::from_secs(10);

/// The risk taken with each credential. Counts are in this process's memory.
pub struct Budget {
    each: usize,
    credentials: Mutex<HashMap<Arc<str>, Ledger>>,
}

/// What one credential has spent.
#[derive(Default)]
struct Ledger {
    /// The youngest last.
    versions: Vec<Version>,
    /// A refusal that is not the PAT's fault: nothing is sent before this time.
    rest: Option<(Kind, Instant)>,
    /// Rung when something comes free.
    free: Arc<Notify>,
}

/// What one version of a PAT has spent.
struct Version {
    /// Its fingerprint.
    id: String,
    /// When each of those under way was let go.
    under_way: Vec<Instant>,
    refused: usize,
    since: Option<Instant>,
}

/// Whether a login may be sent.
pub enum Verdict {
    /// It may; the answer is told to the permit.
    Go(Permit),
    /// This version has been refused as often as it may.
    Spent,
    /// Snowflake refused for a reason that no PAT mends, a moment ago.
    Resting(Kind),
    /// As many as may are under way: ask again when one of them has been answered.
    Busy(OwnedNotified),
}

/// A login under way.
pub struct Permit {
    budget: Arc<Budget>,
    credential: Arc<str>,
    id: String,
    start: Instant,
}

impl Budget {
    /// A budget of `each` logins for every version.
    pub fn new(each: usize) -> Arc<Self> {
        Arc::new(Self { each, credentials: Mutex::default() })
    }

    /// Asks for a login with that version of a credential's PAT.
    pub fn ask(self: &Arc<Self>, credential: &Arc<str>, id: &str) -> Verdict {
        let mut all = self.lock();
        let ledger = all.entry(credential.clone()).or_default();
        if let Some((kind, until)) = ledger.rest {
            if Instant::now() < until {
                return Verdict::Resting(kind);
            }
            ledger.rest = None;
        }
        let free = ledger.free.clone();
        let version = ledger.version(id);
        if version.refused >= self.each {
            return Verdict::Spent;
        }
        let start = Instant::now();
        let waited_for = version.under_way.iter().filter(|began| start.duration_since(**began) < SLOW).count();
        if version.refused + waited_for >= self.each {
            return Verdict::Busy(free.notified_owned());
        }
        version.under_way.push(start);
        Verdict::Go(Permit { budget: self.clone(), credential: credential.clone(), id: id.to_owned(), start })
    }

    /// When that version was refused for the first time. A store may be a moment behind Snowflake in a rotation, so for a
    /// while after it a login may wait for the successor.
    pub fn refused_since(&self, credential: &str, id: &str) -> Option<Instant> {
        self.lock().get(credential)?.versions.iter().find(|version| version.id == id)?.since
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Ledger>> {
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn version(&mut self, id: &str) -> &mut Version {
        let at = self.versions.iter().position(|version| version.id == id).unwrap_or_else(|| {
            if self.versions.len() == REMEMBERED {
                self.versions.remove(0);
            }
            self.versions.push(Version { id: id.to_owned(), under_way: Vec::new(), refused: 0, since: None });
            self.versions.len() - 1
        });
        &mut self.versions[at]
    }
}

impl Permit {
    /// Snowflake refused; returns how often it has refused this version by now.
    pub fn refused(self, kind: Kind) -> usize {
        let mut all = self.budget.lock();
        let ledger = all.entry(self.credential.clone()).or_default();
        match kind {
            Kind::UserLocked => ledger.rest = Some((kind, Instant::now() + Duration::from_secs(60))),
            Kind::PatPolicy => ledger.rest = Some((kind, Instant::now() + Duration::from_secs(5))),
            _ => {
                let version = ledger.version(&self.id);
                version.refused += 1;
                version.since.get_or_insert_with(Instant::now);
            }
        }
        ledger.version(&self.id).refused
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut all = self.budget.lock();
        let Some(ledger) = all.get_mut(&self.credential) else { return };
        let free = ledger.free.clone();
        let version = ledger.version(&self.id);
        if let Some(at) = version.under_way.iter().position(|began| *began == self.start) {
            version.under_way.swap_remove(at);
        }
        let all_must_know = version.refused > 0 || ledger.rest.is_some();
        drop(all);
        // After a refusal everybody in the queue has to hear of it; else one place has come free.
        if all_must_know { free.notify_waiters() } else { free.notify_one() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(budget: &Arc<Budget>, credential: &Arc<str>, id: &str) -> Permit {
        match budget.ask(credential, id) {
            Verdict::Go(permit) => permit,
            _ => panic!("not let through"),
        }
    }

    #[tokio::test]
    async fn what_is_under_way_counts_as_spent_and_a_new_version_starts_anew() {
        let (budget, bi): (_, Arc<str>) = (Budget::new(2), "bi".into());
        let (one, two) = (go(&budget, &bi, "a"), go(&budget, &bi, "a"));
        assert!(matches!(budget.ask(&bi, "a"), Verdict::Busy(_)));
        assert_eq!(one.refused(Kind::PatRefused), 1);
        assert!(matches!(budget.ask(&bi, "a"), Verdict::Busy(_)));
        drop(two);
        let three = go(&budget, &bi, "a");
        assert!(matches!(budget.ask(&bi, "a"), Verdict::Busy(_)));
        assert_eq!(three.refused(Kind::PatRefused), 2);
        assert!(matches!(budget.ask(&bi, "a"), Verdict::Spent));
        assert!(budget.refused_since("bi", "a").is_some());
        drop(go(&budget, &bi, "b"));
        assert!(budget.refused_since("bi", "b").is_none());
        // A login that still holds the old one changes nothing.
        assert!(matches!(budget.ask(&bi, "a"), Verdict::Spent));
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_hangs_keeps_nobody_out_for_long() {
        let (budget, bi): (_, Arc<str>) = (Budget::new(1), "bi".into());
        let hangs = go(&budget, &bi, "a");
        assert!(matches!(budget.ask(&bi, "a"), Verdict::Busy(_)));
        tokio::time::advance(SLOW).await;
        let next = go(&budget, &bi, "a");
        drop(hangs);
        assert!(matches!(budget.ask(&bi, "a"), Verdict::Busy(_)));
        drop(next);
        drop(go(&budget, &bi, "a"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_no_pat_mends_costs_nothing_but_a_rest() {
        let (budget, bi): (_, Arc<str>) = (Budget::new(2), "bi".into());
        assert_eq!(go(&budget, &bi, "a").refused(Kind::PatPolicy), 0);
        assert!(matches!(budget.ask(&bi, "a"), Verdict::Resting(Kind::PatPolicy)));
        tokio::time::advance(Duration::from_secs(6)).await;
        drop(go(&budget, &bi, "a"));
    }

    #[tokio::test]
    async fn whoever_waits_is_told() {
        let (budget, bi): (_, Arc<str>) = (Budget::new(1), "bi".into());
        let one = go(&budget, &bi, "a");
        let waiting = budget.clone();
        let name = bi.clone();
        let waiter = tokio::spawn(async move {
            loop {
                match waiting.ask(&name, "a") {
                    Verdict::Busy(freed) => freed.await,
                    Verdict::Go(_) => return true,
                    _ => return false,
                }
            }
        });
        tokio::task::yield_now().await;
        drop(one);
        assert!(waiter.await.unwrap());
    }
}
