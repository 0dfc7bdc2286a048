//! The part of `/standin/…` that is about users and their tokens; [`super::control`] has the table.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::asked::Asked;
use super::state::{Saying, State};
use super::users::{TokenState, UserKind, UserSettings};
use crate::base::rfc3339;

pub(super) fn answer(state: &State, request: &Asked) -> Option<Value> {
    let asked = request.json();
    let text = |name: &str| asked[name].as_str().unwrap_or_default();
    let ok = Some(json!({ "ok": true }));
    match (&request.method, request.path.as_str()) {
        (&Method::POST, "/standin/users") => {
            state.set_user(text("user"), settings(&asked));
            if let Some(disabled) = asked["disabled"].as_bool() {
                state.disable_user(text("user"), disabled);
            }
            ok
        }
        (&Method::POST, "/standin/key") => {
            let key: String = text("public_key").lines().filter(|line| !line.starts_with("-----")).collect();
            match BASE64_STANDARD.decode(key.trim()) {
                Ok(spki) if !spki.is_empty() => state.add_public_key(text("user"), spki),
                _ => return Some(json!({ "ok": false })),
            }
            ok
        }
        (&Method::POST, "/standin/privilege") => {
            state.allow_changes(text("user"), text("of"), asked["allow"].as_bool().unwrap_or(true));
            ok
        }
        (&Method::POST, "/standin/account") => {
            state.set_account(text("account"));
            ok
        }
        (&Method::POST, "/standin/token") => {
            let made = state.add_token(text("user"), text("name"), asked["role"].as_str(), asked["days"].as_u64());
            Some(match made {
                Ok(secret) => json!({ "ok": true, "secret": secret }),
                Err(refused) => json!({ "ok": false, "code": refused.code, "text": refused.text }),
            })
        }
        (&Method::POST, "/standin/run") => Some(match state.run_as(text("user"), text("sql")) {
            Ok(_) => json!({ "ok": true }),
            Err(refused) => json!({ "ok": false, "code": refused.code, "text": refused.text }),
        }),
        (&Method::POST, "/standin/age") => {
            state.age_tokens(text("user"), Duration::from_secs(asked["hours"].as_u64().unwrap_or_default() * 3_600));
            ok
        }
        (&Method::POST, "/standin/dead") => {
            let or = |name, other: &str| asked[name].as_str().unwrap_or(other).to_owned();
            let refusal =
                Saying { code: or("code", "394400"), text: or("text", "Programmatic access token is invalid.") };
            state.next_token_is_dead(text("user"), Some(refusal));
            ok
        }
        (&Method::POST, "/standin/statement") => {
            let times = asked["times"].as_u64().and_then(|times| usize::try_from(times).ok()).unwrap_or(1);
            if asked["lose"].as_bool().unwrap_or(false) {
                state.lose_answers(text("contains"), times);
            } else {
                let refusal = Saying { code: text("code").to_owned(), text: text("text").to_owned() };
                let sql_state = asked["sql_state"].as_str().unwrap_or("42501");
                state.refuse_statements(text("contains"), times, refusal, sql_state);
            }
            ok
        }
        (&Method::GET, "/standin/pats") => {
            let tokens = state.tokens(&request.parameter("user"));
            Some(json!({ "pats": tokens.iter().map(shown).collect::<Vec<_>>() }))
        }
        _ => None,
    }
}

fn settings(asked: &Value) -> UserSettings {
    let usual = UserSettings::default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    UserSettings {
        kind: match asked["type"].as_str() {
            Some("SERVICE_AGENT") => UserKind::ServiceAgent,
            Some("PERSON") => UserKind::Person,
            _ => UserKind::Service,
        },
        network_policy: asked["network_policy"].as_bool().unwrap_or(usual.network_policy),
        needs_role: asked["needs_role"].as_bool().unwrap_or(usual.needs_role),
        roles: asked["roles"].as_array().map(|roles| roles.iter().filter_map(text).collect()),
        default_days: asked["default_days"].as_u64().unwrap_or(usual.default_days),
        max_days: asked["max_days"].as_u64().unwrap_or(usual.max_days),
    }
}

fn shown(token: &TokenState) -> Value {
    json!({
        "name": token.name, "state": token.status.as_str(), "fingerprint": token.fingerprint, "role": token.role,
        "created_on": rfc3339::show(token.created_on), "expires_at": rfc3339::show(token.expires_at),
        "rotated_to": token.rotated_to,
    })
}
