//! [`Ledger`]: the counts of one service user's PATs: requests under way, refusals, unknown outcomes. It is pure: it
//! takes the time as an argument and does no I/O. Only this module decides what "Snowflake has refused this version"
//! means.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::base::fault::Kind;
use crate::base::ids::PatId;
use crate::base::verdict::{UNKNOWN_COUNTS, Verdict};

/// How many versions of a PAT are remembered: one more than Snowflake keeps tokens for a user.
const REMEMBERED: usize = 16;
/// How long one login runs before the guard grants another beside it. Snowflake takes some 300 ms, so two are always
/// under way while many wait. If it answers faster, logins go one by one, and a PAT that dies under load costs one bad
/// login instead of two.
pub(super) const SPREAD: Duration = Duration::from_millis(150);
/// How long a login waits before it checks again: a place can also become free by time alone, without a notification.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a request that has given its place back may still be refused.
const SETTLING: Duration = Duration::from_secs(2);
/// How much longer the next lost answer counts, for a version that has never worked.
const GROWTH: u32 = 4;
/// The longest that a lost answer counts.
const LONGEST_UNKNOWN: Duration = Duration::from_secs(240);
/// The most refusals in a row over all versions, including the requests under way. One more locks the user.
const MAX_CONSECUTIVE: usize = 4;
/// The pause after that many: as long as Snowflake's own lock, so that the first ones no longer count at the fifth.
pub(super) const CONSECUTIVE_COOLDOWN: Duration = Duration::from_secs(15 * 60);
/// The pause after Snowflake has locked the user.
pub(super) const LOCK_COOLDOWN: Duration = Duration::from_secs(60);
/// The pause after a refusal by a network policy, which another PAT does not change.
pub(super) const POLICY_COOLDOWN: Duration = Duration::from_secs(5);

/// What one user has spent.
#[derive(Default)]
pub(super) struct Ledger {
    /// The youngest last.
    pub versions: Vec<Version>,
    /// Refusals since the last success.
    pub consecutive_refusals: usize,
    /// Nothing is sent for a while.
    pub cooldown: Option<Cooldown>,
    /// Notified when a place becomes free.
    pub free: Arc<Notify>,
}

/// What one version of a PAT has spent.
pub(super) struct Version {
    /// Its fingerprint.
    pub id: PatId,
    pub under_way: usize,
    /// When the guard granted the last of them.
    pub sent: Option<Instant>,
    pub refused: usize,
    /// When Snowflake first refused it.
    pub since: Option<Instant>,
    /// Until when each lost answer counts.
    pub unknown_outcomes: Vec<Instant>,
    /// Until when each request that gave its place back before its answer counts for the refusals in a row.
    pub returned: Vec<Instant>,
    /// How many answers have been lost since the last one that came.
    pub lost: u32,
    /// Whether Snowflake has ever taken it.
    pub proven: bool,
    /// Whether the last answer was a refusal.
    pub suspect: bool,
}

/// A pause.
pub(super) struct Cooldown {
    pub kind: Kind,
    pub until: Instant,
    /// It holds for this version alone.
    pub only: Option<PatId>,
}

/// What came of a request.
#[derive(Clone, Copy)]
pub(super) enum RiskOutcome {
    /// Snowflake took the PAT.
    Accepted,
    /// Snowflake refused it, or the gate.
    Refused(Kind),
    /// Snowflake has not checked the PAT.
    Unsent,
    /// It is unknown whether Snowflake has checked it.
    Lost,
}

impl Version {
    pub(super) fn new(id: &PatId) -> Self {
        Self {
            id: id.clone(),
            under_way: 0,
            sent: None,
            refused: 0,
            since: None,
            unknown_outcomes: Vec::new(),
            returned: Vec::new(),
            lost: 0,
            proven: false,
            suspect: false,
        }
    }

    /// How many refusals it counts for, if every open request is refused.
    pub(super) fn spent(&self) -> usize {
        self.refused + self.open()
    }

    fn open(&self) -> usize {
        self.under_way + self.unknown_outcomes.len()
    }

    /// Counts an answer that was lost because its process stopped. Snowflake may have refused each of them, and a
    /// restart loop loses them all: if there are more than the budget, they count as refusals; for a version that has
    /// never worked, as many as the budget are enough.
    pub(super) fn lost_with_its_process(&mut self, max_refusals: usize, now: Instant) {
        self.doubt(now);
        let lost = usize::try_from(self.lost).unwrap_or(usize::MAX);
        if lost > max_refusals || (lost == max_refusals && !self.proven) {
            (self.refused, self.suspect) = (max_refusals, true);
            self.since.get_or_insert(now);
        }
    }

    /// Counts a lost answer; for longer each time, until this version has worked.
    pub(super) fn doubt(&mut self, now: Instant) {
        let times = if self.proven { 1 } else { GROWTH.saturating_pow(self.lost) };
        self.unknown_outcomes.push(now + UNKNOWN_COUNTS.saturating_mul(times).min(LONGEST_UNKNOWN));
        self.lost = self.lost.saturating_add(1);
    }
}

impl Ledger {
    /// Judges a request; a granted request is under way from now on. A request that `insists` has found no other
    /// version.
    pub(super) fn judge(&mut self, id: &PatId, insists: bool, max_refusals: usize, now: Instant) -> Verdict<()> {
        match &self.cooldown {
            Some(cooldown) if cooldown.until <= now => {
                self.cooldown = None;
                // One more is risked.
                self.consecutive_refusals = self.consecutive_refusals.min(MAX_CONSECUTIVE - 1);
            }
            Some(cooldown) if cooldown.only.as_ref().is_none_or(|only| only == id) => {
                return Verdict::Cooldown(cooldown.kind);
            }
            _ => {}
        }
        let version = self.version(id);
        version.unknown_outcomes.retain(|until| *until > now);
        self.versions.iter_mut().for_each(|version| version.returned.retain(|until| *until > now));
        let version = self.version(id);
        if version.refused >= max_refusals {
            return Verdict::Exhausted;
        }
        if version.suspect && !insists {
            return Verdict::NeedNewer;
        }
        if version.spent() >= max_refusals || self.risk() >= MAX_CONSECUTIVE {
            return Verdict::Retry(LOOK_AGAIN);
        }
        let version = self.version(id);
        let since = version.sent.filter(|_| version.under_way > 0).map(|sent| now.saturating_duration_since(sent));
        if let Some(left) = since.and_then(|since| SPREAD.checked_sub(since)).filter(|left| !left.is_zero()) {
            return Verdict::Retry(left);
        }
        version.under_way += 1;
        version.sent = Some(now);
        Verdict::Granted(())
    }

    /// Records the outcome of a request.
    pub(super) fn record(&mut self, id: &PatId, outcome: RiskOutcome, now: Instant) {
        let version = self.version(id);
        version.under_way = version.under_way.saturating_sub(1);
        match outcome {
            RiskOutcome::Unsent => {}
            RiskOutcome::Lost => version.doubt(now),
            RiskOutcome::Accepted => {
                version.unknown_outcomes.clear();
                version.lost = 0;
                (version.proven, version.suspect) = (true, false);
                self.consecutive_refusals = 0;
            }
            RiskOutcome::Refused(Kind::UserLocked) => self.pause(Kind::UserLocked, now + LOCK_COOLDOWN, None),
            RiskOutcome::Refused(Kind::PatPolicy) => {
                self.pause(Kind::PatPolicy, now + POLICY_COOLDOWN, Some(id.clone()))
            }
            RiskOutcome::Refused(kind) => {
                version.refused += 1;
                version.suspect = true;
                version.lost = 0;
                version.since.get_or_insert(now);
                self.consecutive_refusals += 1;
                if self.consecutive_refusals >= MAX_CONSECUTIVE {
                    self.pause(kind, now + CONSECUTIVE_COOLDOWN, None);
                }
            }
        }
    }

    /// Records that a request has returned its place before its answer. For a while Snowflake may still refuse it.
    pub(super) fn place_returned(&mut self, id: &PatId, now: Instant) {
        self.version(id).returned.push(now + SETTLING);
    }

    /// Records that the budget of a version is spent, by refusals that other gates have seen.
    pub(super) fn exhausted_elsewhere(&mut self, id: &PatId, max_refusals: usize, now: Instant) {
        let version = self.version(id);
        (version.refused, version.suspect) = (version.refused.max(max_refusals), true);
        version.since.get_or_insert(now);
    }

    /// Whether an answer changes anything that a restart must not forget.
    pub(super) fn would_change(&self, id: &PatId, outcome: RiskOutcome) -> bool {
        let version = self.find(id);
        match outcome {
            RiskOutcome::Unsent => false,
            RiskOutcome::Accepted => {
                self.consecutive_refusals > 0
                    || version.is_none_or(|version| version.lost > 0 || version.suspect || !version.proven)
            }
            RiskOutcome::Lost | RiskOutcome::Refused(_) => true,
        }
    }

    /// Forgets all counts.
    pub(super) fn forget_refusals(&mut self) {
        (self.consecutive_refusals, self.cooldown) = (0, None);
        for version in &mut self.versions {
            (version.refused, version.since, version.lost, version.suspect) = (0, None, 0, false);
            version.unknown_outcomes.clear();
        }
    }

    /// Refusals in a row, if every open request is refused.
    fn risk(&self) -> usize {
        self.consecutive_refusals
            + self.versions.iter().map(|version| version.open() + version.returned.len()).sum::<usize>()
    }

    pub(super) fn refusals(&self, id: &PatId) -> usize {
        self.find(id).map_or(0, |version| version.refused)
    }

    /// The versions of which the last answer was a refusal.
    pub(super) fn suspects(&self) -> impl Iterator<Item = &PatId> {
        self.versions.iter().filter(|version| version.suspect).map(|version| &version.id)
    }

    pub(super) fn refused_since(&self, id: &PatId) -> Option<Instant> {
        self.find(id)?.since
    }

    /// Whether nothing speaks against the next login with this version.
    pub(super) fn is_clean(&self, id: &PatId) -> bool {
        self.cooldown.is_none() && self.refusals(id) == 0
    }

    /// The counts of a version, added if missing.
    pub(super) fn version(&mut self, id: &PatId) -> &mut Version {
        let at = self.versions.iter().position(|version| version.id == *id).unwrap_or_else(|| {
            self.versions.push(Version::new(id));
            self.trim();
            self.versions.len() - 1
        });
        &mut self.versions[at]
    }

    /// Forgets the oldest versions beyond the limit; versions without requests under way go first.
    pub(super) fn trim(&mut self) {
        while self.versions.len() > REMEMBERED {
            let done = self.versions.iter().position(|version| version.under_way == 0);
            self.versions.remove(done.filter(|at| at + 1 < self.versions.len()).unwrap_or(0));
        }
    }

    pub(super) fn find(&self, id: &PatId) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == *id)
    }

    fn pause(&mut self, kind: Kind, until: Instant, only: Option<PatId>) {
        self.cooldown = Some(Cooldown { kind, until, only });
    }
}
