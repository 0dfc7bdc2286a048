//! The bad logins of a PAT version, over all replicas.
//!
//! A login takes a lease before it is sent. The lease counts as spent until the gate reports the answer. Refusals count
//! for as long as Snowflake keeps a token. The leases of a killed replica expire.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::Script;
use tokio::sync::mpsc;

use super::Replicas;
use crate::base::epoch::millis;
use crate::base::ids::{PatId, ServiceUser};
use crate::base::verdict::{UNKNOWN_COUNTS, Verdict};

/// How long a lease counts without a report: its gate was killed, or Redis was unreachable. Logins take less, and a
/// login that takes longer is hardly a refusal.
const LEASE: Duration = Duration::from_secs(20);
/// The pause before a gate repeats a report that Redis did not accept.
const AGAIN: Duration = Duration::from_millis(250);
/// How soon a gate without a lease asks again.
const POLL: Duration = Duration::from_millis(25);
/// How long refusals count: the longest lifetime of a PAT.
const REMEMBERED: Duration = Duration::from_secs(366 * 86_400);

/// Takes a lease if the budget has room for it beside refusals and leases: 0. No room now: 1. Never again with this
/// version: 2.
const ASK: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local refused = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
local most = tonumber(ARGV[2])
if refused >= most then return 2 end
if refused + redis.call('ZCARD', KEYS[2]) >= most then return 1 end
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[4]), ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 0";

/// Reports the outcome of a lease: a refusal counts, a lost answer counts for a while, anything else ends the lease.
const TELL: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] == 'lost' then
  redis.call('ZADD', KEYS[2], 'XX', now + tonumber(ARGV[4]), ARGV[2])
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[2])
if ARGV[3] == 'refused' then
  redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return 0";

pub(super) struct Scripts {
    ask: Script,
    tell: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self { ask: Script::new(ASK), tell: Script::new(TELL) }
    }
}

/// The outcome of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// Snowflake accepted the PAT, or did not check it.
    Harmless,
    /// Snowflake refused it.
    Refused,
    /// Unknown.
    Lost,
}

/// A login under way. Dropping it without a report means a lost answer.
pub struct ReplicaLease {
    reports: mpsc::Sender<Report>,
    report: Option<Report>,
    settled: bool,
}

/// A report to the other gates.
pub(super) enum Report {
    /// The outcome of a lease.
    Told { user: ServiceUser, version: PatId, lease: String, outcome: LeaseOutcome },
    /// Forget a user's refusals.
    Forgiven { user: ServiceUser },
}

impl ReplicaLease {
    /// Frees its place before its answer; a refusal still counts.
    pub fn settle(&mut self) {
        if let Some(Report::Told { user, version, lease, .. }) = &self.report {
            let (user, version, lease) = (user.clone(), version.clone(), lease.clone());
            let _lost = self.reports.try_send(Report::Told { user, version, lease, outcome: LeaseOutcome::Harmless });
            self.settled = true;
        }
    }

    /// Reports to the others, without waiting.
    pub fn answered(mut self, outcome: LeaseOutcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, said: LeaseOutcome) {
        if let Some(Report::Told { user, version, lease, .. }) = self.report.take()
            && (!self.settled || said == LeaseOutcome::Refused)
        {
            // If too many reports wait, the lease expires.
            let _lost = self.reports.try_send(Report::Told { user, version, lease, outcome: said });
        }
    }
}

impl Drop for ReplicaLease {
    fn drop(&mut self) {
        self.tell(LeaseOutcome::Lost);
    }
}

impl Replicas {
    /// Asks for a login with that version of a user's PAT, with a budget of `most`; `lease` is a unique name.
    pub async fn lease(
        &self,
        user: &ServiceUser,
        version: &PatId,
        most: usize,
        lease: String,
    ) -> Verdict<Option<ReplicaLease>> {
        let mut script = self.scripts.ask.prepare_invoke();
        script.key(self.refusals(user)).key(self.leases(user, version));
        script.arg(version.as_str()).arg(most).arg(&lease).arg(millis(LEASE));
        match self.ask(async |connection| script.invoke_async::<u8>(connection).await).await {
            Some(0) => {
                let (user, version) = (user.clone(), version.clone());
                let report = Report::Told { user, version, lease, outcome: LeaseOutcome::Lost };
                Verdict::Granted(Some(ReplicaLease {
                    reports: self.reports.clone(),
                    report: Some(report),
                    settled: false,
                }))
            }
            Some(1) => Verdict::Retry(POLL),
            Some(_) => Verdict::Exhausted,
            None => {
                // Redis may have executed the command anyway.
                let (user, version) = (user.clone(), version.clone());
                let _lost =
                    self.reports.try_send(Report::Told { user, version, lease, outcome: LeaseOutcome::Harmless });
                Verdict::Granted(None)
            }
        }
    }

    /// Forgets the refusals of a user's PATs.
    pub fn forget_refusals(&self, user: &ServiceUser) {
        let _lost = self.reports.try_send(Report::Forgiven { user: user.clone() });
    }

    fn refusals(&self, user: &ServiceUser) -> String {
        self.key(&format!("refused:{user}"))
    }

    fn leases(&self, user: &ServiceUser, version: &PatId) -> String {
        self.key(&format!("leases:{user}:{version}"))
    }
}

/// Sends reports one by one, until no more can come. It repeats a report that Redis does not accept for as long as a
/// lease counts; it repeats refusals, and commands to forget them, for longer, because they do not expire with the
/// lease.
pub(super) async fn pass_on(replicas: Weak<Replicas>, mut reports: mpsc::Receiver<Report>) {
    while let Some(report) = reports.recv().await {
        let lasts = match &report {
            Report::Told { outcome: LeaseOutcome::Refused, .. } | Report::Forgiven { .. } => LEASE * 15,
            Report::Told { .. } => LEASE,
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
            Report::Told { user, version, lease, outcome } => {
                let mut script = self.scripts.tell.prepare_invoke();
                script.key(self.refusals(user)).key(self.leases(user, version));
                let (said, time) = match outcome {
                    LeaseOutcome::Harmless => ("harmless", Duration::ZERO),
                    LeaseOutcome::Refused => ("refused", REMEMBERED),
                    LeaseOutcome::Lost => ("lost", UNKNOWN_COUNTS),
                };
                script.arg(version.as_str()).arg(lease).arg(said).arg(millis(time));
                self.ask(async |connection| script.invoke_async::<()>(connection).await).await
            }
            Report::Forgiven { user } => {
                let mut forget = redis::cmd("DEL");
                forget.arg(self.refusals(user));
                self.ask(async |connection| forget.query_async::<()>(connection).await).await
            }
        }
    }
}
