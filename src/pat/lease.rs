//! [`Lease`]: the right to send one login or REST request with one version of a PAT, and its outcome.
//!
//! A handler takes one lease for an admitted client ([`Pats::lease`]) and reports one outcome: [`Lease::accepted`],
//! [`Lease::unsent`] or [`Lease::refused`]. A lease that is dropped after [`Lease::sending`] counts as a lost answer.
//! The lease hides the cache, the guard, the other replicas, and the wait for a newer version.
//!
//! Reporting a refusal and asking for [`Refused::another`] lease are two steps: the handler reports every refusal at
//! once, but only a client that still waits needs another version.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Pats;
use super::cache::CachedPat;
use super::contexts::Context;
use super::diagnosis::Known;
use super::guard::{Answer, RiskPermit};
use super::keeper::keep;
use super::ledger::Outcome;
use super::question::{Helper, Question, Work};
use super::queue::RequestKind;
use crate::admit::Grant;
use crate::base::epoch::EpochMillis;
use crate::base::fault::{Fault, Kind, Said};
use crate::base::ids::{PatId, ServiceUser};
use crate::base::trace::TraceId;
use crate::base::verdict::Verdict;
use crate::snowflake::login_secret::Presented;
use crate::snowflake::refusal::Refusal;
use crate::telemetry::store_reads::StoreReads;

/// The pause before a request without a PAT asks the store again.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a request may wait for its turn; drivers wait for 60 s and more.
const QUEUE: Duration = Duration::from_secs(30);
/// How long other gates may have all places before this one sends an own login.
const FULL: Duration = Duration::from_secs(1);
/// How many versions of a PAT one request may try, each newer than the one before. Two rotations can overtake a login.
const VERSIONS: u32 = 8;

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
    /// What is sent to Snowflake for the secret.
    presented: Option<Presented>,
}

/// A lease whose version Snowflake has refused; the refusal is on record.
pub struct Refused {
    request: LeaseRequest,
    kind: Kind,
    /// For the log.
    cause: String,
    said: Said,
}

/// The request, and when it began.
#[derive(Clone)]
struct LeaseRequest {
    pats: Pats,
    grant: Grant,
    trace: TraceId,
    kind: RequestKind,
    context: Context,
    deadlines: Deadlines,
    /// How often Snowflake has refused it.
    refusals: u32,
}

impl Pats {
    /// The reads of the store for which requests of this client may have to wait.
    pub fn store_reads(&self, grant: &Grant) -> Option<Arc<StoreReads>> {
        self.inner.cache.reads(grant)
    }

    /// The right to send one request for an admitted client, in its turn. It waits for a PAT, for its turn, and for a
    /// verdict about a version that Snowflake has refused. `asks_for` is the context that the request asks for: role,
    /// warehouse, database and schema.
    ///
    /// # Errors
    /// The fault with the reason: the store, Snowflake's refusals, or too many waiting requests.
    pub async fn lease(
        &self,
        grant: &Grant,
        trace: TraceId,
        kind: RequestKind,
        asks_for: Vec<String>,
        deadlines: Deadlines,
    ) -> Result<Lease, Fault> {
        let is_own_form = kind == RequestKind::Login && self.inner.own_logins.context(grant.credential()) == asks_for;
        let context = Context { places: asks_for, is_client_s: !is_own_form };
        let (pats, grant) = (self.clone(), grant.clone());
        LeaseRequest { pats, grant, trace, kind, context, deadlines, refusals: 0 }.granted().await
    }
}

impl Lease {
    /// What stands for the secret in this request: the PAT, or a new token of the key pair. `account` is Snowflake's
    /// name of the account.
    ///
    /// # Errors
    /// If a private key does not sign.
    pub fn present(&mut self, account: &str) -> Result<&Presented, Fault> {
        let (user, now) = (self.request.grant.user(), self.request.pats.inner.env.clock.wall());
        let presented = self.pat.fetched.secret.present(account, user, now);
        let presented = presented.map_err(|failed| Fault::new(Kind::GateBroken).with_source(&failed))?;
        Ok(self.presented.insert(presented))
    }

    /// A refusal as the answer to what was presented.
    pub fn answered(&self, refusal: Refusal) -> Refusal {
        match &self.presented {
            Some(presented) => refusal.to(presented),
            None => refusal,
        }
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

    /// Snowflake has not checked the PAT, or the client broke the request, which is nobody else's affair.
    pub fn unsent(self) {
        self.permit.unsent();
    }

    /// Snowflake refused the PAT, or the gate, or what this client asks for: the guard finds out.
    pub fn refused(self, refusal: Refusal) -> Refused {
        let refusal = self.answered(refusal);
        let Self { mut request, pat, permit, presented: _ } = self;
        let (kind, told, said) = (refusal.kind(), refusal.cause(), refusal.said());
        let times = permit.refused(refusal);
        request.refusals += 1;
        let (inner, user) = (&request.pats.inner, request.grant.service_user());
        if inner.guard.is_condemned(user, &pat.fetched.id) {
            inner.replicas.iter().for_each(|all| all.condemned(user, &pat.fetched.id));
        }
        let (id, version) = (&pat.fetched.id, &pat.fetched.version);
        let cause = format!("{told} to PAT {id} ({version} of the store); refusals so far: {times}");
        let (client, credential) = (request.grant.client(), request.grant.credential());
        request.pats.inner.metrics.pat_refused(credential);
        let (trace, name) = (request.trace, kind.rule().name);
        tracing::warn!(%trace, %client, %credential, kind = name, cause, "PAT refused");
        Refused { request, kind, cause, said }
    }
}

impl Refused {
    /// The kind of the refusal.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// A lease for another try: with a newer version.
    ///
    /// # Errors
    /// The fault that says whose fault the refusal was, or that this request has tried enough versions.
    pub async fn another(mut self) -> Result<Lease, Fault> {
        if self.request.refusals >= VERSIONS {
            return Err(Fault::new(self.kind).with_cause(&self.cause).with_said(self.said));
        }
        let hold = self.request.pats.inner.hold;
        self.request.deadlines.queue = self.request.deadlines.queue.max(Instant::now() + hold);
        self.request.granted().await.map_err(|fault| fault.with_said(self.said))
    }

    /// The fault for a client whose request the gate cannot send again. If there is a newer version, it asks the client
    /// to retry.
    pub async fn give_up(self, why: &str) -> Fault {
        match self.another().await {
            Ok(_newer) => Fault::new(Kind::SnowflakeBusy).with_cause(format_args!("there is a newer PAT, but {why}")),
            Err(fault) => fault,
        }
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

    /// Waits for the request's turn, and takes the version that is in memory then.
    async fn granted(self) -> Result<Lease, Fault> {
        let (guard, user) = (&self.pats.inner.guard, self.grant.service_user());
        let helper: Arc<dyn Helper> = Arc::new(self.clone());
        let (mut again, mut full) = (self.refusals > 0, None);
        loop {
            let known = self.current().await?;
            let version = known.fetched.id.clone();
            let question = Question {
                user: user.clone(),
                client: self.grant.client().clone(),
                kind: self.kind,
                version: version.clone(),
                context: self.context.clone(),
                hold: self.pats.inner.hold,
                again,
                since: guard.clock.now(),
                helper: helper.clone(),
            };
            again = true;
            let busy = || Fault::new(Kind::GateBusy).with_cause(guard.waits_for(user, &version));
            if Instant::now() >= self.deadlines.queue {
                return Err(busy());
            }
            let answered = timeout_at(self.deadlines.queue, guard.ask(question)).await;
            let permit = match answered.map_err(|_late| busy())? {
                Ok(Answer::Granted(permit)) => *permit,
                Ok(Answer::Refused(kind, cause)) => return Err(self.refusal(kind, cause, &known)),
                Err(gone) => return Err(Fault::new(Kind::GateBroken).with_source(&gone)),
            };
            // Other gates may have another view, and the store may have given a newer version meanwhile.
            let Some(permit) = self.shared(permit, &mut full).await else { continue };
            let pat = self.current().await?;
            if pat.fetched.id == *permit.version() {
                return Ok(Lease { request: self, pat, permit, presented: None });
            }
            permit.unsent();
        }
    }

    /// The fault of a request that the guard does not let go, with what the gate knows of the version.
    fn refusal(&self, kind: Kind, cause: String, pat: &CachedPat) -> Fault {
        let guard = &self.pats.inner.guard;
        let worked = guard.last_success(self.grant.service_user(), &pat.fetched.id);
        let known = Known {
            kind,
            said: &cause,
            now: guard.clock.wall(),
            expires: pat.fetched.expires,
            created: pat.fetched.created,
            worked: worked.map(|at| EpochMillis::of_instant(at, &*guard.clock).to_system_time()),
            store_fails: self.pats.inner.cache.fails_since(&self.grant),
            others: guard.others(self.grant.service_user(), &pat.fetched.id, kind),
        };
        let likely = known.diagnosis();
        Fault::new(kind).with_cause(cause).with_likely(likely)
    }

    /// Asks the other gates too, if there are any; `None` if they have taken all places, or have condemned the version.
    /// `full` is since when they have all places.
    async fn shared(&self, permit: RiskPermit, full: &mut Option<Instant>) -> Option<RiskPermit> {
        let inner = &self.pats.inner;
        let Some(replicas) = &inner.replicas else { return Some(permit) };
        let (user, version) = (self.grant.service_user(), permit.version().clone());
        let (asked, gates) = replicas.lease(user, &version, inner.guard.widths()).await;
        if let Some(gates) = gates {
            inner.guard.shared_by(user, gates);
        }
        match asked {
            Verdict::Granted(lease) => Some(permit.shared_with(lease)),
            Verdict::Retry(after) => {
                permit.unsent();
                if full.get_or_insert_with(Instant::now).elapsed() > FULL {
                    // They may be those of a gate that is gone.
                    inner.guard.wants_proof(user, &version);
                    *full = None;
                }
                tokio::time::sleep(after).await;
                None
            }
            Verdict::Suspect => {
                permit.unsent();
                inner.guard.suspected_elsewhere(user, &version);
                None
            }
            Verdict::Condemned => {
                permit.unsent();
                // From now on this gate knows it too, and waits for the successor as after a refusal of its own.
                inner.guard.condemned_elsewhere(user, &version);
                None
            }
        }
    }
}

impl Helper for LeaseRequest {
    fn newer<'a>(&'a self, version: &'a PatId) -> Work<'a, Result<PatId, String>> {
        Box::pin(async move {
            let read = self.pats.inner.cache.newer_than(&self.grant, version).await;
            let why = match read {
                Ok(Some(newer)) => return Ok(newer.fetched.id.clone()),
                Ok(None) => "the store has no newer one".to_owned(),
                Err(error) => format!("the gate cannot read a newer one: {error}"),
            };
            tracing::debug!(trace = %self.trace, why, "requests wait for a newer PAT");
            Err(why)
        })
    }

    fn log_in<'a>(&'a self, version: &'a PatId) -> Work<'a, Outcome> {
        Box::pin(async move {
            let inner = &self.pats.inner;
            let Ok(pat) = inner.cache.current(&self.grant).await else { return Outcome::Unsent };
            if pat.fetched.id != *version {
                inner.guard.replaced(version, &pat.fetched.id);
                return Outcome::Unsent;
            }
            let (user, credential) = (self.grant.service_user(), self.grant.credential());
            inner.in_turn(user, version, inner.own_logins.log_in(credential, &pat.fetched.secret)).await
        })
    }

    fn keep(&self, user: ServiceUser, version: PatId) {
        let inner = &self.pats.inner;
        inner.control.spawn(keep(inner.guard.clone(), user, version));
    }
}
