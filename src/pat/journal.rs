//! [`Journal`]: the ledgers on disk.
//!
//! `guard` has the verdicts and pauses. Several processes change it in turn; each reads it before it adds its own
//! changes. `risk.N` has the requests that one process has under way; the others read it before they let a request go.
//! The files use wall-clock times, because monotonic time ends when the machine stops. If the gate cannot write a file,
//! it logs that and keeps its knowledge in memory; then what is in memory and what is in the file both apply, until it
//! can write again.
//!
//! The request's own thread writes the files: refusals are rare, and the client must not learn of one before the file
//! has it. The directory should be on a local disk. The gate waits only briefly for a lock that another process holds.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::ledger::Ledger;
use super::version::{Elsewhere, Pause, Standing, Version};
use crate::base::clock::Clock;
use crate::base::epoch::EpochMillis;
use crate::base::fault::Kind;
use crate::base::ids::{PatId, ServiceUser};
use crate::state::{Scratch, StateDir};
use crate::telemetry::log_throttle::LogThrottle;

const GUARD: &str = "guard";
const RISK: &str = "risk";

/// More than the tick of any file system's clock that a gate should keep its state on.
const TICK: Duration = Duration::from_secs(2);

/// The furthest that a time in the file may lie in the future, so that a clock that was set back blocks no user for
/// longer.
const FURTHEST: Duration = Duration::from_secs(3_600);

/// The most lost outcomes of a version that are believed: more never go at once.
const MOST_LOST: usize = 256;

type Ledgers = HashMap<ServiceUser, Ledger>;

/// Writes the ledgers to disk.
pub(super) struct Journal {
    directory: StateDir,
    risk: Scratch,
    written: Vec<RiskForm>,
    /// The scratch files of other processes, as of the last tidying.
    others: Vec<String>,
    seen: Option<SystemTime>,
    settled: bool,
    /// Whether the file lacks something that is known here.
    unsaved: bool,
    complaint: LogThrottle,
}

/// One user, as the file has it. Points in time are milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct UserForm {
    account: String,
    user: String,
    condemned: u32,
    pause: Option<PauseForm>,
    versions: Vec<VersionForm>,
}

#[derive(Serialize, Deserialize)]
struct PauseForm {
    kind: String,
    cause: String,
    until: EpochMillis,
    length_s: u64,
}

#[derive(Serialize, Deserialize)]
struct VersionForm {
    id: PatId,
    refusals: usize,
    first_refused: Option<EpochMillis>,
    standing: StandingForm,
    pause: Option<PauseForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StandingForm {
    Sound,
    Suspect {
        kind: String,
        cause: String,
    },
    Condemned {
        /// The kind's name.
        #[serde(default)]
        kind: String,
        cause: String,
    },
}

/// What one process has under way with a version, as its file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RiskForm {
    account: String,
    user: String,
    id: PatId,
    at_risk: usize,
    /// How far successes have widened the version lately.
    width: usize,
}

impl Journal {
    /// Reads the files in `directory`, with the requests that dead processes had under way.
    pub(super) fn open(directory: StateDir, ledgers: &mut Ledgers, clock: &dyn Clock) -> io::Result<Self> {
        let (risk, left) = directory.scratch(RISK)?;
        let mut journal = Self {
            directory,
            risk,
            written: Vec::new(),
            others: Vec::new(),
            seen: None,
            settled: false,
            unsaved: false,
            complaint: LogThrottle::default(),
        };
        journal.catch_up(ledgers, clock);
        let lost: Vec<RiskForm> =
            left.iter().filter_map(|left| serde_json::from_slice::<Vec<_>>(left).ok()).flatten().collect();
        let logins: usize = lost.iter().map(|form| form.at_risk).sum();
        if logins > 0 {
            tracing::warn!(
                logins,
                owner = "gate",
                "the last process stopped with logins under way; their outcome is unknown"
            );
            for RiskForm { account, user, id, at_risk, .. } in lost {
                let version = ledgers.entry(ServiceUser::new(&account, &user)).or_default().version(&id);
                (0..at_risk.min(MOST_LOST)).for_each(|_| version.doubt(clock.now()));
            }
        }
        journal.risk.write("[]")?;
        journal.others = journal.directory.others(RISK, &journal.risk);
        Ok(journal)
    }

    /// Reads the changes of other processes. It costs one call to the file system, and just after a change also a read:
    /// two writes within one tick of the file system's clock have the same time.
    pub(super) fn catch_up(&mut self, ledgers: &mut Ledgers, clock: &dyn Clock) {
        let changed = self.directory.changed(GUARD);
        if changed != self.seen || !self.settled {
            self.take_up(ledgers, clock);
            self.saw(changed, clock);
        }
    }

    fn saw(&mut self, changed: Option<SystemTime>, clock: &dyn Clock) {
        let old = |changed| clock.wall().duration_since(changed).is_ok_and(|age| age >= TICK);
        (self.seen, self.settled) = (changed, changed.is_none_or(old));
    }

    fn take_up(&self, ledgers: &mut Ledgers, clock: &dyn Clock) {
        match self.directory.read(GUARD) {
            Ok(content) => take_up(ledgers, content.as_deref(), self.unsaved, clock),
            Err(error) => self.complain(&error),
        }
    }

    /// Changes the ledgers and writes them to disk, under a lock against other processes.
    pub(super) fn change<T>(
        &mut self,
        ledgers: &mut Ledgers,
        clock: &dyn Clock,
        change: impl FnOnce(&mut Ledgers) -> T,
    ) -> T {
        let locked = self.directory.lock(GUARD);
        if locked.is_ok() {
            self.take_up(ledgers, clock);
        }
        let outcome = change(ledgers);
        let written = locked.and_then(|file| file.replace(&write_down(ledgers, clock)));
        self.unsaved = written.is_err();
        if let Err(error) = written {
            self.complain(&error);
        }
        self.saw(self.directory.changed(GUARD), clock);
        outcome
    }

    /// Writes the requests at risk with a version to disk before sending, unless the file already has as many.
    pub(super) fn write_risk(&mut self, ledgers: &Ledgers, user: &ServiceUser, version: &PatId, clock: &dyn Clock) {
        let at_risk = ledgers.get(user).and_then(|ledger| ledger.find(version)).map_or(0, at_risk);
        let covered = |form: &RiskForm| {
            form.id == *version && form.at_risk >= at_risk && form.user == user.user() && form.account == user.account()
        };
        if !self.written.iter().any(covered) {
            self.tidy(ledgers, clock);
        }
    }

    /// Writes only the requests under way. The next change or the next call of `tidy` removes the ended ones, so that
    /// many logins at once do not write the file twice each.
    pub(super) fn tidy(&mut self, ledgers: &Ledgers, clock: &dyn Clock) {
        self.others = self.directory.others(RISK, &self.risk);
        let now = clock.now();
        let open = |(name, ledger): (&ServiceUser, &Ledger)| {
            let form = |version: &Version| RiskForm {
                account: name.account().to_owned(),
                user: name.user().to_owned(),
                id: version.id.clone(),
                at_risk: at_risk(version),
                width: version.proven(now),
            };
            let used = |form: &RiskForm| form.at_risk > 0 || form.width > 0;
            ledger.versions.iter().map(form).filter(used).collect::<Vec<_>>()
        };
        let risk: Vec<RiskForm> = ledgers.iter().flat_map(open).collect();
        if risk == self.written {
            return;
        }
        match self.risk.write(&serde_json::to_string(&risk).unwrap_or_default()) {
            Ok(()) => self.written = risk,
            Err(error) => self.complain(&error),
        }
    }

    /// What other processes have under way with that version.
    pub(super) fn elsewhere(&self, user: &ServiceUser, id: &PatId) -> Elsewhere {
        let same = |form: &RiskForm| form.account == user.account() && form.user == user.user() && form.id == *id;
        let read = |other: &String| self.directory.read(other).ok().flatten();
        let forms = |content: Vec<u8>| serde_json::from_slice::<Vec<RiskForm>>(&content).unwrap_or_default();
        let all = self.others.iter().filter_map(read).flat_map(forms).filter(same);
        all.fold(Elsewhere::default(), |sum, form| Elsewhere {
            at_risk: sum.at_risk + form.at_risk,
            width: sum.width.max(form.width),
            processes: sum.processes + 1,
        })
    }

    fn complain(&self, error: &io::Error) {
        if self.complaint.now() {
            let directory = self.directory.path().display();
            tracing::error!(
                %directory, cause = %error, owner = "gate",
                "cannot write bad logins to disk: a restart would forget them"
            );
        }
    }
}

/// The requests of a version whose outcome a restart would lose.
fn at_risk(version: &Version) -> usize {
    version.taken() + usize::from(version.own)
}

/// Reads the file into the ledgers. What it says of a version replaces what is in memory, except for what only this
/// process knows. If the file could not be written, the worse of the two counts.
fn take_up(ledgers: &mut Ledgers, content: Option<&[u8]>, unsaved: bool, clock: &dyn Clock) {
    let Some(content) = content else { return };
    let Ok(forms) = serde_json::from_slice::<Vec<UserForm>>(content) else {
        tracing::error!(owner = "gate", "cannot read the file of bad logins: the gate forgets what it recorded");
        return;
    };
    for form in forms {
        let user = ServiceUser::new(&form.account, &form.user);
        let ledger = ledgers.entry(user).or_default();
        let pause = form.pause.and_then(|pause| pause.read(clock));
        if !unsaved {
            (ledger.condemned, ledger.pause) = (form.condemned, pause);
        } else {
            ledger.condemned = ledger.condemned.max(form.condemned);
            ledger.pause = ledger.pause.take().or(pause);
        }
        // The file's order is the versions' age; what only this process knows is younger.
        let mut own = std::mem::take(&mut ledger.versions);
        for form in form.versions {
            let known = own.iter().position(|version| version.id == form.id).map(|at| own.remove(at));
            let mut version = known.unwrap_or_else(|| Version::new(&form.id));
            if !unsaved || version.refusals <= form.refusals {
                version.refusals = form.refusals;
                version.first_refused = form.first_refused.map(|at| at.to_instant(clock, FURTHEST));
                version.pause = form.pause.and_then(|pause| pause.read(clock));
                form.standing.read(&mut version.standing, clock.now());
            }
            ledger.versions.push(version);
        }
        ledger.versions.append(&mut own);
        ledger.trim();
    }
}

impl PauseForm {
    fn of(pause: &Pause, clock: &dyn Clock) -> Self {
        Self {
            kind: pause.kind.rule().name.to_owned(),
            cause: pause.cause.clone(),
            until: EpochMillis::of_instant(pause.until, clock),
            length_s: pause.length.as_secs(),
        }
    }

    fn read(self, clock: &dyn Clock) -> Option<Pause> {
        let until = self.until.to_instant(clock, FURTHEST);
        let length = Duration::from_secs(self.length_s).min(FURTHEST);
        Some(Pause { kind: Kind::named(&self.kind)?, cause: self.cause, until, length })
    }
}

impl StandingForm {
    fn of(standing: &Standing) -> Self {
        match standing {
            Standing::Sound => Self::Sound,
            Standing::Suspect { kind, cause, .. } => {
                Self::Suspect { kind: kind.rule().name.to_owned(), cause: cause.clone() }
            }
            Standing::Condemned { kind, cause } => {
                Self::Condemned { kind: kind.rule().name.to_owned(), cause: cause.clone() }
            }
        }
    }

    /// Changes a standing where the file says another; what is the same keeps what only this process knows.
    fn read(self, standing: &mut Standing, now: Instant) {
        match (self, &*standing) {
            (Self::Suspect { .. }, Standing::Suspect { .. }) | (Self::Sound, Standing::Sound) => {}
            (Self::Sound, _) => *standing = Standing::Sound,
            (Self::Condemned { kind: name, cause }, _) => {
                let kind = Kind::named(&name).unwrap_or(Kind::PatRefused);
                *standing = Standing::Condemned { kind, cause };
            }
            (Self::Suspect { kind: name, cause }, _) => {
                let kind = Kind::named(&name).unwrap_or(Kind::LoginRefused);
                *standing = Standing::Suspect { since: now, read: false, kind, cause };
            }
        }
    }
}

fn write_down(ledgers: &Ledgers, clock: &dyn Clock) -> Vec<u8> {
    let version = |version: &Version| VersionForm {
        id: version.id.clone(),
        refusals: version.refusals,
        first_refused: version.first_refused.map(|at| EpochMillis::of_instant(at, clock)),
        standing: StandingForm::of(&version.standing),
        pause: version.pause.as_ref().map(|pause| PauseForm::of(pause, clock)),
    };
    let form = |(name, ledger): (&ServiceUser, &Ledger)| UserForm {
        account: name.account().to_owned(),
        user: name.user().to_owned(),
        condemned: ledger.condemned,
        pause: ledger.pause.as_ref().map(|pause| PauseForm::of(pause, clock)),
        versions: ledger.versions.iter().map(version).collect(),
    };
    serde_json::to_vec(&ledgers.iter().map(form).collect::<Vec<_>>()).unwrap_or_default()
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
