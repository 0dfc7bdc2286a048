//! The bad logins of a PAT version, over all replicas.
//!
//! A login takes a lease before it is sent, which counts as spent until its answer is told; refusals are counted for as long as
//! Snowflake keeps a token. What a replica that was killed had under way ends by itself.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::Script;
use tokio::sync::mpsc;

use super::Replicas;

/// How long a lease counts when nobody tells what came of it: its gate was killed, or Redis was away. Logins take less, and one
/// that takes longer is hardly a refusal.
const LEASE: Duration = Duration::from_secs(20);
/// The pause before a word that Redis did not take is said again.
const AGAIN: Duration = Duration::from_millis(250);
/// How long a lost answer counts as a refusal.
const DOUBT: Duration = Duration::from_secs(15);
/// How long refusals are remembered: a PAT's longest life.
const REMEMBERED: Duration = Duration::from_secs(366 * 86_400);

/// A lease, if refusals and leases together leave room for one: 0. No room for now: 1. Never again with this version: 2.
const ASK: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local refused = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
local most = tonumber(ARGV[2])
if refused >= most then return 2 end
if refused + redis.call('ZCARD', KEYS[2]) >= most then return 1 end
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[4]), ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 0";

/// What came of a lease: a refusal counts, a lost answer counts for a while, anything else ends it.
const TELL: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] == 'lost' then
  redis.call('ZADD', KEYS[2], 'XX', now + tonumber(ARGV[4]), ARGV[2])
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[2])
if ARGV[3] == 'refused' then
  redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return 0";

pub(super) struct Scripts {
    ask: Script,
    tell: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self { ask: Script::new(ASK), tell: Script::new(TELL) }
    }
}

/// Whether a login may be sent, as far as the others know.
pub enum Risk {
    /// It may.
    Taken(Lease),
    /// As many as may are under way somewhere.
    Busy,
    /// The version has been refused as often as it may.
    Spent,
    /// Nobody can be asked.
    Away,
}

/// What came of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Snowflake took the PAT, or nobody has looked at it.
    Harmless,
    /// Snowflake refused it.
    Refused,
    /// Nobody knows.
    Lost,
}

/// A login under way. Dropped without a word, its answer is lost.
pub struct Lease {
    words: mpsc::Sender<Word>,
    word: Option<Word>,
    settled: bool,
}

/// What the others have to hear.
pub(super) enum Word {
    /// Of a lease.
    Told { user: String, version: String, lease: String, outcome: Outcome },
    /// A user's refusals are forgotten.
    Forgiven { user: String },
}

impl Lease {
    /// Its place is free again, though its answer is still to come; a refusal counts all the same.
    pub fn settle(&mut self) {
        if let Some(Word::Told { user, version, lease, .. }) = &self.word {
            let (user, version, lease) = (user.clone(), version.clone(), lease.clone());
            let _lost = self.words.try_send(Word::Told { user, version, lease, outcome: Outcome::Harmless });
            self.settled = true;
        }
    }

    /// Tells the others; it does not wait for that.
    pub fn answered(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, said: Outcome) {
        if let Some(Word::Told { user, version, lease, .. }) = self.word.take()
            && (!self.settled || said == Outcome::Refused)
        {
            // Where too many wait the lease ends by itself.
            let _lost = self.words.try_send(Word::Told { user, version, lease, outcome: said });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.tell(Outcome::Lost);
    }
}

impl Replicas {
    /// Asks for a login with that version of a user's PAT, of which `most` may be risked; `lease` is a name that nobody else uses.
    pub async fn risk(&self, user: &str, version: &str, most: usize, lease: String) -> Risk {
        let mut script = self.scripts.ask.prepare_invoke();
        script.key(self.refusals(user)).key(self.leases(user, version));
        script.arg(version).arg(most).arg(&lease).arg(millis(LEASE));
        match self.ask(async |connection| script.invoke_async::<u8>(connection).await).await {
            Some(0) => {
                let (user, version) = (user.to_owned(), version.to_owned());
                let word = Word::Told { user, version, lease, outcome: Outcome::Lost };
                Risk::Taken(Lease { words: self.words.clone(), word: Some(word), settled: false })
            }
            Some(1) => Risk::Busy,
            Some(_) => Risk::Spent,
            None => {
                // Redis may have heard the question all the same.
                let (user, version) = (user.to_owned(), version.to_owned());
                let _lost = self.words.try_send(Word::Told { user, version, lease, outcome: Outcome::Harmless });
                Risk::Away
            }
        }
    }

    /// Forgets what a user's PATs have cost.
    pub fn forgive(&self, user: &str) {
        let _lost = self.words.try_send(Word::Forgiven { user: user.to_owned() });
    }

    fn refusals(&self, user: &str) -> String {
        self.key(&format!("refused:{user}"))
    }

    fn leases(&self, user: &str, version: &str) -> String {
        self.key(&format!("leases:{user}:{version}"))
    }
}

/// Passes words on, one by one, until nobody can say any more. A word that Redis does not take is said again for as long as a lease
/// counts; a refusal, and that one is forgiven, for longer, since nothing ends them.
pub(super) async fn pass_on(replicas: Weak<Replicas>, mut words: mpsc::Receiver<Word>) {
    while let Some(word) = words.recv().await {
        let lasts = match &word {
            Word::Told { outcome: Outcome::Refused, .. } | Word::Forgiven { .. } => LEASE * 15,
            Word::Told { .. } => LEASE,
        };
        let end = tokio::time::Instant::now() + lasts;
        loop {
            let Some(replicas): Option<Arc<Replicas>> = replicas.upgrade() else { return };
            if replicas.say(&word).await.is_some() || tokio::time::Instant::now() > end {
                break;
            }
            drop(replicas);
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Replicas {
    /// Says one word; `None` when Redis does not take it.
    async fn say(&self, word: &Word) -> Option<()> {
        match word {
            Word::Told { user, version, lease, outcome } => {
                let mut script = self.scripts.tell.prepare_invoke();
                script.key(self.refusals(user)).key(self.leases(user, version));
                let (said, time) = match outcome {
                    Outcome::Harmless => ("harmless", Duration::ZERO),
                    Outcome::Refused => ("refused", REMEMBERED),
                    Outcome::Lost => ("lost", DOUBT),
                };
                script.arg(version).arg(lease).arg(said).arg(millis(time));
                self.ask(async |connection| script.invoke_async::<()>(connection).await).await
            }
            Word::Forgiven { user } => {
                let mut forget = redis::cmd("DEL");
                forget.arg(self.refusals(user));
                self.ask(async |connection| forget.query_async::<()>(connection).await).await
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
