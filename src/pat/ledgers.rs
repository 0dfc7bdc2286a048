//! [`Ledgers`]: the ledgers of all service users, and their journal.

use std::collections::HashMap;
use std::io;

use super::journal::Journal;
use super::ledger::Ledger;
use super::version::Elsewhere;
use crate::base::clock::Clock;
use crate::base::ids::{PatId, ServiceUser};
use crate::state::StateDir;

/// All ledgers, in memory and on disk.
pub(super) struct Ledgers {
    users: HashMap<ServiceUser, Ledger>,
    journal: Option<Journal>,
}

impl Ledgers {
    /// Those that `state` has, if there is one.
    ///
    /// # Errors
    /// If it cannot write there.
    pub(super) fn open(state: Option<StateDir>, clock: &dyn Clock) -> io::Result<Self> {
        let mut users = HashMap::new();
        let journal = state.map(|state| Journal::open(state, &mut users, clock)).transpose()?;
        Ok(Self { users, journal })
    }

    /// The ledger of a user, added if missing.
    pub(super) fn of(&mut self, user: &ServiceUser) -> &mut Ledger {
        self.users.entry(user.clone()).or_default()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ServiceUser, &Ledger)> {
        self.users.iter()
    }

    /// What other processes do with a version.
    pub(super) fn elsewhere(&self, user: &ServiceUser, version: &PatId) -> Elsewhere {
        self.journal.as_ref().map(|journal| journal.elsewhere(user, version)).unwrap_or_default()
    }

    /// Reads the changes of other processes.
    pub(super) fn catch_up(&mut self, clock: &dyn Clock) {
        if let Some(journal) = &mut self.journal {
            journal.catch_up(&mut self.users, clock);
        }
    }

    /// Makes a change that the journal has to keep.
    pub(super) fn change<T>(
        &mut self,
        user: &ServiceUser,
        clock: &dyn Clock,
        change: impl FnOnce(&mut Ledger) -> T,
    ) -> T {
        let users = &mut self.users;
        match &mut self.journal {
            Some(journal) => journal.change(users, clock, |users| change(users.entry(user.clone()).or_default())),
            None => change(users.entry(user.clone()).or_default()),
        }
    }

    /// Writes the requests at risk with a version to disk before sending.
    pub(super) fn write_risk(&mut self, user: &ServiceUser, version: &PatId, clock: &dyn Clock) {
        if let Some(journal) = &mut self.journal {
            journal.write_risk(&self.users, user, version, clock);
        }
    }

    /// Removes ended requests from the disk.
    pub(super) fn tidy(&mut self, clock: &dyn Clock) {
        if let Some(journal) = &mut self.journal {
            journal.tidy(&self.users, clock);
        }
    }
}
