//! The life of a PAT. For now: how many logins may be risked with one version.
//!
//! Snowflake locks a user after five bad logins in a row, and a locked service user stops every report. So [`Budget`] lets
//! only so many logins be under way with one version at once, counts those that were refused, and sends nothing more with
//! a version whose budget is spent; only a newer version reopens the way. Once a version has been refused, a login looks for
//! another before it risks that one again: so a rotation mostly costs one bad login, however many come at once. What is under way counts as spent until its
//! answer is there: a PAT that is revoked between two answers must not cost more than one that was revoked long ago. An
//! answer that was lost may have been a refusal and counts as one for a while, or until that version succeeds.
//!
//! The count is by account and user, since it is the user that is locked, whichever credential names it.
//!
//! Gates on several hosts share the count where they have a place for it ([`crate::replicas`]): each asks itself first, and then
//! the others.
//!
//! The price is that logins queue: with a budget of two and a Snowflake that answers a login in 0.3 s, six logins a second
//! and user. Logins are rare; sessions and queries are not touched by it.
//!
//! # Over restarts
//! [`ledger`] is the account that is kept; [`memory`] keeps it on disk. Refusals are written down before the client hears of
//! them. A login is written down before it is sent, in a file of this process's own, and taken back within a second: what a
//! process that was killed had under way is found there by the next one, as answers that were lost. So a restart loop spends
//! nothing twice.

mod ledger;
mod memory;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::futures::OwnedNotified;

use crate::base::clock::Clock;
use crate::base::fault::Kind;
use crate::replicas::{Lease, Outcome};
use crate::state::StateDir;
use ledger::{Answer, Ledger, Ruling, SPREAD};
use memory::Memory;

/// Whom Snowflake would lock: a user of an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceUser {
    /// The account's host: what it is called in a configuration may change.
    pub account: Arc<str>,
    /// The user, in capitals: Snowflake does not tell them apart.
    pub user: Arc<str>,
}

impl std::fmt::Display for ServiceUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.account, self.user)
    }
}

impl ServiceUser {
    /// The user of an account.
    pub fn new(account: &Arc<str>, user: &str) -> Self {
        Self { account: account.clone(), user: user.to_uppercase().into() }
    }
}

/// The risk taken with each user.
pub struct Budget {
    each: usize,
    clock: Arc<dyn Clock>,
    books: Mutex<Books>,
}

/// All accounts kept, and where they are written down.
struct Books {
    users: HashMap<ServiceUser, Ledger>,
    memory: Option<Memory>,
}

/// Whether a login may be sent.
pub enum Verdict {
    /// It may; what comes of it is told to the permit.
    Go(Permit),
    /// This version has been refused as often as it may.
    Spent,
    /// This version has been refused: look for another first, and insist when there is none.
    Suspect,
    /// Snowflake refused for a reason that no newer PAT mends, a moment ago.
    Resting(Kind),
    /// As many as may are under way: ask again when one of them has been answered, or after this time.
    Busy(OwnedNotified, Duration),
}

/// A login that may be sent. One that is dropped without a word after it was sent has lost its answer.
pub struct Permit {
    budget: Arc<Budget>,
    user: ServiceUser,
    id: String,
    sent: bool,
    told: bool,
    settled: bool,
    /// What other gates know of it.
    lease: Option<Lease>,
}

impl Budget {
    /// A budget of `each` logins for every version, remembered in `state` where there is one.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn open(each: usize, clock: Arc<dyn Clock>, state: Option<StateDir>) -> io::Result<Arc<Self>> {
        let mut users = HashMap::new();
        let memory = state.map(|state| Memory::open(state, &mut users, each, &*clock)).transpose()?;
        Ok(Arc::new(Self { each, clock, books: Mutex::new(Books { users, memory }) }))
    }

    /// Asks for a login with that version of a user's PAT; `insists` says that no other is to be had.
    pub fn ask(self: &Arc<Self>, user: &ServiceUser, id: &str, insists: bool) -> Verdict {
        let mut books = self.books();
        let books = &mut *books;
        if let Some(memory) = &mut books.memory {
            memory.catch_up(&mut books.users, &*self.clock);
        }
        let ledger = books.users.entry(user.clone()).or_default();
        match ledger.rule(id, insists, self.each, self.clock.now()) {
            Ruling::Go => {}
            Ruling::Spent => return Verdict::Spent,
            Ruling::Suspect => return Verdict::Suspect,
            Ruling::Resting(kind) => return Verdict::Resting(kind),
            Ruling::Busy(time) => return Verdict::Busy(ledger.free.clone().notified_owned(), time),
        }
        // Written first, then compared: of two processes that do so at the same time at least one sees the other.
        if let Some(memory) = &mut books.memory
            && let Some(version) = books.users.get(user).and_then(|ledger| ledger.find(id))
        {
            memory.write_risk(&books.users, user, version);
            if version.spent() + memory.elsewhere(user, id) > self.each {
                let ledger = books.users.entry(user.clone()).or_default();
                ledger.answered(id, Answer::None, self.clock.now());
                return Verdict::Busy(ledger.free.clone().notified_owned(), SPREAD);
            }
        }
        Verdict::Go(Permit {
            budget: self.clone(),
            user: user.clone(),
            id: id.to_owned(),
            sent: false,
            told: false,
            settled: false,
            lease: None,
        })
    }

    /// How many logins may be risked with each version.
    pub fn each(&self) -> usize {
        self.each
    }

    /// How long ago that version was refused for the first time. A store may be a moment behind Snowflake in a rotation, so for
    /// a while after it a login may wait for the successor.
    pub fn refused_for(&self, user: &ServiceUser, id: &str) -> Option<Duration> {
        let since = self.books().users.get(user)?.refused_since(id)?;
        Some(self.clock.now().saturating_duration_since(since))
    }

    /// Other gates have spent that version's budget.
    pub fn heard_refused(&self, user: &ServiceUser, id: &str) {
        let (each, clock) = (self.each, self.clock.clone());
        self.books().change(user, &*clock, |ledger| ledger.heard_refused(id, each, clock.now()));
    }

    /// Takes back, on disk, the logins that have ended. To be called each second or so: what a process that is killed leaves
    /// behind counts as answers that were lost.
    pub fn tidy(&self) {
        self.books().tidy();
    }

    /// Forgets what a user's PATs have cost: somebody has enabled one again, or unlocked the user.
    pub fn forgive(&self, user: &ServiceUser) {
        let mut books = self.books();
        let free = books.users.get(user).map(|ledger| ledger.free.clone());
        books.change(user, &*self.clock, Ledger::forgive);
        free.inspect(|free| free.notify_waiters());
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// Changes what has to be remembered.
    fn change<T>(&mut self, user: &ServiceUser, clock: &dyn Clock, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let users = &mut self.users;
        match &mut self.memory {
            Some(memory) => memory.change(users, clock, |users| change(users.entry(user.clone()).or_default())),
            None => change(users.entry(user.clone()).or_default()),
        }
    }

    fn tidy(&mut self) {
        if let Some(memory) = &mut self.memory {
            memory.tidy(&self.users);
        }
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        self.tidy();
    }
}

impl Permit {
    /// Snowflake let the user in: the PAT is good, whatever was in doubt.
    pub fn succeeded(mut self) {
        self.tell(Answer::Success);
    }

    /// The login did not reach the point where a PAT is looked at.
    pub fn unsent(mut self) {
        self.tell(Answer::None);
    }

    /// Snowflake refused; returns how often it has refused this version by now.
    pub fn refused(mut self, kind: Kind) -> usize {
        self.tell(Answer::Refusal(kind))
    }

    /// From now on Snowflake may see it.
    pub fn sending(&mut self) {
        self.sent = true;
    }

    /// Other gates are to hear what comes of it.
    #[must_use]
    pub fn with(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }

    /// The version that it is for.
    pub fn version(&self) -> &str {
        &self.id
    }

    /// Snowflake refuses at once or not at all, and so much time has passed that it has not: the place is free again, while the
    /// answer is still waited for. A refusal that comes after all counts.
    pub fn settle(&mut self) {
        if !self.settled {
            if let Some(lease) = &mut self.lease {
                lease.settle();
            }
            let lease = self.lease.take();
            self.tell(Answer::None);
            (self.told, self.settled, self.lease) = (false, true, lease);
            let now = self.budget.clock.now();
            self.budget.books().users.entry(self.user.clone()).or_default().settled(&self.id, now);
        }
    }

    fn tell(&mut self, answer: Answer) -> usize {
        self.told = true;
        if let Some(lease) = self.lease.take() {
            lease.answered(match answer {
                Answer::Refusal(Kind::PatRefused) => Outcome::Refused,
                Answer::Lost => Outcome::Lost,
                Answer::Success | Answer::None | Answer::Refusal(_) => Outcome::Harmless,
            });
        }
        let clock = self.budget.clock.clone();
        let mut books = self.budget.books();
        let ledger = books.users.entry(self.user.clone()).or_default();
        if self.settled {
            // It is counted out below.
            ledger.version(&self.id).under_way += 1;
        }
        if ledger.would_change(&self.id, answer) {
            books.change(&self.user, &*clock, |ledger| ledger.answered(&self.id, answer, clock.now()));
            books.tidy();
        } else {
            ledger.answered(&self.id, answer, clock.now());
        }
        let ledger = books.users.entry(self.user.clone()).or_default();
        // After a refusal everybody in the queue has to hear of it; else one place has come free.
        if ledger.is_clean(&self.id) {
            ledger.free.notify_one();
        } else {
            ledger.free.notify_waiters();
        }
        ledger.refusals(&self.id)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.told && !self.settled {
            self.tell(if self.sent { Answer::Lost } else { Answer::None });
        }
    }
}

#[cfg(test)]
mod tests;
