//! The users of the stand-in that own tokens or change those of others, and how a test makes them.
//!
//! A PAT that [`State::set_pat`] sets needs no such user and obeys none of the rules of [`super::tokens`].

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::sql_table::SqlRefused;
use super::state::{Inner, Saying, State};
use super::tokens::{Token, TokenStatus, Wanted};
use crate::base::epoch::EpochMillis;

/// `TYPE` of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserKind {
    /// `SERVICE`: needs a network policy for a PAT, and a role restriction by default.
    Service,
    /// `SERVICE_AGENT`: needs no network policy.
    ServiceAgent,
    /// `PERSON`: needs a network policy to use a PAT, not to make it.
    Person,
}

/// What a user is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSettings {
    /// `TYPE`.
    pub kind: UserKind,
    /// Whether a network policy is in force for it.
    pub network_policy: bool,
    /// `REQUIRE_ROLE_RESTRICTION_FOR_SERVICE_USERS`.
    pub needs_role: bool,
    /// The roles that it was granted; `None` for every role.
    pub roles: Option<Vec<String>>,
    /// `DEFAULT_EXPIRY_IN_DAYS`.
    pub default_days: u64,
    /// `MAX_EXPIRY_IN_DAYS`.
    pub max_days: u64,
}

impl Default for UserSettings {
    fn default() -> Self {
        Self {
            kind: UserKind::Service,
            network_policy: true,
            needs_role: true,
            roles: None,
            default_days: 15,
            max_days: 365,
        }
    }
}

/// A user.
#[derive(Default)]
pub(super) struct User {
    pub settings: UserSettings,
    pub disabled: bool,
    /// The public keys, each a `SubjectPublicKeyInfo`; Snowflake keeps two.
    pub keys: Vec<Vec<u8>>,
    /// On which users it has `MODIFY PROGRAMMATIC AUTHENTICATION METHODS`.
    pub may_change: HashSet<String>,
    pub tokens: Vec<Token>,
    /// What logins with the next token get, although it looks good.
    pub next_is_dead: Option<Saying>,
}

/// A token as a test sees it: no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenState {
    /// Its name.
    pub name: String,
    /// The first 48 bits of the secret's SHA-256, in hex, as the gate names versions.
    pub fingerprint: String,
    /// Whether it is valid.
    pub status: TokenStatus,
    /// Its role restriction.
    pub role: Option<String>,
    /// When it was made.
    pub created_on: SystemTime,
    /// When it ends.
    pub expires_at: SystemTime,
    /// Which token replaced it.
    pub rotated_to: Option<String>,
}

impl User {
    pub(super) fn is_granted(&self, role: &str) -> bool {
        let same = |own: &String| own.eq_ignore_ascii_case(role);
        self.settings.roles.as_ref().is_none_or(|roles| roles.iter().any(same))
    }
}

impl Inner {
    /// The user of this name, which is without case.
    pub(super) fn user(&self, name: &str) -> Option<&User> {
        self.users.get(&name.to_uppercase())
    }

    /// The same; one that is not there is made.
    fn user_mut(&mut self, name: &str) -> &mut User {
        self.users.entry(name.to_uppercase()).or_default()
    }
}

impl State {
    pub(super) fn wall(&self) -> EpochMillis {
        EpochMillis::of(self.env.clock.wall())
    }

    /// Makes a user, or changes one; its keys, tokens and privileges stay.
    pub fn set_user(&self, user: &str, settings: UserSettings) {
        self.lock().user_mut(user).settings = settings;
    }

    /// Disables a user or enables it again. Its tokens are disabled with it, and stay so.
    pub fn disable_user(&self, user: &str, disabled: bool) {
        let mut inner = self.lock();
        let user = inner.user_mut(user);
        user.disabled = disabled;
        if disabled {
            user.tokens.iter_mut().for_each(|token| token.disabled = true);
        }
    }

    /// Gives a user a public key, a `SubjectPublicKeyInfo`: `RSA_PUBLIC_KEY`, then `RSA_PUBLIC_KEY_2`, then anew.
    pub fn add_public_key(&self, user: &str, spki: Vec<u8>) {
        let mut inner = self.lock();
        let keys = &mut inner.user_mut(user).keys;
        if keys.len() == 2 {
            keys.remove(0);
        }
        keys.push(spki);
    }

    /// Grants a user `MODIFY PROGRAMMATIC AUTHENTICATION METHODS` on another, or revokes it.
    pub fn allow_changes(&self, user: &str, of: &str, allow: bool) {
        let mut inner = self.lock();
        let may_change = &mut inner.user_mut(user).may_change;
        match allow {
            true => may_change.insert(of.to_uppercase()),
            false => may_change.remove(&of.to_uppercase()),
        };
    }

    /// Makes the user's next token, by `ADD` or `ROTATE`, one that no login succeeds with: it looks good, and logins
    /// get this. (Neither statement checks all that a login does.)
    pub fn next_token_is_dead(&self, user: &str, refusal: Option<Saying>) {
        self.lock().user_mut(user).next_is_dead = refusal;
    }

    /// Sets the account that tokens of key pairs have to name; without it any is taken.
    pub fn set_account(&self, account: &str) {
        self.lock().account = Some(account.to_uppercase());
    }

    /// Makes a token by the rules of `ADD`, with no caller whose privileges count, and gives its secret.
    ///
    /// # Errors
    /// Snowflake's refusal.
    pub fn add_token(&self, user: &str, name: &str, role: Option<&str>, days: Option<u64>) -> Result<String, Saying> {
        let wanted = Wanted { name: name.to_uppercase(), role: role.map(str::to_uppercase), days, ..Wanted::default() };
        let now = self.wall();
        let mut inner = self.lock();
        let made =
            inner.user_mut(user).add(wanted, "ACCOUNTADMIN", now, |ends| super::jwt::pat(&*self.env.random, ends));
        let secret = made.map(|token| token.secret.clone()).map_err(SqlRefused::into_saying)?;
        inner.issued.push(secret.clone());
        Ok(secret.expose().to_owned())
    }

    /// Makes the tokens of a user older: they were made that much earlier, and end that much earlier.
    pub fn age_tokens(&self, user: &str, by: Duration) {
        let millis = crate::base::epoch::millis(by);
        for token in &mut self.lock().user_mut(user).tokens {
            token.created_on.0 = token.created_on.0.saturating_sub(millis);
            token.expires_at.0 = token.expires_at.0.saturating_sub(millis);
        }
    }

    /// The tokens that `SHOW` would list, oldest first.
    pub fn tokens(&self, user: &str) -> Vec<TokenState> {
        let now = self.wall();
        let inner = self.lock();
        let shown = |token: &Token| TokenState {
            name: token.name.clone(),
            fingerprint: token.secret.fingerprint(),
            status: token.status(now),
            role: token.role.clone(),
            created_on: token.created_on.to_system_time(),
            expires_at: token.expires_at.to_system_time(),
            rotated_to: token.rotated_to.clone(),
        };
        inner.user(user).map(|user| user.listed(now).map(shown).collect()).unwrap_or_default()
    }
}
