//! [`Logout`]: the end of a session at Snowflake that no client gets.

use std::sync::Arc;

use crate::base::secret::Secret;
use crate::upstream::AccountClient;

/// Ends the session at Snowflake if nobody gets it: its client has left, or the gate cannot seal it.
pub(super) struct Logout {
    account: Arc<AccountClient>,
    /// `None` once the answer is on its way.
    token: Option<Secret>,
}

impl Logout {
    /// For the session with this token.
    pub(super) fn new(account: Arc<AccountClient>, token: Secret) -> Self {
        Self { account, token: Some(token) }
    }

    /// The client gets the session.
    pub(super) fn disarm(&mut self) {
        self.token = None;
    }
}

impl Drop for Logout {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            let account = self.account.clone();
            tokio::spawn(async move { account.log_out(&token).await });
        }
    }
}
