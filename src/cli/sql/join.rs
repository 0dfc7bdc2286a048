//! `patgate sql join TRACE-ID`: from a trace id of the gate to what Snowflake wrote down.
//!
//! The gate puts the client's name and the trace id of the login into `CLIENT_ENVIRONMENT`, which `SESSIONS` keeps as
//! JSON. From there `LOGIN_EVENT_ID` leads to `LOGIN_HISTORY`, and its `FIRST_AUTHENTICATION_FACTOR_ID` to the PAT in
//! `CREDENTIALS` (Snowflake's pages on the views of ACCOUNT_USAGE; the last column came with bundle 2025_04).

use clap::Args;

use crate::base::epoch::EpochMillis;
use crate::base::fault::Owner;
use crate::base::rfc3339;
use crate::base::trace::TraceId;
use crate::cli::shell::{CommandError, say};
use crate::cli::state_place::{self, StateArgs};
use crate::telemetry::history::Reader;
use crate::telemetry::story::{FaultStory, Story};

/// Which login.
#[derive(Args)]
pub(in crate::cli) struct JoinArgs {
    /// The trace id of a login or of a request of its session, or the session's id: 32 hex digits.
    trace: String,
    #[command(flatten)]
    state: StateArgs,
}

/// The command. Without a history, or without the trace in it, the query goes by the trace id alone, and says why.
pub(super) fn join(args: &JoinArgs) -> Result<(), CommandError> {
    let bare = args.trace.strip_prefix("session:").unwrap_or(&args.trace);
    let trace = TraceId::parse(&bare.to_ascii_lowercase())
        .ok_or_else(|| CommandError::of(Owner::Client, "a trace id is 32 hex digits, as the tool shows it"))?;
    let login = login_of(&trace.to_string(), &args.state);
    say(&match login.as_ref().ok().and_then(|login| Some((login, login.fault.as_ref()?))) {
        Some((login, fault)) => of_failed(login, fault),
        None => query(&trace.to_string(), login.as_ref().map_err(String::as_str)),
    });
    Ok(())
}

/// The login under a trace id, or that of the session whose request has it; else why it is not known.
fn login_of(trace: &str, state: &StateArgs) -> Result<Story, String> {
    let directory = state_place::find(state).map_err(|error| error.text)?;
    let read = || -> std::io::Result<Option<Story>> {
        let history = Reader::open(&directory)?;
        let is_login = |story: &Story| story.route == "login";
        let mut stories = history.by_trace(trace)?;
        if stories.is_empty() {
            stories = history.by_session(trace)?;
        }
        if let Some(login) = stories.iter().find(|story| is_login(story)) {
            return Ok(Some(login.clone()));
        }
        let Some(session) = stories.iter().find_map(|story| story.session.clone()) else { return Ok(None) };
        Ok(history.by_session(&session)?.into_iter().find(is_login))
    };
    let unknown = || format!("The history in {} does not know this id.", directory.display());
    read().map_err(|error| error.to_string())?.ok_or_else(unknown)
}

/// What Snowflake knows of a login that failed: it opened no session, so that SESSIONS has nothing of it.
fn of_failed(login: &Story, fault: &FaultStory) -> String {
    let Story { trace, at, .. } = login;
    let Some(code) = fault.snowflake_code.as_deref().filter(|code| is_number(code)) else {
        let (code, kind) = (&fault.code, &fault.kind);
        return format!(
            "-- Snowflake has no trace of the login {trace}: it ended in the gate, or on its way, with {code} {kind}.\n\
             -- `patgate explain {trace}` tells what happened.\n"
        );
    };
    let uuid = fault.uuid.as_deref().filter(|uuid| uuid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'));
    let more = uuid.map_or_else(String::new, |uuid| {
        format!("SELECT SYSTEM$GET_LOGIN_FAILURE_DETAILS('{uuid}');  -- needs MONITOR on the account\n\n")
    });
    let around = |seconds: i64| {
        let millis = i64::try_from(at.0).unwrap_or_default() + seconds * 1_000;
        rfc3339::show(EpochMillis(u64::try_from(millis).unwrap_or_default()).to_system_time())
    };
    format!(
        "-- Snowflake refused the login {trace}; without a session it stands in LOGIN_HISTORY alone.\n{more}\
         SELECT event_timestamp, user_name, client_ip, reported_client_type, first_authentication_factor, \
         error_code,\n       \
         error_message\nFROM snowflake.account_usage.login_history\n\
         WHERE is_success = 'NO' AND error_code = {code}\n  \
         AND event_timestamp BETWEEN '{}' AND '{}'\nORDER BY event_timestamp;\n",
        around(-60),
        around(60)
    )
}

fn query(trace: &str, login: Result<&Story, &str>) -> String {
    let trace = login.map_or(trace, |login| &login.trace);
    let session = login.ok().and_then(|login| login.login.as_ref()?.session.clone()).filter(|id| is_number(id));
    let mut which = format!("PARSE_JSON(s.client_environment):patgate_trace::STRING = '{trace}'");
    if let Some(session) = &session {
        which = format!("s.session_id = {session}");
    }
    let unknown = match login {
        Ok(_) => String::new(),
        Err(why) => format!(
            "-- {}\n-- So this goes by the trace id alone, and finds nothing for a session's id or a request's trace.\n\
             -- Name the state directory of the gate that served the login with --state DIR.\n",
            why.trim_end().replace('\n', "\n-- ")
        ),
    };
    let mut text = format!(
        "{unknown}-- Snowflake's side of the login with trace {trace}. The views are up to two hours behind;\n\
         -- the role needs IMPORTED PRIVILEGES on the database SNOWFLAKE, or SECURITY_VIEWER and USAGE_VIEWER.\n\
         SELECT s.session_id, s.created_on, s.user_name, l.event_timestamp, l.client_ip,\n       \
         l.reported_client_type, l.reported_client_version, l.is_success, l.error_code, l.error_message,\n       \
         c.name AS token_name, PARSE_JSON(s.client_environment):patgate_client::STRING AS patgate_client\n\
         FROM snowflake.account_usage.sessions s\n\
         LEFT JOIN snowflake.account_usage.login_history l ON l.event_id = s.login_event_id\n\
         LEFT JOIN snowflake.account_usage.credentials c\n       ON c.credential_id = \
         l.first_authentication_factor_id\n\
         WHERE {which};\n"
    );
    if let Some(session) = session {
        text.push_str(&format!(
            "\n-- Its statements.\n\
             SELECT query_id, start_time, execution_status, error_code, error_message, query_tag, warehouse_name\n\
             FROM snowflake.account_usage.query_history WHERE session_id = {session} ORDER BY start_time;\n"
        ));
    }
    text
}

/// Only a number goes into the text as it is.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::story::LoginStory;

    #[test]
    fn the_query_goes_by_the_session_where_it_is_known_and_by_the_trace_where_it_is_not() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let alone = query(trace, Err("there is no history at /x"));
        assert!(alone.starts_with("-- there is no history at /x\n"), "{alone}");
        assert!(alone.contains(&format!("patgate_trace::STRING = '{trace}';")) && !alone.contains("query_history"));
        let login = |session: &str| Story {
            trace: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            login: Some(LoginStory { session: Some(session.to_owned()), ..LoginStory::default() }),
            ..Story::default()
        };
        let known = query(trace, Ok(&login("123")));
        assert!(
            known.contains("WHERE s.session_id = 123;") && known.contains("WHERE session_id = 123 ORDER"),
            "{known}"
        );
        let refused = |code: Option<&str>| FaultStory {
            code: "PG-605".to_owned(),
            kind: "pat_refused".to_owned(),
            snowflake_code: code.map(str::to_owned),
            ..FaultStory::default()
        };
        let failed = |code| of_failed(&Story { at: EpochMillis(1_795_000_000_000), ..login("") }, &refused(code));
        assert!(failed(Some("394400")).contains("error_code = 394400\n  AND event_timestamp BETWEEN '2026-11-18T"));
        assert!(!failed(None).contains("SELECT") && failed(None).contains("PG-605 pat_refused"));
        let odd = query(trace, Ok(&login("1; DROP")));
        assert!(!odd.contains("DROP") && odd.contains("0af7651916cd43dd8448eb211c80319c"), "{odd}");
    }
}
