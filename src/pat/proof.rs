//! [`Proof`]: what the gate's own login shows when the operator asks for one, and what its session and its PAT can do.
//!
//! Such a login goes through the guard as any own login does: a condemned version is not sent, the journal knows of the
//! login before Snowflake does, and its outcome counts. The operator can therefore ask as often as he likes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::guard::Guard;
use super::ledger::{Outcome, Room};
use super::version::Standing;
use super::{Inner, Pats};
use crate::base::fault::{Fault, Kind};
use crate::base::ids::{PatId, ServiceUser, SessionId};
use crate::base::pins::ContextField;
use crate::base::trial::Trial;
use crate::snowflake::login_secret::LoginSecret;
use crate::snowflake::statement::{self, AllowedHost};
use crate::upstream::{Opened, OwnSession};

/// How often to look whether the own login may go.
pub(super) const AGAIN: Duration = Duration::from_millis(100);
/// How long it may wait for that.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the logout may keep the answer waiting.
const LOGOUT: Duration = Duration::from_secs(2);

/// What the gate's own login shows. Nothing in it is secret.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Proof {
    /// The credential.
    pub credential: String,
    /// The fingerprint of the version that was, or would have been, sent.
    pub version: Option<PatId>,
    /// Whether a login was sent to Snowflake.
    pub sent: bool,
    /// The login.
    pub login: Trial,
    /// What the session got of the context, and what the credential asked for.
    pub places: Vec<PlaceProof>,
    /// `SELECT 1` in the session.
    pub query: Trial,
    /// A statement by the SQL API, with the PAT, or a token of the key pair, as the bearer token.
    pub sql_api: Trial,
    /// The address that Snowflake sees; `None` if Snowflake does not say.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// The hosts that drivers need (`SYSTEM$ALLOWLIST`); `None` if Snowflake does not say.
    pub hosts: Option<Vec<AllowedHost>>,
}

/// One place of the context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceProof {
    /// `role`, `warehouse`, `database` or `schema`.
    pub place: String,
    /// What the credential asks for.
    pub asked: Option<String>,
    /// What the session got.
    pub got: Option<String>,
}

impl PlaceProof {
    /// Whether the session got what was asked for.
    pub fn is_right(&self) -> bool {
        let same = |asked: &String| self.got.as_ref().is_some_and(|got| got.eq_ignore_ascii_case(asked));
        self.asked.as_ref().is_none_or(same)
    }
}

/// Why the guard sends no own login now.
pub(super) enum NotSent {
    /// A verdict, or a pause.
    Never(Kind, String),
    /// Another one is under way.
    Busy,
}

/// An own login under way; one that is dropped before its outcome is told counts as lost.
pub(super) struct Sending {
    guard: Arc<Guard>,
    user: ServiceUser,
    version: PatId,
    number: u64,
    told: bool,
}

impl Pats {
    /// Sends the gate's own login with the PAT of a credential, unless Snowflake has refused that version before; tries
    /// what its session and the PAT can do, and logs out. `None` if there is no such credential.
    pub async fn prove(&self, credential: &str) -> Option<Proof> {
        let user = self.inner.users.get(credential)?.clone();
        let (inner, name) = (self.inner.clone(), credential.to_owned());
        // A task of its own: the outcome is told also if nobody waits for the proof any more.
        let proof = self.inner.control.spawn(async move { inner.prove(&user, &name).await });
        let broken = || Proof { login: Trial::untried("the gate has failed"), ..Proof::default() };
        Some(Proof { credential: credential.to_owned(), ..proof.await.unwrap_or_else(|_| broken()) })
    }
}

impl Inner {
    async fn prove(&self, user: &ServiceUser, credential: &str) -> Proof {
        let begun = self.env.clock.now();
        let failed = |fault: &Fault| Proof { login: Trial::bad(fault, self.since(begun)), ..Proof::default() };
        let mut pat = match self.cache.of(credential).await {
            Some(Ok(pat)) => pat,
            Some(Err(error)) => return failed(&error.into()),
            None => return Proof::default(),
        };
        if self.guard.is_condemned(user, &pat.fetched.id) {
            // The store may have a newer one.
            let read = self.cache.refresh(Some(credential)).await;
            pat = read.into_iter().find_map(|(_, read)| read.ok()).unwrap_or(pat);
        }
        let version = pat.fetched.id.clone();
        let mut proof = Proof { version: Some(version.clone()), ..Proof::default() };
        let sending = match self.own_login_begins(user, &version, PATIENCE).await {
            Ok(sending) => sending,
            Err(NotSent::Never(kind, cause)) => {
                let fault = Fault::new(kind).with_cause(format_args!("not sent: {cause}"));
                proof.login = Trial::bad(&fault, Duration::ZERO);
                return proof;
            }
            Err(NotSent::Busy) => {
                proof.login = Trial::untried("not sent: another login of the gate's own is under way");
                return proof;
            }
        };
        let (begun, mut opened) = (self.env.clock.now(), None);
        let outcome = self.in_turn(user, &version, async {
            let (outcome, session) = split(self.own_logins.open(credential, &pat.fetched.secret).await);
            if let Outcome::Refused(refusal) = &outcome {
                proof.address = refusal.address();
            }
            opened = Some(session);
            outcome
        });
        sending.told(outcome.await);
        let Some(opened) = opened else {
            proof.login = Trial::untried("not sent: other gates have condemned the version, or log in just now");
            return proof;
        };
        (proof.sent, proof.login) = (true, Trial::of(&opened, self.since(begun), |_| accepted(&version)));
        let Ok(session) = opened else { return proof };
        proof.places = self.places(credential, &session);
        let (id, query, sql_api) =
            (self.id(), self.query(&session), self.sql_api(&session, credential, &pat.fetched.secret));
        let (address, query, (sql_api, hosts)) = tokio::join!(session.address(&id), query, sql_api);
        (proof.address, proof.query, proof.sql_api) = (address, query, sql_api);
        proof.hosts = match hosts {
            Some(hosts) => Some(hosts),
            None => self.hosts(&session).await,
        };
        // A command that ends at once must not leave the session open.
        let _late = tokio::time::timeout(LOGOUT, session.log_out()).await;
        proof
    }

    /// Waits until the own login may go.
    pub(super) async fn own_login_begins(
        &self,
        user: &ServiceUser,
        version: &PatId,
        patience: Duration,
    ) -> Result<Sending, NotSent> {
        let begun = tokio::time::Instant::now();
        loop {
            match self.guard.own_login_begins(user, version) {
                Err(NotSent::Busy) if begun.elapsed() < patience => tokio::time::sleep(AGAIN).await,
                begun => return begun,
            }
        }
    }

    pub(super) fn places(&self, credential: &str, session: &OwnSession) -> Vec<PlaceProof> {
        let asked = self.own_logins.asked(credential);
        let place = |(place, got): &(ContextField, Option<String>)| {
            let asked = asked.iter().find(|(one, _)| one == place).map(|(_, asked)| asked.clone());
            PlaceProof { place: place.as_str().to_owned(), asked, got: got.clone() }
        };
        session.places.iter().map(place).collect()
    }

    async fn query(&self, session: &OwnSession) -> Trial {
        let begun = self.env.clock.now();
        let answer = session.query(&self.id(), statement::SELECT_1).await;
        Trial::of(&answer, self.since(begun), |_| "SELECT 1 is answered".to_owned())
    }

    async fn sql_api(
        &self,
        session: &OwnSession,
        credential: &str,
        secret: &LoginSecret,
    ) -> (Trial, Option<Vec<AllowedHost>>) {
        let begun = self.env.clock.now();
        let presented = self.own_logins.present(credential, session.account().account_name(), secret);
        let Some(presented) = presented else { return (Trial::untried("the private key did not sign"), None) };
        let answer = session.account().sql_api(&presented, &self.id(), statement::ALLOWLIST).await;
        let trial = Trial::of(&answer, self.since(begun), |_| "a statement is answered".to_owned());
        (trial, answer.ok().flatten().and_then(|cell| statement::allowed_hosts(&cell)))
    }

    async fn hosts(&self, session: &OwnSession) -> Option<Vec<AllowedHost>> {
        let answer = session.query(&self.id(), statement::ALLOWLIST).await;
        answer.ok().flatten().and_then(|cell| statement::allowed_hosts(&cell))
    }

    /// The id of a request.
    fn id(&self) -> String {
        SessionId::new(&*self.env.random).map(|id| id.as_uuid()).unwrap_or_default()
    }

    fn since(&self, begun: Instant) -> Duration {
        self.env.clock.now().saturating_duration_since(begun)
    }
}

fn accepted(version: &PatId) -> String {
    format!("Snowflake accepts PAT {version}")
}

/// What the guard is told, and what the operator is.
pub(super) fn split(opened: Opened) -> (Outcome, Result<OwnSession, Fault>) {
    match opened {
        Opened::Session(session) => (Outcome::Accepted, Ok(session)),
        Opened::Refused(refusal) => {
            let fault = Fault::new(refusal.kind()).with_cause(refusal.cause()).with_said(refusal.said());
            (Outcome::Refused(refusal), Err(fault))
        }
        Opened::Unsent(fault) => (Outcome::Unsent, Err(fault)),
        Opened::Lost(fault) => (Outcome::Lost, Err(fault)),
    }
}

impl Guard {
    /// Takes the place of the gate's own login, if nothing speaks against one.
    pub(super) fn own_login_begins(self: &Arc<Self>, name: &ServiceUser, id: &PatId) -> Result<Sending, NotSent> {
        let mut state = self.state.lock();
        let now = self.clock.now();
        state.ledgers.catch_up(&*self.clock);
        let elsewhere = state.ledgers.elsewhere(name, id);
        let ledger = state.ledgers.of(name);
        let room = self.room(ledger, id, elsewhere, now);
        let known = ledger.version(id);
        match (&room, &known.standing) {
            (Room::Paused(kind, cause), _) | (_, Standing::Condemned { kind, cause }) => {
                return Err(NotSent::Never(*kind, cause.clone()));
            }
            // One own login over all processes; of a version that is not proven they share the few places.
            (Room::Go | Room::Full, _) if known.width > self.widths().budget => {}
            _ if elsewhere.at_risk > 0 => return Err(NotSent::Busy),
            _ => {}
        }
        if ledger.next_own(id, now).is_none_or(|at| at > now) {
            return Err(NotSent::Busy);
        }
        let number = ledger.own_sends(id, now);
        state.ledgers.write_risk(name, id, &*self.clock);
        Ok(Sending { guard: self.clone(), user: name.clone(), version: id.clone(), number, told: false })
    }
}

impl Sending {
    pub(super) fn told(mut self, outcome: Outcome) {
        self.told = true;
        self.guard.own_told(&self.user, &self.version, self.number, outcome);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.told {
            self.guard.own_told(&self.user, &self.version, self.number, Outcome::Lost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::simulated::{Snowflake, pat_refused, user, widths};
    use super::*;

    fn version() -> PatId {
        PatId::trusted("v1")
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_version_is_not_sent_again() {
        let guard = Snowflake::start(widths(2, 32)).guard.clone();
        let sending = guard.own_login_begins(&user(), &version()).unwrap_or_else(|_| panic!());
        assert!(matches!(guard.own_login_begins(&user(), &version()), Err(NotSent::Busy)), "one at a time");
        sending.told(Outcome::Refused(pat_refused()));
        for _ in 0..3 {
            let again = guard.own_login_begins(&user(), &version());
            assert!(matches!(again, Err(NotSent::Never(Kind::PatRefused, _))));
        }
        assert!(guard.own_login_begins(&user(), &PatId::trusted("v2")).is_ok(), "a newer version");
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_nobody_tells_of_is_lost_and_costs_a_place_for_a_while() {
        let guard = Snowflake::start(widths(1, 32)).guard.clone();
        drop(guard.own_login_begins(&user(), &version()));
        assert!(matches!(guard.own_login_begins(&user(), &version()), Err(NotSent::Busy)));
        tokio::time::advance(Duration::from_secs(16)).await;
        let sending = guard.own_login_begins(&user(), &version()).unwrap_or_else(|_| panic!());
        sending.told(Outcome::Accepted);
        assert!(guard.own_login_begins(&user(), &version()).is_ok());
    }
}
