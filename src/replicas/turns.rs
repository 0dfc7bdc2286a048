//! Work that one gate does at a time: whoever has the turn, has it until it gives it back or stops renewing it.

use std::sync::Arc;
use std::time::Duration;

use redis::Script;

use super::Replicas;
use crate::base::epoch::millis;
use crate::base::ids::{PatId, ServiceUser};

/// How long a turn lasts without being renewed; longer than any single step of the work.
const LASTS: Duration = Duration::from_secs(180);

/// Takes or renews a turn: 1. Another gate has it: 0.
const TAKE: &str = r"
local has = redis.call('GET', KEYS[1])
if has and has ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1";

/// Gives a turn back.
const GIVE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0";

/// A turn that this gate has.
pub struct WorkTurn {
    replicas: Arc<Replicas>,
    key: String,
    name: String,
}

/// Whether this gate may do some work.
pub enum WorkTurnAsked {
    /// It may.
    Granted(WorkTurn),
    /// Another gate is at it.
    Taken,
    /// Redis does not answer.
    Unknown,
}

impl Replicas {
    /// Asks for the turn of some work, by the name that all gates give it.
    pub async fn work_turn(self: &Arc<Self>, work: &str) -> WorkTurnAsked {
        let turn = WorkTurn { replicas: self.clone(), key: self.key(&format!("work:{work}")), name: self.unique() };
        match turn.take().await {
            Some(true) => WorkTurnAsked::Granted(turn),
            Some(false) => WorkTurnAsked::Taken,
            None => WorkTurnAsked::Unknown,
        }
    }

    /// Whether any gate uses a version just now; `None` if Redis does not answer.
    pub async fn is_used(&self, user: &ServiceUser, version: &PatId) -> Option<bool> {
        let mut exists = redis::cmd("EXISTS");
        for what in ["width", "leases", "doubts"] {
            exists.arg(self.of(what, user, version));
        }
        let found = self.ask(async |connection| exists.query_async::<u64>(connection).await).await?;
        Some(found > 0)
    }
}

impl WorkTurn {
    /// Keeps it for longer; `false` if another gate has it by now, or Redis does not answer.
    pub async fn renew(&self) -> bool {
        self.take().await == Some(true)
    }

    /// Gives it back.
    pub async fn give_back(self) {
        let script = Script::new(GIVE);
        let mut give = script.prepare_invoke();
        give.key(&self.key).arg(&self.name);
        // It ends by itself.
        let _given = self.replicas.ask(async |connection| give.invoke_async::<u8>(connection).await).await;
    }

    async fn take(&self) -> Option<bool> {
        let script = Script::new(TAKE);
        let mut take = script.prepare_invoke();
        take.key(&self.key).arg(&self.name).arg(millis(LASTS));
        let taken = self.replicas.ask(async |connection| take.invoke_async::<u8>(connection).await).await?;
        Some(taken == 1)
    }
}
