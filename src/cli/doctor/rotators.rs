//! The steps of the rotators: whether each sees the token that it is to rotate.

use std::time::Duration;

use super::step::{Link, Step};
use crate::cli::logins::look_at_tokens;
use crate::cli::place::Place;
use crate::config::Config;
use crate::pat::TokenLook;

/// How long the looks may take.
const PATIENCE: Duration = Duration::from_secs(16);

/// Looks as each rotator, through the running gate if there is one.
pub(super) async fn steps(config: &Config, place: &Place) -> Vec<Step> {
    match look_at_tokens(config, place, PATIENCE).await {
        Ok(looks) => looks.into_iter().map(step).collect(),
        Err(why) => vec![Step::unknown(Link::Rotator, "", format!("not asked: {why}"))],
    }
}

fn step(look: TokenLook) -> Step {
    let TokenLook { credentials, seen } = look;
    match seen {
        Ok(what) => Step::good(Link::Rotator, credentials, what),
        Err(failure) => Step::bad(Link::Rotator, credentials, failure.owner, failure.cause).next(failure.next_step),
    }
}
