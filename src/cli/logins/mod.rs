//! Logins for a command: the running gate sends them under its guard; where no gate runs, the command does, with the
//! gate's journal. In both cases a version that Snowflake has refused is not sent again.

#[cfg_attr(unix, path = "owner_unix.rs")]
#[cfg_attr(windows, path = "owner_windows.rs")]
mod owner;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::app::{Alone, Verb, Work, pats_alone};
use crate::base::clock::Env;
use crate::cli::admin_client::encoded;
use crate::cli::place::Place;
use crate::cli::state_place;
use crate::config::Config;
use crate::pat::{Proof, TokenLook};

/// The outcome for each credential; the error says why nothing was sent.
pub(super) type Proofs = BTreeMap<Arc<str>, Result<Proof, String>>;

/// What the gate at an address says.
enum Answer<T> {
    Said(T),
    /// Nothing listens there.
    NoGate,
    /// It does not do it.
    Refused(String),
}

/// Logs in with each credential, all at once, within this time.
pub(super) async fn prove(config: &Config, place: &Place, within: Duration) -> Proofs {
    let mut asked = Vec::new();
    for credential in config.credentials.keys() {
        let (place, credential) = (place.clone(), credential.clone());
        asked.push(tokio::spawn(async move {
            let query = format!("?credential={}", encoded(&credential));
            (credential, ask(&place, Verb::Login, &query, within).await)
        }));
    }
    let (mut proofs, mut alone) = (Proofs::new(), Vec::new());
    for one in asked {
        match one.await {
            Ok((credential, Answer::Said(proof))) => drop(proofs.insert(credential, Ok(proof))),
            Ok((credential, Answer::Refused(why))) => drop(proofs.insert(credential, Err(why))),
            Ok((credential, Answer::NoGate)) => alone.push(credential),
            Err(_panic) => {}
        }
    }
    if !alone.is_empty() {
        proofs.extend(log_in_alone(config, alone, within).await);
    }
    proofs
}

/// What each rotator sees, or why nothing was asked.
pub(super) async fn look_at_tokens(config: &Config, place: &Place, within: Duration) -> Result<Vec<TokenLook>, String> {
    if config.credentials.values().all(|credential| credential.rotation.is_none()) {
        return Ok(Vec::new());
    }
    match ask(place, Verb::LookAtTokens, "", within).await {
        Answer::Said(looks) => Ok(looks),
        Answer::Refused(why) => Err(why),
        Answer::NoGate => {
            let pats = pats_without_gate(config, Work::Look).map_err(|why| format!("no gate answers, and {why}"))?.pats;
            let late = |_| format!("no answer within {} s", within.as_secs());
            timeout(within, pats.look_at_tokens()).await.map_err(late)
        }
    }
}

/// Asks the gate at an address, within this time.
async fn ask<T: DeserializeOwned>(place: &Place, verb: Verb, query: &str, within: Duration) -> Answer<T> {
    let (method, path) = verb.route();
    let answered = match timeout(within, place.ask(method, &format!("{path}{query}"))).await {
        Ok(answered) => answered,
        Err(_late) => {
            return Answer::Refused(format!("the gate at {place} gave no answer within {} s", within.as_secs()));
        }
    };
    let (status, body) = match answered {
        Ok(answered) => answered,
        Err(error) => {
            let absent = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound];
            return match error.downcast_ref::<io::Error>().is_some_and(|error| absent.contains(&error.kind())) {
                true => Answer::NoGate,
                false => Answer::Refused(format!("the gate at {place} does not answer: {error}")),
            };
        }
    };
    match serde_json::from_slice(&body) {
        Ok(said) if status == StatusCode::OK => Answer::Said(said),
        _ => {
            let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let said = said["error"].as_str().unwrap_or("it is another program, or another version of patgate");
            Answer::Refused(format!("the gate at {place} answers: {said}"))
        }
    }
}

/// The same without a gate.
async fn log_in_alone(config: &Config, credentials: Vec<Arc<str>>, within: Duration) -> Proofs {
    let none = |why: String| credentials.iter().map(|one| (one.clone(), Err(why.clone()))).collect();
    let pats = match pats_without_gate(config, Work::Look) {
        Ok(alone) => alone.pats,
        Err(why) => return none(format!("no gate answers, and {why}")),
    };
    let mut proofs = Vec::new();
    for credential in credentials {
        let pats = pats.clone();
        proofs.push(tokio::spawn(async move {
            let proof = timeout(within, pats.prove(&credential)).await;
            let late = || Err(format!("no answer within {} s", within.as_secs()));
            let proof = proof.map_or_else(|_| late(), |proof| Ok(proof.unwrap_or_default()));
            (credential, proof)
        }));
    }
    let mut all = Proofs::new();
    for proof in proofs {
        all.extend(proof.await);
    }
    all
}

/// The PATs of a command, where no gate answers; the error says why it may not, or cannot.
pub(super) fn pats_without_gate(config: &Config, work: Work) -> Result<Alone, String> {
    let state = state_place::of_gate(config).path;
    if !owner::may_keep_state(&state) {
        return Err(format!(
            "the state directory {} belongs to another user, the gate's: run the command as that one",
            state.display()
        ));
    }
    pats_alone(config, &state, &Env::default(), work).map_err(|error| format!("a login cannot be prepared: {error}"))
}
