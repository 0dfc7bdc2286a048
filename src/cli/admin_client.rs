//! A request to a running gate.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::place::Place;
use super::shell::{CommandError, GateArgs, control_runtime};
use crate::app::Verb;
use crate::base::fault::Owner;
use crate::config::file;

/// The deadline of a request. A gate that reads a store may take as long as that store.
const PATIENCE: Duration = Duration::from_secs(60);

/// The body of a refusal.
#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
    /// Who has to act, where the work was tried and failed.
    owner: Option<Owner>,
}

/// Why a question has no answer that a command can use.
pub(super) enum NoAnswer {
    /// The configuration, which has the gate's address, cannot be read.
    NoFile(CommandError),
    /// The gate was not asked, or did not answer.
    NotAsked(CommandError),
    /// The gate refused, with this status and for this reason.
    Refused(StatusCode, String),
    /// The gate tried, and it failed: who has to act, and why.
    Failed(Owner, String),
}

impl From<NoAnswer> for CommandError {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::NotAsked(error) => error,
            NoAnswer::NoFile(error) => {
                let next = "The running gate needs no file for this: name its admin address with --admin ADDRESS; its \
                            log has it in the line \"listening\"";
                Self { text: format!("{}\n{next}", error.text.trim_end()), ..error }
            }
            NoAnswer::Failed(owner, reason) => Self::of(owner, reason),
            NoAnswer::Refused(status, reason) => {
                let text = format!("the gate answers: {reason}");
                match status {
                    StatusCode::NOT_FOUND | StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT => {
                        Self::attention(text)
                    }
                    StatusCode::UNPROCESSABLE_ENTITY => Self::of(Owner::Client, text),
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::of(Owner::Policy, text),
                    _ => Self::gate(text),
                }
            }
        }
    }
}

impl From<CommandError> for NoAnswer {
    fn from(error: CommandError) -> Self {
        Self::NotAsked(error)
    }
}

/// Sends a request to a running gate; returns its status and its answer.
pub(super) fn ask<T: DeserializeOwned>(args: &GateArgs, verb: Verb, query: &str) -> Result<(StatusCode, T), NoAnswer> {
    ask_within(PATIENCE, args, verb, query)
}

/// The same, with another deadline.
pub(super) fn ask_within<T: DeserializeOwned>(
    within: Duration,
    args: &GateArgs,
    verb: Verb,
    query: &str,
) -> Result<(StatusCode, T), NoAnswer> {
    let (method, path) = verb.route();
    let target = format!("{path}{query}");
    let (place, hint) = place(args)?;
    let failed = |why: String| {
        NoAnswer::NotAsked(CommandError::gate(format!("no answer from the gate at {place}: {why}. {hint}")))
    };
    let asked = async { tokio::time::timeout(within, place.ask(method, &target)).await };
    let answered = control_runtime()?.block_on(asked);
    let answered = answered.map_err(|_| failed(format!("no answer within {} s", within.as_secs())))?;
    let (status, body) = answered.map_err(|error| failed(error.to_string()))?;
    match serde_json::from_slice(&body) {
        Ok(answer) => Ok((status, answer)),
        Err(unexpected) => match serde_json::from_slice::<ErrorAnswer>(&body) {
            Ok(ErrorAnswer { error, owner: Some(owner) }) if status != StatusCode::CONFLICT => {
                Err(NoAnswer::Failed(owner, error))
            }
            Ok(ErrorAnswer { error, owner: _ }) => Err(NoAnswer::Refused(status, error)),
            Err(_) => Err(failed(format!("the answer is from another version of patgate ({unexpected})"))),
        },
    }
}

/// Where the gate is, and what to look at if it is not there.
fn place(args: &GateArgs) -> Result<(Place, &'static str), NoAnswer> {
    if let Some(place) = &args.admin {
        return Ok((place.clone(), "Is it running, and is this its admin address? Its log has it in \"listening\""));
    }
    let file = args.file().map_err(NoAnswer::NoFile)?;
    let (config, _) = file::load(&file).map_err(|report| NoAnswer::NoFile(CommandError::gate(report)))?;
    let hint = "Is it running with this file? If admin.address or admin.socket was changed, the gate uses the old one \
                until it restarts: name it with --admin ADDRESS";
    Ok((Place::of(config.admin), hint))
}

/// A value in the query string of a target.
pub(super) fn encoded(value: &str) -> percent_encoding::PercentEncode<'_> {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC)
}
