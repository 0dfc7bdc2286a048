//! A keeper: works on one version of a user's PAT that cannot be used without work, for as long as requests wait.
//!
//! It reads the store for a newer version, and sends the gate's own login, one at a time. Meanwhile it tells the
//! requests whose hold is over. The requests bring the [`Helper`] that knows the store and Snowflake, since a guard
//! outlives the configuration.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::guard::{Guard, Line, State, Waiter, deliver};
use super::ledger::{Ledger, Outcome, Room};
use super::question::{Helper, Work};
use super::version::Standing;
use crate::base::ids::{PatId, ServiceUser};

/// How soon to look again whether other processes have freed a place.
const ELSEWHERE: Duration = Duration::from_millis(100);
/// The least time between two reads of a store that has no newer version than a condemned one.
const AGAIN: Duration = Duration::from_millis(100);

/// How long a suspect version waits for a store.
const READ: Duration = Duration::from_millis(500);

/// What to do next.
enum Step {
    /// Read the store.
    Read(Arc<dyn Helper>),
    /// Log in; the number of its sending.
    LogIn(Arc<dyn Helper>, u64),
    /// Wait until then for an event.
    Wait(Instant),
}

/// Looks after one version until nobody waits for that.
pub(super) async fn keep(guard: Arc<Guard>, user: ServiceUser, version: PatId) {
    let _kept = Kept { guard: guard.clone(), user: user.clone(), version: version.clone() };
    while let Some(step) = guard.step(&user, &version) {
        match step {
            Step::Read(helper) => {
                let condemned = guard.is_condemned(&user, &version);
                let read = async {
                    // A slow store does not keep the verdict waiting; its answer still comes to the cache.
                    let patience = if condemned { Duration::MAX } else { READ };
                    let late = |_| Err("the store has not answered yet".to_owned());
                    tokio::time::timeout(patience, helper.newer(&version)).await.unwrap_or_else(late)
                };
                let newer = guard.telling(&user, &version, Box::pin(read)).await;
                guard.was_read(&user, &version, newer.as_ref().err());
                match newer {
                    Ok(newer) => guard.replaced(&version, &newer),
                    Err(_none) if guard.is_condemned(&user, &version) => {
                        guard.look_again(&user);
                        guard.telling(&user, &version, Box::pin(tokio::time::sleep(AGAIN))).await;
                    }
                    Err(_none) => {}
                }
            }
            Step::LogIn(helper, number) => {
                let outcome = guard.telling(&user, &version, helper.log_in(&version)).await;
                guard.own_told(&user, &version, number, outcome);
            }
            Step::Wait(until) => {
                let woken = guard.woken(&user);
                tokio::select! {
                    () = woken.notified() => {}
                    () = tokio::time::sleep(guard.until(until)) => guard.look_again(&user),
                }
            }
        }
    }
}

/// Ends the keeping of a version, also in a panic.
struct Kept {
    guard: Arc<Guard>,
    user: ServiceUser,
    version: PatId,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut state = self.guard.state.lock();
            state.line(&self.user).kept.remove(&self.version);
            state.ledgers.of(&self.user).version(&self.version).own = false;
            drop(state);
            self.guard.look_again(&self.user);
        }
    }
}

impl Guard {
    /// The next step for a version; `None` if it needs no keeper any more.
    fn step(&self, name: &ServiceUser, id: &PatId) -> Option<Step> {
        let mut state = self.state.lock();
        let now = self.clock.now();
        state.ledgers.catch_up(&*self.clock);
        let elsewhere = state.ledgers.elsewhere(name, id);
        let told = state.told_at(name, id);
        let helper = state.line(name).waiting(id).next().map(|waiter| waiter.question.helper.clone());
        let ledger = state.ledgers.of(name);
        let step = helper.and_then(|helper| match self.room(ledger, id, elsewhere, now) {
            Room::FullElsewhere => Some(Step::Wait(now + ELSEWHERE)),
            Room::Condemned => Some(Step::Read(helper)),
            Room::Suspect if ledger.must_read(id) => Some(Step::Read(helper)),
            // One own login over all processes.
            Room::Suspect | Room::Proof if elsewhere.at_risk > 0 => Some(Step::Wait(now + ELSEWHERE)),
            Room::Suspect | Room::Proof => match ledger.next_own(id, now) {
                Some(at) if at <= now => Some(Step::LogIn(helper, ledger.own_sends(id, now))),
                at => at.into_iter().chain(told).chain(ledger.next_free(id)).min().map(Step::Wait),
            },
            Room::Go | Room::Full | Room::Paused(..) => None,
        });
        match &step {
            None => drop(state.line(name).kept.remove(id)),
            Some(Step::LogIn(..)) => state.ledgers.write_risk(name, id, &*self.clock),
            Some(Step::Read(_) | Step::Wait(_)) => {}
        }
        step
    }

    /// Waits for some work, and tells meanwhile those whose hold is over.
    async fn telling<T>(self: &Arc<Self>, name: &ServiceUser, id: &PatId, mut work: Work<'_, T>) -> T {
        loop {
            let woken = self.woken(name);
            let mut woken = std::pin::pin!(woken.notified());
            // From here on a wake-up is not missed.
            woken.as_mut().enable();
            let next = self.state.lock().told_at(name, id);
            let pause = async {
                match next {
                    Some(next) => tokio::time::sleep(self.until(next)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                done = &mut work => return done,
                () = pause => self.look_again(name),
                () = woken => {}
            }
        }
    }

    fn woken(&self, name: &ServiceUser) -> Arc<tokio::sync::Notify> {
        self.state.lock().line(name).wake.clone()
    }

    /// How long until then; at least a moment, so that a loop lets others run.
    fn until(&self, then: Instant) -> Duration {
        then.saturating_duration_since(self.clock.now()).max(Duration::from_millis(1))
    }

    fn look_again(self: &Arc<Self>, name: &ServiceUser) {
        let mut state = self.state.lock();
        state.ledgers.catch_up(&*self.clock);
        let answers = self.pump(&mut state, name);
        drop(state);
        deliver(answers);
    }

    fn was_read(&self, name: &ServiceUser, id: &PatId, in_vain: Option<&String>) {
        self.state.lock().ledgers.of(name).was_read(id, in_vain, self.clock.now());
    }

    /// Records what came of the gate's own login `number`.
    pub(super) fn own_told(self: &Arc<Self>, name: &ServiceUser, id: &PatId, number: u64, outcome: Outcome) {
        self.told(name, id, outcome, |ledger, outcome, now| ledger.own_told(id, number, outcome, self.widths(), now));
    }

    /// Sends a rotator's statement beside others, if its version has lately worked and nothing speaks against it;
    /// returns its number.
    pub(super) fn sends_beside(&self, name: &ServiceUser, id: &PatId) -> Option<u64> {
        let (mut state, now) = (self.state.lock(), self.clock.now());
        let elsewhere = state.ledgers.elsewhere(name, id);
        let ledger = state.ledgers.of(name);
        let works = matches!(self.room(ledger, id, elsewhere, now), Room::Go | Room::Full)
            && ledger.find(id).is_some_and(|known| known.width > self.widths().budget);
        works.then(|| ledger.sends_beside())
    }

    /// Records what came of such a statement.
    pub(super) fn told_beside(self: &Arc<Self>, name: &ServiceUser, id: &PatId, number: u64, outcome: Outcome) {
        self.told(name, id, outcome, |ledger, outcome, now| {
            let own = ledger.version(id).own;
            ledger.version(id).begins(now);
            ledger.own_told(id, number, outcome, self.widths(), now);
            ledger.version(id).own = own;
        });
    }

    fn told(
        self: &Arc<Self>,
        name: &ServiceUser,
        id: &PatId,
        outcome: Outcome,
        tell: impl FnOnce(&mut Ledger, Outcome, Instant),
    ) {
        let (said, now) = (Said::of(&outcome), self.clock.now());
        let mut state = self.state.lock();
        let suspected = matches!(state.ledgers.of(name).version(id).standing, Standing::Suspect { .. });
        let lasting = matches!(outcome, Outcome::Refused(_)) || state.ledgers.of(name).would_change(id, &outcome);
        let change = |ledger: &mut Ledger| tell(ledger, outcome, now);
        match lasting {
            true => state.ledgers.change(name, &*self.clock, change),
            false => change(state.ledgers.of(name)),
        }
        let paused = state.ledgers.of(name).pause.clone().filter(|pause| now < pause.until);
        let answers = self.pump(&mut state, name);
        drop(state);
        deliver(answers);
        said.log(name, id, suspected);
        if let Some(pause) = paused {
            let (seconds, cause) = (pause.length.as_secs(), &pause.cause);
            let owner = pause.kind.rule().owner.as_str();
            tracing::error!(user = %name, seconds, cause, owner, "the gate pauses the logins of this user");
        }
    }
}

impl Line {
    /// The requests that wait with a version.
    fn waiting<'a>(&'a self, id: &'a PatId) -> impl Iterator<Item = &'a Waiter> {
        self.queue.iter().filter(move |waiter| waiter.question.version == *id && waiter.is_there())
    }
}

impl State {
    /// When the next of the requests that wait with a version is told that its hold is over.
    fn told_at(&mut self, name: &ServiceUser, id: &PatId) -> Option<Instant> {
        let waits: Vec<_> = self.line(name).waiting(id).map(|waiter| waiter.question.wait()).collect();
        let ledger = self.ledgers.of(name);
        waits.into_iter().filter_map(|wait| wait.until(ledger, id)).min()
    }
}

/// What the gate's own login showed, for the log.
enum Said {
    Accepted,
    Refused(String),
    /// It is refused for what the credential itself asks for.
    Context(String),
    Nothing,
}

impl Said {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Accepted => Self::Accepted,
            Outcome::Refused(refusal) if refusal.is_the_gate_s() => Self::Refused(refusal.cause()),
            Outcome::Refused(refusal) => Self::Context(refusal.cause()),
            Outcome::Unsent | Outcome::Lost => Self::Nothing,
        }
    }

    fn log(&self, user: &ServiceUser, pat: &PatId, suspected: bool) {
        match self {
            Self::Accepted if suspected => {
                let what = "the gate's own login succeeds: the refusal was the client's own";
                tracing::warn!(%user, %pat, owner = "client", "{what}");
            }
            Self::Accepted => tracing::info!(%user, %pat, "the gate's own login succeeds"),
            Self::Refused(cause) => {
                tracing::error!(%user, %pat, cause, owner = "snowflake", "Snowflake refuses the gate's own login");
            }
            Self::Context(cause) => {
                let what = "Snowflake accepts the PAT and refuses the role or warehouse of the credential";
                tracing::error!(%user, %pat, cause, owner = "gate", "{what}");
            }
            Self::Nothing => {
                tracing::warn!(%user, %pat, "the gate's own login was not answered; the gate tries again");
            }
        }
    }
}
