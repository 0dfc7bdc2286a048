//! Which rotated tokens can be removed, so that a user never has too many: pure.
//!
//! A rotated token goes on under the name `TOKEN_ROTATED_<milliseconds>` (`docs` "ALTER USER … ROTATE PROGRAMMATIC
//! ACCESS TOKEN"). The gate removes the oldest one that no gate has used since a later one was proven, and never the
//! one before the current.

use std::collections::HashSet;
use std::time::SystemTime;

use super::journal::Entry;
use crate::base::ids::PatId;
use crate::snowflake::token_statement::{ShownToken, TokenStatus};

/// From this many living tokens on, a rotation ends with tidying.
pub(super) const MANY: usize = 13;

/// Which versions are in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    /// Versions that a gate has used since a later one was proven, or of which that is not known.
    pub used: HashSet<PatId>,
    /// Whether other gates may use versions that this gate does not know.
    pub others: bool,
}

/// How many tokens live.
pub(super) fn living(tokens: &[ShownToken], now: SystemTime) -> usize {
    let lives = |token: &&ShownToken| token.status != TokenStatus::Expired && token.expires.is_none_or(|end| end > now);
    tokens.iter().filter(lives).count()
}

/// When a token was rotated, by its name: the milliseconds that Snowflake writes there.
pub(super) fn rotated_at(name: &str, token: &str) -> Option<u64> {
    name.strip_prefix(token)?.strip_prefix("_ROTATED_")?.parse().ok()
}

/// The rotated tokens of this one that live, the oldest first.
pub(super) fn rotated<'a>(token: &str, tokens: &'a [ShownToken], now: SystemTime) -> Vec<&'a ShownToken> {
    let lives = |one: &&ShownToken| one.expires.is_none_or(|end| end > now);
    let mut all: Vec<_> =
        tokens.iter().filter(lives).filter_map(|one| Some((rotated_at(&one.name, token)?, one))).collect();
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, one)| one).collect()
}

/// The names of the rotated tokens that can be removed, the oldest first.
pub(super) fn removable(
    token: &str,
    tokens: &[ShownToken],
    entry: &Entry,
    uses: &Uses,
    now: SystemTime,
) -> Vec<String> {
    let mut rotated = rotated(token, tokens, now);
    let _the_one_before = rotated.pop();
    // A version in use without a known name may be any of those that nobody knows.
    let named = |version: &PatId| entry.versions.iter().any(|known| known.version == *version && known.name.is_some());
    let current = entry.seen.as_ref().map(|seen| &seen.version);
    let nameless = uses.used.iter().any(|version| Some(version) != current && !named(version));
    let is_free = |name: &str| match entry.version_of(name) {
        Some(version) => !uses.used.contains(version) && Some(version) != current,
        None => !nameless && !uses.others,
    };
    rotated.into_iter().map(|one| one.name.clone()).filter(|name| is_free(name)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::journal::{KnownVersion, Seen};
    use super::*;
    use crate::base::epoch::EpochMillis;

    fn shown(name: &str) -> ShownToken {
        let (role, created, rotated_to) = (None, None, None);
        let expires = Some(UNIX_EPOCH + Duration::from_secs(1_000));
        ShownToken { name: name.into(), role, status: TokenStatus::Active, created, expires, rotated_to }
    }

    fn known(version: &str, name: Option<&str>) -> KnownVersion {
        KnownVersion { version: PatId::trusted(version), name: name.map(str::to_owned), proven: None }
    }

    #[test]
    fn the_oldest_unused_go_and_never_the_one_before_the_current() {
        let tokens = ["T_ROTATED_3", "T", "T_ROTATED_1", "T_ROTATED_2", "OTHER_ROTATED_0", "T_ROTATED_x"].map(shown);
        let seen = Some(Seen { version: PatId::trusted("v4"), at: EpochMillis(0), was_there: false });
        let versions = vec![known("v1", Some("T_ROTATED_1")), known("v3", Some("T_ROTATED_3")), known("v4", None)];
        let entry = Entry { seen, versions, ..Entry::default() };
        let free = |used: &[&str], others| {
            let used = used.iter().map(|version| PatId::trusted(version)).collect();
            removable("T", &tokens, &entry, &Uses { used, others }, UNIX_EPOCH)
        };
        assert_eq!(free(&["v4"], false), ["T_ROTATED_1", "T_ROTATED_2"]);
        assert_eq!(free(&["v1"], false), ["T_ROTATED_2"], "one that is in use stays");
        assert_eq!(free(&[], true), ["T_ROTATED_1"], "what other gates may use stays");
        assert_eq!(free(&["v9"], false), ["T_ROTATED_1"], "a version in use that has no name may be any");
        assert!(removable("T", &tokens, &entry, &Uses::default(), UNIX_EPOCH + Duration::from_secs(1_000)).is_empty());
        assert_eq!(living(&tokens, UNIX_EPOCH), 6);
    }
}
