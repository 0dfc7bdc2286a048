//! [`AccountClient::run`]: one statement of a rotator's, by the SQL API, which needs no session that could end.
//!
//! A statement is sent once, with an id of its own. What nobody answered may have been carried out: the caller looks
//! (SHOW) before it does anything else. Snowflake's way to ask again for the same answer (`retry=true`) is not used:
//! whether it gives a token's secret a second time is not known.

use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::account::AccountClient;
use super::own_session::read;
use crate::base::fault::{Fault, Kind};
use crate::snowflake::login_secret::LoginSecret;
use crate::snowflake::refusal::Refusal;
use crate::snowflake::token_statement::{self, Rows};

/// How long an answer may take; the statement itself may run for 40 s.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Who runs a statement.
pub struct SqlUser<'a> {
    /// The Snowflake user.
    pub user: &'a str,
    /// What it logs in with.
    pub secret: &'a LoginSecret,
}

/// What came of a statement.
pub enum Ran {
    /// It was carried out.
    Answered(Rows),
    /// Snowflake refused the caller, or the statement; nothing was carried out.
    Refused {
        /// The status of the answer: 401 for the caller's token, 422 for the statement.
        status: u16,
        /// Snowflake's code and text.
        refusal: Refusal,
    },
    /// It has not reached Snowflake.
    Unsent(Fault),
    /// It may have been carried out.
    Lost(Fault),
}

impl AccountClient {
    /// Sends a statement, once. `id` is a new request's; `now` is for the token that a key pair signs.
    pub async fn run(&self, by: &SqlUser<'_>, now: SystemTime, id: &str, sql: &str) -> Ran {
        let presented = match by.secret.present(self.account_name(), by.user, now) {
            Ok(presented) => presented,
            Err(failed) => return Ran::Unsent(Fault::new(Kind::GateBroken).with_source(&failed)),
        };
        let (target, body) = token_statement::request(id, sql);
        let sent = async {
            match self.post_rest(&target, body.into(), &presented).await {
                Ok(response) => read(response).await.map_err(Ran::Lost),
                Err(failure) if failure.is_unsent() => Err(Ran::Unsent(failure.into())),
                Err(failure) => Err(Ran::Lost(failure.into())),
            }
        };
        let late = |_| Err(lost(Kind::SnowflakeSilent, "no answer to the statement in time"));
        match timeout(ANSWER_TIME, sent).await.unwrap_or_else(late) {
            Ok((status, body)) => match judged(status, &body) {
                Ran::Refused { status, refusal } => Ran::Refused { status, refusal: refusal.to(&presented) },
                ran => ran,
            },
            Err(ran) => ran,
        }
    }
}

/// What an answer says.
fn judged(status: u16, body: &[u8]) -> Ran {
    match status {
        200 => match Rows::read(body) {
            Ok(rows) => Ran::Answered(rows),
            Err(why) => lost(Kind::SnowflakeGarbled, why),
        },
        202 => lost(Kind::SnowflakeSilent, "the statement still runs at Snowflake"),
        // Too many requests, or another address: nothing was looked at.
        300..=399 | 429 => {
            Ran::Unsent(Fault::new(Kind::SnowflakeBusy).with_cause(format_args!("the SQL API answers {status}")))
        }
        // A statement that took too long is ended, at whatever point it was.
        408 => lost(Kind::SnowflakeSilent, "Snowflake ended the statement: it took too long"),
        400..=499 => {
            let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            let code = said["code"].as_str().map_or_else(|| said["code"].to_string(), str::to_owned);
            let text = said["message"].as_str().unwrap_or("the answer has no text of Snowflake's");
            Ran::Refused { status, refusal: Refusal::read(&code, text) }
        }
        _ => lost(Kind::SnowflakeBusy, format_args!("the SQL API answers {status}")),
    }
}

fn lost(kind: Kind, cause: impl std::fmt::Display) -> Ran {
    Ran::Lost(Fault::new(kind).with_cause(cause))
}

#[cfg(test)]
#[cfg(feature = "demo")]
#[path = "rotator_tests.rs"]
mod tests;
