//! `/api/v2/…`: requests with a bearer token and no session.
//!
//! Facts: `docs` "Authenticating Snowflake REST APIs to Snowflake", "Snowflake SQL API reference". A request that is
//! sent again with its `requestId` and `retry=true` is not carried out twice (`docs` "Submitting a request to execute
//! SQL statements"). The stand-in then gives the first answer again; whether Snowflake gives a token's secret again is
//! not known.

use std::sync::Arc;

use http::{HeaderValue, Method, Response, header};
use serde_json::{Value, json};

use super::asked::Asked;
use super::body::{Made, Source};
use super::judge::{LoginRefused, Proof};
use super::query::{self, Rows};
use super::reply::{query_id, respond};
use super::serve::{Answered, Gone};
use super::sql_table::{SqlRefused, Table};
use super::state::{REMEMBERED, State};
use super::token_run::{Caller, Mishap};
use crate::snowflake::PAT_AUTHENTICATOR;
use crate::snowflake::rest::{STATEMENTS, TOKEN_TYPE};

/// The kind of the bearer token that a key pair has signed.
const KEY_PAIR: &str = "KEYPAIR_JWT";

pub(super) async fn answer(state: &Arc<State>, asked: &Asked) -> Answered {
    let body = asked.json();
    let caller = match judged(state, asked, body["role"].as_str().unwrap_or_default()) {
        Ok(caller) => caller,
        Err(refused) => {
            let (code, message) = refused.says(state);
            return Ok(json_answer(state, 401, &json!({ "code": code, "message": message })));
        }
    };
    if !asked.path.starts_with(STATEMENTS) {
        return Ok(json_answer(state, 200, &json!([{ "name": "DB" }])));
    }
    let sql = body["statement"].as_str().unwrap_or("select 1");
    let request = asked.parameter("requestId");
    let known = format!("{} {request}", caller.user);
    if asked.parameter("retry") == "true"
        && let Some((_, former)) = state.lock().answered.iter().find(|(id, _)| *id == known)
    {
        return Ok(respond(state, 200, Source::Whole(former.clone().into())));
    }
    let mishap = if asked.method == Method::POST { state.mishap(sql) } else { None };
    if let Some(Mishap::Refused(refused)) = &mishap {
        return Ok(refusal(state, refused, &request, sql));
    }
    let handle = query_id(&request, sql);
    let ran = match asked.method == Method::POST && asked.path == STATEMENTS {
        true => state.run(&caller, sql),
        false => None,
    };
    let table = match ran {
        Some(Ok(table)) => table,
        Some(Err(refused)) => return Ok(refusal(state, &refused, &request, sql)),
        None => plain(state, sql).await,
    };
    let body = table.sql_api(&handle, &request, state.wall()).to_string();
    if !request.is_empty() {
        let mut inner = state.lock();
        inner.answered.push_back((known, body.clone()));
        if inner.answered.len() > REMEMBERED {
            inner.answered.pop_front();
        }
    }
    match mishap {
        Some(_lost) => Err(Gone),
        None => Ok(respond(state, 200, Source::Whole(body.into()))),
    }
}

/// Who asks. The header names the kind of the bearer token.
fn judged(state: &Arc<State>, asked: &Asked, role: &str) -> Result<Caller, LoginRefused> {
    let bearer =
        asked.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let bearer = bearer.ok_or(LoginRefused::Pat)?;
    let kind = asked.headers.get(TOKEN_TYPE).map(HeaderValue::as_bytes);
    let proof = if kind == Some(KEY_PAIR.as_bytes()) { Proof::KeyPair(bearer) } else { Proof::Pat(bearer) };
    let judged = state.bearer(asked.seen(String::new(), bearer), proof, role);
    match proof {
        Proof::Pat(_) if kind != Some(PAT_AUTHENTICATOR.as_bytes()) => Err(LoginRefused::Pat),
        _ => judged,
    }
}

/// A statement about something else.
async fn plain(state: &Arc<State>, sql: &str) -> Table {
    let plan = query::plan(sql);
    tokio::time::sleep(plan.wait).await;
    let value = match plan.rows {
        _ if query::asks_for_hosts(sql) => state.lock().allowlist.clone(),
        Rows::Number(number) => number.to_string(),
        Rows::Text(text) => text,
        Rows::Many { count, .. } | Rows::Staged { count, .. } => format!("{count} rows"),
    };
    Table::row(&["C"], vec![value])
}

fn refusal(state: &Arc<State>, refused: &SqlRefused, request: &str, sql: &str) -> Response<Made> {
    json_answer(state, 422, &refused.sql_api(&query_id(request, sql)))
}

fn json_answer(state: &Arc<State>, status: u16, body: &Value) -> Response<Made> {
    respond(state, status, Source::Whole(body.to_string().into()))
}

#[cfg(test)]
#[path = "sql_api_tests.rs"]
mod tests;
