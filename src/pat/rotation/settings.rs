//! [`RotatedToken`]: one token that the gate rotates, with everything that the configuration says of it.
//!
//! Several credentials may use the same token; it is rotated once for all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;

use super::look::Look;
use crate::base::ids::ServiceUser;
use crate::base::names::LoginRefs;
use crate::config::{Config, Rotation};
use crate::pat::Accounts;
use crate::upstream::AccountState;

/// A token that the gate rotates.
pub(in crate::pat) struct RotatedToken {
    /// The credentials that use it, by name; the first one's own login is its proof.
    pub credentials: Vec<Arc<str>>,
    /// The service user that has it.
    pub user: ServiceUser,
    /// The references of its secret.
    pub login: LoginRefs,
    /// When and how.
    pub terms: Terms,
    /// Who changes it at Snowflake.
    pub rotator: RotatorLogin,
    /// The account, if it can be set up.
    pub account: Option<Arc<AccountState>>,
    /// What Snowflake and the journal said last.
    pub look: Mutex<Look>,
}

/// The user who changes the token.
pub(in crate::pat) struct RotatorLogin {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its user at Snowflake.
    pub user: ServiceUser,
    /// What it logs in with.
    pub login: LoginRefs,
}

/// When a token is rotated, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The token's name at Snowflake, in capitals.
    pub token: String,
    /// How often.
    pub every: Duration,
    /// How long the old one goes on; zero: it is removed as soon as the new one is in use.
    pub overlap: Duration,
    /// How long a new one lives; `None` keeps the lifetime.
    pub lifetime: Option<Duration>,
    /// The role that it is restricted to; `None` keeps the role.
    pub role: Option<String>,
}

impl From<&Rotation> for Terms {
    fn from(rotation: &Rotation) -> Self {
        let Rotation { rotator: _, token, every, overlap, lifetime, role } = rotation;
        let (every, overlap, lifetime) = (*every, *overlap, *lifetime);
        Self { token: token.clone(), every, overlap, lifetime, role: role.clone() }
    }
}

impl RotatedToken {
    /// The tokens that a configuration rotates, by credential.
    pub(super) fn all(config: &Config, accounts: &Accounts) -> BTreeMap<Arc<str>, Arc<Self>> {
        let mut tokens: Vec<Self> = Vec::new();
        for (name, credential) in &config.credentials {
            let Some(rotation) = &credential.rotation else { continue };
            let Some(rotator) = config.rotators.get(&rotation.rotator) else { continue };
            let Some(account) = config.accounts.get(&credential.account) else { continue };
            let user = ServiceUser::new(&account.authority(), &credential.user);
            let terms = Terms::from(rotation);
            let same = |one: &&mut Self| one.user == user && one.terms.token == terms.token;
            if let Some(same) = tokens.iter_mut().find(same) {
                same.credentials.push(name.clone());
                continue;
            }
            let (rotator_name, login) = (rotation.rotator.clone(), credential.login.clone());
            tokens.push(Self {
                credentials: vec![name.clone()],
                user,
                login,
                terms,
                rotator: RotatorLogin {
                    name: rotator_name,
                    user: ServiceUser::new(&account.authority(), &rotator.user),
                    login: rotator.login.clone(),
                },
                account: accounts.get(&credential.account).cloned(),
                look: Mutex::default(),
            });
        }
        let tokens = tokens.into_iter().map(Arc::new);
        tokens.flat_map(|token| token.credentials.clone().into_iter().map(move |name| (name, token.clone()))).collect()
    }

    /// The credential whose own login proves the token.
    pub fn credential(&self) -> &str {
        self.credentials.first().map_or("", |name| name)
    }

    /// The credentials, for people.
    pub fn names(&self) -> String {
        self.credentials.join(", ")
    }

    /// The name of its file in the state directory, and of its turn among gates: a hash, because an account and a user
    /// may hold any character.
    pub(super) fn file(&self) -> String {
        let (user, token) = (&self.user, &self.terms.token);
        let hash = digest(&SHA256, format!("{user}\n{token}").as_bytes());
        format!("rotation-{}", hex::encode(&hash.as_ref()[..8]))
    }
}
