//! [`Grant`]: proof that a client was admitted. Only this room can make one, and a PAT is to be had only for one.

use std::sync::Arc;

use crate::base::names::{ClientName, SecretRefs};
use crate::base::pins::Pins;
use crate::config::Credential;

/// Proof of admission, and what it entitles to.
#[derive(Debug, Clone)]
pub struct Grant(Arc<Inner>);

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
    pub(super) fn new(client: ClientName, name: Arc<str>, credential: &Credential) -> Self {
        Self(Arc::new(Inner {
            client,
            credential: name,
            account: credential.account.clone(),
            user: credential.user.clone(),
            pat: credential.pat.clone(),
            pins: credential.pins.clone(),
        }))
    }

    /// Who was admitted.
    pub fn client(&self) -> &ClientName {
        &self.0.client
    }

    /// The credential it may use.
    pub fn credential(&self) -> &Arc<str> {
        &self.0.credential
    }

    /// The account it may reach.
    pub fn account(&self) -> &Arc<str> {
        &self.0.account
    }

    /// The service user.
    pub fn user(&self) -> &str {
        &self.0.user
    }

    /// Where the service user's PAT is.
    pub fn pat(&self) -> &SecretRefs {
        &self.0.pat
    }

    /// The context that every session gets.
    pub fn pins(&self) -> &Pins {
        &self.0.pins
    }
}
