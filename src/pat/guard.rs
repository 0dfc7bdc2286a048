//! [`Guard`]: when a request may be sent with a version of a PAT.
//!
//! Snowflake locks a user after five bad logins in a row, and a locked service user stops every report. The guard
//! therefore limits how many requests are at risk at once: few with a version that has not lately proven itself, many
//! with one that has. It must never be the outage itself, so it draws no verdict about a version from a request that a
//! client composed, and lets clients wait in a fair order. One guard per service user, whichever credential names it,
//! since Snowflake locks the user.
//!
//! [`super::ledger`] has the counts and the verdicts, [`super::queue`] the order, [`super::keeper`] reads the store and
//! logs in for the gate itself while requests wait, [`super::journal`] keeps what a restart must not forget.
//!
//! # Bounds
//! At most `pat.budget` bad logins for a version that is new or was idle, at most `pat.in_flight` for one that dies at
//! the height of a storm, the gate's own login included. `in_flight` up to 4 never locks a user at five.
//!
//! # Over restarts
//! The guard writes a refusal and a verdict to disk before the client learns of it. It writes a request to disk before
//! it sends it, in a file of this process. If a process is killed, the next one finds its requests there, and counts
//! them as lost outcomes for a while. So a restart costs one login of the gate's own, and no wait.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::ledger::{Ledger, Outcome, Room, Sending};
use super::ledgers::Ledgers;
use super::question::Question;
use super::queue::{Queue, Turn};
use super::version::Elsewhere;
use crate::base::clock::Clock;
use crate::base::fault::Kind;
use crate::base::ids::{PatId, ServiceUser};
use crate::base::verdict::Widths;
use crate::replicas::{LeaseOutcome, ReplicaLease};
use crate::snowflake::refusal::Refusal;
use crate::state::StateDir;

/// The state of all service users. One guard serves the whole process, over all configurations.
pub struct Guard {
    widths: Widths,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) state: Mutex<State>,
}

/// What the lock protects.
pub(super) struct State {
    pub ledgers: Ledgers,
    lines: HashMap<ServiceUser, Line>,
}

/// The requests of one service user that wait.
#[derive(Default)]
pub(super) struct Line {
    pub queue: Queue<Waiter>,
    /// The versions that a keeper looks after.
    pub kept: HashSet<PatId>,
    /// Wakes the keepers.
    pub wake: Arc<Notify>,
    /// The versions that requests in the queue may want.
    asked: HashSet<PatId>,
    /// What other gates have said of forgiveness, the last time that they were asked.
    pub forgiven: Option<u64>,
}

/// A request in the queue.
pub(super) struct Waiter {
    pub question: Question,
    answer: oneshot::Sender<Answer>,
}

/// The guard's answer to a [`Question`].
pub(super) enum Answer {
    /// It goes, with the version that the permit names.
    Granted(Box<RiskPermit>),
    /// It does not go.
    Refused(Kind, String),
}

/// The right to send one request with one version. A permit that is dropped without a report after sending counts as a
/// lost outcome.
pub(super) struct RiskPermit {
    guard: Arc<Guard>,
    user: ServiceUser,
    version: PatId,
    sending: Sending,
    sent: bool,
    told: bool,
    settled: bool,
    /// What other gates know of it.
    replica_lease: Option<ReplicaLease>,
}

/// Answers to deliver when the lock is released: a permit that nobody takes locks again.
pub(super) type Answers = Vec<(oneshot::Sender<Answer>, Answer)>;

impl Guard {
    /// A guard that keeps what a restart must not forget in `state`, if there is one.
    ///
    /// # Errors
    /// If it cannot write there.
    pub fn open(widths: Widths, clock: Arc<dyn Clock>, state: Option<StateDir>) -> io::Result<Arc<Self>> {
        let ledgers = Ledgers::open(state, &*clock)?;
        Ok(Arc::new(Self { widths, clock, state: Mutex::new(State { ledgers, lines: HashMap::new() }) }))
    }

    /// The widths of `[pat]`.
    pub(super) fn widths(&self) -> Widths {
        self.widths
    }

    /// Puts a request into the queue of its service user.
    pub(super) fn ask(self: &Arc<Self>, question: Question) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        let (client, kind, at_head) = (question.client.clone(), question.kind, question.again);
        let user = question.user.clone();
        let mut state = self.state.lock();
        state.ledgers.catch_up(&*self.clock);
        let line = state.line(&user);
        line.asked.insert(question.version.clone());
        line.queue.push(&client, kind, Waiter { question, answer }, at_head);
        let answers = self.pump(&mut state, &user);
        drop(state);
        deliver(answers);
        answered
    }

    /// Lets go who may go, and tells those who may not. It starts a keeper where one is needed.
    pub(super) fn pump(self: &Arc<Self>, state: &mut State, name: &ServiceUser) -> Answers {
        let mut answers = Answers::new();
        let now = self.clock.now();
        self.tell(state, name, now, &mut answers);
        loop {
            let State { ledgers, lines } = &mut *state;
            let Some(Line { queue, .. }) = lines.get_mut(name) else { return answers };
            let next = queue.take(|waiter| {
                let id = &waiter.question.version;
                let elsewhere = ledgers.elsewhere(name, id);
                match waiter.is_there() {
                    false => Turn::Gone,
                    true if self.room(ledgers.of(name), id, elsewhere, now) == Room::Go => Turn::Go,
                    true => Turn::Wait,
                }
            });
            let Some(Waiter { question, answer }) = next else { break };
            let (number, id) = (ledgers.of(name).sends(&question.version, now), question.version.clone());
            // Written first, then compared: of two processes that do so at the same time at least one sees the other.
            ledgers.write_risk(name, &id, &*self.clock);
            let others = ledgers.elsewhere(name, &id);
            let ledger = ledgers.of(name);
            let (gates, version) = (ledger.gates, ledger.version(&id));
            let before = version.taken().saturating_sub(1);
            if others.processes > 0 && !version.has_place(before, gates, self.widths, others) {
                ledger.frees(&id, now);
                let (client, kind) = (question.client.clone(), question.kind);
                queue.push(&client, kind, Waiter { question, answer }, true);
                break;
            }
            let permit = RiskPermit::new(self.clone(), question, (number, now));
            answers.push((answer, Answer::Granted(Box::new(permit))));
        }
        self.keepers(state, name, now);
        answers
    }

    pub(super) fn room(&self, ledger: &mut Ledger, id: &PatId, elsewhere: Elsewhere, now: Instant) -> Room {
        ledger.room(id, self.widths, elsewhere, now)
    }

    /// Answers those who cannot go, wherever they stand in the queue.
    fn tell(&self, state: &mut State, name: &ServiceUser, now: Instant, answers: &mut Answers) {
        let Some(Line { queue, asked, .. }) = state.lines.get_mut(name) else { return };
        let ledger = state.ledgers.of(name);
        if ledger.is_calm(asked, now) {
            return;
        }
        let ids: Vec<PatId> = ledger.versions.iter().map(|version| version.id.clone()).collect();
        let rooms: HashMap<PatId, Room> =
            ids.into_iter().map(|id| (id.clone(), self.room(ledger, &id, Elsewhere::default(), now))).collect();
        let refusal = |waiter: &Waiter| waiter.question.refusal(ledger, &rooms, now);
        for waiter in queue.remove(|waiter| refusal(waiter).is_some()) {
            if let Some((kind, cause)) = refusal(&waiter) {
                answers.push((waiter.answer, Answer::Refused(kind, cause)));
            }
        }
        *asked = queue.iter().map(|waiter| waiter.question.version.clone()).collect();
    }

    /// Starts a keeper for each version that cannot go without one.
    fn keepers(&self, state: &mut State, name: &ServiceUser, now: Instant) {
        let State { ledgers, lines } = state;
        let Some(Line { queue, kept, wake, .. }) = lines.get_mut(name) else { return };
        let ids: Vec<PatId> = ledgers.of(name).versions.iter().map(|version| version.id.clone()).collect();
        for id in ids.into_iter().filter(|id| !kept.contains(id)).collect::<Vec<_>>() {
            let elsewhere = ledgers.elsewhere(name, &id);
            if matches!(self.room(ledgers.of(name), &id, elsewhere, now), Room::Go | Room::Full | Room::Paused(..)) {
                continue;
            }
            let mut waiting = queue.iter().filter(|waiter| waiter.question.version == id && waiter.is_there());
            if let Some(waiter) = waiting.next() {
                kept.insert(id.clone());
                waiter.question.helper.keep(name.clone(), id);
            }
        }
        wake.notify_waiters();
    }

    /// A store has a newer version: the requests that wait with the old one go with the new one.
    pub(super) fn replaced(self: &Arc<Self>, old: &PatId, new: &PatId) {
        let mut state = self.state.lock();
        let mut moved = Vec::new();
        for (name, line) in &mut state.lines {
            let mut any = false;
            for waiter in line.queue.iter_mut().filter(|waiter| waiter.question.version == *old) {
                waiter.question.version = new.clone();
                any = true;
            }
            if any {
                line.asked.insert(new.clone());
                moved.push(name.clone());
            }
        }
        let answers: Vec<Answers> = moved.iter().map(|name| self.pump(&mut state, name)).collect();
        drop(state);
        answers.into_iter().for_each(deliver);
    }

    /// Removes ended requests from the disk. The gate calls it about once a second, because the requests that a killed
    /// process leaves there count as lost outcomes.
    pub fn tidy(&self) {
        self.state.lock().ledgers.tidy(&*self.clock);
    }

    /// Forgets the refusals of a user's PATs, after the operator has enabled a PAT again or unlocked the user.
    pub(super) fn forget_refusals(self: &Arc<Self>, user: &ServiceUser) {
        self.change(user, Ledger::forget_refusals);
    }

    /// Makes a change that the journal keeps, and lets go who may go now.
    pub(super) fn change(self: &Arc<Self>, user: &ServiceUser, change: impl FnOnce(&mut Ledger)) {
        let mut state = self.state.lock();
        state.ledgers.change(user, &*self.clock, change);
        let answers = self.pump(&mut state, user);
        drop(state);
        deliver(answers);
    }
}

/// Delivers the answers. The lock must be free.
pub(super) fn deliver(answers: Answers) {
    for (to, answer) in answers {
        // A request that has left meanwhile drops its permit, which gives its place to the next one.
        let _left = to.send(answer);
    }
}

impl State {
    /// The waiting requests of a user.
    pub(super) fn line(&mut self, user: &ServiceUser) -> &mut Line {
        self.lines.entry(user.clone()).or_default()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.tidy();
    }
}

impl Waiter {
    /// Whether somebody still waits for the answer.
    pub(super) fn is_there(&self) -> bool {
        !self.answer.is_closed()
    }
}

impl RiskPermit {
    /// The place of a request that was let go with this number.
    pub(super) fn new(guard: Arc<Guard>, question: Question, (number, at): (u64, Instant)) -> Self {
        let Question { user, client, version, context, .. } = question;
        Self {
            guard,
            user,
            version,
            sending: Sending { number, at, client, context },
            sent: false,
            told: false,
            settled: false,
            replica_lease: None,
        }
    }

    /// Snowflake accepted the PAT; this settles earlier lost outcomes.
    pub(super) fn accepted(mut self) {
        self.tell(Outcome::Accepted, LeaseOutcome::Accepted);
    }

    /// The request did not reach the point where Snowflake checks the PAT.
    pub(super) fn unsent(mut self) {
        self.tell(Outcome::Unsent, LeaseOutcome::Harmless);
    }

    /// Snowflake refused; returns how often it has refused this version by now.
    pub(super) fn refused(mut self, refusal: Refusal) -> usize {
        self.tell(Outcome::Refused(refusal), LeaseOutcome::Refused)
    }

    /// From now on Snowflake may see it.
    pub(super) fn sending(&mut self) {
        self.sent = true;
    }

    /// The version that it is for.
    pub(super) fn version(&self) -> &PatId {
        &self.version
    }

    /// Also reports the outcome to other gates.
    pub(super) fn shared_with(mut self, replica_lease: Option<ReplicaLease>) -> Self {
        self.replica_lease = replica_lease;
        self
    }

    /// Frees the place while the answer is still outstanding: Snowflake refuses at once or not at all, and enough time
    /// has passed. A late refusal still counts.
    pub(super) fn settle(&mut self) {
        if self.settled {
            return;
        }
        self.settled = true;
        if let Some(lease) = &mut self.replica_lease {
            lease.settle();
        }
        let (guard, user) = (self.guard.clone(), self.user.clone());
        let mut state = guard.state.lock();
        state.ledgers.of(&user).frees(&self.version, guard.clock.now());
        let answers = guard.pump(&mut state, &user);
        drop(state);
        deliver(answers);
    }

    fn tell(&mut self, outcome: Outcome, shared: LeaseOutcome) -> usize {
        self.told = true;
        if let Some(lease) = self.replica_lease.take() {
            lease.answered(shared);
        }
        let (guard, user, version) = (self.guard.clone(), self.user.clone(), self.version.clone());
        let now = guard.clock.now();
        let mut state = guard.state.lock();
        let frees = !self.settled;
        let record = |ledger: &mut Ledger, outcome| {
            if frees {
                ledger.frees(&version, now);
            }
            ledger.told(&version, &self.sending, outcome, guard.widths(), now);
        };
        if state.ledgers.of(&user).would_change(&version, &outcome) {
            state.ledgers.change(&user, &*guard.clock, |ledger| record(ledger, outcome));
            state.ledgers.tidy(&*guard.clock);
        } else {
            record(state.ledgers.of(&user), outcome);
        }
        let refusals = state.ledgers.of(&user).refusals(&version);
        let answers = guard.pump(&mut state, &user);
        drop(state);
        deliver(answers);
        refusals
    }
}

impl Drop for RiskPermit {
    fn drop(&mut self) {
        if !self.told {
            match self.sent {
                // A request that gave its place back has had the time to be refused.
                true if self.settled => {}
                true => drop(self.tell(Outcome::Lost, LeaseOutcome::Lost)),
                false => drop(self.tell(Outcome::Unsent, LeaseOutcome::Harmless)),
            }
        }
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
