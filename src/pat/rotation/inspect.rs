//! What the rotators see at Snowflake, for a command: nothing is changed, and the guard counts it as any statement.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::failure::RotationFailure;
use super::settings::RotatedToken;
use super::tidy::living;
use crate::base::fault::Owner;
use crate::base::rfc3339;
use crate::pat::{Inner, Pats};
use crate::snowflake::token_statement::TokenStatus;

/// How long the looks may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a rotator sees of one token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenLook {
    /// The credentials that use it.
    pub credentials: String,
    /// What it sees, for people; or why it does not.
    pub seen: Result<String, RotationFailure>,
}

impl Pats {
    /// Looks at each token that is rotated, as its rotator; all at once.
    pub async fn look_at_tokens(&self) -> Vec<TokenLook> {
        let mut asked = Vec::new();
        for token in self.inner.rotations.each() {
            let (inner, token) = (self.inner.clone(), token.clone());
            let names = token.names();
            // A task of its own, which goes on where nobody waits any more: its outcome counts.
            asked.push((names, self.inner.control.spawn(async move { inner.seen(&token).await })));
        }
        let until = Instant::now() + PATIENCE;
        let mut looks = Vec::new();
        for (credentials, look) in asked {
            let late = || RotationFailure::new(Owner::Gate, "the look was not over in time", "Run it again");
            let seen = match timeout_at(until, look).await {
                Ok(Ok(seen)) => seen,
                Ok(Err(_)) | Err(_) => Err(late()),
            };
            looks.push(TokenLook { credentials, seen });
        }
        looks
    }
}

impl Inner {
    async fn seen(&self, token: &RotatedToken) -> Result<String, RotationFailure> {
        let tokens = self.statements(token).show().await?;
        let (name, now) = (&token.terms.token, self.env.clock.wall());
        let Some(found) = tokens.iter().rfind(|one| one.name == *name) else {
            return Err(RotationFailure::no_token(&token.terms));
        };
        if found.status == TokenStatus::Disabled {
            return Err(RotationFailure::disabled(&token.terms));
        }
        let end = found.expires.map_or_else(|| "unknown".to_owned(), rfc3339::show);
        let (rotator, living) = (&token.rotator.name, living(&tokens, now));
        Ok(format!(
            "the rotator {rotator} sees the token {name}, which ends at {end}; {living} tokens of the user live"
        ))
    }
}
