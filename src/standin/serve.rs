//! Requests to the stand-in.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::asked::Asked;
use super::body::{Made, Source};
use super::judge::Proof;
use super::knob::{Knob, RouteName};
use super::query::{self, Rows};
use super::reply::{envelope, query_id, respond, success, zipped};
use super::sessions::Session;
use super::state::{Running, State};
use crate::snowflake::body::gunzip;
use crate::snowflake::route::{Route, Stream};

pub(super) type Answered = Result<Response<Made>, Gone>;

/// Close the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
pub(super) struct Gone;

/// The authenticator of a login with a token of a key pair (`go:auth.go`, `py:auth/keypair.py`).
const KEY_PAIR_AUTHENTICATOR: &str = "SNOWFLAKE_JWT";
/// The longest that Snowflake holds a query before the client polls.
const POLL: Duration = Duration::from_secs(45);
/// More than any body of the tests.
const LARGEST: usize = 512 << 20;

pub(super) async fn answer(state: Arc<State>, request: Request<Incoming>) -> Answered {
    let (head, body) = request.into_parts();
    let place = RouteName::of(Route::of(&head.method, head.uri.path()));
    if let Some((status, reads_on)) = state.early(&place) {
        if reads_on {
            state.spawn(async move { drop(body.collect().await) });
        }
        return Ok(respond(&state, status, Source::Whole(r#"{"success":false,"code":"413"}"#.into())));
    }
    let mut waiting = Waiting(Some(state.clone()));
    let body = body.collect().await.map_err(|_| Gone)?.to_bytes();
    let gzip = head.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
    let body = if gzip { gunzip(&body, LARGEST).map_err(|_| Gone)? } else { body.to_vec() };
    let asked = Asked {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    };
    if asked.path.starts_with("/standin/") {
        waiting.0 = None;
        let answer = super::control::answer(&state, &asked);
        return Ok(respond(&state, 200, Source::Whole(answer.to_string().into())));
    }
    let route = Route::of(&asked.method, &asked.path);
    state.count_request(route.as_str(), asked.leaks());
    let knob = state.knob(&RouteName::of(route));
    if let Some(time) = state.delay_of(&RouteName::of(route)) {
        tokio::time::sleep(time).await;
    }
    match &knob {
        Some(Knob::Stall) => std::future::pending::<()>().await,
        Some(Knob::Drop) => {
            waiting.0 = None;
            return Err(Gone);
        }
        Some(Knob::Late(time)) => tokio::time::sleep(*time).await,
        _ => {}
    }
    let mut response = match &knob {
        Some(Knob::Canned { status, body, location }) => {
            let mut response = respond(&state, *status, Source::Whole(body.clone().into()));
            if let Some(to) = location.as_deref().and_then(|to| HeaderValue::from_str(to).ok()) {
                response.headers_mut().insert(header::LOCATION, to);
            }
            response
        }
        _ => {
            let answered = dispatch(&state, route, &asked).await;
            waiting.0 = None;
            answered?
        }
    };
    waiting.0 = None;
    match knob {
        Some(Knob::CutAfter(bytes)) => response.body_mut().cut_after(bytes),
        Some(Knob::Slow(pause)) => response.body_mut().pace(pause),
        Some(Knob::Gzip) => response = zipped(&state, response).await,
        _ => {}
    }
    Ok(response)
}

/// Counts a request whose client left before the head of the answer.
struct Waiting(Option<Arc<State>>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(state) = &self.0 {
            state.count_drop();
        }
    }
}

async fn dispatch(state: &Arc<State>, route: Route, asked: &Asked) -> Answered {
    let stream = match route {
        Route::Login => return Ok(log_in(state, asked)),
        Route::Renew => return Ok(renew(state, asked)),
        Route::Rest => return super::sql_api::answer(state, asked).await,
        Route::Stream(stream) => stream,
        Route::Foreign | Route::WrongMethod | Route::Unknown => {
            return Ok(respond(state, 404, Source::Whole("<html>not found</html>".into())));
        }
    };
    let session = match session(state, asked) {
        Ok(session) => session,
        Err(response) => return Ok(response),
    };
    Ok(match stream {
        Stream::Query => run_query(state, asked, &session).await,
        Stream::Result => result(state, &asked.path).await,
        Stream::Abort => abort(state, asked),
        Stream::Logout => {
            state.lock().sessions.remove(&session.token);
            success(state, &Value::Null)
        }
        Stream::Monitoring => success(state, &json!({ "queries": [{ "status": "SUCCESS", "state": "SUCCEEDED" }] })),
        Stream::Heartbeat | Stream::Telemetry => success(state, &Value::Null),
    })
}

pub(super) fn log_in(state: &Arc<State>, asked: &Asked) -> Response<Made> {
    let body = asked.json();
    let data = &body["data"];
    let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
    let pat = text("AUTHENTICATOR").eq_ignore_ascii_case(crate::snowflake::PAT_AUTHENTICATOR);
    let key_pair = text("AUTHENTICATOR").eq_ignore_ascii_case(KEY_PAIR_AUTHENTICATOR);
    let credential = text(if pat || key_pair { "TOKEN" } else { "PASSWORD" });
    let seen = asked.seen(text("LOGIN_NAME"), &credential);
    let proof = if key_pair { Proof::KeyPair(&credential) } else { Proof::Pat(&credential) };
    let session = match state.log_in(seen, proof, &asked.parameter("roleName")) {
        Ok(session) => session,
        Err(refused) => {
            let data = json!({ "nextAction": "RETRY_LOGIN", "authnMethod": "PAT", "signInOptions": {} });
            let (code, message) = refused.says(state);
            return envelope(state, &data, Some(&code), Some(&message));
        }
    };
    let context = |name: &str| match asked.parameter(name) {
        empty if empty.is_empty() => Value::Null,
        name => Value::String(name),
    };
    let role = match asked.parameter("roleName") {
        empty if empty.is_empty() => session.caller.role.clone().unwrap_or_else(|| "PUBLIC".to_owned()),
        role => role,
    };
    success(
        state,
        &json!({
            "masterToken": session.master, "token": session.token,
            "validityInSeconds": 3600, "masterValidityInSeconds": 14400,
            "displayUserName": text("LOGIN_NAME"), "serverVersion": "9.40.1", "firstLogin": false,
            "remMeToken": null, "remMeValidityInSeconds": 0, "healthCheckInterval": 45, "newClientForUpgrade": null,
            "sessionId": session.id,
            "idToken": "standin-id-token", "idTokenValidityInSeconds": 14400,
            "mfaToken": "standin-mfa-token", "mfaTokenValidityInSeconds": 14400,
            "parameters": [
                { "name": "AUTOCOMMIT", "value": true }, { "name": "CLIENT_SESSION_KEEP_ALIVE", "value": true },
                { "name": "CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY", "value": 3600 },
                { "name": "CLIENT_TELEMETRY_ENABLED", "value": true },
                { "name": "CLIENT_PREFETCH_THREADS", "value": 4 },
                { "name": "CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", "value": 0 },
                { "name": "QUERY_RESULT_FORMAT", "value": "JSON" },
                { "name": "TIMEZONE", "value": "UTC" },
            ],
            "sessionInfo": { "databaseName": context("databaseName"), "schemaName": context("schemaName"),
                "warehouseName": context("warehouse"), "roleName": role },
            "responseData": null,
        }),
    )
}

fn renew(state: &Arc<State>, asked: &Asked) -> Response<Made> {
    let body = asked.json();
    let old = body["oldSessionToken"].as_str().unwrap_or_default();
    match asked.token().and_then(|master| state.renew(master, old)) {
        Some(session) => success(
            state,
            &json!({
                "sessionToken": session.token, "masterToken": session.master, "validityInSecondsST": 3600,
                "validityInSecondsMT": 14400, "sessionId": session.id,
            }),
        ),
        None => envelope(
            state,
            &Value::Null,
            Some("390114"),
            Some("Authentication token has expired. The user must authenticate again."),
        ),
    }
}

#[expect(clippy::result_large_err, reason = "the error is the answer")]
fn session(state: &Arc<State>, asked: &Asked) -> Result<Session, Response<Made>> {
    let refuse = |code, message| Err(envelope(state, &Value::Null, Some(code), Some(message)));
    let Some(token) = asked.token() else {
        return refuse("390101", "Authorization header not found in the request data.");
    };
    let session = state.lock().sessions.get(token).cloned();
    match session {
        None => refuse("390104", "ID token or session token is not recognised; log in again."),
        Some(session) if session.expired => refuse("390112", "Your session has expired. Please renew it."),
        Some(session) => Ok(session),
    }
}

async fn run_query(state: &Arc<State>, asked: &Asked, session: &Session) -> Response<Made> {
    let body = asked.json();
    let sql = body["sqlText"].as_str().unwrap_or_default();
    if let Some(ran) = state.run(&session.caller, sql) {
        let id = query_id(&asked.parameter("requestId"), sql);
        return match ran {
            Ok(table) => success(state, &table.driver(&id)),
            Err(refused) => {
                let data = json!({ "errorCode": refused.code, "sqlState": refused.sql_state, "queryId": id });
                envelope(state, &data, Some(&refused.code), Some(&refused.message))
            }
        };
    }
    let plan = query::plan(sql);
    if plan.expires_session
        && let Some(session) = state.lock().sessions.get_mut(&session.token)
    {
        session.expired = true;
    }
    let id = query_id(&asked.parameter("requestId"), sql);
    if query::asks_for_hosts(sql) {
        let hosts = state.lock().allowlist.clone();
        return respond(state, 200, query::result(&Rows::Text(hosts), &id));
    }
    if plan.wait.is_zero() {
        let rows = plan.rows.staged(state.lock().stage.as_ref());
        return respond(state, 200, query::result(&rows, &id));
    }
    let running = Running {
        sql: sql.to_owned(),
        request: asked.parameter("requestId"),
        aborted: Arc::default(),
        until: Instant::now() + plan.wait,
        was_aborted: false,
    };
    state.lock().running.insert(id.clone(), running);
    if body["asyncExec"].as_bool() == Some(true) {
        return in_progress(state, &id, "333334");
    }
    poll(state, &id).await
}

async fn result(state: &Arc<State>, path: &str) -> Response<Made> {
    let id = path.trim_start_matches("/queries/").trim_end_matches("/result");
    poll(state, id).await
}

/// Holds the request until the query is done, is aborted, or needs polling.
async fn poll(state: &Arc<State>, id: &str) -> Response<Made> {
    let (running, held) = {
        let inner = state.lock();
        let Some(running) = inner.running.get(id).cloned() else {
            drop(inner);
            return envelope(state, &Value::Null, Some("612"), Some("Result not found"));
        };
        (running, inner.poll.unwrap_or(POLL))
    };
    let aborted = || envelope(state, &Value::Null, Some("604"), Some("SQL execution canceled"));
    if running.was_aborted {
        return aborted();
    }
    tokio::select! {
        () = tokio::time::sleep_until(running.until) => {
            respond(state, 200, query::result(&query::plan(&running.sql).rows, id))
        }
        () = running.aborted.notified() => aborted(),
        () = tokio::time::sleep(held) => in_progress(state, id, "333333"),
    }
}

fn in_progress(state: &Arc<State>, id: &str, code: &str) -> Response<Made> {
    let data = json!({ "getResultUrl": format!("/queries/{id}/result"), "queryId": id });
    let body = json!({ "data": data, "code": code, "message": "Query execution in progress.", "success": true });
    respond(state, 200, Source::Whole(body.to_string().into()))
}

fn abort(state: &Arc<State>, asked: &Asked) -> Response<Made> {
    let body = asked.json();
    let request = body["requestId"].as_str().unwrap_or_default();
    let mut inner = state.lock();
    for (id, running) in &mut inner.running {
        if running.request == request || asked.path.contains(id.as_str()) {
            running.was_aborted = true;
            running.aborted.notify_waiters();
        }
    }
    drop(inner);
    success(state, &Value::Null)
}
