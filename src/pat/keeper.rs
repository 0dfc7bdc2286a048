//! A keeper: works on one version of a user's PAT that cannot be used without work, for as long as requests wait.
//!
//! It reads the store for a newer version, and sends the gate's own login, one at a time. Meanwhile it tells the
//! requests whose hold is over. The requests bring the [`Helper`] that knows the store and Snowflake, since a guard
//! outlives the configuration.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::guard::{Answers, Guard, User, deliver};
use super::ledger::{Outcome, Room};
use super::version::Standing;
use crate::base::ids::{PatId, ServiceUser};
use crate::snowflake::refusal::About;

/// A boxed future of a [`Helper`].
pub(super) type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a keeper needs: a store, Snowflake, a runtime. Tests have their own.
pub(super) trait Helper: Send + Sync {
    /// Reads the store for another version than this one; the error says why there is none.
    fn newer<'a>(&'a self, version: &'a PatId) -> Work<'a, Result<PatId, String>>;

    /// Logs in with this version in the credential's own context, and logs out.
    fn log_in<'a>(&'a self, version: &'a PatId) -> Work<'a, Outcome>;

    /// Runs a keeper.
    fn spawn(&self, keeper: Work<'static, ()>);
}

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
        let mut users = self.guard.users.lock();
        let user = users.user(&self.user);
        if std::thread::panicking() {
            user.kept.remove(&self.version);
            user.ledger.version(&self.version).own = false;
            drop(users);
            self.guard.look_again(&self.user);
        }
    }
}

impl Guard {
    /// The next step for a version; `None` if it needs no keeper any more.
    fn step(&self, name: &ServiceUser, id: &PatId) -> Option<Step> {
        let mut users = self.users.lock();
        let now = self.clock.now();
        users.catch_up(&*self.clock);
        let elsewhere = users.journal.as_ref().map(|journal| journal.elsewhere(name, id)).unwrap_or_default();
        let user = users.user(name);
        let helper = user.waiting(id).next().map(|waiter| waiter.question.helper.clone());
        let step = helper.and_then(|helper| match self.room(&mut user.ledger, id, elsewhere, now) {
            Room::FullElsewhere => Some(Step::Wait(now + ELSEWHERE)),
            Room::Condemned => Some(Step::Read(helper)),
            Room::Suspect if user.must_read(id) => Some(Step::Read(helper)),
            // One own login over all processes.
            Room::Suspect | Room::Proof if elsewhere.at_risk > 0 => Some(Step::Wait(now + ELSEWHERE)),
            Room::Suspect | Room::Proof => match user.ledger.next_own(id, now) {
                Some(at) if at <= now => Some(Step::LogIn(helper, user.ledger.own_sends(id, now))),
                at => {
                    let told = user.waiting(id).filter_map(|waiter| self.waits_until(&user.ledger, waiter)).min();
                    at.into_iter().chain(told).chain(user.ledger.next_free(id)).min().map(Step::Wait)
                }
            },
            Room::Go | Room::Full | Room::Paused(..) => None,
        });
        match &step {
            None => drop(user.kept.remove(id)),
            Some(Step::LogIn(..)) => users.write_risk(name, id, &*self.clock),
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
            let next = {
                let mut users = self.users.lock();
                let user = users.user(name);
                user.waiting(id).filter_map(|waiter| self.waits_until(&user.ledger, waiter)).min()
            };
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
        self.users.lock().user(name).wake.clone()
    }

    /// How long until then; at least a moment, so that a loop lets others run.
    fn until(&self, then: Instant) -> Duration {
        then.saturating_duration_since(self.clock.now()).max(Duration::from_millis(1))
    }

    fn look_again(self: &Arc<Self>, name: &ServiceUser) {
        let mut users = self.users.lock();
        users.catch_up(&*self.clock);
        let answers = self.pump(&mut users, name);
        drop(users);
        deliver(answers);
    }

    fn was_read(&self, name: &ServiceUser, id: &PatId, in_vain: Option<&String>) {
        self.users.lock().user(name).ledger.was_read(id, in_vain, self.clock.now());
    }

    fn own_told(self: &Arc<Self>, name: &ServiceUser, id: &PatId, number: u64, outcome: Outcome) {
        let (said, now) = (Said::of(&outcome), self.clock.now());
        let mut users = self.users.lock();
        let suspected = matches!(users.user(name).ledger.version(id).standing, Standing::Suspect { .. });
        let lasting = matches!(outcome, Outcome::Refused(_)) || users.user(name).ledger.would_change(id, &outcome);
        let change = |ledger: &mut super::ledger::Ledger| ledger.own_told(id, number, outcome, self.widths(), now);
        match lasting {
            true => users.change(name, &*self.clock, change),
            false => change(&mut users.user(name).ledger),
        }
        let paused = users.user(name).ledger.pause.clone().filter(|pause| now < pause.until);
        let answers: Answers = self.pump(&mut users, name);
        drop(users);
        deliver(answers);
        said.log(name, id, suspected);
        if let Some(pause) = paused {
            let (seconds, cause) = (pause.length.as_secs(), &pause.cause);
            let owner = pause.kind.rule().owner.as_str();
            tracing::error!(user = %name, seconds, cause, owner, "the gate pauses the logins of this user");
        }
    }
}

impl User {
    /// The requests that wait with a version.
    fn waiting<'a>(&'a self, id: &'a PatId) -> impl Iterator<Item = &'a super::guard::Waiter> {
        self.queue.iter().filter(move |waiter| waiter.question.version == *id && waiter.is_there())
    }

    fn must_read(&self, id: &PatId) -> bool {
        let standing = self.ledger.find(id).map(|version| &version.standing);
        matches!(standing, Some(Standing::Suspect { read: false, .. }))
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
            Outcome::Refused(refusal) if matches!(refusal.about, About::Gate(_)) => Self::Refused(refusal.cause()),
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
