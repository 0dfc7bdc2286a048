//! What the stand-in says to a login, and to a request with a PAT in its header.

use super::state::{Inner, PatState, REMEMBERED, Saying, Seen, Session, State};

/// Bad logins in a row that lock a user.
const LOCK_AFTER: u32 = 5;

impl State {
    /// Judges a login; a success opens a session.
    pub(super) fn log_in(&self, seen: Seen, credential: &str, role: &str) -> Result<Session, LoginRefused> {
        let judged = self.judge(seen, credential, role).map(|()| self.open_session());
        self.changed.notify_waiters();
        judged
    }

    /// Judges a request with a PAT and no session: its user is the present or former owner of that PAT.
    pub(super) fn bearer(&self, seen: Seen, credential: &str, role: &str) -> Result<(), LoginRefused> {
        let owner =
            self.lock().pats.iter().find(|(_, pats)| pats.contains_key(credential)).map(|(user, _)| user.clone());
        let judged = self.judge(Seen { user: owner.unwrap_or_default(), ..seen }, credential, role);
        self.changed.notify_waiters();
        judged
    }

    fn judge(&self, seen: Seen, credential: &str, role: &str) -> Result<(), LoginRefused> {
        let mut inner = self.lock();
        let verdict = inner.judge(&seen.user, credential, role);
        let id = seen.credential.clone();
        let user = seen.user.clone();
        inner.seen.push_back(Seen { ok: verdict.is_ok(), ..seen });
        if inner.seen.len() > REMEMBERED {
            inner.seen.pop_front();
        }
        match &verdict {
            Ok(()) => drop(inner.bad_in_a_row.remove(&user)),
            Err(refused) => {
                *inner.bad_by_credential.entry(id).or_default() += 1;
                if matches!(refused, LoginRefused::Pat | LoginRefused::Expired | LoginRefused::Told(_)) {
                    *inner.bad_in_a_row.entry(user).or_default() += 1;
                }
            }
        }
        verdict
    }
}

/// Why a login was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LoginRefused {
    /// 394401.
    Expired,
    /// 394400.
    Pat,
    /// The network policy.
    Policy,
    /// Too many bad logins in a row.
    Locked,
    /// What a test has asked for.
    Told(Saying),
}

impl Inner {
    fn judge(&self, user: &str, credential: &str, role: &str) -> Result<(), LoginRefused> {
        if !self.locks_nobody && self.bad_in_a_row.get(user).is_some_and(|bad| *bad >= LOCK_AFTER) {
            return Err(LoginRefused::Locked);
        }
        if let Some(refusal) = self.refused_users.get(user).or_else(|| self.refused_roles.get(role)) {
            return Err(LoginRefused::Told(refusal.clone()));
        }
        match self.pats.get(user).and_then(|pats| pats.get(credential)) {
            Some(PatState::Active) if self.policy_refuses => Err(LoginRefused::Policy),
            Some(PatState::Active) => Ok(()),
            Some(PatState::Expired) => Err(LoginRefused::Expired),
            Some(PatState::Disabled | PatState::Rotated) | None => Err(LoginRefused::Pat),
        }
    }
}
