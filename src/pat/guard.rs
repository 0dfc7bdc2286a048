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
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::contexts::Context;
use super::journal::{Elsewhere, Journal};
use super::keeper::Helper;
use super::ledger::{Ledger, Room};
use super::permit::RiskPermit;
use super::queue::{Queue, RequestKind, Turn};
use super::version::{Standing, Version};
use crate::base::clock::Clock;
use crate::base::fault::Kind;
use crate::base::ids::{PatId, ServiceUser};
use crate::base::names::ClientName;
use crate::base::verdict::Widths;
use crate::state::StateDir;

/// How long a request waits at least for a verdict, or for one look into the store.
const LOOK: Duration = Duration::from_secs(3);

/// The state of all service users. One guard serves the whole process, over all configurations.
pub struct Guard {
    widths: Widths,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) users: Mutex<Users>,
}

/// All users, and their journal.
pub(super) struct Users {
    pub users: HashMap<ServiceUser, User>,
    pub journal: Option<Journal>,
}

/// One service user.
#[derive(Default)]
pub(super) struct User {
    pub ledger: Ledger,
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

/// A request that wants to be sent.
pub(super) struct Question {
    pub user: ServiceUser,
    pub client: ClientName,
    pub kind: RequestKind,
    /// The version in memory.
    pub version: PatId,
    pub context: Context,
    /// How long it waits for a verdict, or for a newer version than a refused one.
    pub hold: Duration,
    /// Whether its line has let it go before: Snowflake has refused it, or it has found another version.
    pub again: bool,
    /// Reads the store and logs in, while it waits.
    pub helper: Arc<dyn Helper>,
}

/// A request in the queue.
pub(super) struct Waiter {
    pub question: Question,
    /// When it came, or was refused.
    pub since: Instant,
    answer: oneshot::Sender<Answer>,
}

/// The guard's answer to a [`Question`].
pub(super) enum Answer {
    /// It goes, with the version that the permit names.
    Granted(Box<RiskPermit>),
    /// It does not go.
    Refused(Kind, String),
}

/// Answers to deliver when the lock is released: a permit that nobody takes locks again.
pub(super) type Answers = Vec<(oneshot::Sender<Answer>, Answer)>;

impl Guard {
    /// A guard that keeps what a restart must not forget in `state`, if there is one.
    ///
    /// # Errors
    /// If it cannot write there.
    pub fn open(widths: Widths, clock: Arc<dyn Clock>, state: Option<StateDir>) -> io::Result<Arc<Self>> {
        let mut users = HashMap::new();
        let journal = state.map(|state| Journal::open(state, &mut users, &*clock)).transpose()?;
        let users = Mutex::new(Users { users, journal });
        Ok(Arc::new(Self { widths, clock, users }))
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
        let mut users = self.users.lock();
        users.catch_up(&*self.clock);
        let waiter = Waiter { since: self.clock.now(), question, answer };
        let known = users.user(&user);
        known.asked.insert(waiter.question.version.clone());
        known.queue.push(&client, kind, waiter, at_head);
        let answers = self.pump(&mut users, &user);
        drop(users);
        deliver(answers);
        answered
    }

    /// Lets go who may go, and tells those who may not. It starts a keeper where one is needed.
    pub(super) fn pump(self: &Arc<Self>, users: &mut Users, name: &ServiceUser) -> Answers {
        let mut answers = Answers::new();
        let now = self.clock.now();
        self.tell(users, name, now, &mut answers);
        loop {
            let Users { users: all, journal } = &mut *users;
            let Some(User { ledger, queue, .. }) = all.get_mut(name) else { return answers };
            let elsewhere =
                |id: &PatId| journal.as_ref().map(|journal| journal.elsewhere(name, id)).unwrap_or_default();
            let next = queue.take(|waiter| {
                let id = &waiter.question.version;
                match waiter.answer.is_closed() {
                    true => Turn::Gone,
                    false if self.room(ledger, id, elsewhere(id), now) == Room::Go => Turn::Go,
                    false => Turn::Wait,
                }
            });
            let Some(Waiter { question, answer, since }) = next else { break };
            let number = ledger.sends(&question.version, now);
            let version = question.version.clone();
            // Written first, then compared: of two processes that do so at the same time at least one sees the other.
            if let Some(journal) = journal {
                journal.write_risk(all, name, &version, &*self.clock);
                let Some(User { ledger, queue, .. }) = all.get_mut(name) else { return answers };
                let (others, id) = (journal.elsewhere(name, &version), &version);
                let (gates, version) = (ledger.gates, ledger.version(id));
                let before = version.taken().saturating_sub(1);
                if others.processes > 0 && !version.has_place(before, gates, self.widths, others) {
                    ledger.frees(id, now);
                    let (client, kind) = (question.client.clone(), question.kind);
                    queue.push(&client, kind, Waiter { question, answer, since }, true);
                    break;
                }
            }
            let permit = RiskPermit::new(self.clone(), question, (number, now));
            answers.push((answer, Answer::Granted(Box::new(permit))));
        }
        self.keepers(users, name, now);
        answers
    }

    pub(super) fn room(&self, ledger: &mut Ledger, id: &PatId, elsewhere: Elsewhere, now: Instant) -> Room {
        ledger.room(id, self.widths, elsewhere, now)
    }

    /// Answers those who cannot go, wherever they stand in the queue.
    fn tell(&self, users: &mut Users, name: &ServiceUser, now: Instant, answers: &mut Answers) {
        let Some(User { ledger, queue, asked, .. }) = users.users.get_mut(name) else { return };
        if ledger.is_calm(asked, now) {
            return;
        }
        let ids: Vec<PatId> = ledger.versions.iter().map(|version| version.id.clone()).collect();
        let told: HashMap<PatId, Room> =
            ids.into_iter().map(|id| (id.clone(), self.room(ledger, &id, Elsewhere::default(), now))).collect();
        let paused = ledger.pause.as_ref().filter(|pause| now < pause.until);
        let refusal = |waiter: &Waiter| {
            let Question { client, context, version, .. } = &waiter.question;
            if let Some(pause) = paused {
                return Some((pause.kind, pause.cause.clone()));
            }
            match told.get(version) {
                Some(Room::Paused(kind, cause)) => Some((*kind, cause.clone())),
                Some(Room::Condemned | Room::Suspect) if self.waits_until(ledger, waiter)? <= now => {
                    ledger.find(version).map(|known| match &known.standing {
                        Standing::Suspect { kind, cause, .. } => {
                            let open = "the gate's own login has not shown yet whose fault that is";
                            (*kind, format!("{cause}; {open}; {}", known.store))
                        }
                        Standing::Condemned { cause } => (Kind::PatRefused, condemned(known, cause)),
                        Standing::Sound => (Kind::GateBusy, String::new()),
                    })
                }
                Some(Room::Condemned | Room::Suspect) => None,
                None | Some(Room::Go | Room::Full | Room::FullElsewhere | Room::Proof) => {
                    ledger.contexts.refusal(client, context, version, now).map(|cause| {
                        let kind = if context.is_client_s { Kind::ContextRefused } else { Kind::LoginRefused };
                        (kind, format!("{cause}; the gate's own login succeeds"))
                    })
                }
            }
        };
        for waiter in queue.remove(|waiter| refusal(waiter).is_some()) {
            if let Some((kind, cause)) = refusal(&waiter) {
                answers.push((waiter.answer, Answer::Refused(kind, cause)));
            }
        }
        *asked = queue.iter().map(|waiter| waiter.question.version.clone()).collect();
    }

    /// Until when a request waits for a verdict, or for a newer version than a condemned one: in a rotation a store may
    /// be behind Snowflake for a while. Requests that come after that time wait for one look into the store.
    pub(super) fn waits_until(&self, ledger: &Ledger, waiter: &Waiter) -> Option<Instant> {
        let known = ledger.find(&waiter.question.version)?;
        let hold = waiter.question.hold;
        let begin = match &known.standing {
            Standing::Sound => return None,
            Standing::Suspect { since, .. } => return Some((*since).max(waiter.since) + hold.max(LOOK)),
            Standing::Condemned { .. } => known.first_refused.unwrap_or(waiter.since),
        };
        if waiter.since <= begin + hold {
            return Some(begin.max(waiter.since) + hold);
        }
        match known.read_in_vain {
            Some(read) if read >= waiter.since => Some(waiter.since),
            _ => Some(waiter.since + LOOK),
        }
    }

    /// Starts a keeper for each version that cannot go without one.
    fn keepers(self: &Arc<Self>, users: &mut Users, name: &ServiceUser, now: Instant) {
        let Users { users, journal } = users;
        let Some(User { ledger, queue, kept, wake, .. }) = users.get_mut(name) else { return };
        let ids: Vec<PatId> = ledger.versions.iter().map(|version| version.id.clone()).collect();
        for id in ids {
            let elsewhere = journal.as_ref().map(|journal| journal.elsewhere(name, &id)).unwrap_or_default();
            if kept.contains(&id)
                || matches!(self.room(ledger, &id, elsewhere, now), Room::Go | Room::Full | Room::Paused(..))
            {
                continue;
            }
            let mut waiting = queue.iter().filter(|waiter| waiter.question.version == id && waiter.is_there());
            if let Some(waiter) = waiting.next() {
                kept.insert(id.clone());
                let helper = waiter.question.helper.clone();
                helper.spawn(Box::pin(super::keeper::keep(self.clone(), name.clone(), id)));
            }
        }
        wake.notify_waiters();
    }

    /// The versions that Snowflake has refused for good. The resolver skips a store that still has one of them.
    pub(super) fn condemned_versions(&self) -> HashSet<PatId> {
        let users = self.users.lock();
        let versions = users.users.values().flat_map(|user| &user.ledger.versions);
        versions.filter(|version| version.is_condemned()).map(|version| version.id.clone()).collect()
    }

    /// A store has a newer version: the requests that wait with the old one go with the new one.
    pub(super) fn replaced(self: &Arc<Self>, old: &PatId, new: &PatId) {
        let mut users = self.users.lock();
        let names: Vec<ServiceUser> = users.users.keys().cloned().collect();
        let mut answers = Answers::new();
        for name in names {
            let mut moved = false;
            users.user(&name).asked.insert(new.clone());
            for waiter in users.user(&name).queue.iter_mut().filter(|waiter| waiter.question.version == *old) {
                waiter.question.version = new.clone();
                moved = true;
            }
            if moved {
                answers.extend(self.pump(&mut users, &name));
            }
        }
        drop(users);
        deliver(answers);
    }

    /// What a request waits for, after it has waited for too long.
    pub(super) fn waits_for(&self, user: &ServiceUser, version: &PatId) -> String {
        let mut users = self.users.lock();
        let now = self.clock.now();
        let ledger = &mut users.user(user).ledger;
        let room = self.room(ledger, version, Elsewhere::default(), now);
        let version = ledger.version(version);
        match room {
            Room::Suspect | Room::Condemned => "it waits for a newer PAT".to_owned(),
            Room::Go | Room::Full | Room::FullElsewhere | Room::Proof | Room::Paused(..) => format!(
                "{} requests of the same service user are under way, {} outcomes are unknown, and {} may be at risk at \
                 once",
                version.under_way,
                version.doubts.len(),
                version.width
            ),
        }
    }

    /// Whether no request may go with a version any more.
    pub(super) fn is_condemned(&self, user: &ServiceUser, version: &PatId) -> bool {
        self.users.lock().user(user).ledger.find(version).is_some_and(Version::is_condemned)
    }

    /// Removes ended requests from the disk. The gate calls it about once a second, because the requests that a killed
    /// process leaves there count as lost outcomes.
    pub fn tidy(&self) {
        self.users.lock().tidy(&*self.clock);
    }

    /// Forgets the refusals of a user's PATs, after the operator has enabled a PAT again or unlocked the user.
    pub(super) fn forget_refusals(self: &Arc<Self>, user: &ServiceUser) {
        self.change(user, Ledger::forget_refusals);
    }

    /// Makes a change that the journal keeps, and lets go who may go now.
    pub(super) fn change(self: &Arc<Self>, user: &ServiceUser, change: impl FnOnce(&mut Ledger)) {
        let mut users = self.users.lock();
        users.change(user, &*self.clock, change);
        let answers = self.pump(&mut users, user);
        drop(users);
        deliver(answers);
    }
}

/// The cause for a version that the gate does not send again.
fn condemned(version: &Version, cause: &str) -> String {
    let Version { id, refusals, store, .. } = version;
    format!(
        "{cause}; Snowflake has refused PAT {id} {refusals} times, and the gate does not send it again before the \
         store has a new one, or the operator runs `patgate pat retry`; {store}"
    )
}

/// Delivers the answers. The lock must be free.
pub(super) fn deliver(answers: Answers) {
    for (to, answer) in answers {
        // A request that has left meanwhile drops its permit, which gives its place to the next one.
        let _left = to.send(answer);
    }
}

impl Users {
    pub(super) fn user(&mut self, name: &ServiceUser) -> &mut User {
        self.users.entry(name.clone()).or_default()
    }

    pub(super) fn catch_up(&mut self, clock: &dyn Clock) {
        if let Some(journal) = &mut self.journal {
            journal.catch_up(&mut self.users, clock);
        }
    }

    /// Makes a change that the journal has to keep.
    pub(super) fn change<T>(
        &mut self,
        user: &ServiceUser,
        clock: &dyn Clock,
        change: impl FnOnce(&mut Ledger) -> T,
    ) -> T {
        let users = &mut self.users;
        match &mut self.journal {
            Some(journal) => {
                journal.change(users, clock, |users| change(&mut users.entry(user.clone()).or_default().ledger))
            }
            None => change(&mut users.entry(user.clone()).or_default().ledger),
        }
    }

    /// Writes the requests at risk with a version to disk before sending.
    pub(super) fn write_risk(&mut self, user: &ServiceUser, version: &PatId, clock: &dyn Clock) {
        if let Some(journal) = &mut self.journal {
            journal.write_risk(&self.users, user, version, clock);
        }
    }

    pub(super) fn tidy(&mut self, clock: &dyn Clock) {
        if let Some(journal) = &mut self.journal {
            journal.tidy(&self.users, clock);
        }
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

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
