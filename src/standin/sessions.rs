//! Sessions of the stand-in: opened by a login, renewed by the master token, expired on purpose.

use super::state::State;
use super::token_run::Caller;

/// A session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub id: u64,
    pub token: String,
    pub master: String,
    /// Whether the session token has expired; the master token renews it.
    pub expired: bool,
    /// Whose it is.
    pub caller: Caller,
}

impl State {
    /// Makes every session token expire, so that the next request with it gets 390112.
    pub fn expire_sessions(&self) {
        self.lock().sessions.values_mut().for_each(|session| session.expired = true);
    }

    /// How many sessions are open.
    pub fn open_sessions(&self) -> usize {
        self.lock().sessions.len()
    }

    pub(super) fn open_session(&self, caller: Caller) -> Session {
        let session = self.new_session(caller);
        self.lock().sessions.insert(session.token.clone(), session.clone());
        session
    }

    fn new_session(&self, caller: Caller) -> Session {
        let mut bytes = [0; 40];
        // Without entropy two sessions would share a token, and a test would see it.
        let _entropy = self.env.random.fill(&mut bytes);
        let mut id = [0; 8];
        id.copy_from_slice(&bytes[..8]);
        Session {
            // Above 2^53, where a float would lose digits.
            id: u64::from_le_bytes(id) >> 1 | 1 << 61,
            token: format!("ver:3-hint:1-session-{}-{}", self.mark(), hex::encode(&bytes[8..24])),
            master: format!("ver:3-hint:1-master-{}-{}", self.mark(), hex::encode(&bytes[24..])),
            expired: false,
            caller,
        }
    }

    /// Renews a session by its master token: makes a new pair of tokens; the old session token is no longer valid.
    pub(super) fn renew(&self, master: &str, old: &str) -> Option<Session> {
        let fresh = self.new_session(Caller::default());
        let mut inner = self.lock();
        let session = inner.sessions.get(old).filter(|session| session.master == master)?.clone();
        inner.sessions.remove(old);
        let renewed = Session { id: session.id, caller: session.caller, ..fresh };
        inner.sessions.insert(renewed.token.clone(), renewed.clone());
        Some(renewed)
    }
}
