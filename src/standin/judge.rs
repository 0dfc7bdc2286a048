//! What the stand-in says to a login, and to a request with a bearer token in its header.

use super::sessions::Session;
use super::state::{Inner, PatState, REMEMBERED, Saying, Seen, State};
use super::token_run::Caller;
use crate::base::epoch::EpochMillis;
use crate::base::ids::SessionId;
use crate::base::secret::Secret;

/// Bad logins in a row that lock a user.
const LOCK_AFTER: u32 = 5;

/// What a login is based on.
#[derive(Clone, Copy)]
pub(super) enum Proof<'a> {
    /// A PAT, also one in the place of a password.
    Pat(&'a str),
    /// A token that a key pair has signed.
    KeyPair(&'a str),
}

impl State {
    /// Judges a login; a success opens a session.
    pub(super) fn log_in(&self, seen: Seen, proof: Proof<'_>, role: &str) -> Result<Session, LoginRefused> {
        let judged = self.judge(seen, proof, role).map(|caller| self.open_session(caller));
        self.changed.notify_waiters();
        judged
    }

    /// Judges a request with a bearer token and no session: its user is the present or former owner of that PAT, or
    /// whom the key pair's token names.
    pub(super) fn bearer(&self, seen: Seen, proof: Proof<'_>, role: &str) -> Result<Caller, LoginRefused> {
        let owner = match proof {
            Proof::Pat(pat) => self.lock().owner(pat),
            Proof::KeyPair(token) => super::jwt::user(token),
        };
        let judged = self.judge(Seen { user: owner.unwrap_or_default(), ..seen }, proof, role);
        self.changed.notify_waiters();
        judged
    }

    fn judge(&self, seen: Seen, proof: Proof<'_>, role: &str) -> Result<Caller, LoginRefused> {
        let now = self.wall();
        let mut inner = self.lock();
        let verdict = inner.judge(&seen.user, proof, role, now);
        let id = seen.credential.clone();
        let user = seen.user.clone();
        inner.seen.push_back(Seen { ok: verdict.is_ok(), ..seen });
        if inner.seen.len() > REMEMBERED {
            inner.seen.pop_front();
        }
        match &verdict {
            Ok(_) => drop(inner.bad_in_a_row.remove(&user)),
            Err(refused) => {
                *inner.bad_by_credential.entry(id).or_default() += 1;
                if refused.counts() {
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
    /// A network policy is needed, and there is none.
    PolicyMissing,
    /// Another role than that of the PAT.
    Role(String),
    /// The token of a key pair.
    KeyPair,
    /// The user is disabled.
    Disabled,
    /// Too many bad logins in a row.
    Locked,
    /// What a test has asked for.
    Told(Saying),
}

impl LoginRefused {
    /// Whether it counts among the bad logins that lock a user.
    fn counts(&self) -> bool {
        match self {
            Self::Pat | Self::Expired | Self::KeyPair | Self::Told(_) => true,
            Self::Policy | Self::PolicyMissing | Self::Role(_) | Self::Disabled | Self::Locked => false,
        }
    }

    /// The code and the text.
    pub(super) fn says(self, state: &State) -> (String, String) {
        let (code, text) = match self {
            Self::Told(refusal) => return (refusal.code, refusal.text),
            Self::Pat => ("394400", "Programmatic access token is invalid.".to_owned()),
            Self::Expired => ("394401", "Programmatic access token is expired.".to_owned()),
            Self::Policy => {
                ("390422", "Incoming request with IP/Token 192.0.2.1 is not allowed to access Snowflake.".to_owned())
            }
            Self::PolicyMissing => ("390432", "Fail : Network policy is required.".to_owned()),
            Self::Role(role) => (
                "390189",
                format!(
                    "Role '{role}' specified in the connect string is not granted to this user. Contact your local \
                     system administrator, or attempt to login with another role, e.g. PUBLIC."
                ),
            ),
            Self::KeyPair => {
                let id = SessionId::new(&*state.env.random).unwrap_or(SessionId([0; 16]));
                ("390144", format!("JWT token is invalid. [{}]", id.as_uuid()))
            }
            Self::Disabled => ("390101", "User access disabled. Contact your local system administrator.".to_owned()),
            Self::Locked => {
                ("390102", "Your user account has been temporarily locked due to too many failed attempts.".to_owned())
            }
        };
        (code.to_owned(), text)
    }
}

impl Inner {
    /// The present or former owner of a PAT.
    fn owner(&self, pat: &str) -> Option<String> {
        let set = self.pats.iter().find(|(_, pats)| pats.contains_key(pat)).map(|(user, _)| user.clone());
        let secret = Secret::new(pat.to_owned());
        let made = || self.users.iter().find(|(_, user)| user.by_secret(&secret).is_some());
        set.or_else(|| made().map(|(user, _)| user.clone()))
    }

    fn judge(&self, user: &str, proof: Proof<'_>, role: &str, now: EpochMillis) -> Result<Caller, LoginRefused> {
        if !self.locks_nobody && self.bad_in_a_row.get(user).is_some_and(|bad| *bad >= LOCK_AFTER) {
            return Err(LoginRefused::Locked);
        }
        if let Some(refusal) = self.refused_users.get(user).or_else(|| self.refused_roles.get(role)) {
            return Err(LoginRefused::Told(refusal.clone()));
        }
        let own = match proof {
            Proof::Pat(pat) => self.judge_pat(user, pat, role, now)?,
            Proof::KeyPair(token) => {
                let keys = self.user(user).map(|user| user.keys.as_slice()).unwrap_or_default();
                if !super::jwt::verify(token, user, keys, self.account.as_deref(), now) {
                    return Err(LoginRefused::KeyPair);
                }
                None
            }
        };
        let known = self.user(user);
        if known.is_some_and(|known| known.disabled) {
            return Err(LoginRefused::Disabled);
        }
        if matches!(proof, Proof::KeyPair(_)) && !role.is_empty() && known.is_some_and(|known| !known.is_granted(role))
        {
            return Err(LoginRefused::Role(role.to_owned()));
        }
        if self.policy_refuses {
            return Err(LoginRefused::Policy);
        }
        Ok(Caller { user: user.to_uppercase(), by_pat: matches!(proof, Proof::Pat(_)), role: own })
    }

    /// A PAT that a test has set, or a token of a user that it has made; gives the role of its restriction.
    fn judge_pat(&self, user: &str, pat: &str, role: &str, now: EpochMillis) -> Result<Option<String>, LoginRefused> {
        match self.pats.get(user).and_then(|pats| pats.get(pat)) {
            Some(PatState::Active) => Ok(None),
            Some(PatState::Expired) => Err(LoginRefused::Expired),
            Some(PatState::Disabled | PatState::Rotated) => Err(LoginRefused::Pat),
            None => {
                let user = self.user(user).ok_or(LoginRefused::Pat)?;
                user.admit(&Secret::new(pat.to_owned()), role, now)
            }
        }
    }
}
