//! [`Lease`]: the right to send one login or REST request with one version of a PAT, and its outcome.
//!
//! A handler takes one lease for an admitted client ([`Pats::lease`]) and reports one outcome: [`Lease::accepted`],
//! [`Lease::unsent`] or [`Lease::refused`]. A lease that is dropped after [`Lease::sending`] counts as a lost answer.
//! The lease hides the cache, the guard's budget, the other replicas, and the wait for a newer version.
//!
//! Reporting a refusal and asking for [`Refusal::another`] lease are two steps: the handler reports every refusal at
//! once, but only a client that still waits needs a newer version.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::cache::CachedPat;
use super::guard::RiskPermit;
use super::{Pats, pause};
use crate::admit::Grant;
use crate::base::fault::{Fault, Kind};
use crate::base::ids::{PatId, SessionId};
use crate::base::names::TraceId;
use crate::base::secret::Secret;
use crate::base::verdict::Verdict;

/// The longest pause between two questions to a store for a newer PAT.
const PAUSE: Duration = Duration::from_millis(250);
/// The first such pause; each is twice as long as the one before, up to [`PAUSE`].
const SHORT_PAUSE: Duration = Duration::from_millis(25);
/// How long a request may wait for others of the same user; drivers wait for 60 s and more.
const QUEUE: Duration = Duration::from_secs(30);
/// How many versions of a PAT one request may try, each newer than the one before. Two rotations can overtake a login.
const VERSIONS: u32 = 8;

/// The cause for a version that the gate does not send again.
const EXHAUSTED: &str = "it has been refused as often as pat.budget allows; the gate does not send it again \
    before the store has a new one, or the operator runs `patgate pat retry`";

/// How long a request waits, whatever it waits for.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Until when it waits for others of the same user.
    queue: Instant,
    /// Until when it waits for a store that does not answer, while no PAT is in memory.
    store: Instant,
}

impl Deadlines {
    /// Those of a request that came at `started` and is held for `hold` from now on.
    pub fn new(started: Instant, hold: Duration) -> Self {
        Self { queue: started + QUEUE, store: Instant::now() + hold }
    }
}

/// The right to send one request with one version of a PAT.
pub struct Lease {
    request: LeaseRequest,
    pat: Arc<CachedPat>,
    permit: RiskPermit,
}

/// A lease whose version Snowflake has refused; the refusal is on record.
pub struct Refusal {
    request: LeaseRequest,
    pat: Arc<CachedPat>,
    kind: Kind,
    /// For the log.
    cause: String,
}

/// The request, and when it began.
#[derive(Clone)]
struct LeaseRequest {
    pats: Pats,
    grant: Grant,
    trace: TraceId,
    deadlines: Deadlines,
    /// How many versions have been refused to it.
    refusals: u32,
}

impl Pats {
    /// The right to send one request for an admitted client. It waits for a PAT, and for a place in the budget of its
    /// version.
    ///
    /// # Errors
    /// The fault with the reason: the store, Snowflake's refusals, or too many waiting requests.
    pub async fn lease(&self, grant: &Grant, trace: TraceId, deadlines: Deadlines) -> Result<Lease, Fault> {
        let request = LeaseRequest { pats: self.clone(), grant: grant.clone(), trace, deadlines, refusals: 0 };
        let pat = request.current().await?;
        request.granted(pat).await
    }
}

impl Lease {
    /// The PAT.
    pub fn pat(&self) -> &Secret {
        &self.pat.fetched.pat
    }

    /// Which version it is.
    pub fn version(&self) -> &PatId {
        &self.pat.fetched.id
    }

    /// From now on Snowflake may see the PAT.
    pub fn sending(&mut self) {
        self.permit.sending();
    }

    /// Frees the place for the next request: Snowflake refuses at once or not at all, and enough time has passed. A
    /// late refusal still counts.
    pub fn settle(&mut self) {
        self.permit.settle();
    }

    /// Snowflake accepted the PAT.
    pub fn accepted(self) {
        self.permit.accepted();
    }

    /// Snowflake has not checked the PAT.
    pub fn unsent(self) {
        self.permit.unsent();
    }

    /// Snowflake refused the PAT, or the gate.
    pub fn refused(self, kind: Kind) -> Refusal {
        let Self { mut request, pat, permit } = self;
        let times = permit.refused(kind);
        request.refusals += 1;
        let (id, version) = (&pat.fetched.id, &pat.fetched.version);
        let cause = format!("Snowflake refused PAT {id} ({version} of the store); refusals so far: {times}");
        let credential = request.grant.credential();
        request.pats.inner.metrics.pat_refused(credential);
        tracing::warn!(trace = %request.trace, %credential, kind = kind.rule().name, cause, "PAT refused");
        Refusal { request, pat, kind, cause }
    }
}

impl Refusal {
    /// A lease for a newer version, once there is one.
    ///
    /// # Errors
    /// The fault that says that there is none, or that this request has tried enough of them.
    pub async fn another(self) -> Result<Lease, Fault> {
        let newer = self.newer().await?;
        self.request.granted(newer).await
    }

    /// The fault for a client whose request the gate cannot send again. If there is a newer version, it asks the client
    /// to retry.
    pub async fn give_up(self, why: &str) -> Fault {
        match self.newer().await {
            Ok(_newer) => Fault::new(Kind::SnowflakeBusy).with_cause(format_args!("there is a newer PAT, but {why}")),
            Err(fault) => fault,
        }
    }

    async fn newer(&self) -> Result<Arc<CachedPat>, Fault> {
        if self.request.refusals >= VERSIONS {
            return Err(Fault::new(self.kind).with_cause(&self.cause));
        }
        self.request.newer(&self.pat, self.kind, &self.cause).await
    }
}

impl LeaseRequest {
    /// The PAT in memory. While there is none, the request waits, and the gate reads the store again.
    async fn current(&self) -> Result<Arc<CachedPat>, Fault> {
        loop {
            match self.pats.inner.cache.current(&self.grant).await {
                Ok(pat) => return Ok(pat),
                Err(error) if error.passes() && Instant::now() + PAUSE < self.deadlines.store => {
                    tracing::debug!(trace = %self.trace, cause = %error, "a request waits for the store");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for a place in the budget of a version. Meanwhile the refusal of another request may replace the version.
    async fn granted(self, mut pat: Arc<CachedPat>) -> Result<Lease, Fault> {
        let (guard, user) = (&self.pats.inner.guard, self.grant.service_user());
        let mut without_another = None;
        loop {
            let version = &pat.fetched.id;
            let insists = without_another.as_ref() == Some(version);
            let (verdict, freed) = guard.ask(user, version, insists);
            // The future tells of places that come free here, not of those at the other gates.
            let (verdict, freed) = match verdict {
                Verdict::Granted(permit) => (self.shared(permit).await, None),
                alone => (alone, Some(freed)),
            };
            match verdict {
                Verdict::Granted(permit) => return Ok(Lease { request: self, pat, permit }),
                Verdict::NeedNewer => match self.newer(&pat, Kind::PatRefused, "Snowflake has refused it before").await
                {
                    Ok(newer) => pat = newer,
                    Err(_none) => without_another = Some(version.clone()),
                },
                Verdict::Exhausted => pat = self.newer(&pat, Kind::PatRefused, EXHAUSTED).await?,
                Verdict::Cooldown(kind) => {
                    return Err(Fault::new(kind)
                        .with_cause("Snowflake has just refused a login; the gate sends none for a short time"));
                }
                Verdict::Retry(after) if Instant::now() < self.deadlines.queue => {
                    match freed {
                        Some(freed) => drop(timeout(after, freed).await),
                        None => tokio::time::sleep(after).await,
                    }
                    pat = self.current().await?;
                }
                Verdict::Retry(_) => {
                    let cause = "other logins of the same service user were under way for the whole time";
                    return Err(Fault::new(Kind::GateBusy).with_cause(cause));
                }
            }
        }
    }

    /// Asks the other gates too, if there are any.
    async fn shared(&self, permit: RiskPermit) -> Verdict<RiskPermit> {
        let inner = &self.pats.inner;
        let Some(replicas) = &inner.replicas else { return Verdict::Granted(permit) };
        let Ok(name) = SessionId::new(&*inner.env.random) else { return Verdict::Granted(permit) };
        let (user, version) = (self.grant.service_user(), permit.version().clone());
        let asked = replicas.lease(user, &version, inner.guard.max_refusals(), name.to_string()).await;
        match asked.granted() {
            Ok(lease) => Verdict::Granted(permit.shared_with(lease)),
            Err(refused) => {
                permit.unsent();
                if matches!(refused, Verdict::Exhausted) {
                    // From now on this gate knows it too, and waits for the successor as after a refusal of its own.
                    inner.guard.exhausted_elsewhere(user, &version);
                }
                refused
            }
        }
    }

    /// A PAT newer than the refused one, or the fault that says there is none. It reads the store again until the time
    /// `hold` has passed since the first refusal of that version: in a rotation the store may be slightly behind
    /// Snowflake.
    async fn newer(&self, refused: &CachedPat, kind: Kind, cause: &str) -> Result<Arc<CachedPat>, Fault> {
        if kind != Kind::PatRefused {
            // A network policy, or a lock: another PAT does not help.
            return Err(Fault::new(kind).with_cause(cause));
        }
        let inner = &self.pats.inner;
        let refused_for = inner.guard.refused_for(self.grant.service_user(), &refused.fetched.id);
        let left = refused_for.and_then(|refused_for| inner.hold.checked_sub(refused_for));
        let until = left.map(|left| Instant::now() + left);
        let mut next = SHORT_PAUSE;
        loop {
            let why = match inner.cache.newer_than(&self.grant, refused).await {
                Ok(Some(newer)) => return Ok(newer),
                Ok(None) => "the store has no newer one".to_owned(),
                Err(error) => format!("the gate cannot read a newer one: {error}"),
            };
            if until.is_none_or(|until| Instant::now() + next >= until) {
                return Err(Fault::new(kind).with_cause(format_args!("{cause}; {why}")));
            }
            tracing::debug!(trace = %self.trace, why, "a request waits for a newer PAT");
            pause(&mut next, PAUSE).await;
        }
    }
}
