//! A session's life: opened by a login, renewed, listed, ended.
//!
//! [`Sessions`] is the entry point. It seals Snowflake's tokens into tickets for the client ([`crate::ticket`]) and
//! unseals them again, refuses the next request of an ended session, and lets the operator list and end sessions, and
//! add a key to the ring.
//!
//! | file | what it knows |
//! |---|---|
//! | `registry` | the sessions that this gate has recently served, for counting and listing |
//! | `revoked` | the sessions that were ended early |
//! | `keyring_keeper` | the source of the key ring, and when to read it |
//! | `key_file` | a key ring that the gate makes |

mod key_file;
mod keyring_keeper;
mod registry;
mod revoked;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

pub use registry::{Live, Registry};
pub use revoked::Revocation;

use crate::admit::{Admission, Counted, Grant, Peer, RequestPermit, Weight};
use crate::base::clock::Env;
use crate::base::epoch::EpochMillis;
use crate::base::fault::{Fault, Kind};
use crate::base::ids::{PatId, SessionId};
use crate::base::pins::OpenedContext;
use crate::base::secret::Secret;
use crate::config::Seal;
use crate::replicas::Replicas;
use crate::snowflake::granted::Granted;
use crate::snowflake::token_header;
use crate::state::StateDir;
use crate::stores::Resolver;
use crate::telemetry::act::{Act, SESSION_ENDED};
use crate::telemetry::record::Record;
use crate::telemetry::sinks::Sinks;
use crate::ticket::{NotOpened, Sealer, Ticket, TokenKind};
use revoked::Revoked;

/// The lifetime of a master token if Snowflake's answer does not say it: the usual one.
const USUAL: Duration = Duration::from_secs(4 * 3_600);

/// The sessions whose tokens this gate seals. They outlive a configuration.
pub struct Sessions {
    sealer: Arc<Sealer>,
    registry: Registry,
    revoked: Revoked,
    replicas: Option<Arc<Replicas>>,
    /// The longest lifetime of a sealed token.
    longest: Duration,
    sinks: Arc<Sinks>,
    env: Env,
}

/// The outcome of ending sessions.
#[derive(Debug)]
pub struct Ended {
    /// How many of them this gate has recently served.
    pub here: usize,
    /// Why a restart forgets it, if the gate could not write it to disk.
    pub unwritten: Option<io::Error>,
}

impl Sessions {
    /// Sets sealing up, with the key ring and the ended sessions on disk.
    ///
    /// # Errors
    /// If the state directory is unusable.
    pub async fn open(
        settings: &Seal,
        resolver: &Arc<Resolver>,
        state: Option<&StateDir>,
        (replicas, sinks): (Option<Arc<Replicas>>, Arc<Sinks>),
        env: &Env,
    ) -> io::Result<Arc<Self>> {
        let sealer = keyring_keeper::open(settings, resolver, state, env).await?;
        let (registry, revoked) = (Registry::default(), Revoked::open(state.cloned(), env.clock.wall())?);
        let (longest, env) = (settings.keep, env.clone());
        Ok(Arc::new(Self { sealer, registry, revoked, replicas, longest, sinks, env }))
    }

    /// Seals the tokens of a login that asked for this context, and names the session.
    ///
    /// # Errors
    /// [`Kind::GateBroken`], and [`Kind::SnowflakeGarbled`] if the answer has a token in an unknown place.
    pub fn seal_login(
        &self,
        granted: Granted<'_>,
        grant: &Grant,
        pat: &PatId,
        asked: &[String],
    ) -> Result<(String, Ticket), Fault> {
        let session = SessionId::new(&*self.env.random).map_err(|error| broken(&error))?;
        let (opened, expires) = self.lasts(&granted);
        let ticket = Ticket {
            kind: TokenKind::Session,
            session,
            client: grant.client().clone(),
            key: grant.key(),
            user_tag: grant.user_tag(),
            credential: grant.credential().clone(),
            account: grant.account().clone(),
            pat: pat.clone(),
            opened,
            number: self.revoked.number(),
            expires,
            bound: grant.bound().clone(),
            context: Some(OpenedContext::new(grant.pins(), asked)),
            token: granted.token(),
        };
        Ok((self.put(granted, &ticket)?, ticket))
    }

    /// Seals the tokens of a renewal.
    ///
    /// # Errors
    /// Like [`Sessions::seal_login`].
    pub fn seal_renewal(&self, granted: Granted<'_>, old: &Ticket) -> Result<String, Fault> {
        let (_, expires) = self.lasts(&granted);
        let ticket = old.follow_up(TokenKind::Session, granted.token(), expires);
        self.put(granted, &ticket)
    }

    /// Unseals the ticket in the header of a request, and notes whose it is. `admit` decides whether its client may
    /// still use the gate.
    ///
    /// # Errors
    /// [`Kind::SessionUnknown`], [`Kind::SessionEnded`], [`Kind::RingAway`].
    pub async fn in_header(&self, headers: &HeaderMap, kind: TokenKind, record: &mut Record) -> Result<Ticket, Fault> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(unknown("it does not have exactly one Authorization header"));
        };
        let text = token_header::read(value).ok_or_else(|| unknown("its Authorization header has no session token"))?;
        let ticket = self.unseal(text, kind).await?;
        record.note(|facts| {
            facts.client = Some(ticket.client.clone());
            facts.account = Some(ticket.account.clone());
            facts.session = Some(ticket.session);
            facts.credential = Some(ticket.credential.clone());
            facts.pat = Some(ticket.pat.clone());
        });
        Ok(ticket)
    }

    /// Admits a request of a session: unseals its ticket, asks `admission` about its client, and counts the session as
    /// in use.
    ///
    /// # Errors
    /// Like [`Sessions::in_header`], [`Admission::session`] and [`Admission::request`].
    pub async fn admit(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        admission: &Admission,
        weight: Weight,
        record: &mut Record,
    ) -> Result<(Ticket, RequestPermit), Fault> {
        let ticket = self.in_header(headers, TokenKind::Session, record).await?;
        let count = admission.session(peer, &ticket)?;
        let permit = match weight {
            Weight::Work => admission.request(&ticket).await?,
            Weight::Upkeep => admission.upkeep(&ticket).await?,
        };
        self.seen(&ticket, peer.ip, count);
        Ok((ticket, permit))
    }

    /// Unseals a ticket.
    ///
    /// # Errors
    /// Like [`Sessions::in_header`].
    pub async fn unseal(&self, text: &str, kind: TokenKind) -> Result<Ticket, Fault> {
        let ticket = self.sealer.open(text).await.map_err(|why| match why {
            NotOpened::Later => Fault::new(Kind::RingAway).with_cause(why),
            NotOpened::Foreign | NotOpened::Key | NotOpened::Seal => unknown(why),
        })?;
        if ticket.kind != kind {
            return Err(unknown("it has a session token in place of a master token, or the reverse"));
        }
        if ticket.is_over(self.env.clock.wall()) {
            return Err(unknown("it has expired"));
        }
        if self.revoked.covers(&ticket) {
            self.registry.ended(ticket.session);
            let cause = format_args!("session {} of client {} was ended", ticket.session, ticket.client);
            return Err(Fault::new(Kind::SessionEnded).with_cause(cause));
        }
        Ok(ticket)
    }

    /// Records a session that a login opened; it is counted already.
    pub fn opened(&self, ticket: &Ticket, from: IpAddr, counted: Counted) {
        self.registry.opened(ticket, from, self.env.clock.now(), counted);
    }

    /// Records that a session is in use; `count` counts its client's sessions.
    pub fn seen(&self, ticket: &Ticket, from: IpAddr, count: &Arc<AtomicUsize>) {
        self.registry.seen(ticket, from, self.env.clock.now(), count);
    }

    /// Records a logout.
    pub fn logged_out(&self, session: SessionId) {
        if let Some(live) = self.registry.ended(session) {
            self.has_ended(session, &live, "logout");
        }
    }

    fn has_ended(&self, session: SessionId, live: &Live, why: &str) {
        let act = Act { opened: Some(live.opened), ..Act::of(SESSION_ENDED, why) };
        self.sinks.act(act.on_session(session, &live.client), &*self.env.clock);
    }

    /// The sessions that this gate has recently served, the oldest first, each with the time since its last request.
    pub fn list(&self) -> Vec<(SessionId, Live, Duration)> {
        let now = self.env.clock.now();
        let mut all = self.registry.list();
        all.sort_unstable_by_key(|(id, live)| (live.opened, *id));
        let idle = |live: &Live| now.saturating_duration_since(live.seen);
        all.into_iter().map(|(id, live)| (id, live.clone(), idle(&live))).collect()
    }

    /// Ends the sessions opened until now, on this gate and all replicas.
    pub async fn end(&self, what: Revocation) -> Ended {
        let mut ended = self.registry.list();
        ended.retain(|(id, live)| what.covers(*id, &live.client, &live.pat));
        tracing::warn!(ended = %what, sessions = ended.len(), "the operator ended sessions");
        let now = self.env.clock.wall();
        let name = what.to_string();
        let (number, written) = self.revoked.add(what, now);
        for (id, live) in &ended {
            self.registry.ended(*id);
            self.has_ended(*id, live, "the operator ended it");
        }
        if let Some(replicas) = &self.replicas {
            replicas.end_sessions(&name, EpochMillis(number), self.longest).await;
        }
        Ended { here: ended.len(), unwritten: written.err() }
    }

    /// Adds a key to a ring that the gate makes; the key seals from now on. Returns how many keys open.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub async fn rotate_keys(&self) -> Result<usize, String> {
        self.sealer.rotate().await
    }

    /// Reads the sessions that other gates have ended, and forgets expired entries. The gate calls it about once a
    /// second.
    pub async fn tidy(&self) {
        if let Some(replicas) = &self.replicas {
            self.exchange_ended(replicas).await;
        }
        if let Err(error) = self.revoked.catch_up(self.env.clock.wall()) {
            tracing::warn!(cause = %error, owner = "gate", "cannot read the ended sessions");
        }
        for (id, live) in self.registry.sweep(self.env.clock.now()) {
            self.has_ended(id, &live, "no request for 65 minutes");
        }
        if let Err(error) = self.revoked.tidy(self.env.clock.wall(), self.longest) {
            unwritten(&error);
        }
    }

    /// Exchanges ended sessions with the other gates in both directions: Redis may have been unreachable, or may have
    /// lost entries.
    async fn exchange_ended(&self, replicas: &Replicas) {
        let Some(told) = replicas.ended_sessions().await else { return };
        for (revocation, number) in self.revoked.all() {
            let name = revocation.to_string();
            if !told.iter().any(|(known, told)| *known == name && told.0 >= number) {
                replicas.end_sessions(&name, EpochMillis(number), self.longest).await;
            }
        }
        let now = self.env.clock.wall();
        let oldest = now.checked_sub(self.longest).map(EpochMillis::of).unwrap_or_default();
        // What this gate cannot read may have named any session.
        let known =
            |(name, number): (String, EpochMillis)| (Revocation::parse(&name).unwrap_or(Revocation::All), number.0);
        // One that is old was forgotten here, unless it is news: the clock of the gate that made it may be far behind.
        let newest = self.revoked.number();
        let matters = told.into_iter().map(known).filter(|(_, number)| *number >= oldest.0 || *number > newest);
        match self.revoked.merge(matters, now) {
            Ok(true) => tracing::warn!("ended sessions that the operator ended on another gate"),
            Ok(false) => {}
            Err(error) => unwritten(&error),
        }
    }

    /// The current time, and the time when the tokens expire.
    fn lasts(&self, granted: &Granted<'_>) -> (EpochMillis, EpochMillis) {
        let now = self.env.clock.wall();
        let lasts = granted.lasts().unwrap_or(USUAL).min(self.longest);
        (EpochMillis::of(now), EpochMillis::of(now + lasts))
    }

    fn put(&self, mut granted: Granted<'_>, ticket: &Ticket) -> Result<String, Fault> {
        let seal = |ticket: &Ticket| self.sealer.seal(ticket).map_err(|error| broken(&error));
        let master = granted.master();
        let sealed_master = master
            .clone()
            .map(|token| seal(&ticket.follow_up(TokenKind::Master, token, ticket.expires)))
            .transpose()?;
        granted.put(&seal(ticket)?, sealed_master.as_deref());
        let written = granted.written().unwrap_or_default();
        let stands = |token: &Secret| written.contains(token.expose());
        if stands(&ticket.token) || master.as_ref().is_some_and(stands) {
            let cause = "Snowflake's answer has a token in an unknown place; the gate does not pass it on";
            return Err(Fault::new(Kind::SnowflakeGarbled).with_cause(cause));
        }
        Ok(written)
    }
}

/// The header that carries a ticket's token to Snowflake.
///
/// # Errors
/// [`Kind::GateBroken`], if Snowflake's token does not fit into a header.
pub fn authorization(ticket: &Ticket) -> Result<HeaderValue, Fault> {
    let no_header = || Fault::new(Kind::GateBroken).with_cause("a token does not fit into a header");
    token_header::write(&ticket.token).ok_or_else(no_header)
}

fn unwritten(error: &io::Error) {
    tracing::warn!(cause = %error, owner = "gate", "cannot write the ended sessions to disk");
}

fn unknown(cause: impl std::fmt::Display) -> Fault {
    Fault::new(Kind::SessionUnknown).with_cause(cause)
}

fn broken(error: &dyn std::error::Error) -> Fault {
    Fault::new(Kind::GateBroken).with_source(error)
}
