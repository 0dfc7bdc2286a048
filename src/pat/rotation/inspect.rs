//! What the rotators of a configuration see at Snowflake, for a command: nothing is changed, and no state is needed.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

use super::failure::RotationFailure;
use super::settings::RotatedToken;
use super::statements::Statements;
use super::tidy::living;
use crate::base::clock::Env;
use crate::base::fault::Owner;
use crate::base::rfc3339;
use crate::config::Config;
use crate::pat::Accounts;
use crate::snowflake::token_statement::TokenStatus;
use crate::stores::Resolver;

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a rotator sees of one token.
pub struct TokenLook {
    /// The credentials that use it.
    pub credentials: String,
    /// What it sees, for people; or why it does not.
    pub seen: Result<String, RotationFailure>,
}

/// Looks at each token that the configuration rotates, as its rotator.
pub async fn look_at_tokens(config: &Config, accounts: &Accounts, resolver: &Resolver, env: &Env) -> Vec<TokenLook> {
    let (mut looks, mut told) = (Vec::new(), BTreeSet::new());
    for token in RotatedToken::all(config, accounts).into_values() {
        if !told.insert(token.names()) {
            continue;
        }
        let late = |_| Err(RotationFailure::new(Owner::Snowflake, "no answer to SHOW in time", "Try again"));
        let seen = timeout(PATIENCE, look(&token, resolver, env)).await.unwrap_or_else(late);
        looks.push(TokenLook { credentials: token.names(), seen });
    }
    looks
}

async fn look(token: &RotatedToken, resolver: &Resolver, env: &Env) -> Result<String, RotationFailure> {
    let tokens = Statements { token, resolver, env, gate: None }.show().await?;
    let (name, now) = (&token.terms.token, env.clock.wall());
    let Some(found) = tokens.iter().rfind(|one| one.name == *name) else {
        return Err(RotationFailure::no_token(&token.terms));
    };
    if found.status == TokenStatus::Disabled {
        return Err(RotationFailure::disabled(&token.terms));
    }
    let end = found.expires.map_or_else(|| "unknown".to_owned(), rfc3339::show);
    let (rotator, living) = (&token.rotator.name, living(&tokens, now));
    Ok(format!("the rotator {rotator} sees the token {name}, which ends at {end}; {living} tokens of the user live"))
}
