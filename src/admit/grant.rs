//! [`Grant`]: proof that a client was admitted. Only the module `admit` makes grants, and the gate gives a PAT only for
//! a grant.

use std::sync::Arc;

use crate::base::ids::{KeyTag, ServiceUser, UserTag};
use crate::base::names::{ClientName, LoginRefs};
use crate::base::pins::Pins;
use crate::config::{Account, Client, Credential};
use crate::ticket::Bound;

/// Proof of admission, and the rights of the client.
#[derive(Debug, Clone)]
pub struct Grant {
    client: Arc<Inner>,
    key: KeyTag,
    bound: Bound,
}

#[derive(Debug)]
struct Inner {
    client: ClientName,
    credential: Arc<str>,
    account: Arc<str>,
    service_user: ServiceUser,
    user_tag: UserTag,
    user: String,
    login: LoginRefs,
    pins: Pins,
    query_tag: bool,
}

impl Grant {
    pub(super) fn new(name: ClientName, client: &Client, credential: &Credential, account: &Account) -> Self {
        let service_user = ServiceUser::new(&account.authority(), &credential.user);
        let client = Arc::new(Inner {
            client: name,
            credential: client.credential.clone(),
            account: credential.account.clone(),
            user_tag: service_user.tag(),
            service_user,
            user: credential.user.clone(),
            login: credential.login.clone(),
            pins: client.pins.or(&credential.pins),
            query_tag: client.query_tag,
        });
        Self { client, key: KeyTag::NONE, bound: Bound::default() }
    }

    /// The same for one login, with its key and the binding of its session.
    pub(super) fn of_login(&self, key: KeyTag, bound: Bound) -> Self {
        Self { client: self.client.clone(), key, bound }
    }

    /// The client key that was shown.
    pub fn key(&self) -> KeyTag {
        self.key
    }

    /// What the session is bound to.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// The admitted client.
    pub fn client(&self) -> &ClientName {
        &self.client.client
    }

    /// The credential it may use.
    pub fn credential(&self) -> &Arc<str> {
        &self.client.credential
    }

    /// The account it may reach.
    pub fn account(&self) -> &Arc<str> {
        &self.client.account
    }

    /// The service user, which Snowflake locks.
    pub fn service_user(&self) -> &ServiceUser {
        &self.client.service_user
    }

    /// The service user in the form for tickets.
    pub fn user_tag(&self) -> UserTag {
        self.client.user_tag
    }

    /// The service user's name as the configuration writes it.
    pub fn user(&self) -> &str {
        &self.client.user
    }

    /// The references of what the service user logs in with.
    pub fn login(&self) -> &LoginRefs {
        &self.client.login
    }

    /// Whether its sessions get a query tag.
    pub fn query_tag(&self) -> bool {
        self.client.query_tag
    }

    /// The context that every session gets.
    pub fn pins(&self) -> &Pins {
        &self.client.pins
    }
}
