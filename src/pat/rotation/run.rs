//! A rotation: look → make → prove → write → read back → use → tidy.
//!
//! The old token goes on until the new one has logged in, is in the store and is used here. Each step is in the journal
//! before it is taken. A rotation that is broken off, by a failure or by the end of the process, is taken up by the
//! next one, which first finds out what became of it ([`super::recovery`]).
//!
//! "One client first, then all" is the guard's doing: a version without a success has places for `pat.budget` requests
//! at once, one of them the gate's own login, and each success adds one.

use std::time::{Duration, Instant, SystemTime};

use super::failure::RotationFailure;
use super::journal::{Entry, Journal, Open, Step};
use super::plan::{Ask, How, Making, Plan, Situation, Why};
use super::proof::Proven;
use super::recovery::{Found, found};
use super::settings::RotatedToken;
use super::statements::{NotRun, Statements};
use super::turn::Turn;
use super::{plan, tidy};
use crate::base::epoch::EpochMillis;
use crate::base::fault::Owner;
use crate::base::ids::PatId;
use crate::pat::Inner;
use crate::snowflake::login_secret::LoginSecret;
use crate::snowflake::token_statement::{MadeToken, ShownToken, TokenStatement};
use crate::stores::FetchedPat;

/// How often a statement whose answer was lost is followed by another look, in one rotation.
const LOOKS: u32 = 3;
/// The pauses between logins with the new token that were not answered.
const PROOFS: [u64; 5] = [0, 1, 2, 4, 8];

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pat) enum Rotated {
    /// It is not time yet.
    Waits(SystemTime),
    /// The new token is in use.
    Done(Rotation),
}

/// A rotation that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pat) struct Rotation {
    /// Why.
    pub why: Why,
    /// The version before.
    pub old: PatId,
    /// The version now.
    pub new: PatId,
    /// What became of the old token, for people.
    pub old_end: String,
    /// How long each step took.
    pub took: Vec<(&'static str, Duration)>,
}

/// A run of it, with the turn.
pub(super) struct Run<'a> {
    pub(super) inner: &'a Inner,
    pub(super) token: &'a RotatedToken,
    pub(super) journal: Journal,
    pub(super) turn: Turn,
    pub(super) took: Vec<(&'static str, Duration)>,
    since: Instant,
}

/// Why a run goes no further.
pub(super) enum Broken {
    /// For good, this time.
    Failed(RotationFailure),
    /// An answer was lost: another look says what became of it.
    LookAgain(RotationFailure),
}

impl From<RotationFailure> for Broken {
    fn from(failure: RotationFailure) -> Self {
        Self::Failed(failure)
    }
}

impl From<NotRun> for Broken {
    fn from(why: NotRun) -> Self {
        match why {
            NotRun::Lost(failure) => Self::LookAgain(failure),
            NotRun::Failed(failure) | NotRun::Missing(failure) => Self::Failed(failure),
        }
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(inner: &'a Inner, token: &'a RotatedToken, journal: Journal, turn: Turn) -> Self {
        let since = inner.env.clock.now();
        Self { inner, token, journal, turn, took: Vec::new(), since }
    }

    /// Rotates if it is time, or if an operator asks.
    pub(super) async fn go(&mut self, mut asked: Option<Ask>) -> Result<Rotated, RotationFailure> {
        let mut looks = 0;
        loop {
            match self.once(asked).await {
                Ok(rotated) => return Ok(rotated),
                Err(Broken::LookAgain(failure)) if looks < LOOKS => {
                    let (token, cause) = (&self.token.terms.token, &failure.cause);
                    tracing::warn!(%token, cause, owner = failure.owner.as_str(), "an answer is lost; the gate looks");
                    looks += 1;
                }
                Err(Broken::LookAgain(failure) | Broken::Failed(failure)) => return Err(failure),
            }
            // What was asked is in the journal by now, if it was begun.
            asked = asked.filter(|_| self.journal.read().is_ok_and(|entry| entry.open.is_none()));
        }
    }

    async fn once(&mut self, asked: Option<Ask>) -> Result<Rotated, Broken> {
        self.turn.renew().await?;
        self.remove_what_is_due().await;
        let stored = self.stored().await?;
        let now = self.now();
        let mut foreign = false;
        let entry = self.note(|entry| {
            foreign = entry.saw(&stored.id, now);
            entry.token.clone_from(&self.token.terms.token);
        })?;
        if foreign {
            self.inner.taken_over(self.token, &stored.id);
        }
        let tokens = self.statements().show().await?;
        self.lap("look");
        if asked.is_none() && self.inner.guard.is_revoked(&self.token.user, &stored.id) {
            // What leaked would go on for an overlap, and clients would come in again.
            let failure = RotationFailure::revoked(self.token.credential());
            self.looked(&tokens, &entry, &Plan::Cannot(failure.clone()));
            return Err(failure.into());
        }
        let mut asked = asked;
        let mut open = None;
        if let Some(begun) = entry.open {
            match found(&begun, &self.token.terms.token, &tokens, &stored.id, now.to_system_time()) {
                Found::Stored(new) => return Ok(Rotated::Done(self.use_it(begun, &new).await?)),
                Found::NotMade => asked = asked.or(begun.why.asked()),
                Found::Lost(begun) => open = Some(begun),
                Found::Overtaken => {
                    let token = &self.token.terms.token;
                    tracing::warn!(%token, pat = %stored.id, "another version is in the store: it counts");
                }
            }
        }
        let entry = self.note(|entry| entry.open = open)?;
        let uses = self.uses(&entry).await;
        let terms = &self.token.terms;
        let (refused, now) = (self.is_refused(&stored.id), now.to_system_time());
        let situation = Situation { terms, tokens: &tokens, entry: &entry, uses: &uses, refused, now };
        let why = entry.open.as_ref().map(|open| open.why);
        let planned = match why {
            // The old token goes on; the lost one has an hour, should its secret yet turn up in the store.
            Some(why) => situation.make(why),
            None => situation.plan(asked),
        };
        self.looked(&tokens, &entry, &planned);
        let mut making = match planned {
            Plan::Wait(until) => return Ok(Rotated::Waits(until)),
            Plan::Cannot(failure) => return Err(failure.into()),
            Plan::Make(making) => making,
        };
        if let Some(begun) = &entry.open {
            making.how = once_more(making.how, &begun.how);
        }
        self.may_prove(&stored.id)?;
        self.remove_first(&making).await?;
        let (open, secret) = self.make(&making, entry.open, &tokens, &stored).await?;
        self.prove(&secret, &stored.secret).await?;
        self.write(&secret, stored).await?;
        Ok(Rotated::Done(self.use_it(open, &secret.id()).await?))
    }

    /// What the store has now, at the first reference.
    async fn stored(&self) -> Result<FetchedPat, RotationFailure> {
        let login = &self.token.login;
        let none = || RotationFailure::new(Owner::Gate, "the credential has no reference", "Run `patgate check`");
        let first = login.secret().iter().next().ok_or_else(none)?;
        let read = self.inner.rotations.resolver.read(login, first).await;
        read.map_err(|error| RotationFailure::store(&format!("cannot read {first}"), &error))
    }

    /// Removes what has to go to make room.
    async fn remove_first(&self, making: &Making) -> Result<(), Broken> {
        for name in &making.first {
            self.remove(name).await?;
        }
        Ok(())
    }

    /// Makes the token, and gives its secret. The journal knows of it before Snowflake does.
    async fn make(
        &mut self,
        making: &Making,
        before: Option<Open>,
        tokens: &[ShownToken],
        stored: &FetchedPat,
    ) -> Result<(Open, LoginSecret), Broken> {
        let now = self.now();
        let token = &self.token.terms.token;
        let rotated = |one: &&ShownToken| tidy::rotated_at(&one.name, token).is_some();
        let mut open = before.unwrap_or_else(|| Open {
            why: making.why,
            begun: now,
            step: Step::Making,
            how: making.how.clone(),
            remove_old: making.remove_old,
            old: stored.id.clone(),
            had_token: tokens.iter().any(|one| one.name == *token),
            before: tokens.iter().filter(rotated).map(|one| one.name.clone()).collect(),
            old_name: None,
            lost: Vec::new(),
            new: None,
        });
        open.step = Step::Making;
        let entry = self.note(|entry| entry.open = Some(open.clone()))?;
        self.seen(&entry);
        let made = self.made(&making.how).await?;
        let secret = LoginSecret::Pat(made.secret);
        let renamed = match &making.how {
            How::Add { rename, .. } => rename.clone(),
            How::Rotate { .. } => made.rotated,
        };
        match renamed {
            Some(name) if open.old_name.is_none() && open.had_token => open.old_name = Some(name),
            Some(name) => open.lost.push(name),
            None => {}
        }
        (open.step, open.new) = (Step::Made, Some(secret.id()));
        // From here on a journal that cannot be written is no reason to lose the secret.
        self.try_note(|entry| entry.open = Some(open.clone()));
        self.lap("make");
        Ok((open, secret))
    }

    async fn made(&self, how: &How) -> Result<MadeToken, Broken> {
        let (statements, token) = (self.statements(), self.token.terms.token.as_str());
        match how {
            How::Rotate { hours } => Ok(statements.make(TokenStatement::Rotate { token, hours: *hours }).await?),
            How::Add { rename, role, days, hours: _ } => {
                if let Some(to) = rename {
                    statements.run(TokenStatement::Rename { token, to }).await?;
                }
                let add = TokenStatement::Add { token, role: role.as_deref(), days: *days };
                Ok(statements.make(add).await?)
            }
        }
    }

    /// No token is made while no login of the user may be sent: nothing could prove it.
    fn may_prove(&self, stored: &PatId) -> Result<(), RotationFailure> {
        let pause = self.inner.guard.pause(&self.token.user, stored);
        match pause.filter(|pause| pause.until > self.inner.env.clock.now()) {
            Some(pause) => Err(RotationFailure::paused(pause.kind, &pause.cause, self.token.credential())),
            None => Ok(()),
        }
    }

    /// Proves that a login with the new token succeeds.
    async fn prove(&mut self, secret: &LoginSecret, old: &LoginSecret) -> Result<(), Broken> {
        self.step(Step::Proving);
        let mut why = String::new();
        for pause in PROOFS {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            self.turn.renew().await?;
            match self.inner.prove_new(&self.token.user, self.token.credential(), secret).await {
                Proven::Yes => {
                    self.step(Step::Proven);
                    self.lap("prove");
                    return Ok(());
                }
                Proven::Dead(cause) => {
                    // A success with the old one: bad logins in a row would lock the user, and pause it here.
                    let _old = self.inner.prove_new(&self.token.user, self.token.credential(), old).await;
                    return Err(RotationFailure::dead(&cause).into());
                }
                Proven::Open(cause) => why = cause,
            }
        }
        Err(RotationFailure::unproven(&why).into())
    }

    pub(super) fn statements(&self) -> Statements<'a> {
        self.inner.statements(self.token)
    }

    /// Whether Snowflake refuses a version.
    pub(super) fn is_refused(&self, version: &PatId) -> bool {
        self.inner.guard.is_refused_by_snowflake(&self.token.user, version)
    }

    pub(super) fn now(&self) -> EpochMillis {
        EpochMillis::of(self.inner.env.clock.wall())
    }

    /// Changes the journal.
    pub(super) fn note(&self, change: impl FnOnce(&mut Entry)) -> Result<Entry, RotationFailure> {
        self.journal.change(change).map_err(|error| RotationFailure::state(&error))
    }

    /// The same, where the work goes on in any case.
    pub(super) fn try_note(&self, change: impl FnOnce(&mut Entry)) {
        match self.note(change) {
            Ok(entry) => self.seen(&entry),
            Err(failure) => {
                let RotationFailure { cause, next_step, .. } = failure;
                tracing::error!(owner = "gate", cause, next_step, "the rotation goes on, without its journal");
            }
        }
    }

    pub(super) fn step(&self, step: Step) {
        self.try_note(|entry| entry.open.iter_mut().for_each(|open| open.step = step));
    }

    /// The time since the last lap belongs to this part.
    pub(super) fn lap(&mut self, part: &'static str) {
        let now = self.inner.env.clock.now();
        self.took.push((part, now.saturating_duration_since(self.since)));
        self.since = now;
    }

    fn seen(&self, entry: &Entry) {
        self.token.look.lock().entry = entry.clone();
    }

    pub(super) fn looked(&self, tokens: &[ShownToken], entry: &Entry, planned: &Plan) {
        let mut look = self.token.look.lock();
        look.at = Some(self.now().to_system_time());
        (look.tokens, look.entry) = (tokens.to_vec(), entry.clone());
        look.next = match planned {
            Plan::Wait(until) => Some(*until),
            Plan::Make(_) | Plan::Cannot(_) => None,
        };
    }
}

/// How a token whose secret is lost is made once more. It has an hour, should its secret yet turn up in the store; what
/// was to be added is added as it was meant.
fn once_more(how: How, begun: &How) -> How {
    match (how, begun) {
        (How::Rotate { hours }, _) => How::Rotate { hours: hours.min(1) },
        (How::Add { rename, hours, .. }, How::Add { role, days, .. }) => {
            How::Add { rename, role: role.clone(), days: *days, hours }
        }
        (how, How::Rotate { .. }) => how,
    }
}

impl plan::Why {
    /// What the operator asked for.
    fn asked(self) -> Option<Ask> {
        match self {
            Self::Asked => Some(Ask::Rotate),
            Self::Replace => Some(Ask::Replace),
            Self::Due | Self::Ending | Self::Behind => None,
        }
    }
}
