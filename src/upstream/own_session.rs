//! [`OwnSession`]: a session of the gate's own, or of a command, to see whether all works. It is logged out at once.

use std::net::IpAddr;

use bytes::Bytes;
use http::Response;

use super::account::AccountClient;
use super::response_body::ResponseBody;
use super::whole::whole;
use crate::base::fault::{Fault, Kind};
use crate::base::pins::ContextField;
use crate::base::secret::Secret;
use crate::snowflake::answer::LoginAnswer;
use crate::snowflake::login_secret::Presented;
use crate::snowflake::refusal::Refusal;
use crate::snowflake::statement;

/// What came of a login.
pub enum Opened {
    /// The session is open.
    Session(OwnSession),
    /// The login was refused.
    Refused(Refusal),
    /// The login did not reach the point where the secret in it is checked.
    Unsent(Fault),
    /// It is unknown whether the login was looked at.
    Lost(Fault),
}

/// An open session.
pub struct OwnSession {
    account: AccountClient,
    token: Secret,
    /// What the session got of each place of the context.
    pub places: Vec<(ContextField, Option<String>)>,
}

const PLACES: [ContextField; 4] =
    [ContextField::Role, ContextField::Warehouse, ContextField::Database, ContextField::Schema];

impl AccountClient {
    /// Sends a login, once.
    pub async fn open_session(self, target: &str, body: Bytes) -> Opened {
        let response = match self.post(target, body, None).await {
            Ok(response) => response,
            Err(failure) if failure.is_unsent() => return Opened::Unsent(failure.into()),
            Err(failure) => return Opened::Lost(failure.into()),
        };
        let body = match read(response).await {
            Ok((_, body)) => body,
            Err(fault) => return Opened::Lost(fault),
        };
        match LoginAnswer::read(&body) {
            Some(LoginAnswer::Success(granted)) => {
                let places = PLACES.map(|place| (place, granted.place(place).flatten()));
                Opened::Session(OwnSession { token: granted.token(), places: places.into(), account: self })
            }
            Some(LoginAnswer::Refused(refusal)) => Opened::Refused(refusal),
            // The answer is complete but not a login answer: the secret was not checked.
            None => Opened::Unsent(Fault::new(Kind::SnowflakeGarbled).with_cause("the answer is none to a login")),
        }
    }

    /// The first cell of the result of a statement by the SQL API; `None` if the result has another form. `id` is a
    /// new request's.
    ///
    /// # Errors
    /// The fault.
    pub async fn sql_api(&self, presented: &Presented, id: &str, sql: &str) -> Result<Option<String>, Fault> {
        let (target, body) = statement::sql_api(id, sql);
        let (status, body) = read(self.post_rest(&target, body.into(), presented).await?).await?;
        statement::sql_api_result(status, &body)
    }
}

impl OwnSession {
    /// The first cell of the result of a statement; `None` if the result has another form. `id` is a new request's.
    ///
    /// # Errors
    /// The fault.
    pub async fn query(&self, id: &str, sql: &str) -> Result<Option<String>, Fault> {
        let (target, body) = statement::query(id, sql);
        let response = self.account.post(&target, body.into(), Some(&self.token)).await?;
        statement::query_result(&read(response).await?.1)
    }

    /// The address that Snowflake sees; `None` where it does not say.
    pub async fn address(&self, id: &str) -> Option<IpAddr> {
        self.query(id, statement::CURRENT_IP_ADDRESS).await.ok()??.parse().ok()
    }

    /// The account, for a request beside the session.
    pub fn account(&self) -> &AccountClient {
        &self.account
    }

    /// Ends it.
    pub async fn log_out(self) {
        self.account.log_out(&self.token).await;
    }
}

pub(super) async fn read(response: Response<ResponseBody>) -> Result<(u16, Bytes), Fault> {
    let broken = |error: &super::whole::NotRead| Fault::new(Kind::AnswerBroken).with_source(error);
    let (head, body) = whole(response).await.map_err(|error| broken(&error))?;
    Ok((head.status().as_u16(), body))
}
