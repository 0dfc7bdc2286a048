//! `/standin/…`: lets another process set and read the stand-in.
//!
//! | request | body or answer |
//! |---|---|
//! | `POST /standin/pat` | `{"user":…,"pat":…,"state":"active"\|"expired"\|"disabled"\|"rotated"}` |
//! | `POST /standin/rotate` | `{"user":…,"pat":…}`: every other PAT of the user is out of use |
//! | `POST /standin/policy` | `{"refuse":true}` |
//! | `POST /standin/knob` | `{"place":"query","knob":"stall"\|"drop"\|"cut"\|"canned","n":…,"times":1,"body":…}` |
//! | `POST /standin/delay` | `{"place":"login","ms":…}` |
//! | `POST /standin/role` | `{"role":…,"code":…,"text":…}`: refuses logins in that role; without a code it ends that |
//! | `POST /standin/user` | `{"user":…,"code":…,"text":…}`: refuses logins of that user in the same way |
//! | `POST /standin/lock` | `{"lock":false}`: bad logins lock nobody |
//! | `GET /standin/seen` | counts, leaks, bad logins, and the last logins without their bodies |

use http::Method;
use serde_json::{Value, json};

use super::knob::{Knob, RouteName};
use super::state::{PatState, Saying, State};

pub(super) fn answer(state: &State, method: &Method, path: &str, body: &[u8]) -> Value {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| asked[name].as_str().unwrap_or_default();
    let number = |name: &str| asked[name].as_u64().and_then(|n| usize::try_from(n).ok());
    let refusal = || {
        let refusal = Saying { code: text("code").to_owned(), text: text("text").to_owned() };
        Some(refusal).filter(|refusal| !refusal.code.is_empty())
    };
    match (method, path) {
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
        (&Method::POST, "/standin/lock") => state.lock_users(asked["lock"].as_bool().unwrap_or(true)),
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
