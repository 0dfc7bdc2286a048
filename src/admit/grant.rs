//! [`Grant`]: proof that a client was admitted. Only this room can make one, and a PAT is to be had only for one.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use crate::base::names::{ClientName, SecretRefs};
use crate::base::pins::Pins;
use crate::config::{Account, Client, Credential};
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
    host: Arc<str>,
    target: [u8; 8],
    user: String,
    pat: SecretRefs,
    pins: Pins,
}

impl Grant {
    pub(super) fn new(name: ClientName, client: &Client, credential: &Credential, account: &Account) -> Self {
        let host: Arc<str> = account.authority().to_lowercase().into();
        let named = format!("{host}\n{}", credential.user.to_uppercase());
        let mut target = [0; 8];
        target.copy_from_slice(&digest(&SHA256, named.as_bytes()).as_ref()[..8]);
        let client = Arc::new(Inner {
            client: name,
            credential: client.credential.clone(),
            account: credential.account.clone(),
            host,
            target,
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

    /// The account's host, which is what it is known by to Snowflake.
    pub fn host(&self) -> &Arc<str> {
        &self.client.host
    }

    /// What tells host and service user from others.
    pub fn target(&self) -> [u8; 8] {
        self.client.target
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
