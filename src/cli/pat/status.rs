//! `patgate pat status`.

use std::time::{Duration, SystemTime};

use super::{ask, show};
use crate::app::Verb;
use crate::base::clock::Env;
use crate::cli::shell::{CommandError, GateArgs};
use crate::pat::PatStatus;

/// A PAT that ends within this time needs attention.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// The command.
pub(super) fn status(args: &GateArgs) -> Result<(), CommandError> {
    let (_, list) = ask(args, Verb::Pats, None)?;
    show(args, &list);
    let now = Env::default().clock.wall();
    let wrong: Vec<_> =
        list.pats.iter().filter_map(|pat| Some(format!("{}: {}", pat.credential, attention(pat, now)?))).collect();
    if wrong.is_empty() { Ok(()) } else { Err(CommandError::attention(wrong.join("\n"))) }
}

/// Why a PAT needs somebody's attention, and what to do.
fn attention(pat: &PatStatus, now: SystemTime) -> Option<String> {
    let missing = || "it has no usable PAT, so its logins fail; put one into the store".to_owned();
    let Some(cached) = pat.cached.as_ref().filter(|_| pat.ready) else { return Some(missing()) };
    if cached.refused {
        return Some(
            "Snowflake refuses its PAT, so its logins fail; put a new one into the store, or enable it again and run \
             `patgate pat retry`"
                .to_owned(),
        );
    }
    let left = cached.expires?.duration_since(now).unwrap_or_default();
    let days = left.as_secs() / 86_400;
    (left < SOON).then(|| format!("its PAT ends in {days} days; make a new one, and put it into the store"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rfc3339;

    fn pat(held: serde_json::Value, ready: bool) -> PatStatus {
        let pat = serde_json::json!({
            "credential": "bi", "references": [], "ready": ready, "held": held, "failure": null, "losers": []
        });
        serde_json::from_value(pat).unwrap()
    }

    #[test]
    fn what_is_refused_missing_or_ends_soon_needs_attention() {
        let now = rfc3339::parse("2026-11-01T00:00:00Z").unwrap();
        let held = |refused: bool, expires: Option<&str>| {
            serde_json::json!({
                "id": "3259373ad93c", "version": "1", "from": "f:pat", "created": null, "expires": expires, "age_s": 1,
                "usable": true, "overdue": false, "warm": false, "refused": refused
            })
        };
        for (pat, wanted) in [
            (pat(held(false, None), true), None),
            (pat(held(false, Some("2026-11-15T00:00:00Z")), true), None),
            (pat(held(false, Some("2026-11-14T23:59:59Z")), true), Some("its PAT ends in 13 days")),
            (pat(held(false, Some("2026-10-01T00:00:00Z")), true), Some("its PAT ends in 0 days")),
            (pat(held(true, None), true), Some("Snowflake refuses its PAT")),
            (pat(held(false, None), false), Some("it has no usable PAT")),
            (pat(serde_json::Value::Null, false), Some("it has no usable PAT")),
        ] {
            let told = attention(&pat, now);
            assert_eq!(told.is_some(), wanted.is_some(), "{told:?}");
            assert!(told.unwrap_or_default().starts_with(wanted.unwrap_or_default()));
        }
    }
}
