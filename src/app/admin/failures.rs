//! What the service answers to a command that failed.

use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::{Answer, json_answer};
use crate::app::operator::OperatorError;
use crate::base::fault::Owner;

/// The answer: the reason, and whose it is where a command needs to know.
pub(super) fn answer(failed: &OperatorError) -> Answer {
    let status = match failed {
        OperatorError::NoSuchCredential { .. }
        | OperatorError::NoFile
        | OperatorError::NotSealed
        | OperatorError::NoRotation { .. } => StatusCode::NOT_FOUND,
        OperatorError::NotReloaded(_) | OperatorError::NoLevel(_) => StatusCode::UNPROCESSABLE_ENTITY,
        OperatorError::NotRotated(_) => StatusCode::INTERNAL_SERVER_ERROR,
        OperatorError::TooSoon { .. } => StatusCode::TOO_MANY_REQUESTS,
        OperatorError::PatNotRotated(failure) if failure.busy => StatusCode::CONFLICT,
        OperatorError::PatNotRotated(failure) => match failure.owner {
            Owner::Store | Owner::Snowflake | Owner::Policy => StatusCode::BAD_GATEWAY,
            Owner::Client | Owner::Network | Owner::Gate => StatusCode::INTERNAL_SERVER_ERROR,
        },
    };
    let body = match failed {
        OperatorError::NoSuchCredential { name, .. } => json!({ "error": failed.to_string(), "credential": name }),
        OperatorError::PatNotRotated(failure) => {
            json!({ "error": failed.to_string(), "owner": failure.owner, "next_step": failure.next_step })
        }
        _ => json!({ "error": failed.to_string() }),
    };
    let mut answer = json_answer(status, &body);
    if let OperatorError::TooSoon { seconds, .. } = failed {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
    }
    answer
}
