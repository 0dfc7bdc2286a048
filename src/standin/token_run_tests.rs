use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::clock::{Env, ManualClock, SystemRandom};
use crate::standin::tokens::TokenStatus;
use crate::standin::users::UserSettings;

fn state() -> (Arc<ManualClock>, State) {
    let clock = ManualClock::start();
    let state = State::new(Env { clock: clock.clone(), random: Arc::new(SystemRandom) });
    state.set_user("svc", UserSettings::default());
    state.set_user("rotator", UserSettings::default());
    (clock, state)
}

fn code(state: &State, user: &str, sql: &str) -> String {
    state.run_as(user, sql).unwrap_err().code
}

fn by_pat(state: &State, user: &str, sql: &str) -> Result<Table, SqlRefused> {
    let caller = Caller { user: user.to_owned(), by_pat: true, role: None };
    state.run(&caller, sql).unwrap()
}

#[test]
fn only_who_may_changes_the_tokens_of_another() {
    let (_, state) = state();
    let add = "ALTER USER svc ADD PAT p ROLE_RESTRICTION = 'BI'";
    for sql in [add, "SHOW USER PATS FOR USER svc"] {
        assert_eq!(code(&state, "rotator", sql), "003001");
    }
    state.allow_changes("rotator", "svc", true);
    assert_eq!(state.run_as("rotator", add).unwrap()[0][0].as_deref(), Some("P"));
    let own = "ALTER USER ADD PAT own ROLE_RESTRICTION = 'BI'";
    assert!(state.run_as("svc", own).is_ok(), "its own, by key pair");
    assert_eq!(by_pat(&state, "SVC", "ALTER USER ROTATE PAT p").unwrap_err().code, "099203");
    assert!(by_pat(&state, "SVC", "SHOW USER PATS").is_ok(), "reading is no change");
    assert!(by_pat(&state, "ROTATOR", "ALTER USER svc ROTATE PAT p").is_ok(), "of another user");
    state.allow_changes("rotator", "svc", false);
    assert_eq!(code(&state, "rotator", "ALTER USER svc REMOVE PAT p"), "003001");
}

#[test]
fn show_has_the_columns_of_snowflake() {
    let (clock, state) = state();
    state.run_as("svc", "ALTER USER ADD PAT p ROLE_RESTRICTION='bi' DAYS_TO_EXPIRY=30 COMMENT='c'").unwrap();
    let made = state.wall();
    clock.advance(Duration::from_secs(3_600));
    let rotated = state.run_as("svc", "ALTER USER ROTATE PAT p").unwrap();
    let now = state.wall();
    let table = by_pat(&state, "SVC", "SHOW USER PROGRAMMATIC ACCESS TOKENS").unwrap();
    let text = |text: &str| Some(text.to_owned());
    let day = 86_400_000;
    let old = vec![
        rotated[0][2].clone(),
        text("SVC"),
        text("BI"),
        Some(time(EpochMillis(now.0 + day))),
        text("ACTIVE"),
        text("c"),
        Some(time(made)),
        text("SVC"),
        None,
        text("P"),
    ];
    assert_eq!(table.rows[0], old);
    assert_eq!(table.rows[1][3], Some(time(EpochMillis(now.0 + 30 * day))));
    assert_eq!((table.rows[1][0].as_deref(), &table.rows[1][9]), (Some("P"), &None));
    let body = table.sql_api("h", "r", now);
    let columns = body["resultSetMetaData"]["rowType"].as_array().unwrap();
    assert_eq!(
        (columns.len(), &columns[3]["type"], &columns[9]["name"]),
        (10, &"timestamp_ltz".into(), &"rotated_to".into())
    );
    assert_eq!(body["resultSetMetaData"]["numRows"], 2);
    assert_eq!(time(EpochMillis(1_790_000_000_012)), "1790000000.012000000");
}

#[test]
fn if_exists_makes_nothing_of_what_is_not_there() {
    let (_, state) = state();
    assert_eq!(code(&state, "svc", "ALTER USER nobody ADD PAT p"), "002003");
    assert!(state.run_as("svc", "ALTER USER IF EXISTS nobody ADD PAT p").is_ok());
    assert_eq!(code(&state, "svc", "ALTER USER ROTATE PAT p"), "002003");
    assert!(state.run_as("svc", "ALTER USER ROTATE PAT IF EXISTS p").is_ok());
    let add = "ALTER USER ADD PAT IF NOT EXISTS p ROLE_RESTRICTION = 'R'";
    assert_eq!(state.run_as("svc", add).unwrap()[0].len(), 2);
    assert_eq!(state.run_as("svc", add).unwrap()[0].len(), 1, "no secret again");
    assert_eq!(code(&state, "svc", "SHOW USER PATS FOR USER \"svc\""), "002003", "a quoted name has case");
}

#[test]
fn a_secret_tells_whose_it_is_to_who_may_know() {
    let (_, state) = state();
    let secret = state.add_token("svc", "p", Some("BI"), None).unwrap();
    let sql = format!("SELECT SYSTEM$DECODE_PAT('{secret}')");
    let told: serde_json::Value =
        serde_json::from_str(state.run_as("svc", &sql).unwrap()[0][0].as_ref().unwrap()).unwrap();
    assert_eq!(told, json!({ "STATE": "ACTIVE", "PAT_NAME": "P", "USER_NAME": "SVC" }));
    assert_eq!(code(&state, "rotator", &sql), "003001");
    assert!(state.run_as("svc", "SELECT SYSTEM$DECODE_PAT('x')").is_err());
    assert!(state.pats().contains(&secret));
    state.run_as("svc", "ALTER USER REMOVE PAT p").unwrap();
    assert!(state.tokens("svc").is_empty() && state.pats().contains(&secret), "a search must find a removed one too");
}

#[test]
fn a_user_that_was_disabled_leaves_its_tokens_disabled() {
    let (_, state) = state();
    state.add_token("svc", "p", Some("BI"), None).unwrap();
    state.disable_user("svc", true);
    state.disable_user("svc", false);
    assert_eq!(state.tokens("svc")[0].status, TokenStatus::Disabled);
    state.run_as("svc", "ALTER USER MODIFY PAT p SET DISABLED = FALSE").unwrap();
    assert_eq!(state.tokens("svc")[0].status, TokenStatus::Active);
}

#[test]
fn mishaps_meet_the_statements_with_their_words() {
    let (_, state) = state();
    state.lose_answers("rotate pat", 1);
    let refusal = Saying { code: "000630".into(), text: "timeout".into() };
    state.refuse_statements("", 2, refusal, "57014");
    assert!(matches!(state.mishap("SHOW USER PATS"), Some(Mishap::Refused(_))));
    assert_eq!(state.mishap("ALTER USER u ROTATE PAT p"), Some(Mishap::Lost));
    assert!(state.mishap("x").is_some() && state.mishap("x").is_none());
}
