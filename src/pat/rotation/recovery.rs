//! What became of a rotation that was broken off: the journal held against what Snowflake lists and what the store has.
//! It is pure.
//!
//! | the store has | Snowflake lists | so |
//! |---|---|---|
//! | the new version | | it goes on from there |
//! | the old version | nothing new | nothing was made: it may begin again |
//! | the old version | a newly rotated token | the new secret is lost: it is made once more, and the old one goes on |
//! | another version | | somebody else has rotated: that one counts |

use std::time::SystemTime;

use super::journal::Open;
use super::tidy::rotated;
use crate::base::ids::PatId;
use crate::snowflake::token_statement::ShownToken;

/// What became of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// The store has what it made.
    Stored(PatId),
    /// It has made nothing.
    NotMade,
    /// It has made a token whose secret is lost; the rotation with what is known now.
    Lost(Open),
    /// The store has a version of somebody else's.
    Overtaken,
}

/// Finds out.
pub(super) fn found(open: &Open, token: &str, tokens: &[ShownToken], stored: &PatId, now: SystemTime) -> Found {
    if open.new.as_ref() == Some(stored) {
        return Found::Stored(stored.clone());
    }
    if *stored != open.old {
        return Found::Overtaken;
    }
    let is_new = |name: &&String| {
        !open.before.contains(name) && !open.lost.contains(name) && open.old_name.as_ref() != Some(*name)
    };
    let rotated = rotated(token, tokens, now);
    let mut new: Vec<String> = rotated.iter().map(|one| &one.name).filter(is_new).cloned().collect();
    let is_there = tokens.iter().any(|one| one.name == token && one.expires.is_none_or(|end| end > now));
    let made = !new.is_empty() || open.old_name.is_some() || (!open.had_token && is_there);
    if !made {
        return Found::NotMade;
    }
    let mut open = open.clone();
    if open.old_name.is_none() && open.had_token && !new.is_empty() {
        // The first rotation moved the old one; each one after it moved a token whose secret nobody has.
        open.old_name = Some(new.remove(0));
    }
    open.lost.append(&mut new);
    open.new = None;
    Found::Lost(open)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::journal::Step;
    use super::super::plan::{How, Why};
    use super::*;
    use crate::base::epoch::EpochMillis;
    use crate::snowflake::token_statement::TokenStatus;

    pub(in super::super) fn open(new: Option<&str>) -> Open {
        Open {
            why: Why::Due,
            begun: EpochMillis(0),
            step: Step::Making,
            how: How::Rotate { hours: 24 },
            remove_old: false,
            old: PatId::trusted("v1"),
            had_token: true,
            before: vec!["T_ROTATED_1".into()],
            old_name: None,
            lost: Vec::new(),
            new: new.map(PatId::trusted),
        }
    }

    fn look(open: &Open, names: &[&str], stored: &str) -> Found {
        let shown = |name: &&str| ShownToken {
            name: (*name).to_owned(),
            role: None,
            status: TokenStatus::Active,
            created: None,
            expires: None,
            rotated_to: None,
        };
        let tokens: Vec<_> = names.iter().map(shown).collect();
        found(open, "T", &tokens, &PatId::trusted(stored), UNIX_EPOCH)
    }

    #[test]
    fn the_store_and_the_list_say_what_became_of_it() {
        let new = PatId::trusted("v2");
        assert_eq!(look(&open(Some("v2")), &["T", "T_ROTATED_2"], "v2"), Found::Stored(new));
        assert_eq!(look(&open(None), &["T", "T_ROTATED_1"], "v1"), Found::NotMade);
        assert_eq!(look(&open(Some("v2")), &["T", "T_ROTATED_2"], "v9"), Found::Overtaken);
        let lost = |open: &Open, names: &[&str]| match look(open, names, "v1") {
            Found::Lost(open) => (open.old_name, open.lost),
            other => panic!("{other:?}"),
        };
        let old = |name: &str| Some(name.to_owned());
        assert_eq!(lost(&open(Some("v2")), &["T", "T_ROTATED_1", "T_ROTATED_5"]), (old("T_ROTATED_5"), vec![]));
        let twice = lost(&open(None), &["T", "T_ROTATED_12", "T_ROTATED_5"]);
        assert_eq!(twice, (old("T_ROTATED_5"), vec!["T_ROTATED_12".to_owned()]));
        let again = Open { old_name: old("T_ROTATED_5"), ..open(None) };
        let third = lost(&again, &["T", "T_ROTATED_5", "T_ROTATED_12"]);
        assert_eq!(third, (old("T_ROTATED_5"), vec!["T_ROTATED_12".to_owned()]));
        let gone = Open { had_token: false, ..open(None) };
        assert_eq!(look(&gone, &["T_ROTATED_1"], "v1"), Found::NotMade);
        assert_eq!(lost(&gone, &["T", "T_ROTATED_1"]), (None, vec![]));
    }
}
