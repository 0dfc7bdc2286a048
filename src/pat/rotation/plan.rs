//! What to do next about a token: pure, from what Snowflake lists, what the configuration wants, and the journal.
//!
//! Facts (`docs` "ALTER USER … ROTATE PROGRAMMATIC ACCESS TOKEN", "Using programmatic access tokens for
//! authentication"): ROTATE keeps lifetime and role, and gives the old token a number of whole hours, at most what it
//! has left; a rotated token counts among the fifteen while it lives.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::failure::RotationFailure;
use super::journal::{Entry, Seen};
use super::settings::Terms;
use super::tidy::{self, Uses, living};
use crate::snowflake::token_statement::{ShownToken, TokenStatus};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// How many living tokens a user may have.
const MOST: usize = 15;
/// The least time between two rotations that nobody asked for.
const APART: Duration = DAY;
/// How far the clocks of the gate and of Snowflake may differ.
const SKEW: Duration = Duration::from_secs(120);
/// How long the store may be behind a rotation of somebody else, before the gate mends that.
const GRACE: Duration = Duration::from_secs(15 * 60);
/// How exactly a lifetime is compared: Snowflake's own rounding is not known.
const LIFETIME_EXACT: Duration = Duration::from_secs(2 * 3_600);

/// Why a rotation is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It is time.
    Due,
    /// The token ends before it would be time.
    Ending,
    /// An operator asks.
    Asked,
    /// An operator asks, and the old token must end at once.
    Replace,
    /// The token was rotated by somebody else, and the store does not have the new one.
    Behind,
}

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// A rotation now.
    Rotate,
    /// A rotation now, and the end of the old token right after.
    Replace,
}

/// The statement that makes the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// ROTATE; the old one goes on for these hours.
    Rotate {
        /// Whole hours.
        hours: u64,
    },
    /// ADD, since lifetime or role must change or there is no token.
    Add {
        /// The name that the old one gets before.
        rename: Option<String>,
        /// The role restriction.
        role: Option<String>,
        /// The lifetime.
        days: Option<u64>,
        /// How long the old one goes on, in hours; Snowflake does not end it, so the gate does.
        hours: u64,
    },
}

/// A rotation to be begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Making {
    /// Why.
    pub why: Why,
    /// How.
    pub how: How,
    /// Whether the old one is removed as soon as the new one is in use.
    pub remove_old: bool,
    /// What has to be removed first, to have room.
    pub first: Vec<String>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing until then.
    Wait(SystemTime),
    /// Make a new token.
    Make(Making),
    /// Nothing can be done, and why.
    Cannot(RotationFailure),
}

/// What is known when a plan is made.
pub struct Situation<'a> {
    /// What the configuration wants.
    pub terms: &'a Terms,
    /// What Snowflake lists.
    pub tokens: &'a [ShownToken],
    /// What the journal says.
    pub entry: &'a Entry,
    /// Which versions are in use.
    pub uses: &'a Uses,
    /// Whether Snowflake refuses the version that the store has.
    pub refused: bool,
    /// The time.
    pub now: SystemTime,
}

impl Situation<'_> {
    /// The token itself, under its own name: the living one, else one that has ended.
    pub fn token(&self) -> Option<&ShownToken> {
        let mut named: Vec<_> = self.tokens.iter().filter(|one| one.name == self.terms.token).collect();
        named.sort_by_key(|one| one.expires);
        named.pop()
    }

    /// What to do next; `asked` is what an operator wants.
    pub fn plan(&self, asked: Option<Ask>) -> Plan {
        let token = self.token();
        let why = match (asked, token) {
            (Some(Ask::Rotate), _) => Why::Asked,
            (Some(Ask::Replace), _) => Why::Replace,
            // Whoever removed it did not want another one in its place.
            (None, None) => return Plan::Cannot(RotationFailure::no_token(self.terms)),
            (None, Some(token)) if token.status == TokenStatus::Disabled => {
                return Plan::Cannot(RotationFailure::disabled(self.terms));
            }
            (None, Some(token)) => match self.due(token) {
                Err(then) => return Plan::Wait(then),
                Ok(why) => why,
            },
        };
        self.make(why)
    }

    /// Why a rotation is due now; an error says when one will be.
    fn due(&self, token: &ShownToken) -> Result<Why, SystemTime> {
        let last = self.entry.last.map(|last| last.to_system_time());
        let (due, why) = self.next(token);
        let due = last.map_or(due, |last| due.max(last + APART));
        if due <= self.now { Ok(why) } else { Err(due) }
    }

    /// When the next rotation is due, and why then.
    fn next(&self, token: &ShownToken) -> (SystemTime, Why) {
        let Terms { every, overlap, .. } = self.terms;
        let last = self.entry.last.map(|last| last.to_system_time());
        // What was there at the first look is as old as Snowflake says, where it says so.
        let counts = |seen: &&Seen| !seen.was_there || token.created.is_none();
        let seen = self.entry.seen.as_ref().filter(counts).map(|seen| seen.at.to_system_time());
        let from = [token.created, last, seen].into_iter().flatten().max().unwrap_or(self.now);
        let mut next = (from + *every, Why::Due);
        if let Some(end) = token.expires {
            // Its successor must be in use everywhere before, and half of a short life is enough for that.
            let before = end.checked_sub((*overlap).max(DAY)).unwrap_or(end);
            let half = token.created.and_then(|made| Some(made + end.duration_since(made).ok()? / 2));
            let ending = half.map_or(before, |half| before.max(half));
            if ending < next.0 {
                next = (ending, Why::Ending);
            }
        }
        if let Some(mend) = self.behind(token)
            && mend < next.0
        {
            next = (mend, Why::Behind);
        }
        next
    }

    /// When the gate mends a store that is behind: the token was made after the store's version was first seen there,
    /// or it lives and Snowflake refuses that version.
    fn behind(&self, token: &ShownToken) -> Option<SystemTime> {
        let lives = token.status == TokenStatus::Active;
        token.created.filter(|_| is_behind(token, self.entry) || (self.refused && lives)).map(|made| made + GRACE)
    }

    /// The statement that makes a new token, with room for it.
    pub fn make(&self, why: Why) -> Plan {
        let how = self.how(why);
        let more = match &how {
            How::Rotate { hours: 0 } => 0,
            How::Rotate { .. } | How::Add { .. } => 1,
        };
        let surplus = (living(self.tokens, self.now) + more).saturating_sub(MOST);
        let first = if surplus > 0 { self.removable() } else { Vec::new() };
        if first.len() < surplus {
            return Plan::Cannot(RotationFailure::cap(self.terms, MOST));
        }
        let remove_old = why == Why::Replace || self.terms.overlap.is_zero();
        Plan::Make(Making { why, how, remove_old, first: first.into_iter().take(surplus).collect() })
    }

    fn removable(&self) -> Vec<String> {
        tidy::removable(&self.terms.token, self.tokens, self.entry, self.uses, self.now)
    }

    fn how(&self, why: Why) -> How {
        let Some(token) = self.token() else { return self.add(None, 0) };
        let lives = token.status != TokenStatus::Expired && token.expires.is_none_or(|end| end > self.now);
        // The old one never ends before the new one is proven and written.
        let wanted = match why {
            Why::Replace => HOUR,
            _ => self.terms.overlap.max(HOUR),
        };
        let hours = if lives { whole_hours(wanted, token.expires, self.now) } else { 0 };
        // ROTATE with 0 h would end the old one before the new one is proven.
        match self.changes(token) || (lives && hours == 0) {
            true => self.add(Some(token), hours),
            false => How::Rotate { hours },
        }
    }

    /// Whether lifetime or role must change, which ROTATE cannot do.
    fn changes(&self, token: &ShownToken) -> bool {
        let other = |wanted: &String| !token.role.as_ref().is_some_and(|role| role.eq_ignore_ascii_case(wanted));
        let life = token.created.zip(token.expires).and_then(|(made, end)| end.duration_since(made).ok());
        let longer = |wanted: Duration| life.is_some_and(|life| life.abs_diff(wanted) > LIFETIME_EXACT);
        self.terms.role.as_ref().is_some_and(other) || self.terms.lifetime.is_some_and(longer)
    }

    fn add(&self, old: Option<&ShownToken>, hours: u64) -> How {
        let life = |old: &ShownToken| Some(old.expires?.duration_since(old.created?).ok()?.as_secs() / DAY.as_secs());
        let days = self.terms.lifetime.map(|life| life.as_secs() / DAY.as_secs()).or_else(|| life(old?));
        let role = self.terms.role.clone().or_else(|| old?.role.clone());
        let millis = self.now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let rename = old.map(|old| format!("{}_ROTATED_{millis}", old.name));
        How::Add { rename, role, days: days.map(|days| days.clamp(1, 365)), hours }
    }
}

/// Whether the token was made after the store's version was first seen there: the store has the one before.
pub(super) fn is_behind(token: &ShownToken, entry: &Entry) -> bool {
    let seen = entry.seen.as_ref().map(|seen| seen.at.to_system_time());
    token.created.zip(seen).is_some_and(|(made, seen)| made > seen + SKEW)
}

/// The lesser of what is wanted and what is left, in whole hours.
pub(super) fn whole_hours(wanted: Duration, end: Option<SystemTime>, now: SystemTime) -> u64 {
    // Snowflake counts what is left when the statement arrives, by its own clock.
    let left = end.map(|end| end.duration_since(now + SKEW).unwrap_or_default());
    left.map_or(wanted, |left| left.min(wanted)).as_secs() / HOUR.as_secs()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
