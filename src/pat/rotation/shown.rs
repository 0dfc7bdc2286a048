//! What the status says of a token that the gate rotates.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::journal::Failure;
use super::look::Look;
use super::plan::{How, is_behind};
use super::settings::RotatedToken;
use super::tidy::{rotated, rotated_at};
use crate::base::ids::PatId;
use crate::base::rfc3339;
use crate::pat::Inner;
use crate::pat::end::EndSource;
use crate::pat::status::PatStatus;
use crate::snowflake::token_statement::{ShownToken, TokenStatus};

/// How exactly two sources tell the same end.
const EXACT: Duration = Duration::from_secs(60);

/// A token as Snowflake lists it. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenShown {
    /// Its name.
    pub name: String,
    /// `active`, `rotated`, `expired`, `disabled`, or `gone`: Snowflake lists it no more.
    pub state: String,
    /// The role that it is restricted to.
    pub role: Option<String>,
    /// When it was made.
    #[serde(with = "rfc3339::option")]
    pub created: Option<SystemTime>,
    /// When it ends.
    #[serde(with = "rfc3339::option")]
    pub expires: Option<SystemTime>,
    /// When Snowflake was asked.
    #[serde(with = "rfc3339::option")]
    pub seen: Option<SystemTime>,
}

/// How the gate rotates a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationStatus {
    /// The rotator.
    pub rotator: String,
    /// The token's name.
    pub token: String,
    /// How often, in seconds.
    pub every_s: u64,
    /// How long the old one goes on, in seconds.
    pub overlap_s: u64,
    /// When the last rotation was done.
    #[serde(with = "rfc3339::option")]
    pub last: Option<SystemTime>,
    /// When the next is due, where that is known.
    #[serde(with = "rfc3339::option")]
    pub next: Option<SystemTime>,
    /// Whether one is under way at this gate.
    pub under_way: bool,
    /// Why the last try failed.
    pub failure: Option<Failure>,
}

impl Inner {
    /// Adds what is known of the token and of its rotation.
    pub(in crate::pat) fn describe(&self, status: &mut PatStatus) {
        let Some(token) = self.rotations.tokens.get(&*status.credential) else { return };
        let look = token.look.lock().clone();
        status.rotation = Some(rotation(token, &look));
        let Some(cached) = &mut status.cached else { return };
        status.token = shown(token, &look, &cached.id);
        if let Some(end) = status.token.as_ref().and_then(|token| token.expires)
            && cached.expires.is_none_or(|known| end + EXACT < known)
        {
            // Snowflake ends a rotated token before its own time.
            (cached.expires, cached.expires_from) = (Some(end), Some(EndSource::Snowflake));
        }
        status.successor = successor(&look, cached.expires);
    }
}

/// Why nobody has to act before the end of a PAT.
fn successor(look: &Look, end: Option<SystemTime>) -> Option<String> {
    match look.next {
        _ if look.under_way => Some("a rotation is under way".to_owned()),
        _ if look.entry.failure.is_some() => None,
        Some(next) if end.is_none_or(|end| next < end) => {
            Some(format!("the gate rotates it at {}", rfc3339::show(next)))
        }
        Some(_) => None,
        // At the start, before the first look.
        None => look.at.is_none().then(|| "the gate is about to look at Snowflake".to_owned()),
    }
}

fn rotation(token: &RotatedToken, look: &Look) -> RotationStatus {
    RotationStatus {
        rotator: token.rotator.name.to_string(),
        token: token.terms.token.clone(),
        every_s: token.terms.every.as_secs(),
        overlap_s: token.terms.overlap.as_secs(),
        last: look.entry.last.map(|last| last.to_system_time()),
        next: look.next,
        under_way: look.under_way,
        failure: look.entry.failure.clone(),
    }
}

/// The token of a version, as it was last seen; `None` if that is not known.
fn shown(token: &RotatedToken, look: &Look, version: &PatId) -> Option<TokenShown> {
    let (name, at) = (token.terms.token.as_str(), look.at?);
    let named = |name: &str| look.tokens.iter().rfind(|one| one.name == name);
    let known =
        look.entry.versions.iter().find(|known| known.version == *version).and_then(|known| known.name.as_deref());
    let known = known.or_else(|| name_in_open(look, version));
    let is_current = look.entry.seen.as_ref().is_some_and(|seen| seen.version == *version);
    let (name, row): (&str, Option<&ShownToken>) = match known {
        Some(old) => (old, named(old)),
        None if is_current && named(name).is_some_and(|current| is_behind(current, &look.entry)) => {
            // The store has the one before.
            let before = rotated(name, &look.tokens, at).pop()?;
            (&before.name, Some(before))
        }
        None if is_current => (name, named(name)),
        None => return None,
    };
    let state = match row.map(|row| &row.status) {
        None => "gone",
        Some(TokenStatus::Disabled) => "disabled",
        Some(TokenStatus::Expired) => "expired",
        Some(TokenStatus::Active | TokenStatus::Other(_)) if rotated_at(name, &token.terms.token).is_some() => {
            "rotated"
        }
        Some(TokenStatus::Active | TokenStatus::Other(_)) => "active",
    };
    Some(TokenShown {
        name: name.to_owned(),
        state: state.to_owned(),
        role: row.and_then(|row| row.role.clone()),
        created: row.and_then(|row| row.created),
        expires: row.and_then(|row| row.expires),
        seen: Some(at),
    })
}

/// The name that a version has since a rotation that broke off, where that rotation gave it one and Snowflake lists it.
fn name_in_open<'a>(look: &'a Look, version: &PatId) -> Option<&'a str> {
    let open = look.entry.open.as_ref().filter(|open| open.old == *version && !look.under_way)?;
    let renamed = match &open.how {
        How::Add { rename, .. } => rename.as_deref(),
        How::Rotate { .. } => None,
    };
    let name = open.old_name.as_deref().or(renamed)?;
    look.tokens.iter().any(|one| one.name == name).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::journal::Open;
    use super::super::recovery::tests::open;
    use super::*;
    use crate::base::epoch::EpochMillis;
    use crate::base::fault::Owner;

    #[test]
    fn a_successor_stands_ready_before_the_first_look_and_while_the_next_rotation_comes_in_time() {
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        let look = |next, under_way| Look { at: at(1), next, under_way, ..Look::default() };
        assert!(successor(&Look::default(), at(9)).is_some(), "nothing is known yet");
        assert!(successor(&look(at(8), false), at(9)).is_some() && successor(&look(at(8), false), None).is_some());
        assert!(successor(&look(at(9), false), at(9)).is_none() && successor(&look(None, false), at(9)).is_none());
        assert!(successor(&look(None, true), at(9)).is_some());
        let (cause, next_step) = (String::new(), String::new());
        let failure = Failure { at: EpochMillis(0), times: 1, owner: Owner::Gate, cause, next_step };
        let mut failed = look(at(8), false);
        failed.entry.failure = Some(failure);
        assert!(successor(&failed, at(9)).is_none());
    }

    #[test]
    fn a_version_has_the_name_that_a_broken_rotation_gave_it() {
        let token = |name: &str| {
            let (role, created, expires, rotated_to) = (None, None, None, None);
            ShownToken { name: name.into(), role, status: TokenStatus::Active, created, expires, rotated_to }
        };
        let (old, other) = (PatId::trusted("v1"), PatId::trusted("v2"));
        let mut look = Look::default();
        look.entry.open = Some(Open { old_name: Some("T_ROTATED_1".into()), ..open(None) });
        assert_eq!(name_in_open(&look, &old), None, "the list is from before");
        look.tokens = vec![token("T_ROTATED_1")];
        assert_eq!(name_in_open(&look, &old), Some("T_ROTATED_1"));
        look.under_way = true;
        assert_eq!(name_in_open(&look, &old), None);
        look.under_way = false;
        assert_eq!(name_in_open(&look, &other), None);
        // The renaming was done, and nothing was added.
        let rename = Some("T_ROTATED_2".to_owned());
        let how = How::Add { rename, role: None, days: None, hours: 24 };
        look.entry.open = Some(Open { how, ..open(None) });
        assert_eq!(name_in_open(&look, &old), None);
        look.tokens = vec![token("T_ROTATED_2")];
        assert_eq!(name_in_open(&look, &old), Some("T_ROTATED_2"));
    }
}
