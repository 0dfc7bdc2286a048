//! Rotation: the gate makes new PATs by itself, as a rotator, and puts them into the store.
//!
//! | file | what it knows |
//! |---|---|
//! | `settings` | a token that is rotated, with what the configuration says of it |
//! | `plan` | what to do next: pure |
//! | `tidy` | which rotated tokens can be removed: pure |
//! | `recovery` | what became of a rotation that was broken off: pure |
//! | `journal` | each step, on disk |
//! | `statements`, `guarded` | what Snowflake does for the rotator, and what protects the rotator from a lock |
//! | `proof` | the gate's own login with a token that no store has yet |
//! | `run`, `write`, `finish` | the steps of a rotation |
//! | `uses` | which versions gates use |
//! | `turn` | one gate at a time |
//! | `keeper` | when, in the background |
//! | `order`, `revoke`, `inspect` | what an operator orders, and what a command looks at |
//! | `look`, `shown` | what the gate last saw, and the status |
//! | `failure` | why a token was not rotated, and what to do |

mod failure;
mod finish;
mod guarded;
mod inspect;
mod journal;
mod keeper;
mod look;
mod order;
mod plan;
mod proof;
mod recovery;
mod revoke;
mod run;
mod settings;
mod shown;
mod statements;
mod tidy;
mod turn;
mod uses;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use failure::RotationFailure;
pub use inspect::TokenLook;
pub use order::{RotationPreview, RotationReport};
pub use plan::Ask;
pub use revoke::Revocation as PatRevocation;
pub(super) use run::Rotated;
pub(super) use settings::RotatedToken;
pub use shown::{RotationStatus, TokenShown};

use super::{Accounts, Inner};
use crate::base::epoch::EpochMillis;
use crate::base::ids::PatId;
use crate::config::Config;
use crate::state::StateDir;
use crate::stores::Resolver;
use crate::telemetry::act::{self, Act};
use crate::telemetry::sinks::Sinks;
use journal::{Failure, Journal};
use run::{Rotation, Run};
use statements::Statements;
use turn::Turn;

/// How long a look at Snowflake may take, for an operator who waits for it.
const A_LOOK: Duration = Duration::from_secs(10);
/// How often he asks for the turn meanwhile.
const AGAIN: Duration = Duration::from_millis(100);

/// The rotations of one configuration.
pub(super) struct Rotations {
    /// The tokens, by credential.
    pub tokens: BTreeMap<Arc<str>, Arc<RotatedToken>>,
    /// Where the journals are.
    pub state: Option<StateDir>,
    /// The way to the stores.
    pub resolver: Arc<Resolver>,
    /// Where acts are written down.
    pub sinks: Arc<Sinks>,
    /// The places for statements of rotators.
    at_once: Arc<Semaphore>,
    background: Mutex<JoinSet<()>>,
}

impl Rotations {
    /// Those of a configuration; nothing is looked at yet.
    pub(super) fn new(
        config: &Config,
        accounts: &Accounts,
        (state, resolver, sinks): (Option<StateDir>, Arc<Resolver>, Arc<Sinks>),
    ) -> Self {
        let tokens = RotatedToken::all(config, accounts);
        let at_once = Arc::new(Semaphore::new(guarded::AT_ONCE));
        Self { tokens, state, resolver, sinks, at_once, background: Mutex::default() }
    }

    /// Those of the next configuration, with what was last seen of the same tokens.
    pub(super) fn next(&self, config: &Config, accounts: &Accounts) -> Self {
        let mut next = Self::new(config, accounts, (self.state.clone(), self.resolver.clone(), self.sinks.clone()));
        next.at_once = self.at_once.clone();
        for (credential, token) in &next.tokens {
            if let Some(old) = self.tokens.get(credential).filter(|old| old.file() == token.file()) {
                *token.look.lock() = old.look.lock().clone();
            }
        }
        next
    }

    /// Each token once.
    fn each(&self) -> impl Iterator<Item = &Arc<RotatedToken>> {
        self.tokens.iter().filter(|(name, token)| token.credential() == &***name).map(|(_, token)| token)
    }

    fn journal(&self, token: &RotatedToken) -> Result<(StateDir, Journal), RotationFailure> {
        let state = self.state.clone().ok_or_else(RotationFailure::no_state)?;
        let journal = Journal::new(state.clone(), token.file());
        Ok((state, journal))
    }
}

/// Keeps every token rotated, until [`stop`].
pub(super) fn keep(inner: &Arc<Inner>) {
    let mut background = inner.rotations.background.lock();
    for token in inner.rotations.each() {
        background.spawn_on(keeper::keep(Arc::downgrade(inner), token.clone()), &inner.control);
    }
}

/// Begins no more rotations; one that is under way goes on.
pub(super) fn stop(inner: &Inner) {
    inner.rotations.background.lock().abort_all();
}

/// Returns when no rotation is under way at this gate.
pub(super) async fn ended(inner: &Inner) {
    while inner.rotations.each().any(|token| token.look.lock().under_way) {
        tokio::time::sleep(AGAIN).await;
    }
}

impl Inner {
    /// The statements of a token's rotator, through the guard.
    fn statements<'a>(&'a self, token: &'a RotatedToken) -> Statements<'a> {
        Statements { gate: self, token }
    }

    /// Rotates a token if it is time, or if an operator, `by`, asks.
    pub(super) async fn rotate(
        &self,
        token: &RotatedToken,
        asked: Option<Ask>,
        by: Option<&str>,
    ) -> Result<Rotated, RotationFailure> {
        let (state, journal) = self.rotations.journal(token)?;
        let turn = match self.turn(&state, token, &journal, asked.is_some()).await {
            Err(failure) if failure.busy => return Err(failure),
            Err(failure) => {
                self.failed(token, &journal, &failure, by);
                return Err(failure);
            }
            Ok(turn) => turn,
        };
        token.look.lock().under_way = true;
        let mut run = Run::new(self, token, journal, turn);
        let rotated = run.go(asked).await;
        let Run { journal, turn, .. } = run;
        match &rotated {
            Ok(Rotated::Waits(_)) => self.mended(token, &journal),
            Ok(Rotated::Done(done)) => self.rotated(token, done, by),
            Err(failure) => self.failed(token, &journal, failure, by),
        }
        token.look.lock().under_way = false;
        turn.give_back().await;
        rotated
    }

    /// Takes the turn. An operator, who is asked for, waits while another one has it for a look alone.
    async fn turn(
        &self,
        state: &StateDir,
        token: &RotatedToken,
        journal: &Journal,
        is_asked: bool,
    ) -> Result<Turn, RotationFailure> {
        let begun = tokio::time::Instant::now();
        loop {
            let turn = Turn::take(state, self.replicas.as_ref(), &token.file()).await;
            let looks = || journal.read().is_ok_and(|entry| entry.open.is_none());
            match turn {
                Err(failure) if failure.busy && is_asked && begun.elapsed() < A_LOOK && looks() => {
                    tokio::time::sleep(AGAIN).await;
                }
                turn => return turn,
            }
        }
    }

    fn rotated(&self, token: &RotatedToken, done: &Rotation, by: Option<&str>) {
        let (credential, name) = (token.names(), &token.terms.token);
        let Rotation { why, old, new, old_end, took } = done;
        let took: Vec<_> = took.iter().map(|(part, took)| format!("{part} {} ms", took.as_millis())).collect();
        let (took, why) = (took.join(", "), format!("{why:?}").to_lowercase());
        tracing::info!(credential, token = %name, %old, pat = %new, why, old_end, took, "rotated a PAT");
        let detail = format!("{credential}: token {name}, version {old} is replaced by {new}; {old_end}");
        self.act(act::PAT_ROTATED, detail, by);
        self.metrics.pat_rotated(token.credential(), "ok");
    }

    fn failed(&self, token: &RotatedToken, journal: &Journal, failure: &RotationFailure, by: Option<&str>) {
        let RotationFailure { owner, cause, next_step, busy: _ } = failure;
        let (credential, name) = (token.names(), &token.terms.token);
        let now = EpochMillis::of(self.env.clock.wall());
        let changed = journal.change(|entry| {
            let times = entry.failure.as_ref().map_or(0, |before| before.times).saturating_add(1);
            let (cause, next_step) = (cause.clone(), next_step.clone());
            entry.failure = Some(Failure { at: now, times, owner: *owner, cause, next_step });
        });
        if let Ok(entry) = changed {
            token.look.lock().entry = entry;
        }
        let (owner, what) = (owner.as_str(), "a PAT was not rotated; the old one goes on");
        tracing::error!(credential, token = %name, cause, owner, next_step, "{what}");
        self.act(act::PAT_NOT_ROTATED, format!("{credential}: token {name}: {cause}. {next_step}"), by);
        self.metrics.pat_rotated(token.credential(), "failed");
    }

    /// A look shows that all is well again.
    fn mended(&self, token: &RotatedToken, journal: &Journal) {
        if let Ok(entry) = journal.change(|entry| entry.failure = None) {
            token.look.lock().entry = entry;
        }
    }

    /// Notices the version in memory: one that no rotation of this gate's made is taken over. Returns whether Snowflake
    /// refuses it.
    async fn notice(&self, token: &RotatedToken) -> bool {
        let Some(Ok(pat)) = self.cache.of(token.credential()).await else { return false };
        if !pat.from_disk {
            self.saw(token, &pat.fetched.id);
        }
        self.guard.is_refused_by_snowflake(&token.user, &pat.fetched.id)
    }

    fn saw(&self, token: &RotatedToken, version: &PatId) {
        let known = |entry: &journal::Entry| entry.seen.as_ref().is_some_and(|seen| seen.version == *version);
        if known(&token.look.lock().entry) {
            return;
        }
        let Ok((_, journal)) = self.rotations.journal(token) else { return };
        let (mut foreign, now) = (false, EpochMillis::of(self.env.clock.wall()));
        let entry = match journal.change(|entry| foreign = entry.saw(version, now)) {
            Ok(entry) => entry,
            Err(error) => {
                tracing::debug!(cause = %error, "the journal of a rotation cannot be written");
                return;
            }
        };
        token.look.lock().entry = entry;
        if foreign {
            self.taken_over(token, version);
        }
    }

    fn taken_over(&self, token: &RotatedToken, version: &PatId) {
        let (credential, name) = (token.names(), &token.terms.token);
        tracing::info!(credential, token = %name, pat = %version, "took over a rotation of somebody else's");
        let detail = format!("{credential}: the store has version {version} of token {name}, which another one made");
        self.act(act::PAT_TAKEN_OVER, detail, None);
    }

    fn act(&self, event: &str, detail: String, by: Option<&str>) {
        let act = Act::of(event, detail);
        let act = match by {
            Some(by) => act.by(by),
            None => act,
        };
        self.rotations.sinks.act(act, &*self.env.clock);
    }
}

#[cfg(test)]
#[cfg(feature = "demo")]
#[path = "run_tests.rs"]
mod tests;
