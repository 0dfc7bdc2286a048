//! The state of the stand-in: users and their PATs, sessions, running queries; and the requests that it saw.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::Notify;

use super::knob::{Knob, RouteName};
use super::query::Stage;
use super::sessions::Session;
use super::token_run::Mishap;
use super::users::User;
use crate::base::clock::Env;
use crate::base::secret::Secret;

/// The state of one PAT at Snowflake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatState {
    /// It is valid for logins.
    Active,
    /// It has expired.
    Expired,
    /// `ALTER USER … MODIFY PAT … SET DISABLED = TRUE`.
    Disabled,
    /// Replaced by `ROTATE`, and its hours of overlap are over.
    Rotated,
}

/// A login as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `LOGIN_NAME`.
    pub user: String,
    /// The fingerprint of the credential in TOKEN or PASSWORD.
    pub credential: String,
    /// The whole body.
    pub body: String,
    /// The query string.
    pub query: String,
    /// The headers, one `name: value` per line.
    pub headers: String,
    /// Whether it succeeded.
    pub ok: bool,
}

/// A query without an answer yet.
#[derive(Clone)]
pub(super) struct Running {
    pub sql: String,
    pub request: String,
    pub aborted: Arc<Notify>,
    pub until: tokio::time::Instant,
    pub was_aborted: bool,
}

/// A code and a text of Snowflake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saying {
    /// The code.
    pub code: String,
    /// The text.
    pub text: String,
}

#[derive(Default)]
pub(super) struct Inner {
    /// The PATs that a test has set: by user, then by token.
    pub pats: HashMap<String, HashMap<String, PatState>>,
    pub policy_refuses: bool,
    /// What Snowflake says to a login, or a REST request, in a role.
    pub refused_roles: HashMap<String, Saying>,
    /// What it says to every login of a user.
    pub refused_users: HashMap<String, Saying>,
    /// By route: how long an answer takes.
    pub delays: HashMap<RouteName, std::time::Duration>,
    pub locks_nobody: bool,
    pub bad_in_a_row: HashMap<String, u32>,
    pub sessions: HashMap<String, Session>,
    pub running: HashMap<String, Running>,
    pub knobs: HashMap<RouteName, VecDeque<(Knob, usize)>>,
    pub seen: VecDeque<Seen>,
    pub counts: HashMap<&'static str, u64>,
    pub bad_by_credential: HashMap<String, u64>,
    pub leaks: u64,
    pub connections: u64,
    pub dropped: u64,
    pub poll: Option<std::time::Duration>,
    pub panics: Vec<String>,
    /// What `SYSTEM$ALLOWLIST` answers.
    pub allowlist: String,
    /// Where many rows lie; `None`: in the answer.
    pub stage: Option<Stage>,
    /// The users with tokens of their own, by their names in capitals.
    pub users: HashMap<String, User>,
    /// Every secret of a token of theirs, also of one that is no more.
    pub issued: Vec<Secret>,
    /// Words of statements, how often, and what is done with them on purpose.
    pub mishaps: VecDeque<(String, usize, Mishap)>,
    /// The account that tokens of key pairs have to name, in capitals.
    pub account: Option<String>,
    /// The answers to statements of the SQL API that were carried out, by `requestId`.
    pub answered: VecDeque<(String, String)>,
}

/// How many logins and answers the stand-in keeps.
pub(super) const REMEMBERED: usize = 1000;

/// The state of the stand-in.
pub struct State {
    inner: Mutex<Inner>,
    mark: String,
    pub(super) env: Env,
    close: Notify,
    pub(super) changed: Notify,
}

impl State {
    /// A Snowflake without users, on this clock.
    pub fn new(env: Env) -> Self {
        let mut mark = [0; 8];
        // Without entropy all stand-ins have the same mark, and a search for it finds too much.
        let _entropy = env.random.fill(&mut mark);
        Self { inner: Mutex::default(), mark: hex::encode(mark), env, close: Notify::new(), changed: Notify::new() }
    }

    /// The mark in every session and master token of this stand-in, and in no other token, so that a search finds them
    /// all.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Every PAT that it has ever had.
    pub fn pats(&self) -> Vec<String> {
        let inner = self.lock();
        let issued = inner.issued.iter().map(|secret| secret.expose().to_owned());
        inner.pats.values().flat_map(HashMap::keys).cloned().chain(issued).collect()
    }

    /// Runs a task, and records a panic in it.
    pub fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let state = self.clone();
        tokio::spawn(async move {
            let mut task = pin!(task);
            let caught = std::future::poll_fn(|cx| {
                // Nothing uses the task after its panic.
                match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
                    Ok(polled) => polled.map(Ok),
                    Err(panic) => Poll::Ready(Err(panic)),
                }
            });
            if let Err(panic) = caught.await {
                state.lock().panics.push(said(&*panic));
                state.changed.notify_waiters();
            }
        });
    }

    /// The panic messages of the tasks. A test with any of them has failed.
    pub fn panics(&self) -> Vec<String> {
        self.lock().panics.clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the state of a PAT; a new one is added.
    pub fn set_pat(&self, user: &str, pat: &str, state: PatState) {
        self.lock().pats.entry(user.to_owned()).or_default().insert(pat.to_owned(), state);
    }

    /// Adds a new PAT and disables all others of that user at once: a rotation without overlap.
    pub fn rotate(&self, user: &str, pat: &str) {
        let mut inner = self.lock();
        let pats = inner.pats.entry(user.to_owned()).or_default();
        pats.values_mut().for_each(|state| *state = PatState::Rotated);
        pats.insert(pat.to_owned(), PatState::Active);
    }

    /// Sets whether the network policy refuses every login.
    pub fn refuse_by_policy(&self, refuse: bool) {
        self.lock().policy_refuses = refuse;
    }

    /// Refuses every login and REST request in a role with this code and text, although the PAT is good; `None` ends
    /// that. Such a refusal counts as a bad login.
    pub fn refuse_role(&self, role: &str, refusal: Option<Saying>) {
        let mut inner = self.lock();
        match refusal {
            Some(refusal) => drop(inner.refused_roles.insert(role.to_owned(), refusal)),
            None => drop(inner.refused_roles.remove(role)),
        }
    }

    /// Refuses every login and REST request of a user; `None` ends that.
    pub fn refuse_user(&self, user: &str, refusal: Option<Saying>) {
        let mut inner = self.lock();
        match refusal {
            Some(refusal) => drop(inner.refused_users.insert(user.to_owned(), refusal)),
            None => drop(inner.refused_users.remove(user)),
        }
    }

    /// Sets how long the answers of a route take.
    pub fn delay(&self, place: RouteName, time: std::time::Duration) {
        self.lock().delays.insert(place, time);
    }

    pub(super) fn delay_of(&self, place: &RouteName) -> Option<std::time::Duration> {
        self.lock().delays.get(place).copied()
    }

    /// Sets whether five bad logins in a row lock a user.
    pub fn lock_users(&self, lock: bool) {
        self.lock().locks_nobody = !lock;
    }

    /// Sets a knob for the next `times` requests to a place.
    pub fn turn(&self, place: RouteName, knob: Knob, times: usize) {
        self.lock().knobs.entry(place).or_default().push_back((knob, times));
    }

    /// Ends the knobs of a place.
    pub fn turn_back(&self, place: &RouteName) {
        self.lock().knobs.remove(place);
    }

    /// Sets how long the stand-in holds a query before it asks the client to poll; Snowflake holds 45 s.
    pub fn poll_after(&self, time: std::time::Duration) {
        self.lock().poll = Some(time);
    }

    /// Sets the hosts that `SYSTEM$ALLOWLIST` tells, each with what it is for.
    pub fn allow_hosts(&self, hosts: &[(&str, &str, u16)]) {
        let host =
            |(kind, host, port): &(&str, &str, u16)| serde_json::json!({ "type": kind, "host": host, "port": port });
        self.lock().allowlist = serde_json::Value::from_iter(hosts.iter().map(host)).to_string();
    }

    /// Sets where many rows lie; what lies there is the test's.
    pub fn stage(&self, stage: Option<Stage>) {
        self.lock().stage = stage;
    }

    /// Closes all connections, idle and busy.
    pub fn close_connections(&self) {
        self.close.notify_waiters();
    }

    pub(super) async fn connections_closed(&self) {
        self.close.notified().await;
    }

    /// The last logins, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().seen.iter().cloned().collect()
    }

    /// How many requests came to a route, by its name in records.
    pub fn count(&self, route: &str) -> u64 {
        self.lock().counts.get(route).copied().unwrap_or(0)
    }

    /// How many logins were refused for each credential, by fingerprint.
    pub fn bad_logins(&self) -> HashMap<String, u64> {
        self.lock().bad_by_credential.clone()
    }

    /// How many logins were refused.
    pub fn bad_logins_in_all(&self) -> u64 {
        self.lock().bad_by_credential.values().sum()
    }

    /// How many requests contained something that looks like a client key. It must stay 0.
    pub fn leaks(&self) -> u64 {
        self.lock().leaks
    }

    /// How many connections the stand-in has accepted.
    pub fn connections(&self) -> u64 {
        self.lock().connections
    }

    /// How many requests the other side dropped before their answer was complete.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Waits until `enough` is true; it checks after every request, every decision about a login, and every drop.
    pub async fn wait_until(&self, enough: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if enough(self) {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn count_connection(&self) {
        self.lock().connections += 1;
    }

    pub(super) fn count_drop(&self) {
        self.lock().dropped += 1;
        self.changed.notify_waiters();
    }

    pub(super) fn count_request(&self, route: &'static str, leak: bool) {
        let mut inner = self.lock();
        *inner.counts.entry(route).or_default() += 1;
        inner.leaks += u64::from(leak);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// The status of an answer that does not wait for the body, and whether to read on.
    pub(super) fn early(&self, place: &RouteName) -> Option<(u16, bool)> {
        let early = match self.lock().knobs.get(place)?.front()?.0 {
            Knob::Early { status, reads_on } => (status, reads_on),
            _ => return None,
        };
        self.knob(place).map(|_taken| early)
    }

    /// The knob for a request to this place, if one is set.
    pub(super) fn knob(&self, place: &RouteName) -> Option<Knob> {
        let mut inner = self.lock();
        let queue = inner.knobs.get_mut(place)?;
        let (knob, left) = queue.front_mut()?;
        let knob = knob.clone();
        *left = left.saturating_sub(1);
        if *left == 0 {
            queue.pop_front();
        }
        Some(knob)
    }
}

/// The text of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_task_is_kept_and_ends_that_task_alone() {
        let state = Arc::new(State::new(Env::default()));
        let other = Arc::new(Notify::new());
        state.spawn({
            let (state, other) = (state.clone(), other.clone());
            async move {
                other.notified().await;
                state.count_connection();
            }
        });
        assert_eq!(state.panics(), [""; 0]);
        state.spawn(async { panic!("planted: {}", 7) });
        state.wait_until(|state| !state.panics().is_empty()).await;
        assert_eq!(state.panics(), ["planted: 7"]);
        other.notify_one();
        while state.connections() == 0 {
            tokio::task::yield_now().await;
        }
    }
}
