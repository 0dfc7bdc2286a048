//! [`Memory`]: the ledgers on disk.
//!
//! `budget` holds what has been spent, in a form that several processes change in turn; each takes up what is there before it
//! adds its own. `risk.N` holds what one process has under way. Times are wall-clock times there: monotonic time ends with
//! the machine's run. A file that cannot be written is said, and the count goes on in memory.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::ServiceUser;
use super::ledger::{Ledger, Rest, Version};
use crate::base::clock::Clock;
use crate::base::fault::Kind;
use crate::state::{Scratch, StateDir};
use crate::telemetry::rarely::Rarely;

const BUDGET: &str = "budget";
const RISK: &str = "risk";

/// More than the tick of any file system's clock that a gate should keep its state on.
const TICK: Duration = Duration::from_secs(2);

type Users = HashMap<ServiceUser, Ledger>;

/// Where ledgers are written down.
pub(super) struct Memory {
    directory: StateDir,
    risk: Scratch,
    seen: Option<SystemTime>,
    settled: bool,
    complaint: Rarely,
}

/// One user, as the file has it. Points in time are milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct UserForm {
    account: String,
    user: String,
    row: usize,
    rest: Option<RestForm>,
    versions: Vec<VersionForm>,
}

#[derive(Serialize, Deserialize)]
struct RestForm {
    kind: String,
    until: u64,
    only: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct VersionForm {
    id: String,
    refused: usize,
    since: Option<u64>,
    doubts: Vec<u64>,
    lost: u32,
}

/// A login under way, as the file has it: account, user, fingerprint of the PAT.
type RiskForm = (String, String, String);

impl Memory {
    /// Takes up what is written in `directory`, and what processes that have died had under way.
    pub(super) fn open(directory: StateDir, users: &mut Users, clock: &dyn Clock) -> io::Result<Self> {
        let (risk, left) = directory.scratch(RISK)?;
        let mut memory = Self { directory, risk, seen: None, settled: false, complaint: Rarely::default() };
        memory.catch_up(users, clock);
        let lost: Vec<RiskForm> =
            left.iter().filter_map(|left| serde_json::from_slice::<Vec<_>>(left).ok()).flatten().collect();
        if !lost.is_empty() {
            tracing::warn!(logins = lost.len(), owner = "gate", "the last process was ended with logins under way");
            memory.change(users, clock, |users| {
                for (account, user, id) in lost {
                    let user = ServiceUser { account: account.into(), user: user.into() };
                    users.entry(user).or_default().version(&id).doubt(clock.now());
                }
            });
        }
        memory.risk.write("[]")?;
        Ok(memory)
    }

    /// Takes up what another process has written since the last look. It costs one question to the file system, and for a
    /// moment after a change a read: what was written within the same tick of its clock looks the same.
    pub(super) fn catch_up(&mut self, users: &mut Users, clock: &dyn Clock) {
        let changed = self.directory.changed(BUDGET);
        if changed != self.seen || !self.settled {
            self.take_up(users, clock);
            self.saw(changed, clock);
        }
    }

    fn saw(&mut self, changed: Option<SystemTime>, clock: &dyn Clock) {
        let old = |changed| clock.wall().duration_since(changed).is_ok_and(|age| age >= TICK);
        (self.seen, self.settled) = (changed, changed.is_none_or(old));
    }

    fn take_up(&self, users: &mut Users, clock: &dyn Clock) {
        match self.directory.read(BUDGET) {
            Ok(content) => take_up(users, content.as_deref(), clock),
            Err(error) => self.complain(&error),
        }
    }

    /// Changes the ledgers and writes them down, no other process doing the same.
    pub(super) fn change<T>(
        &mut self,
        users: &mut Users,
        clock: &dyn Clock,
        change: impl FnOnce(&mut Users) -> T,
    ) -> T {
        let locked = self.directory.lock(BUDGET);
        if locked.is_ok() {
            self.take_up(users, clock);
        }
        let outcome = change(users);
        if let Err(error) = locked.and_then(|file| file.replace(&write_down(users, clock))) {
            self.complain(&error);
        }
        self.saw(self.directory.changed(BUDGET), clock);
        outcome
    }

    /// Writes down what is under way, before it is sent.
    pub(super) fn write_risk(&mut self, users: &Users) {
        let mut risk: Vec<RiskForm> = Vec::new();
        for (user, ledger) in users {
            for version in &ledger.versions {
                let one = (user.account.to_string(), user.user.to_string(), version.id.clone());
                risk.extend(std::iter::repeat_n(one, version.under_way));
            }
        }
        let text = serde_json::to_string(&risk).unwrap_or_default();
        if let Err(error) = self.risk.write(&text) {
            self.complain(&error);
        }
    }

    fn complain(&self, error: &io::Error) {
        if self.complaint.now() {
            let directory = self.directory.path().display();
            tracing::error!(%directory, cause = %error, owner = "gate", "bad logins cannot be written down: a restart would forget them");
        }
    }
}

/// Reads the file's content into the ledgers: what it says of a version takes the place of what is known here, apart from what
/// this process alone can know.
fn take_up(users: &mut Users, content: Option<&[u8]>, clock: &dyn Clock) {
    let Some(content) = content else { return };
    let Ok(forms) = serde_json::from_slice::<Vec<UserForm>>(content) else {
        tracing::error!(owner = "gate", "the file of bad logins cannot be read: what it knew is forgotten");
        return;
    };
    for form in forms {
        let user = ServiceUser { account: form.account.into(), user: form.user.into() };
        let ledger = users.entry(user).or_default();
        ledger.row = form.row;
        ledger.rest = form.rest.and_then(|rest| {
            let kind = Kind::ALL.into_iter().find(|kind| kind.rule().name == rest.kind)?;
            Some(Rest { kind, until: instant(rest.until, clock), only: rest.only })
        });
        // The file's order is the versions' age; what only this process knows is younger.
        let mut own = std::mem::take(&mut ledger.versions);
        for form in form.versions {
            let known = own.iter().position(|version| version.id == form.id).map(|at| own.remove(at));
            ledger.versions.push(Version {
                refused: form.refused,
                since: form.since.map(|at| instant(at, clock)),
                doubts: form.doubts.into_iter().map(|at| instant(at, clock)).collect(),
                lost: form.lost,
                ..known.unwrap_or_else(|| Version::new(&form.id))
            });
        }
        ledger.versions.append(&mut own);
        ledger.trim();
    }
}

fn write_down(users: &Users, clock: &dyn Clock) -> Vec<u8> {
    let at = |instant: Instant| millis(instant, clock);
    let form = |(user, ledger): (&ServiceUser, &Ledger)| UserForm {
        account: user.account.to_string(),
        user: user.user.to_string(),
        row: ledger.row,
        rest: ledger.rest.as_ref().map(|rest| RestForm {
            kind: rest.kind.rule().name.to_owned(),
            until: at(rest.until),
            only: rest.only.clone(),
        }),
        versions: (ledger.versions.iter())
            .map(|version| VersionForm {
                id: version.id.clone(),
                refused: version.refused,
                since: version.since.map(at),
                doubts: version.doubts.iter().copied().map(at).collect(),
                lost: version.lost,
            })
            .collect(),
    };
    serde_json::to_vec(&users.iter().map(form).collect::<Vec<_>>()).unwrap_or_default()
}

fn millis(at: Instant, clock: &dyn Clock) -> u64 {
    let (now, wall) = (clock.now(), clock.wall());
    let at = match at.checked_duration_since(now) {
        Some(ahead) => wall + ahead,
        None => wall.checked_sub(now.saturating_duration_since(at)).unwrap_or(UNIX_EPOCH),
    };
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Never further ahead than an hour: a clock that was set back must not keep a user out.
fn instant(millis: u64, clock: &dyn Clock) -> Instant {
    const FURTHEST: Duration = Duration::from_secs(3_600);
    let (now, wall) = (clock.now(), clock.wall());
    let at = UNIX_EPOCH + Duration::from_millis(millis);
    match at.duration_since(wall) {
        Ok(ahead) => now + ahead.min(FURTHEST),
        Err(past) => now.checked_sub(past.duration()).unwrap_or(now),
    }
}
