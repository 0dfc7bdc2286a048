//! [`Grant`]: proof that a client was admitted. Only this room can make one, and a PAT is to be had only for one.

use std::sync::Arc;

use crate::base::names::{ClientName, SecretRefs};
use crate::base::pins::Pins;
use crate::config::{Client, Credential};
use crate::session::Bound;

/// Proof of admission, and what it entitles to.
#[derive(Debug, Clone)]
pub struct Grant {
    client: Arc<Inner>,
    key: [u8; 8],
    bound: Bound,
}

#[derive(Debug)]
struct Inner {
    client: ClientName,
    credential: Arc<str>,
    account: Arc<str>,
    user: String,
    pat: SecretRefs,
    pins: Pins,
}

impl Grant {
    pub(super) fn new(name: ClientName, client: &Client, credential: &Credential) -> Self {
        let client = Arc::new(Inner {
            client: name,
            credential: client.credential.clone(),
            account: credential.account.clone(),
            user: credential.user.clone(),
            pat: credential.pat.clone(),
            pins: client.pins.or(&credential.pins),
        });
        Self { client, key: [0; 8], bound: Bound::default() }
    }

    /// The same for one login: by which key, and what its session is to be bound to.
    pub(super) fn of_login(&self, key: [u8; 8], bound: Bound) -> Self {
        Self { client: self.client.clone(), key, bound }
    }

    /// The first bytes of the hash of the client key that was shown.
    pub fn key(&self) -> [u8; 8] {
        self.key
    }

    /// What the session is bound to.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Who was admitted.
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

    /// The service user.
    pub fn user(&self) -> &str {
        &self.client.user
    }

    /// Where the service user's PAT is.
    pub fn pat(&self) -> &SecretRefs {
        &self.client.pat
    }

    /// The context that every session gets.
    pub fn pins(&self) -> &Pins {
        &self.client.pins
    }
}
