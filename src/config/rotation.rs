//! `[rotators.NAME]`, and `rotation` of a credential: who makes new PATs, and when.
//!
//! Facts (`docs` "ALTER USER … ADD PROGRAMMATIC ACCESS TOKEN", "… ROTATE PROGRAMMATIC ACCESS TOKEN", "Using
//! programmatic access tokens for authentication"): a token has a name of letters, digits and underscores, which
//! Snowflake stores in capitals; it lives for 1 to 365 days; the old one goes on for whole hours after a rotation; a
//! user has fifteen living tokens at most, and a rotated one counts while it lives; a session that was opened with a
//! token may not change the tokens of the same user.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::entries::{account_name, known, login};
use super::read::Section;
use super::units;
use super::{Account, Config, Credential, Store};
use crate::base::ids::ServiceUser;
use crate::base::names::{LoginRefs, SecretRefs};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// The longest life of a token.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// How many living tokens a user may have.
const TOKENS: u64 = 15;

/// `[rotators.NAME]`: a Snowflake user whose only right is to rotate the PATs of others.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotator {
    /// The name of an account.
    pub account: Arc<str>,
    /// The Snowflake user.
    pub user: String,
    /// What it logs in with.
    pub login: LoginRefs,
}

/// `rotation` of a credential.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    /// The name of a rotator.
    pub rotator: Arc<str>,
    /// The token's name at Snowflake, in capitals.
    pub token: String,
    /// How often the gate makes a new version; a day at least.
    pub every: Duration,
    /// How long the version before goes on, in whole hours.
    pub overlap: Duration,
    /// How long a new version lives, in whole days; `None` keeps the lifetime that the token was made with.
    pub lifetime: Option<Duration>,
    /// The role that the token is restricted to; `None` keeps the one that the token was made with.
    pub role: Option<String>,
}

impl Config {
    /// What the gate logs in to Snowflake with, each with its table: `credentials.NAME` or `rotators.NAME`.
    pub fn logins(&self) -> impl Iterator<Item = (String, &LoginRefs)> {
        let credentials = self.credentials.iter().map(|(name, one)| (format!("credentials.{name}"), &one.login));
        credentials.chain(self.rotators.iter().map(|(name, one)| (format!("rotators.{name}"), &one.login)))
    }
}

/// `[rotators.NAME]`.
pub(super) fn rotator(section: Section<'_>, accounts: &[String], stores: &[String]) -> Option<Rotator> {
    let account = account_name(&section, accounts);
    let user = section.required("user", "the name of a Snowflake user who may rotate the PATs of other users");
    let login = login(&section, stores);
    section.finish();
    Some(Rotator { account: Arc::from(account?), user: user?.value, login: login? })
}

/// What the rotations of the file are checked against, and those that were read.
pub(super) struct Rotations<'a> {
    pub rotators: &'a BTreeMap<Arc<str>, Rotator>,
    pub rotator_names: &'a [String],
    pub accounts: &'a BTreeMap<Arc<str>, Account>,
    pub account_names: &'a [String],
    pub stores: &'a BTreeMap<Arc<str>, Store>,
    pub store_names: &'a [String],
    pub seen: Vec<Seen>,
}

/// The credential of a rotation, as far as it could be read.
pub(super) struct RotationOf<'a> {
    pub credential: &'a str,
    pub account: Option<&'a str>,
    pub user: Option<&'a str>,
    pub login: Option<&'a LoginRefs>,
}

/// A rotation that was read.
pub(super) struct Seen {
    credential: String,
    user: ServiceUser,
    references: SecretRefs,
    rotation: Rotation,
}

impl Rotations<'_> {
    /// `rotation` of a credential.
    pub(super) fn read(&mut self, section: Section<'_>, of: &RotationOf<'_>) -> Option<Rotation> {
        let rotator = section.required("rotator", "the name of a rotator");
        if let Some(rotator) = &rotator {
            known(&section, &rotator.span, "rotator", &rotator.value, self.rotator_names);
            if let Some(found) = self.rotators.get(&*rotator.value) {
                fits(&section, &rotator.span, found, of);
            }
        }
        let token = section.required_parsed("token", "the token's name: letters, digits and underscores", token);
        section.matches("every", units::DURATION);
        section.matches("overlap", units::DURATION);
        let every = "a duration from 1d to 365d, such as \"60d\"";
        let every = section.required_parsed("every", every, |text| within(text, DAY..YEAR));
        let overlap = "whole hours from 0h to 365d, such as \"24h\"";
        let overlap = section.parsed("overlap", overlap, |text| whole(within(text, Duration::ZERO..YEAR)?, HOUR));
        let lifetime = section.parsed("lifetime", LIFETIME, lifetime);
        let role = section.text("role", "the name of a role").map(|found| found.value);
        let overlap_at = overlap.as_ref().map_or(0..0, |found| found.span.clone());
        let rotation = (|| {
            Some(Rotation {
                rotator: Arc::from(rotator?.value),
                token: token?.value,
                every: every?.value,
                overlap: match overlap {
                    Some(overlap) => overlap.value,
                    None if section.has("overlap") => return None,
                    None => DAY,
                },
                lifetime: lifetime.as_ref().map(|found| found.value),
                role,
            })
        })();
        if let Some(rotation) = &rotation {
            times(&section, rotation, lifetime.map(|found| found.span), &overlap_at);
            self.alone(&section, rotation, of);
        }
        self.written(&section, of);
        section.finish();
        rotation
    }

    /// The gate can write the new token.
    fn written(&self, section: &Section<'_>, of: &RotationOf<'_>) {
        let Some(login) = of.login else { return };
        if matches!(login, LoginRefs::KeyPair(..)) {
            section.error("a key pair is no token that the gate could rotate", "Remove `rotation`, or write `pat`");
            return;
        }
        let first = login.secret().iter().next().and_then(|first| self.stores.get(&first.store));
        if first.is_some_and(|store| matches!(store, Store::Env)) {
            let what = "the gate cannot write a new token into an environment variable";
            section.error(what, "Put a reference to another store first in `pat`");
        }
    }

    /// A token belongs to a user, not to a credential: a credential of the same user with the same references has its
    /// rotation too.
    pub(super) fn share(&self, credentials: &mut BTreeMap<Arc<str>, Credential>) {
        let has_none = |one: &&mut Credential| one.rotation.is_none() && matches!(one.login, LoginRefs::Pat(_));
        for credential in credentials.values_mut().filter(has_none) {
            let Some(account) = self.accounts.get(&credential.account) else { continue };
            let user = ServiceUser::new(&account.authority(), &credential.user);
            let same = |seen: &&Seen| seen.user == user && seen.references == *credential.login.secret();
            credential.rotation = self.seen.iter().find(same).map(|seen| seen.rotation.clone());
        }
    }

    /// No other credential rotates the same token, or another token into the same secret.
    fn alone(&mut self, section: &Section<'_>, rotation: &Rotation, of: &RotationOf<'_>) {
        let (Some(account), Some(user)) = (of.account.and_then(|name| self.accounts.get(name)), of.user) else {
            return;
        };
        let Some(references) = of.login.map(LoginRefs::secret) else { return };
        let user = ServiceUser::new(&account.authority(), user);
        // One of them is enough to see.
        for other in &self.seen {
            let one_token = other.user == user && other.rotation.token == rotation.token;
            if one_token {
                let what = format!("credentials.{} rotates this token already", other.credential);
                let remedy =
                    "Leave `rotation` in one of them, and give both the same `pat`: it is rotated once for both";
                section.error(what, remedy);
                break;
            }
            if other.references.iter().next() == references.iter().next() {
                let what = format!("credentials.{} rotates another token into the same secret", other.credential);
                section.error(what, "Give each a secret of its own");
                break;
            }
        }
        let (credential, references) = (of.credential.to_owned(), references.clone());
        self.seen.push(Seen { credential, user, references, rotation: rotation.clone() });
    }
}

/// The rotator is of the same account, and another user.
fn fits(section: &Section<'_>, span: &Range<usize>, rotator: &Rotator, of: &RotationOf<'_>) {
    if of.account.is_some_and(|account| account != &*rotator.account) {
        let what = "this rotator is a user of another account";
        section.error_at(span, "rotator", what, "Name a rotator of the credential's account");
    } else if of.user.is_some_and(|user| user.eq_ignore_ascii_case(&rotator.user)) {
        let what = "this rotator is the credential's own user, who may not change its own tokens";
        section.error_at(span, "rotator", what, "Make a user of its own that may rotate the tokens of this one");
    }
}

/// The times fit each other, and what Snowflake allows.
fn times(section: &Section<'_>, rotation: &Rotation, lifetime: Option<Range<usize>>, overlap: &Range<usize>) {
    let Rotation { every, overlap: goes_on, .. } = rotation;
    if let (Some(lives), Some(at)) = (rotation.lifetime, lifetime)
        && *every + *goes_on > lives
    {
        let what = "a token would end before its successor is in use everywhere: `every` and `overlap` are longer";
        section.error_at(&at, "lifetime", what, "Make it longer, or `every` shorter");
    }
    // Those whose overlap goes on, the one in use, and the new one.
    if goes_on.as_secs() / every.as_secs().max(1) + 2 > TOKENS {
        let what = format!("more than {TOKENS} tokens would live at once, which Snowflake does not allow");
        section.error_at(overlap, "overlap", what, "Make it shorter, or `every` longer");
    }
}

const LIFETIME: &str = "whole days from 1d to 365d, or \"production\" (90d) or \"development\" (180d)";

fn lifetime(text: &str) -> Option<Duration> {
    match text {
        "production" => Some(90 * DAY),
        "development" => Some(180 * DAY),
        _ => whole(within(text, DAY..YEAR)?, DAY),
    }
}

fn token(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    fits.then(|| text.to_ascii_uppercase())
}

/// A duration in a range, both ends included.
fn within(text: &str, range: Range<Duration>) -> Option<Duration> {
    units::duration(text).filter(|value| *value >= range.start && *value <= range.end)
}

/// A duration of whole units.
fn whole(value: Duration, unit: Duration) -> Option<Duration> {
    value.as_millis().is_multiple_of(unit.as_millis()).then_some(value)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::file;

    #[test]
    fn who_uses_the_token_has_its_rotation() {
        let credential = |name: &str, user: &str, pat: &str, rotation: &str| {
            format!("[credentials.{name}]\naccount = 'a'\nuser = '{user}'\npat = {pat}\n{rotation}\n")
        };
        let rotation = "rotation = { rotator = 'r', token = 'T', every = '60d' }";
        let text = [
            "[listen]\naddress = '127.0.0.1:0'\ndanger_plaintext = true\n[stores.f.file]\npath = 'secrets'\n",
            "[accounts.a]\nhost = 'x.snowflakecomputing.com'\n",
            "[rotators.r]\naccount = 'a'\nuser = 'R'\nkey_pair = 'f:r.pem'\n",
            &credential("first", "U", "'f:u'", ""),
            &credential("second", "u", "['f:u']", rotation),
            &credential("other-user", "V", "'f:u'", ""),
            &credential("other-secret", "U", "['f:u', 'f:v']", ""),
            "[clients.c]\ncredential = 'first'\ntrust = 'loopback'\n",
        ];
        let (config, _) = file::parse(Path::new("p.toml"), &text.concat()).unwrap_or_else(|report| panic!("{report}"));
        let rotated = config.credentials.iter().filter(|(_, one)| one.rotation.is_some());
        assert_eq!(rotated.map(|(name, _)| &**name).collect::<Vec<_>>(), ["first", "second"]);
    }
}
