//! [`PatSource`]: the PAT for an admitted client, and the right to send it.
//!
//! Logins and REST requests differ in what they send and in how they are answered; how a PAT is had, risked and replaced by a
//! newer one is the same for both, and stands here.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Gate;
use super::trouble::store_fault;
use crate::admit::Grant;
use crate::base::fault::{Fault, Kind};
use crate::base::names::TraceId;
use crate::pat::{Permit, ServiceUser, Verdict};
use crate::replicas::Risk;
use crate::secrets::Held;
use crate::session::SessionId;

/// The pause between two tries while a request is held.
pub(super) const PAUSE: Duration = Duration::from_millis(250);
/// The first such pause when a store is asked for a newer PAT; each is twice as long as the one before, up to [`PAUSE`].
const SHORT_PAUSE: Duration = Duration::from_millis(25);
/// How long a login may wait for others of the same user; drivers wait for 60 s and more.
const QUEUE: Duration = Duration::from_secs(30);
/// How many versions of a PAT one login may try, each newer than the one before. Two rotations can overtake a login.
pub(super) const VERSIONS: u32 = 8;

/// What is said of a version that is not sent again.
const SPENT: &str = "it has been refused as often as may be risked and is not sent again before a new one comes, or `patgate pat retry`";

/// What other gates know of a version.
enum Elsewhere {
    /// Nothing against it.
    Go(Permit),
    /// As many as may are under way.
    Busy,
    /// It has been refused as often as it may.
    Spent,
}

fn busy() -> Fault {
    Fault::new(Kind::GateBusy).because("other logins of the same service user were under way all the time")
}

/// Where a client's PAT comes from.
pub(super) struct PatSource<'a> {
    gate: &'a Gate,
    grant: &'a Grant,
    user: ServiceUser,
}

impl<'a> PatSource<'a> {
    pub(super) fn new(gate: &'a Gate, grant: &'a Grant) -> Self {
        Self { gate, grant, user: ServiceUser::new(grant.host(), grant.user()) }
    }

    /// Waits for the right to risk a login. The PAT may have been replaced meanwhile, by another login that was refused.
    pub(super) async fn permit(&self, mut held: Arc<Held>, started: Instant) -> Result<(Arc<Held>, Permit), Fault> {
        let gate = self.gate;
        let mut without_another = None;
        loop {
            let insists = without_another.as_ref() == Some(&held.id);
            match gate.budget.ask(&self.user, &held.id, insists) {
                Verdict::Go(permit) => match self.elsewhere(permit).await {
                    Elsewhere::Go(permit) => return Ok((held, permit)),
                    Elsewhere::Busy if started.elapsed() < QUEUE => tokio::time::sleep(SHORT_PAUSE).await,
                    Elsewhere::Busy => return Err(busy()),
                    // From now on this gate knows it too, and waits for the successor as after a refusal of its own.
                    Elsewhere::Spent => gate.budget.heard_refused(&self.user, &held.id),
                },
                Verdict::Suspect => match self.newer(&held, Kind::PatRefused, "it has been refused before").await {
                    Ok(newer) => held = newer,
                    Err(_none) => without_another = Some(held.id.clone()),
                },
                Verdict::Spent => {
                    held = self.newer(&held, Kind::PatRefused, SPENT).await?;
                }
                Verdict::Resting(kind) => {
                    return Err(Fault::new(kind).because("Snowflake refused a moment ago; nothing is sent for now"));
                }
                Verdict::Busy(freed, time) if started.elapsed() < QUEUE => {
                    let _asked_again = timeout(time, freed).await;
                    held = self.first(started).await?;
                }
                Verdict::Busy(..) => return Err(busy()),
            }
        }
    }

    /// Asks the other gates too, where there are any.
    async fn elsewhere(&self, permit: Permit) -> Elsewhere {
        let Some(replicas) = &self.gate.replicas else { return Elsewhere::Go(permit) };
        let Ok(lease) = SessionId::new(&*self.gate.random) else { return Elsewhere::Go(permit) };
        let (user, most) = (self.user.to_string(), self.gate.budget.each());
        match replicas.risk(&user, permit.version(), most, lease.to_string()).await {
            Risk::Taken(lease) => Elsewhere::Go(permit.with(lease)),
            Risk::Away => Elsewhere::Go(permit),
            Risk::Busy => {
                permit.unsent();
                Elsewhere::Busy
            }
            Risk::Spent => {
                permit.unsent();
                Elsewhere::Spent
            }
        }
    }

    /// The PAT in memory; while there is none, the login is held and the store asked again.
    pub(super) async fn first(&self, deadline: Instant) -> Result<Arc<Held>, Fault> {
        loop {
            match self.gate.pats.current(self.grant).await {
                Ok(held) => return Ok(held),
                Err(error) if error.passes() && Instant::now() + PAUSE < deadline => {
                    tracing::debug!(cause = %error, "a login waits for the store");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(store_fault(error)),
            }
        }
    }

    /// A PAT newer than the refused one, or the fault that says there is none. For as long as a login is held, counted from
    /// the first refusal of that version, the store is asked again: in a rotation it may be a moment behind Snowflake.
    pub(super) async fn newer(&self, refused: &Held, kind: Kind, cause: &str) -> Result<Arc<Held>, Fault> {
        if kind != Kind::PatRefused {
            // A policy, or a lock: no other PAT mends it.
            return Err(Fault::new(kind).because(cause));
        }
        let gate = self.gate;
        let refused_for = gate.budget.refused_for(&self.user, &refused.id);
        let left = refused_for.and_then(|refused_for| gate.config.login.hold.checked_sub(refused_for));
        let until = left.map(|left| Instant::now() + left);
        let mut pause = SHORT_PAUSE;
        loop {
            let why = match gate.pats.newer_than(self.grant, refused).await {
                Ok(Some(newer)) => return Ok(newer),
                Ok(None) => "the store has no newer one".to_owned(),
                Err(error) => format!("a newer one cannot be read: {error}"),
            };
            if until.is_none_or(|until| Instant::now() + pause >= until) {
                return Err(Fault::new(kind).because(format_args!("{cause}; {why}")));
            }
            tokio::time::sleep(pause).await;
            pause = PAUSE.min(pause * 2);
        }
    }

    /// Tells the operator that Snowflake has refused a PAT, and gives the cause.
    pub(super) fn refused(&self, held: &Held, kind: Kind, times: usize, trace: TraceId) -> String {
        let (id, version) = (&held.id, &held.version);
        let cause = format!("Snowflake refused PAT {id} ({version} of the store), {times} times by now");
        self.gate.metrics.pat_refused(self.grant.credential());
        tracing::warn!(trace = %trace, credential = %self.grant.credential(), kind = kind.rule().name, cause, "PAT refused");
        cause
    }
}
