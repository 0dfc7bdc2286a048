//! One login with each credential, and one look as each rotator.

use std::time::Duration;

use super::finding::Finding;
use crate::base::fault::Owner;
use crate::cli::logins::{look_at_tokens, prove};
use crate::cli::place::Place;
use crate::config::Config;
use crate::pat::{Proof, TokenLook};

const AS_WHOM: &str = "Run the check as the gate's user, or as an operator of the running gate (admin.users)";
/// How long a login may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Logs in with each credential, through the running gate if there is one.
pub(super) async fn log_in(config: &Config) -> Vec<Finding> {
    let place = Place::of(config.admin.clone());
    let (proofs, looks) = tokio::join!(prove(config, &place, PATIENCE), look_at_tokens(config, &place, PATIENCE));
    let proofs = proofs.into_iter().map(|(credential, proof)| finding(&format!("credentials.{credential}"), proof));
    let looks = match looks {
        Ok(looks) => looks.into_iter().map(of_look).collect(),
        Err(why) => vec![Finding::warning("rotators", format!("no rotator was asked: {why}"), AS_WHOM)],
    };
    proofs.chain(looks).collect()
}

fn of_look(TokenLook { credentials, seen }: TokenLook) -> Finding {
    let key = format!("credentials.{credentials}.rotation");
    match seen {
        Ok(what) => Finding::ok(&key, what),
        Err(failure) => Finding::error(&key, failure.cause, failure.next_step).of(failure.owner),
    }
}

fn finding(key: &str, proof: Result<Proof, String>) -> Finding {
    let (login, places) = match proof {
        Ok(proof) => (proof.login, proof.places),
        Err(why) => {
            return Finding::warning(key, format!("no login was sent: {why}"), AS_WHOM);
        }
    };
    if let Some(wrong) = places.iter().find(|place| !place.is_right()) {
        let (asked, got) = (wrong.asked.as_deref().unwrap_or("none"), wrong.got.as_deref().unwrap_or("none"));
        let what = format!("the login asks for the {} {asked}, and gets {got}", wrong.place);
        return Finding::error(key, what, "Correct it, or grant it to the service user").of(Owner::Gate);
    }
    match (login.ok, login.kind) {
        (Some(true), _) => Finding::ok(key, format!("{} ({} ms)", login.what, login.ms)),
        (_, Some(kind)) => {
            let rule = kind.rule();
            let step = kind.page().next_step.trim_end_matches('.');
            Finding::error(key, format!("{} ({})", login.what, rule.code), step).of(rule.owner)
        }
        (_, None) => Finding::warning(key, login.what, "Try again in a moment").of(Owner::Gate),
    }
}
