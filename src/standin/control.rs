//! `/standin/…`: lets another process set and read the stand-in.
//!
//! | request | body or answer |
//! |---|---|
//! | `POST /standin/pat` | `{"user":…,"pat":…,"state":"active"\|"expired"\|"disabled"\|"rotated"}` |
//! | `POST /standin/rotate` | `{"user":…,"pat":…}`: every other PAT of the user is out of use |
//! | `POST /standin/policy` | `{"refuse":true}` |
//! | `POST /standin/knob` | `{"place":"query","knob":"stall"\|"drop"\|"cut"\|"canned","n":…,"times":1,"body":…}` |
//! | the same | `{"place":"login","knob":"none"}`: ends what was set there |
//! | `POST /standin/delay` | `{"place":"login","ms":…}` |
//! | `POST /standin/role` | `{"role":…,"code":…,"text":…}`: refuses logins in that role; without a code it ends that |
//! | `POST /standin/user` | `{"user":…,"code":…,"text":…}`: refuses logins of that user in the same way |
//! | `POST /standin/stage` | `{"url":…,"parts":4,"bytes":…,"format":"json"\|"arrow"}`: many rows lie at `URL0` and on |
//! | `POST /standin/lock` | `{"lock":false}`: bad logins lock nobody |
//! | `POST /standin/users` | `{"user":…,"type":"SERVICE","disabled":false,…}`: makes or changes a user; see below |
//! | `POST /standin/key` | `{"user":…,"public_key":…}`: PEM, or its lines without the first and the last |
//! | `POST /standin/privilege` | `{"user":…,"of":…,"allow":true}`: may change the tokens of the other |
//! | `POST /standin/account` | `{"account":…}`: the one that tokens of key pairs have to name |
//! | `POST /standin/token` | `{"user":…,"name":…,"role":…,"days":…}`: `ADD`; answers `secret`, or `code` and `text` |
//! | `POST /standin/run` | `{"user":…,"sql":…}`: a statement about tokens, as that user; `ok`, or `code` and `text` |
//! | `POST /standin/age` | `{"user":…,"hours":…}`: its tokens were made, and end, so much earlier |
//! | `POST /standin/dead` | `{"user":…,"code":"394400","text":…}`: the next token made or rotated gets this at logins |
//! | `POST /standin/statement` | `{"contains":…,"times":1,"lose":true}`: carried out, and the answer is lost |
//! | the same | `{"contains":…,"times":1,"code":…,"text":…,"sql_state":"42501"}`: refused |
//! | `GET /standin/pats?user=…` | what `SHOW` would list: names, states, times, fingerprints; no secrets |
//! | `GET /standin/seen` | counts, leaks, bad logins, and the last logins without their bodies |
//!
//! `type` is `SERVICE`, `SERVICE_AGENT` or `PERSON`. More members of a user, with their defaults: `network_policy`
//! true, `needs_role` true, `roles` (a list; without it every role is granted), `default_days` 15, `max_days` 365.

use http::Method;
use serde_json::{Value, json};

use super::asked::Asked;
use super::knob::{Knob, RouteName};
use super::query::Stage;
use super::state::{PatState, Saying, State};

pub(super) fn answer(state: &State, request: &Asked) -> Value {
    if let Some(answer) = super::control_users::answer(state, request) {
        return answer;
    }
    let asked = request.json();
    let text = |name: &str| asked[name].as_str().unwrap_or_default();
    let number = |name: &str| asked[name].as_u64().and_then(|n| usize::try_from(n).ok());
    let refusal = || {
        let refusal = Saying { code: text("code").to_owned(), text: text("text").to_owned() };
        Some(refusal).filter(|refusal| !refusal.code.is_empty())
    };
    match (&request.method, request.path.as_str()) {
        (&Method::POST, "/standin/pat") => {
            let pat_state = match text("state") {
                "expired" => PatState::Expired,
                "disabled" => PatState::Disabled,
                "rotated" => PatState::Rotated,
                _ => PatState::Active,
            };
            state.set_pat(text("user"), text("pat"), pat_state);
        }
        (&Method::POST, "/standin/rotate") => state.rotate(text("user"), text("pat")),
        (&Method::POST, "/standin/policy") => state.refuse_by_policy(asked["refuse"].as_bool().unwrap_or(false)),
        (&Method::POST, "/standin/delay") => {
            let time = std::time::Duration::from_millis(asked["ms"].as_u64().unwrap_or(0));
            state.delay(RouteName(text("place").to_owned()), time);
        }
        (&Method::POST, "/standin/role") => state.refuse_role(text("role"), refusal()),
        (&Method::POST, "/standin/user") => state.refuse_user(text("user"), refusal()),
        (&Method::POST, "/standin/stage") => {
            let [parts, bytes] = ["parts", "bytes"].map(|name| asked[name].as_u64().unwrap_or(1));
            state.stage(Some(Stage { url: text("url").to_owned(), parts, bytes, format: text("format").to_owned() }));
        }
        (&Method::POST, "/standin/lock") => state.lock_users(asked["lock"].as_bool().unwrap_or(true)),
        (&Method::POST, "/standin/knob") if text("knob") == "none" => {
            state.turn_back(&RouteName(text("place").to_owned()));
        }
        (&Method::POST, "/standin/knob") => {
            let knob = match text("knob") {
                "stall" => Knob::Stall,
                "drop" => Knob::Drop,
                "cut" => Knob::CutAfter(number("n").unwrap_or(0)),
                _ => {
                    let status = number("n").and_then(|n| u16::try_from(n).ok()).unwrap_or(200);
                    let location = asked["location"].as_str().map(str::to_owned);
                    Knob::Canned { status, body: text("body").to_owned(), location }
                }
            };
            state.turn(RouteName(text("place").to_owned()), knob, number("times").unwrap_or(1));
        }
        (&Method::GET, "/standin/seen") => {
            let logins: Vec<_> = state
                .seen()
                .into_iter()
                .map(|seen| {
                    json!({ "user": seen.user, "credential": seen.credential, "query": seen.query, "ok": seen.ok })
                })
                .collect();
            let counts = state.lock().counts.clone();
            let (leaks, bad_logins) = (state.leaks(), state.bad_logins());
            return json!({ "leaks": leaks, "bad_logins": bad_logins, "counts": counts, "logins": logins });
        }
        _ => return json!({ "ok": false }),
    }
    json!({ "ok": true })
}
