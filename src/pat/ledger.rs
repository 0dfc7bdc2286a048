//! [`Ledger`]: what one user's PATs have cost. Pure: time comes in, nothing goes out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::base::fault::Kind;

/// How many versions of a PAT are remembered: one more than Snowflake keeps tokens for a user.
const REMEMBERED: usize = 16;
/// How long a lost answer counts as a refusal. That is short, since answers are mostly lost in an outage, when the PAT is good
/// and everybody waits.
pub(super) const DOUBT: Duration = Duration::from_secs(15);
/// How long one login is given before another is risked beside it. Snowflake takes some 300 ms, so that two are under way all
/// the time where many wait; where it answers faster they go one by one, and a PAT that dies under load costs one bad login
/// instead of two.
pub(super) const SPREAD: Duration = Duration::from_millis(150);
/// How long a login waits before it looks again by itself: a place may also come free by time alone, which rings no bell.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a request that has given its place back may still be refused.
const SETTLING: Duration = Duration::from_secs(2);
/// How much longer the next lost answer counts, for a version that has never worked.
const GROWTH: u32 = 4;
/// The longest that a lost answer counts.
const LONGEST_DOUBT: Duration = Duration::from_secs(240);
/// How many refusals in a row, over all versions, are risked at all, what is under way counted in. One more locks the user.
const ROW: usize = 4;
/// The pause after such a row: as long as Snowflake's own lock, so that the fifth comes when the first ones are old.
pub(super) const ROW_REST: Duration = Duration::from_secs(15 * 60);
/// The pause after Snowflake has locked the user by itself.
pub(super) const LOCK_REST: Duration = Duration::from_secs(60);
/// The pause after a refusal by network policy, which no PAT mends.
pub(super) const SHORT_REST: Duration = Duration::from_secs(5);

/// What one user has spent.
#[derive(Default)]
pub(super) struct Ledger {
    /// The youngest last.
    pub versions: Vec<Version>,
    /// Refusals since the last success.
    pub row: usize,
    /// Nothing is sent for a while.
    pub rest: Option<Rest>,
    /// Rung when something comes free.
    pub free: Arc<Notify>,
}

/// What one version of a PAT has spent.
pub(super) struct Version {
    /// Its fingerprint.
    pub id: String,
    pub under_way: usize,
    /// When the last of them was let go.
    pub sent: Option<Instant>,
    pub refused: usize,
    /// When it was refused first.
    pub since: Option<Instant>,
    /// Until when each lost answer counts.
    pub doubts: Vec<Instant>,
    /// Until when each request counts for the user's row of refusals that has given its place back before its answer.
    pub settled: Vec<Instant>,
    /// How many answers have been lost since the last one that came.
    pub lost: u32,
    /// Whether Snowflake has ever taken it.
    pub proven: bool,
    /// Whether the last answer was a refusal.
    pub suspect: bool,
}

/// A pause.
pub(super) struct Rest {
    pub kind: Kind,
    pub until: Instant,
    /// It holds for this version alone.
    pub only: Option<String>,
}

/// What is said to a login that asks.
pub(super) enum Ruling {
    Go,
    Spent,
    Suspect,
    Resting(Kind),
    /// Ask again after this time, or when one of those under way is answered.
    Busy(Duration),
}

/// What came of a login.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    Success,
    Refusal(Kind),
    /// Nobody has looked at the PAT.
    None,
    /// Whether somebody has looked at it is not known.
    Lost,
}

impl Version {
    pub(super) fn new(id: &str) -> Self {
        let id = id.to_owned();
        Self {
            id,
            under_way: 0,
            sent: None,
            refused: 0,
            since: None,
            doubts: Vec::new(),
            settled: Vec::new(),
            lost: 0,
            proven: false,
            suspect: false,
        }
    }

    /// How many refusals it stands for, if everything that is open comes out badly.
    pub(super) fn spent(&self) -> usize {
        self.refused + self.open()
    }

    fn open(&self) -> usize {
        self.under_way + self.doubts.len()
    }

    /// Counts an answer that was lost together with the process that waited for it. Snowflake may have refused each of them, and
    /// a restart loop loses them all: more than may be risked count as refusals, and with a version that has never worked as
    /// many.
    pub(super) fn lost_with_its_process(&mut self, each: usize, now: Instant) {
        self.doubt(now);
        let lost = usize::try_from(self.lost).unwrap_or(usize::MAX);
        if lost > each || (lost == each && !self.proven) {
            (self.refused, self.suspect) = (each, true);
            self.since.get_or_insert(now);
        }
    }

    /// Counts a lost answer; longer each time, while nobody has seen this version work.
    pub(super) fn doubt(&mut self, now: Instant) {
        let times = if self.proven { 1 } else { GROWTH.saturating_pow(self.lost) };
        self.doubts.push(now + DOUBT.saturating_mul(times).min(LONGEST_DOUBT));
        self.lost = self.lost.saturating_add(1);
    }
}

impl Ledger {
    /// Judges a login; one that may go is under way from now on. One that insists has looked for another version in vain.
    pub(super) fn rule(&mut self, id: &str, insists: bool, each: usize, now: Instant) -> Ruling {
        match &self.rest {
            Some(rest) if rest.until <= now => {
                self.rest = None;
                // One more is risked.
                self.row = self.row.min(ROW - 1);
            }
            Some(rest) if rest.only.as_deref().is_none_or(|only| only == id) => return Ruling::Resting(rest.kind),
            _ => {}
        }
        let version = self.version(id);
        version.doubts.retain(|until| *until > now);
        self.versions.iter_mut().for_each(|version| version.settled.retain(|until| *until > now));
        let version = self.version(id);
        if version.refused >= each {
            return Ruling::Spent;
        }
        if version.suspect && !insists {
            return Ruling::Suspect;
        }
        if version.spent() >= each || self.risk() >= ROW {
            return Ruling::Busy(LOOK_AGAIN);
        }
        let version = self.version(id);
        let since = version.sent.filter(|_| version.under_way > 0).map(|sent| now.saturating_duration_since(sent));
        if let Some(left) = since.and_then(|since| SPREAD.checked_sub(since)).filter(|left| !left.is_zero()) {
            return Ruling::Busy(left);
        }
        version.under_way += 1;
        version.sent = Some(now);
        Ruling::Go
    }

    /// Takes up what came of a login.
    pub(super) fn answered(&mut self, id: &str, answer: Answer, now: Instant) {
        let version = self.version(id);
        version.under_way = version.under_way.saturating_sub(1);
        match answer {
            Answer::None => {}
            Answer::Lost => version.doubt(now),
            Answer::Success => {
                version.doubts.clear();
                version.lost = 0;
                (version.proven, version.suspect) = (true, false);
                self.row = 0;
            }
            Answer::Refusal(Kind::UserLocked) => self.pause(Kind::UserLocked, now + LOCK_REST, None),
            Answer::Refusal(Kind::PatPolicy) => self.pause(Kind::PatPolicy, now + SHORT_REST, Some(id.to_owned())),
            Answer::Refusal(kind) => {
                version.refused += 1;
                version.suspect = true;
                version.lost = 0;
                version.since.get_or_insert(now);
                self.row += 1;
                if self.row >= ROW {
                    self.pause(kind, now + ROW_REST, None);
                }
            }
        }
    }

    /// Takes up that a request has given its place back before its answer. For a while it may still be refused.
    pub(super) fn settled(&mut self, id: &str, now: Instant) {
        self.version(id).settled.push(now + SETTLING);
    }

    /// Takes up that a version has been refused as often as it may, by answers that others have seen.
    pub(super) fn heard_refused(&mut self, id: &str, each: usize, now: Instant) {
        let version = self.version(id);
        (version.refused, version.suspect) = (version.refused.max(each), true);
        version.since.get_or_insert(now);
    }

    /// Whether an answer changes anything that a restart must not forget.
    pub(super) fn would_change(&self, id: &str, answer: Answer) -> bool {
        let version = self.find(id);
        match answer {
            Answer::None => false,
            Answer::Success => {
                self.row > 0 || version.is_none_or(|version| version.lost > 0 || version.suspect || !version.proven)
            }
            Answer::Lost | Answer::Refusal(_) => true,
        }
    }

    /// Starts anew.
    pub(super) fn forgive(&mut self) {
        (self.row, self.rest) = (0, None);
        for version in &mut self.versions {
            (version.refused, version.since, version.lost, version.suspect) = (0, None, 0, false);
            version.doubts.clear();
        }
    }

    /// Refusals in a row, if everything that is open comes out badly.
    fn risk(&self) -> usize {
        self.row + self.versions.iter().map(|version| version.open() + version.settled.len()).sum::<usize>()
    }

    pub(super) fn refusals(&self, id: &str) -> usize {
        self.find(id).map_or(0, |version| version.refused)
    }

    pub(super) fn refused_since(&self, id: &str) -> Option<Instant> {
        self.find(id)?.since
    }

    /// Whether nothing speaks against the next login with this version.
    pub(super) fn is_clean(&self, id: &str) -> bool {
        self.rest.is_none() && self.refusals(id) == 0
    }

    /// The account of a version, opened if need be.
    pub(super) fn version(&mut self, id: &str) -> &mut Version {
        let at = self.versions.iter().position(|version| version.id == id).unwrap_or_else(|| {
            self.versions.push(Version::new(id));
            self.trim();
            self.versions.len() - 1
        });
        &mut self.versions[at]
    }

    /// Forgets the oldest beyond what is remembered. What is under way has to be found again.
    pub(super) fn trim(&mut self) {
        while self.versions.len() > REMEMBERED {
            let done = self.versions.iter().position(|version| version.under_way == 0);
            self.versions.remove(done.filter(|at| at + 1 < self.versions.len()).unwrap_or(0));
        }
    }

    pub(super) fn find(&self, id: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == id)
    }

    fn pause(&mut self, kind: Kind, until: Instant, only: Option<String>) {
        self.rest = Some(Rest { kind, until, only });
    }
}
