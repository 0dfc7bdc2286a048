//! [`Known::diagnosis`]: which of the causes behind one of Snowflake's codes it is, and how sure that is, from what
//! this gate knows of the version.
//!
//! 394400 alone has six causes (removed, disabled, rotated, another user's, another account's, a policy that changed);
//! the sentence to the client names none of them, since the client can do nothing about any.

use std::time::{Duration, SystemTime};

use crate::base::fault::Kind;
use crate::base::rfc3339;

/// A version that was read within this time is new.
const NEW: Duration = Duration::from_secs(3_600);

/// What the gate knows of a version that Snowflake refuses.
pub(super) struct Known<'a> {
    /// The kind of the refusal.
    pub kind: Kind,
    /// Snowflake's words.
    pub said: &'a str,
    /// Now.
    pub now: SystemTime,
    /// When the version ends, if that is known.
    pub expires: Option<SystemTime>,
    /// When it was written to the store, if the store says so.
    pub created: Option<SystemTime>,
    /// When a login with it last went well at this gate, since it started.
    pub worked: Option<SystemTime>,
    /// Since when the store gives nothing.
    pub store_fails: Option<SystemTime>,
    /// How the other users of the account fare.
    pub others: Others,
}

/// How the other users of the same account fare at this gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// How many Snowflake refuses for the same reason.
    pub refused: usize,
    /// How many have logged in since.
    pub working: usize,
}

impl Known<'_> {
    /// The cause, with how sure it is, and what else points to it; `None` if the kind says all that is known.
    pub(super) fn diagnosis(&self) -> Option<String> {
        match (self.cause(), self.around()) {
            (Some(cause), Some(around)) => Some(format!("{cause}; {around}")),
            (None, Some(around)) => Some(around),
            (cause, None) => cause,
        }
    }

    /// What the store and the other users of the account say of it.
    fn around(&self) -> Option<String> {
        if let (Kind::PatRefused | Kind::PatExpired | Kind::KeyPairRefused, Some(since)) = (self.kind, self.store_fails)
        {
            return Some(format!(
                "possible: a newer version stands in the store, which gives nothing since {}",
                rfc3339::show(since)
            ));
        }
        match self.others {
            Others { refused: 0, working: 0 } => None,
            Others { refused: 0, working } => {
                Some(format!("likely: it is this user's own; {working} more of this account have logged in since"))
            }
            Others { refused, .. } => Some(format!(
                "likely: it is the account's; Snowflake refuses {refused} more of its users for the same reason now"
            )),
        }
    }

    fn cause(&self) -> Option<String> {
        let at = |time: SystemTime| rfc3339::show(time);
        match (self.kind, self.expires, self.worked) {
            (Kind::PatRefused | Kind::PatExpired, Some(expires), _) if expires <= self.now => {
                Some(format!("certain: the PAT ended at {}", at(expires)))
            }
            (Kind::PatExpired, None, _) => Some("certain: Snowflake says that it has expired".to_owned()),
            (Kind::PatExpired, Some(expires), _) => Some(format!(
                "likely: its end was moved forward from {}: MAX_EXPIRY_IN_DAYS was lowered, or the clock is wrong",
                at(expires)
            )),
            (Kind::PatRefused, _, Some(worked)) => Some(format!(
                "likely: it was removed, disabled or rotated in Snowflake, or a policy changed: it worked at {}",
                at(worked)
            )),
            (Kind::PatRefused, _, None) if self.is_new() => Some(
                "likely: the new version in the store is not a token of this user and account, or is not active: it \
                 has not worked here yet"
                    .to_owned(),
            ),
            (Kind::PatRefused, _, None) => Some(
                "possible: it was removed, disabled or rotated while this gate did not run, or was never this user's"
                    .to_owned(),
            ),
            (Kind::KeyPairRefused, _, Some(worked)) => Some(format!(
                "likely: another key was set for the user, or the clock is wrong: it worked at {}",
                at(worked)
            )),
            (Kind::PatPolicy, ..) => address(self.said).map(|address| {
                format!("certain: Snowflake sees this gate at {address}, which the policy does not list")
            }),
            (Kind::UserLocked, _, Some(worked)) => Some(format!(
                "likely: another program has logged in with an old PAT or password: this gate's own worked at {}",
                at(worked)
            )),
            _ => None,
        }
    }

    fn is_new(&self) -> bool {
        self.created.is_some_and(|created| self.now.duration_since(created).unwrap_or_default() < NEW)
    }
}

/// The address in the text of a network policy's refusal: "Incoming request with IP/Token 192.0.2.1 is not allowed".
fn address(said: &str) -> Option<std::net::IpAddr> {
    said.split(|c: char| c.is_whitespace() || "\"',;()[]".contains(c))
        .find_map(|word| word.trim_end_matches('.').parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_code_has_several_causes_and_the_gate_says_which_and_how_sure_it_is() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let ago = |seconds| Some(now - Duration::from_secs(seconds));
        let told = |kind, expires, created, worked| {
            let said = "Incoming request with IP/Token 192.0.2.1 is not allowed to access Snowflake.";
            let (store_fails, others) = (None, Others::default());
            Known { kind, said, now, expires, created, worked, store_fails, others }.diagnosis().unwrap_or_default()
        };
        for (kind, expires, created, worked, begins) in [
            (Kind::PatRefused, ago(5), None, ago(60), "certain: the PAT ended at"),
            (Kind::PatRefused, None, None, ago(60), "likely: it was removed, disabled"),
            (Kind::PatRefused, None, ago(60), None, "likely: the new version in the store"),
            (Kind::PatRefused, None, ago(90_000), None, "possible: it was removed"),
            (Kind::PatExpired, None, None, None, "certain: Snowflake says"),
            (Kind::PatExpired, Some(now + NEW), None, None, "likely: its end was moved"),
            (Kind::PatPolicy, None, None, None, "certain: Snowflake sees this gate at 192.0.2.1"),
            (Kind::UserLocked, None, None, ago(60), "likely: another program"),
            (Kind::KeyPairRefused, None, None, ago(60), "likely: another key was set"),
            (Kind::KeyPairRefused, None, None, None, ""),
            (Kind::PolicyMissing, None, None, None, ""),
        ] {
            let told = told(kind, expires, created, worked);
            assert!(told.starts_with(begins) && (begins.is_empty() == told.is_empty()), "{kind:?}: {told}");
        }
        assert_eq!(address("no address"), None);
    }

    #[test]
    fn the_store_and_the_other_users_of_the_account_say_more() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let told = |kind, store_fails, (refused, working)| {
            let (said, others) = ("", Others { refused, working });
            let known = Known { kind, said, now, expires: None, created: None, worked: None, store_fails, others };
            known.diagnosis().unwrap_or_default()
        };
        let refused = told(Kind::PatRefused, Some(now), (0, 3));
        assert!(
            refused.starts_with("possible: it was removed") && refused.contains("possible: a newer version"),
            "{refused}"
        );
        assert!(told(Kind::PolicyMissing, Some(now), (2, 1)).contains("refuses 2 more of its users"));
        assert!(told(Kind::UserDisabled, None, (0, 1)).starts_with("likely: it is this user's own"));
        assert_eq!(told(Kind::PolicyMissing, Some(now), (0, 0)), "");
    }
}
