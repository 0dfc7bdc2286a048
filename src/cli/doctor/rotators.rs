//! The steps of the rotators: whether each sees the token that it is to rotate.

use super::step::{Link, Step};
use crate::app::resolver;
use crate::base::clock::Env;
use crate::config::Config;
use crate::pat::{Accounts, TokenLook, look_at_tokens};

/// Looks as each rotator.
pub(super) async fn steps(config: &Config, accounts: &Accounts, env: &Env) -> Vec<Step> {
    // Stores that cannot be set up are told by the steps of the stores.
    let Ok(resolver) = resolver(config, &env.clock, &Default::default()) else { return Vec::new() };
    let looks = look_at_tokens(config, accounts, &resolver, env).await;
    looks.into_iter().map(step).collect()
}

fn step(look: TokenLook) -> Step {
    let TokenLook { credentials, seen } = look;
    match seen {
        Ok(what) => Step::good(Link::Rotator, credentials, what),
        Err(failure) => Step::bad(Link::Rotator, credentials, failure.owner, failure.cause).next(failure.next_step),
    }
}
