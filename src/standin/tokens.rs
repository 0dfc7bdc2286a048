//! The programmatic access tokens of one user, and Snowflake's rules about them.
//!
//! Facts (`docs` "Using programmatic access tokens for authentication", "ALTER USER … ADD / ROTATE / MODIFY / REMOVE
//! PROGRAMMATIC ACCESS TOKEN"):
//! - At most fifteen tokens of a user live at once; disabled and rotated ones count, expired ones do not.
//! - A rotation leaves the old token valid for some hours under another name. The new one has the lifetime of the
//!   original definition. Neither network policy nor role is checked: the new token may be good for no login.
//! - Lifetime and role of a token never change. A lower maximum, or a role that is required anew, ends the tokens that
//!   do not keep to it.
//! - `SHOW` lists an expired token for seven days.
//!
//! Codes of refusals that public sources do not tell are `099203` here.

use std::time::Duration;

use super::judge::LoginRefused;
use super::sql_table::SqlRefused;
use super::state::Saying;
use super::users::{User, UserKind};
use crate::base::epoch::EpochMillis;
use crate::base::secret::Secret;

/// The most living tokens of a user.
pub(super) const MOST: usize = 15;
/// How long `SHOW` lists an expired token.
const LISTED: Duration = Duration::from_secs(7 * 86_400);
/// How long a rotated token lives on if the statement does not say.
const OVERLAP_HOURS: u64 = 24;
const HOUR_MILLIS: u64 = 3_600_000;
const DAY_MILLIS: u64 = 24 * HOUR_MILLIS;

/// A token.
pub(super) struct Token {
    pub name: String,
    pub secret: Secret,
    pub role: Option<String>,
    pub created_on: EpochMillis,
    pub created_by: String,
    pub expires_at: EpochMillis,
    /// The lifetime of its definition.
    pub days: u64,
    pub disabled: bool,
    pub comment: Option<String>,
    /// The name of the token that replaced it.
    pub rotated_to: Option<String>,
    /// What a login with it gets instead, although it looks good.
    pub dead: Option<Saying>,
}

/// What `SHOW` says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenStatus {
    /// It is valid.
    Active,
    /// Its time is over.
    Expired,
    /// `SET DISABLED = TRUE`, or its user was disabled.
    Disabled,
}

impl TokenStatus {
    /// As `SHOW` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Expired => "EXPIRED",
            Self::Disabled => "DISABLED",
        }
    }
}

/// `ADD`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub name: String,
    pub role: Option<String>,
    pub days: Option<u64>,
    pub comment: Option<String>,
}

impl Token {
    pub(super) fn status(&self, now: EpochMillis) -> TokenStatus {
        if self.expires_at <= now {
            TokenStatus::Expired
        } else if self.disabled {
            TokenStatus::Disabled
        } else {
            TokenStatus::Active
        }
    }

    fn lives(&self, now: EpochMillis) -> bool {
        self.expires_at > now
    }

    fn is_listed(&self, now: EpochMillis) -> bool {
        now.since(self.expires_at) < LISTED
    }
}

impl User {
    /// The tokens that `SHOW` lists.
    pub(super) fn listed(&self, now: EpochMillis) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(move |token| token.is_listed(now))
    }

    fn living(&self, now: EpochMillis) -> usize {
        self.tokens.iter().filter(|token| token.lives(now)).count()
    }

    /// The place of a token by its name: a living one before an expired one.
    fn place(&self, name: &str, now: EpochMillis) -> Result<usize, SqlRefused> {
        let found = |lives| {
            let is_it = |token: &Token| token.name == name && token.lives(now) == lives && token.is_listed(now);
            self.tokens.iter().rposition(is_it)
        };
        found(true).or_else(|| found(false)).ok_or_else(|| SqlRefused::missing("Programmatic access token", name))
    }

    /// Whether a token of this name is there; for `IF EXISTS`.
    pub(super) fn has(&self, name: &str, now: EpochMillis) -> bool {
        self.place(name, now).is_ok()
    }

    /// Whether a living token has this name; for `IF NOT EXISTS`.
    pub(super) fn has_living(&self, name: &str, now: EpochMillis) -> bool {
        self.tokens.iter().any(|token| token.name == name && token.lives(now))
    }

    fn free(&self, name: &str, now: EpochMillis) -> Result<(), SqlRefused> {
        if self.has_living(name, now) { Err(SqlRefused::exists(name)) } else { Ok(()) }
    }

    /// `ADD`: makes a token, whose secret `secret` gives for its end.
    pub(super) fn add(
        &mut self,
        wanted: Wanted,
        by: &str,
        now: EpochMillis,
        secret: impl FnOnce(EpochMillis) -> Secret,
    ) -> Result<&Token, SqlRefused> {
        self.free(&wanted.name, now)?;
        let service = self.settings.kind == UserKind::Service;
        if service && !self.settings.network_policy {
            return Err(SqlRefused::other("A network policy is required to create a programmatic access token."));
        }
        match &wanted.role {
            None if service && self.settings.needs_role => {
                return Err(SqlRefused::other("ROLE_RESTRICTION is required for a service user."));
            }
            Some(role) if !self.is_granted(role) => return Err(SqlRefused::missing("Role", role)),
            _ => {}
        }
        let days = wanted.days.unwrap_or(self.settings.default_days.min(self.settings.max_days));
        if !(1..=self.settings.max_days).contains(&days) {
            return Err(SqlRefused::value("DAYS_TO_EXPIRY", days));
        }
        if self.living(now) >= MOST {
            return Err(SqlRefused::too_many());
        }
        let expires_at = EpochMillis(now.0 + days * DAY_MILLIS);
        let token = Token {
            name: wanted.name,
            secret: secret(expires_at),
            role: wanted.role,
            created_on: now,
            created_by: by.to_owned(),
            expires_at,
            days,
            disabled: false,
            comment: wanted.comment,
            rotated_to: None,
            dead: self.next_is_dead.take(),
        };
        Ok(self.tokens.push_mut(token))
    }

    /// `ROTATE`: gives the new token and the old one's new name.
    pub(super) fn rotate(
        &mut self,
        name: &str,
        hours: Option<u64>,
        by: &str,
        now: EpochMillis,
        secret: impl FnOnce(EpochMillis) -> Secret,
    ) -> Result<(&Token, String), SqlRefused> {
        let place = self.place(name, now)?;
        let old_end = self.tokens[place].expires_at;
        let left = EpochMillis(old_end.0.saturating_sub(now.0));
        let ends = match hours {
            Some(hours) if hours > left.0 / HOUR_MILLIS => {
                return Err(SqlRefused::value("EXPIRE_ROTATED_TOKEN_AFTER_HOURS", hours));
            }
            Some(hours) => EpochMillis(now.0 + hours * HOUR_MILLIS),
            None => old_end.min(EpochMillis(now.0 + OVERLAP_HOURS * HOUR_MILLIS)),
        };
        let others = self.living(now) - usize::from(self.tokens[place].lives(now));
        if others + usize::from(ends > now) + 1 > MOST {
            return Err(SqlRefused::too_many());
        }
        let old_name = (now.0..)
            .map(|millis| format!("{name}_ROTATED_{millis}"))
            .find(|name| !self.has_living(name, now))
            .unwrap_or_default();
        let dead = self.next_is_dead.take();
        let old = &mut self.tokens[place];
        old.name.clone_from(&old_name);
        old.rotated_to = Some(name.to_owned());
        old.expires_at = ends;
        let expires_at = EpochMillis(now.0 + old.days * DAY_MILLIS);
        let token = Token {
            name: name.to_owned(),
            secret: secret(expires_at),
            role: old.role.clone(),
            created_on: now,
            created_by: by.to_owned(),
            expires_at,
            days: old.days,
            disabled: false,
            comment: old.comment.clone(),
            rotated_to: None,
            dead,
        };
        Ok((self.tokens.push_mut(token), old_name))
    }

    /// `MODIFY … SET`.
    pub(super) fn set(
        &mut self,
        name: &str,
        disabled: Option<bool>,
        comment: Option<String>,
        now: EpochMillis,
    ) -> Result<(), SqlRefused> {
        let place = self.place(name, now)?;
        let token = &mut self.tokens[place];
        token.disabled = disabled.unwrap_or(token.disabled);
        token.comment = comment.or_else(|| token.comment.take());
        Ok(())
    }

    /// `MODIFY … RENAME TO`; a rotated token goes on to name the one that replaced it.
    pub(super) fn rename(&mut self, name: &str, to: &str, now: EpochMillis) -> Result<(), SqlRefused> {
        let place = self.place(name, now)?;
        self.free(to, now)?;
        to.clone_into(&mut self.tokens[place].name);
        for token in &mut self.tokens {
            if token.rotated_to.as_deref() == Some(name) {
                token.rotated_to = Some(to.to_owned());
            }
        }
        Ok(())
    }

    /// `REMOVE`.
    pub(super) fn remove(&mut self, name: &str, now: EpochMillis) -> Result<(), SqlRefused> {
        let place = self.place(name, now)?;
        self.tokens.remove(place);
        Ok(())
    }

    /// The token with this secret.
    pub(super) fn by_secret(&self, secret: &Secret) -> Option<&Token> {
        self.tokens.iter().find(|token| token.secret.same_as(secret))
    }

    /// Judges a login with a token; a success gives the role that the token is restricted to.
    pub(super) fn admit(&self, secret: &Secret, role: &str, now: EpochMillis) -> Result<Option<String>, LoginRefused> {
        let token = self.by_secret(secret).ok_or(LoginRefused::Pat)?;
        if let Some(refusal) = &token.dead {
            return Err(LoginRefused::Told(refusal.clone()));
        }
        let unrestricted = token.role.is_none() && self.settings.kind == UserKind::Service && self.settings.needs_role;
        let lost_role = token.role.as_deref().is_some_and(|role| !self.is_granted(role));
        match token.status(now) {
            TokenStatus::Expired => Err(LoginRefused::Expired),
            TokenStatus::Disabled => Err(LoginRefused::Pat),
            TokenStatus::Active if token.days > self.settings.max_days || unrestricted || lost_role => {
                Err(LoginRefused::Pat)
            }
            TokenStatus::Active if self.settings.kind != UserKind::ServiceAgent && !self.settings.network_policy => {
                Err(LoginRefused::PolicyMissing)
            }
            TokenStatus::Active => match &token.role {
                Some(own) if !role.is_empty() && !own.eq_ignore_ascii_case(role) => {
                    Err(LoginRefused::Role(role.to_owned()))
                }
                own => Ok(own.clone()),
            },
        }
    }
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
