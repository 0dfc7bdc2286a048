//! The life of a PAT. For now: how many logins may be risked with one version.
//!
//! Snowflake locks a user after five bad logins in a row, and a locked service user stops every report. So [`Budget`] lets
//! only so many logins be under way with one version at once, counts those that were refused, and sends nothing more with
//! a version whose budget is spent; only a newer version reopens the way. What is under way counts as spent until its
//! answer is there: a PAT that is revoked between two answers must not cost more than one that was revoked long ago. An
//! answer that was lost may have been a refusal and counts as one for [`DOUBT`], or until that version succeeds. That is
//! short, since answers are mostly lost in an outage, when the PAT is good and everybody waits.
//!
//! The count is by account and user, since it is the user that is locked, whichever credential names it.
//!
//! The price is that logins queue: with a budget of two and a Snowflake that answers a login in 0.3 s, seven logins a second
//! and user. Logins are rare; sessions and queries are not touched by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use crate::base::fault::Kind;

/// How many versions of a PAT are remembered. Two are in use in a rotation; a few more cover one that goes wrong.
const REMEMBERED: usize = 8;
/// How long a lost answer counts as a refusal.
pub const DOUBT: Duration = Duration::from_secs(15);
/// How many refusals in a row, over all versions, are risked without a pause. One more locks the user.
const ROW: usize = 4;
/// The pause after such a row, and after Snowflake has locked the user by itself.
const LONG_REST: Duration = Duration::from_secs(60);
/// The pause after a refusal by network policy, which no PAT mends.
const SHORT_REST: Duration = Duration::from_secs(5);

/// Whom Snowflake would lock: a user of an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceUser {
    /// The account's name in the configuration.
    pub account: Arc<str>,
    /// The user, in capitals: Snowflake does not tell them apart.
    pub user: Arc<str>,
}

impl ServiceUser {
    /// The user of an account.
    pub fn new(account: &Arc<str>, user: &str) -> Self {
        Self { account: account.clone(), user: user.to_uppercase().into() }
    }
}

/// The risk taken with each user. Counts are in this process's memory.
pub struct Budget {
    each: usize,
    users: Mutex<HashMap<ServiceUser, Ledger>>,
}

/// What one user has spent.
#[derive(Default)]
struct Ledger {
    /// The youngest last.
    versions: Vec<Version>,
    /// Refusals since the last success.
    row: usize,
    /// Nothing is sent before this time; with a version, nothing with that one.
    rest: Option<(Kind, Instant, Option<String>)>,
    /// Rung when something comes free.
    free: Arc<Notify>,
}

/// What one version of a PAT has spent.
struct Version {
    /// Its fingerprint.
    id: String,
    under_way: usize,
    refused: usize,
    /// Until when each lost answer counts.
    doubts: Vec<Instant>,
    since: Option<Instant>,
}

/// Whether a login may be sent.
pub enum Verdict {
    /// It may; what comes of it is told to the permit.
    Go(Permit),
    /// This version has been refused as often as it may.
    Spent,
    /// Snowflake refused for a reason that no newer PAT mends, a moment ago.
    Resting(Kind),
    /// As many as may are under way: ask again when one of them has been answered.
    Busy(OwnedNotified),
}

/// A login under way. One that is dropped without a word has lost its answer.
pub struct Permit {
    budget: Arc<Budget>,
    user: ServiceUser,
    id: String,
    told: bool,
}

impl Budget {
    /// A budget of `each` logins for every version.
    pub fn new(each: usize) -> Arc<Self> {
        Arc::new(Self { each, users: Mutex::default() })
    }

    /// Asks for a login with that version of a user's PAT.
    pub fn ask(self: &Arc<Self>, user: &ServiceUser, id: &str) -> Verdict {
        let now = Instant::now();
        let mut all = self.lock();
        let ledger = all.entry(user.clone()).or_default();
        match &ledger.rest {
            Some((_, until, _)) if *until <= now => ledger.rest = None,
            Some((kind, _, only)) if only.as_deref().is_none_or(|only| only == id) => return Verdict::Resting(*kind),
            _ => {}
        }
        let free = ledger.free.clone();
        let version = ledger.version(id);
        version.doubts.retain(|until| *until > now);
        if version.refused >= self.each {
            return Verdict::Spent;
        }
        if version.refused + version.doubts.len() + version.under_way >= self.each {
            return Verdict::Busy(free.notified_owned());
        }
        version.under_way += 1;
        Verdict::Go(Permit { budget: self.clone(), user: user.clone(), id: id.to_owned(), told: false })
    }

    /// When that version was refused for the first time. A store may be a moment behind Snowflake in a rotation, so for a
    /// while after it a login may wait for the successor.
    pub fn refused_since(&self, user: &ServiceUser, id: &str) -> Option<Instant> {
        self.lock().get(user)?.versions.iter().find(|version| version.id == id)?.since
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceUser, Ledger>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn version(&mut self, id: &str) -> &mut Version {
        let at = self.versions.iter().position(|version| version.id == id).unwrap_or_else(|| {
            if self.versions.len() >= REMEMBERED {
                // What is under way has to be found again; of the rest the oldest goes.
                let done = self.versions.iter().position(|version| version.under_way == 0);
                self.versions.remove(done.unwrap_or(0));
            }
            let new = Version { id: id.to_owned(), under_way: 0, refused: 0, doubts: Vec::new(), since: None };
            self.versions.push(new);
            self.versions.len() - 1
        });
        &mut self.versions[at]
    }
}

impl Permit {
    /// Snowflake let the user in: the PAT is good, whatever was in doubt.
    pub fn succeeded(mut self) {
        self.tell(|ledger, id| {
            ledger.row = 0;
            ledger.version(id).doubts.clear();
        });
    }

    /// The login did not reach the point where a PAT is looked at.
    pub fn unsent(mut self) {
        self.tell(|_, _| ());
    }

    /// Snowflake refused; returns how often it has refused this version by now.
    pub fn refused(mut self, kind: Kind) -> usize {
        self.tell(|ledger, id| {
            let now = Instant::now();
            match kind {
                Kind::UserLocked => ledger.rest = Some((kind, now + LONG_REST, None)),
                Kind::PatPolicy => ledger.rest = Some((kind, now + SHORT_REST, Some(id.to_owned()))),
                _ => {
                    let version = ledger.version(id);
                    version.refused += 1;
                    version.since.get_or_insert(now);
                    ledger.row += 1;
                    if ledger.row >= ROW {
                        ledger.rest = Some((kind, now + LONG_REST, None));
                    }
                }
            }
            ledger.version(id).refused
        })
    }

    fn tell<T>(&mut self, what: impl FnOnce(&mut Ledger, &str) -> T) -> T {
        self.told = true;
        let mut all = self.budget.lock();
        let ledger = all.entry(self.user.clone()).or_default();
        let version = ledger.version(&self.id);
        version.under_way = version.under_way.saturating_sub(1);
        let outcome = what(ledger, &self.id);
        let version = ledger.version(&self.id);
        // After a refusal everybody in the queue has to hear of it; else one place has come free.
        let all_must_know = version.refused > 0 || ledger.rest.is_some();
        if all_must_know {
            ledger.free.notify_waiters()
        } else {
            ledger.free.notify_one()
        }
        outcome
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.told {
            self.tell(|ledger, id| {
                ledger.version(id).doubts.push(Instant::now() + DOUBT);
            });
        }
    }
}

#[cfg(test)]
mod tests;
