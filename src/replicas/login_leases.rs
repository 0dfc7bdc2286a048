//! The logins at risk with a PAT version, over all replicas.
//!
//! A login takes a lease before it is sent: one of the places that the version's width leaves to clients. A success
//! widens the version for all gates, a refusal makes it suspect for all. One gate at a time sends an own login; a
//! condemned version stays condemned for as long as Snowflake keeps a token. The leases of a killed replica expire.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::Script;
use tokio::sync::mpsc;

use super::Replicas;
use crate::base::epoch::millis;
use crate::base::ids::{PatId, ServiceUser};
use crate::base::verdict::{Verdict, Widths};

/// How long a lease, or an own login, counts without a report: as long as a login may take.
const LEASE: Duration = Duration::from_secs(60);
/// How long a lost outcome keeps its place.
const DOUBT: Duration = Duration::from_secs(15);
/// How long a version is suspect, and a gate is alive, without another word.
const WORD: Duration = Duration::from_secs(60);
/// How long a proof lasts without a success, while no lease is taken.
const IDLE: Duration = Duration::from_secs(10);
/// The pause before a gate repeats a report that Redis did not accept.
const AGAIN: Duration = Duration::from_millis(250);
/// How soon a gate without a lease asks again.
const POLL: Duration = Duration::from_millis(25);
/// How soon a gate asks again for the turn of its own login.
const OWN_POLL: Duration = Duration::from_millis(100);
/// How long verdicts count: the longest lifetime of a PAT.
const REMEMBERED: Duration = Duration::from_secs(366 * 86_400);

/// Takes a lease: 0. No room now: 1. Condemned: 2. Suspect: 3. The second number is how many gates log this user in.
///
/// Keys: condemned, leases, doubts, width, suspect, gates. Arguments: version, budget, in_flight, lease, its time, the
/// gate's name.
const ASK: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lasts = tonumber(ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', now - lasts)
redis.call('ZADD', KEYS[6], now, ARGV[6])
redis.call('PEXPIRE', KEYS[6], lasts)
local gates = redis.call('ZCARD', KEYS[6])
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return {2, gates} end
if redis.call('EXISTS', KEYS[5]) == 1 then return {3, gates} end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
local width = math.min(tonumber(redis.call('GET', KEYS[4]) or ARGV[2]), tonumber(ARGV[3]))
if redis.call('ZCARD', KEYS[2]) + redis.call('ZCARD', KEYS[3]) >= math.max(width - 1, 1) then return {1, gates} end
redis.call('ZADD', KEYS[2], now + lasts, ARGV[4])
redis.call('PEXPIRE', KEYS[2], lasts)
redis.call('PEXPIRE', KEYS[4], lasts)
return {0, gates}";

/// Reports the outcome of a lease.
///
/// Keys: leases, doubts, width, suspect. Arguments: lease, outcome, budget, in_flight, the times of a doubt, of a word
/// and of a proof.
const TELL: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('ZREM', KEYS[1], ARGV[1])
if ARGV[2] == 'lost' then
  if held == 1 then
    redis.call('ZADD', KEYS[2], now + tonumber(ARGV[5]), ARGV[1])
    redis.call('PEXPIRE', KEYS[2], ARGV[5])
  end
elseif ARGV[2] == 'refused' then
  redis.call('SET', KEYS[4], 1, 'PX', ARGV[6])
elseif ARGV[2] == 'accepted' then
  redis.call('DEL', KEYS[2])
  local width = math.min(tonumber(redis.call('GET', KEYS[3]) or ARGV[3]) + 1, tonumber(ARGV[4]))
  local lasts = tonumber(ARGV[7])
  if redis.call('ZCARD', KEYS[1]) > 0 then lasts = lasts + tonumber(ARGV[6]) end
  redis.call('SET', KEYS[3], width, 'PX', lasts)
end
return 0";

/// Asks for the turn of an own login: 0. Another gate has it, or its last one was refused a moment ago: 1. The version
/// is condemned: 2.
///
/// Keys: condemned, own, paused. Arguments: version, its time, a name for the turn.
const OWN: &str = r"
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 2 end
if redis.call('EXISTS', KEYS[3]) == 1 then return 1 end
if redis.call('SET', KEYS[2], ARGV[3], 'NX', 'PX', ARGV[2]) then return 0 end
return 1";

/// Reports what an own login showed.
///
/// Keys: condemned, own, suspect, doubts, leases, paused. Arguments: version, verdict, how long a condemnation counts,
/// the name of the turn (empty without one), how long ago it began, the time of a lease, and that of a pause.
const JUDGE: &str = r"
if redis.call('GET', KEYS[2]) == ARGV[4] then redis.call('DEL', KEYS[2]) end
if ARGV[2] == 'condemned' then
  redis.call('HSET', KEYS[1], ARGV[1], 1)
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
elseif ARGV[2] == 'acquitted' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('DEL', KEYS[3], KEYS[4])
  redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now - tonumber(ARGV[5]) + tonumber(ARGV[6]))
elseif ARGV[2] == 'paused' then
  redis.call('SET', KEYS[6], 1, 'PX', ARGV[7])
end
return 0";

pub(super) struct Scripts {
    ask: Script,
    tell: Script,
    own: Script,
    judge: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self { ask: Script::new(ASK), tell: Script::new(TELL), own: Script::new(OWN), judge: Script::new(JUDGE) }
    }
}

/// The outcome of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// Snowflake accepted the PAT.
    Accepted,
    /// Snowflake did not check it.
    Harmless,
    /// Snowflake refused it, or what the client asked for.
    Refused,
    /// Unknown.
    Lost,
}

/// What an own login showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// No gate sends this version again.
    Condemned,
    /// The PAT is good.
    Acquitted,
    /// Snowflake refused it for a reason without a verdict: no gate asks again at once.
    Paused,
    /// Nothing.
    Open,
}

/// The turn of an own login, over all gates.
pub enum OwnTurn {
    /// This gate has it. Without Redis it always has.
    Granted(Turn),
    /// Another gate has it for too long, or its last one was refused.
    Taken,
    /// Another gate has condemned the version.
    Condemned,
}

/// A turn that this gate has.
pub struct Turn {
    name: String,
    begun: tokio::time::Instant,
}

/// A login under way. Dropping it without a report means a lost answer.
pub struct ReplicaLease {
    reports: mpsc::Sender<Report>,
    report: Option<Report>,
    settled: bool,
    /// What its drop without a report means.
    dropped: LeaseOutcome,
}

/// A report to the other gates.
pub(super) enum Report {
    /// The outcome of a lease.
    Told { user: ServiceUser, version: PatId, lease: String, outcome: LeaseOutcome, widths: Widths },
    /// The outcome of an own login.
    Judged { user: ServiceUser, version: PatId, judgement: Judgement, turn: Option<(String, Duration)> },
    /// Forget a user's refusals.
    Forgiven { user: ServiceUser },
}

impl ReplicaLease {
    /// Frees its place before its answer; a refusal still counts.
    pub fn settle(&mut self) {
        self.settled = true;
        self.send(LeaseOutcome::Harmless);
    }

    /// Reports to the others, without waiting.
    pub fn answered(mut self, outcome: LeaseOutcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: LeaseOutcome) {
        let counts = matches!(outcome, LeaseOutcome::Refused | LeaseOutcome::Accepted);
        if !self.settled || counts {
            self.send(outcome);
        }
        self.report = None;
    }

    fn send(&self, said: LeaseOutcome) {
        if let Some(Report::Told { user, version, lease, widths, .. }) = &self.report {
            let (user, version, lease) = (user.clone(), version.clone(), lease.clone());
            // If too many reports wait, the lease expires.
            let report = Report::Told { user, version, lease, outcome: said, widths: *widths };
            let _lost = self.reports.try_send(report);
        }
    }
}

impl Drop for ReplicaLease {
    fn drop(&mut self) {
        self.tell(self.dropped);
    }
}

impl Replicas {
    /// Asks for a login with that version of a user's PAT. Returns also how many gates log that user in. Without Redis
    /// the login is granted.
    pub async fn lease(
        &self,
        user: &ServiceUser,
        version: &PatId,
        widths: Widths,
    ) -> (Verdict<Option<ReplicaLease>>, Option<usize>) {
        let (mut script, lease) = (self.scripts.ask.prepare_invoke(), self.unique());
        script
            .key(self.condemned_key(user))
            .key(self.of("leases", user, version))
            .key(self.of("doubts", user, version));
        script.key(self.of("width", user, version)).key(self.of("suspect", user, version));
        script.key(self.key(&format!("gates:{user}")));
        script.arg(version.as_str()).arg(widths.budget).arg(widths.in_flight);
        script.arg(&lease).arg(millis(LEASE)).arg(&self.gate);
        let report = Report::Told {
            user: user.clone(),
            version: version.clone(),
            lease,
            outcome: LeaseOutcome::Harmless,
            widths,
        };
        // A request that leaves before the answer gives back what Redis may have given it.
        let mut lease = ReplicaLease {
            reports: self.reports.clone(),
            report: Some(report),
            settled: false,
            dropped: LeaseOutcome::Harmless,
        };
        let asked = self.ask(async |connection| script.invoke_async::<(u8, usize)>(connection).await).await;
        let Some((answer, gates)) = asked else { return (Verdict::Granted(None), None) };
        let verdict = match answer {
            0 => {
                lease.dropped = LeaseOutcome::Lost;
                return (Verdict::Granted(Some(lease)), Some(gates));
            }
            1 => Verdict::Retry(POLL),
            2 => Verdict::Condemned,
            _ => Verdict::Suspect,
        };
        lease.report = None;
        (verdict, Some(gates))
    }

    /// Waits for the turn of an own login.
    pub async fn own_login(&self, user: &ServiceUser, version: &PatId) -> OwnTurn {
        let end = tokio::time::Instant::now() + LEASE;
        let name = self.unique();
        loop {
            let begun = tokio::time::Instant::now();
            let mut script = self.scripts.own.prepare_invoke();
            script.key(self.condemned_key(user)).key(self.key(&format!("own:{user}")));
            script.key(self.of("paused", user, version));
            script.arg(version.as_str()).arg(millis(LEASE)).arg(&name);
            match self.ask(async |connection| script.invoke_async::<u8>(connection).await).await {
                Some(1) if begun < end => tokio::time::sleep(OWN_POLL).await,
                Some(1) => return OwnTurn::Taken,
                Some(2) => return OwnTurn::Condemned,
                _ => return OwnTurn::Granted(Turn { name, begun }),
            }
        }
    }

    /// Reports what an own login showed, and ends its turn.
    pub fn own_login_ended(&self, user: &ServiceUser, version: &PatId, judgement: Judgement, turn: Turn) {
        self.judged(user, version, judgement, Some((turn.name, turn.begun.elapsed())));
    }

    /// Reports that a version is condemned.
    pub fn condemned(&self, user: &ServiceUser, version: &PatId) {
        self.judged(user, version, Judgement::Condemned, None);
    }

    fn judged(&self, user: &ServiceUser, version: &PatId, judgement: Judgement, turn: Option<(String, Duration)>) {
        let (user, version) = (user.clone(), version.clone());
        let _lost = self.reports.try_send(Report::Judged { user, version, judgement, turn });
    }

    /// How often a user has been forgiven at any gate; `None` if Redis does not answer.
    pub async fn forgiven(&self, user: &ServiceUser) -> Option<u64> {
        let mut get = redis::cmd("GET");
        get.arg(self.key(&format!("forgiven:{user}")));
        let times = self.ask(async |connection| get.query_async::<Option<u64>>(connection).await).await?;
        Some(times.unwrap_or(0))
    }

    /// Forgets the refusals of a user's PATs.
    pub fn forget_refusals(&self, user: &ServiceUser) {
        let _lost = self.reports.try_send(Report::Forgiven { user: user.clone() });
    }

    /// A name that no gate gives twice.
    pub(super) fn unique(&self) -> String {
        format!("{}-{}", self.gate, self.names.fetch_add(1, Ordering::Relaxed))
    }

    fn condemned_key(&self, user: &ServiceUser) -> String {
        self.key(&format!("condemned:{user}"))
    }

    pub(super) fn of(&self, what: &str, user: &ServiceUser, version: &PatId) -> String {
        self.key(&format!("{what}:{user}:{version}"))
    }
}

/// Sends reports one by one, until no more can come. It repeats a report that Redis does not accept for as long as a
/// lease counts; it repeats refusals, and commands to forget them, for longer, because they do not expire with the
/// lease.
pub(super) async fn pass_on(replicas: Weak<Replicas>, mut reports: mpsc::Receiver<Report>) {
    while let Some(report) = reports.recv().await {
        let lasts = match &report {
            Report::Judged { .. } | Report::Forgiven { .. } => LEASE * 5,
            Report::Told { .. } => DOUBT,
        };
        let end = tokio::time::Instant::now() + lasts;
        loop {
            let Some(replicas): Option<Arc<Replicas>> = replicas.upgrade() else { return };
            if replicas.tell(&report).await.is_some() || tokio::time::Instant::now() > end {
                break;
            }
            drop(replicas);
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Replicas {
    /// Reports to Redis; `None` if Redis does not accept it.
    async fn tell(&self, report: &Report) -> Option<()> {
        match report {
            Report::Told { user, version, lease, outcome, widths } => {
                let mut script = self.scripts.tell.prepare_invoke();
                script.key(self.of("leases", user, version)).key(self.of("doubts", user, version));
                script.key(self.of("width", user, version)).key(self.of("suspect", user, version));
                let said = match outcome {
                    LeaseOutcome::Accepted => "accepted",
                    LeaseOutcome::Harmless => "harmless",
                    LeaseOutcome::Refused => "refused",
                    LeaseOutcome::Lost => "lost",
                };
                script.arg(lease).arg(said).arg(widths.budget).arg(widths.in_flight);
                script.arg(millis(DOUBT)).arg(millis(WORD)).arg(millis(IDLE));
                self.ask(async |connection| script.invoke_async::<()>(connection).await).await
            }
            Report::Judged { user, version, judgement, turn } => {
                let mut script = self.scripts.judge.prepare_invoke();
                script.key(self.condemned_key(user)).key(self.key(&format!("own:{user}")));
                for what in ["suspect", "doubts", "leases", "paused"] {
                    script.key(self.of(what, user, version));
                }
                let said = match judgement {
                    Judgement::Condemned => "condemned",
                    Judgement::Acquitted => "acquitted",
                    Judgement::Paused => "paused",
                    Judgement::Open => "open",
                };
                let (name, ago) = turn.as_ref().map_or(("", Duration::ZERO), |(name, ago)| (name.as_str(), *ago));
                script.arg(version.as_str()).arg(said).arg(millis(REMEMBERED)).arg(name).arg(millis(ago));
                script.arg(millis(LEASE)).arg(millis(DOUBT));
                self.ask(async |connection| script.invoke_async::<()>(connection).await).await
            }
            Report::Forgiven { user } => {
                let mut pipe = redis::pipe();
                pipe.del(self.condemned_key(user)).ignore();
                pipe.incr(self.key(&format!("forgiven:{user}")), 1).ignore();
                self.ask(async |connection| pipe.query_async::<()>(connection).await).await
            }
        }
    }
}
