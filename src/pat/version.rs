//! [`Version`]: what is known of one version of a PAT. It is pure, as [`super::ledger`] is, which decides.

use std::time::{Duration, Instant};

use super::contexts::Context;
use crate::base::fault::Kind;
use crate::base::ids::PatId;
use crate::base::names::ClientName;
use crate::base::verdict::Widths;

/// How long a proof lasts without a success, while nothing is under way.
const IDLE: Duration = Duration::from_secs(10);
/// How long a lost outcome keeps its place.
pub(super) const DOUBT: Duration = Duration::from_secs(15);
/// The pauses between own logins that are lost or not sent, while a version is suspect.
const LOST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// The same, while only doubts are in the way.
const LOST_IN_DOUBT: (Duration, Duration) = (DOUBT, Duration::from_secs(240));
/// What is known of one version.
pub(super) struct Version {
    /// Its fingerprint.
    pub id: PatId,
    pub width: usize,
    /// Requests that hold a place.
    pub under_way: usize,
    /// Whether the gate's own login is under way.
    pub own: bool,
    /// Whether it has succeeded in this process since its width was the least.
    succeeded: bool,
    pub doubts: Vec<Doubt>,
    pub standing: Standing,
    pub refusals: usize,
    /// When Snowflake first refused it.
    pub first_refused: Option<Instant>,
    /// When a request with it last went well.
    pub last_success: Option<Instant>,
    /// Why the store has given no newer version, and when it was read last.
    pub store: String,
    pub read_in_vain: Option<Instant>,
    pub pause: Option<Pause>,
    /// How long nothing was under way since the last success.
    idle: Duration,
    idle_since: Option<Instant>,
    /// Own logins that were lost in a row, and when the next may go.
    pub lost: u32,
    pub next_own: Option<Instant>,
    /// Whose requests were refused while no verdict was there.
    pub accused: Vec<Accused>,
    /// Whether the gate's own login has to go before any other.
    pub wants_proof: bool,
}

/// What the gate thinks of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Sound,
    Suspect {
        since: Instant,
        /// Whether the store has been read since.
        read: bool,
        /// For the log and the client: Snowflake's refusal, and the own login's failure.
        kind: Kind,
        cause: String,
    },
    Condemned {
        /// Why.
        kind: Kind,
        cause: String,
    },
}

/// Why a version is suspect or condemned that another gate says is.
pub(super) const ELSEWHERE: &str = "Snowflake has refused it at another gate";

/// A time without logins; after it, the gate's own login goes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pause {
    pub kind: Kind,
    pub cause: String,
    pub until: Instant,
    pub length: Duration,
}

impl Pause {
    /// When it began.
    pub(super) fn begun(&self) -> Option<Instant> {
        self.until.checked_sub(self.length)
    }
}

/// What the other processes with this directory have under way with a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Elsewhere {
    /// Requests.
    pub at_risk: usize,
    /// The largest width.
    pub width: usize,
    /// How many processes use the version.
    pub processes: usize,
}

/// A request that was refused, and the kind of refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Accused {
    pub client: ClientName,
    pub context: Context,
    pub kind: Kind,
}

/// A lost outcome.
pub(super) struct Doubt {
    sent: u64,
    pub until: Instant,
}

impl Version {
    pub(super) fn new(id: &PatId) -> Self {
        Self {
            id: id.clone(),
            width: 0,
            under_way: 0,
            own: false,
            succeeded: false,
            doubts: Vec::new(),
            standing: Standing::Sound,
            refusals: 0,
            first_refused: None,
            last_success: None,
            store: String::new(),
            read_in_vain: None,
            pause: None,
            idle: Duration::ZERO,
            idle_since: None,
            lost: 0,
            next_own: None,
            accused: Vec::new(),
            wants_proof: false,
        }
    }

    /// Adds the lost outcome of a request that an earlier process had sent.
    pub(super) fn doubt(&mut self, now: Instant) {
        self.doubts.push(Doubt::of(0, now));
    }

    /// Forgets what time has settled: doubts that are over, and a proof that nobody used.
    pub(super) fn settle(&mut self, widths: Widths, now: Instant) {
        self.doubts.retain(|doubt| doubt.until > now);
        if self.width == 0 || (self.under_way == 0 && self.quiet(now) >= IDLE) {
            (self.width, self.succeeded) = (widths.budget, false);
        }
        self.width = self.width.min(widths.in_flight);
    }

    /// A place comes free.
    pub(super) fn frees(&mut self, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        self.ends(now);
    }

    /// How many requests are at risk.
    pub(super) fn taken(&self) -> usize {
        self.under_way + self.doubts.len()
    }

    /// How many places clients' requests have at this gate, one of `gates`: its part, and at least one if there is any.
    pub(super) fn places(&self, gates: usize) -> usize {
        let all = self.width.saturating_sub(1);
        (all / gates.max(1)).max(all.min(1))
    }

    /// Whether one more request may be at risk beside `taken` of this process. Processes that share a directory have
    /// their parts of the places of a version that is proven; of one that is not, they share the few that there are.
    pub(super) fn has_place(&self, taken: usize, gates: usize, widths: Widths, elsewhere: Elsewhere) -> bool {
        match self.width > widths.budget {
            true => taken < self.places(gates.max(1) * (1 + elsewhere.processes)),
            false => taken + elsewhere.at_risk < self.places(gates),
        }
    }

    /// The width that successes have given it lately; 0 if none has.
    pub(super) fn proven(&self, now: Instant) -> usize {
        let lately = self.succeeded && (self.under_way > 0 || self.quiet(now) < IDLE);
        if lately { self.width } else { 0 }
    }

    pub(super) fn is_condemned(&self) -> bool {
        matches!(self.standing, Standing::Condemned { .. })
    }

    pub(super) fn is_revoked(&self) -> bool {
        matches!(self.standing, Standing::Condemned { kind: Kind::PatRevoked, .. })
    }

    fn quiet(&self, now: Instant) -> Duration {
        self.idle + self.idle_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    pub(super) fn begins(&mut self, now: Instant) {
        self.idle = self.quiet(now);
        self.idle_since = None;
    }

    pub(super) fn ends(&mut self, now: Instant) {
        if self.under_way == 0 && !self.own {
            self.idle_since = Some(now);
        }
    }

    /// Snowflake has accepted it now.
    pub(super) fn succeeded(&mut self, now: Instant) {
        (self.succeeded, self.wants_proof) = (true, false);
        self.last_success = Some(now);
        self.idle = Duration::ZERO;
        self.idle_since = self.idle_since.map(|_| now);
    }

    /// A success settles the lost outcomes of earlier requests.
    pub(super) fn settles_doubts(&mut self, sent: u64) {
        self.doubts.retain(|doubt| doubt.sent > sent);
    }

    pub(super) fn own_was_lost(&mut self, now: Instant, in_doubt: bool) {
        let (first, longest) = if in_doubt { LOST_IN_DOUBT } else { LOST };
        self.next_own = Some(now + longest.min(first.saturating_mul(1 << self.lost.min(8))));
        self.lost = self.lost.saturating_add(1);
    }
}

impl Doubt {
    /// The lost outcome of the request `sent`, at that time.
    pub(super) fn of(sent: u64, at: Instant) -> Self {
        Self { sent, until: at + DOUBT }
    }
}
