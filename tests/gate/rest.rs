//! REST requests: a client key in, the PAT out, on every request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use patgate::internal::base::secret::Secret;
use patgate::internal::standin::{Knob, PatState, RouteName};
use tokio::task::JoinSet;

use crate::settings::{Settings, fixed, networks, one_of};
use crate::world::{Got, USER, World};

const STATEMENTS: &str = "/api/v2/statements?requestId=1";

fn request(method: Method, path: &str, authorization: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request.header("authorization", authorization).body(body.into()).unwrap()
}

async fn statement(world: &World, sql: &str) -> Got {
    let body = serde_json::json!({ "statement": sql }).to_string();
    world.send(request(Method::POST, STATEMENTS, &format!("Bearer {}", world.key.expose()), body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_goes_with_the_pat_and_its_kind() {
    let world = World::start().await;
    let got = statement(&world, "select 7").await;
    assert_eq!((got.status, got.json()["data"][0][0].as_str()), (200, Some("7")), "{:?}", got.body);
    assert!(got.headers.contains_key("x-patgate-trace"));
    let bearer = format!("bearer {}", world.key.expose());
    for (method, path) in [
        (Method::GET, "/api/v2/databases"),
        (Method::PUT, "/api/v2/databases/D"),
        (Method::GET, "/api/v2/statements/01b2-ab?partition=1"),
        (Method::POST, "/api/v2/statements/01b2-ab/cancel"),
    ] {
        assert_eq!(world.send(request(method, path, &bearer, "")).await.status, 200, "{path}");
    }
    let seen = world.standin.state.seen();
    assert!(seen.iter().all(|seen| seen.ok && seen.credential == Secret::new(world.pat()).fingerprint()));
    // The gate streams a body that is too large to keep.
    let long = serde_json::json!({ "statement": "select 1", "padding": "x".repeat(3 << 20) }).to_string();
    assert_eq!(world.send(request(Method::POST, STATEMENTS, &bearer, long)).await.status, 200);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_come_with_the_status_that_rest_clients_read() {
    let world = World::with(|config| {
        let other = config.add_client("other");
        (other.networks, other.keys) = (networks(["127.0.0.0/8"]), vec![[0; 32]]);
        config.bi().networks = networks(["127.0.0.2"]);
    })
    .await;
    let key = world.key.expose();
    for (authorization, path, status, says) in [
        (format!("Bearer {key}"), STATEMENTS, 403, "not in a network"),
        ("Bearer pgk_canary".to_owned(), STATEMENTS, 401, "damaged"),
        (format!("Bearer {}", world.pat()), STATEMENTS, 401, "not a client key"),
        ("Basic dTpw".to_owned(), STATEMENTS, 401, "no client key"),
        (format!("Bearer {key}"), "/api/v2/%2e%2e/session", 404, "not part of"),
    ] {
        let got = world.send(request(Method::POST, path, &authorization, "{}")).await;
        let body = got.json();
        assert_eq!(got.status, status, "{body}");
        assert!(got.message().contains(says) && body["code"].is_string(), "{body}");
    }
    assert_eq!(world.standin.state.connections(), 0);
    world.finish().await;

    let world = World::start().await;
    let key = world.key.expose();
    let body = format!(r#"{{"statement":"select '{key}'"}}"#);
    let got = world.send(request(Method::POST, STATEMENTS, &format!("Bearer {key}"), body)).await;
    assert!(got.status == 400 && got.message().contains("in a second place"), "{:?}", got.body);
    world.standin.state.turn(RouteName("rest".into()), Knob::Drop, 1);
    let got = statement(&world, "select 1").await;
    assert_eq!((got.status, got.headers["retry-after"].as_bytes()), (503, &b"2"[..]));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_hold_for_statements_too() {
    let world = World::with(|config| config.powerbi().pins.role = fixed("PINNED")).await;
    let body = r#"{"statement":"select 1","role":"ADMIN","ROLE":"X","role":null}"#;
    let bearer = format!("Bearer {}", world.key.expose());
    let mut asked = request(Method::POST, STATEMENTS, &bearer, body);
    asked.headers_mut().insert("x-snowflake-role", "ADMIN".parse().unwrap());
    assert_eq!(world.send(asked).await.status, 200);
    let seen = &world.standin.state.seen()[0];
    assert_eq!(seen.body, r#"{"statement":"select 1","role":"PINNED"}"#);
    assert!(seen.headers.contains("x-snowflake-role: PINNED") && !seen.headers.contains("ADMIN"), "{}", seen.headers);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_pat_is_sent_a_few_times_by_a_hundred_clients_and_a_new_one_serves_them() {
    let world = Arc::new(World::with(|config| config.login.hold = Duration::from_millis(300)).await);
    assert_eq!(statement(&world, "select 1").await.status, 200);
    world.standin.state.set_pat(USER, &world.pat(), PatState::Disabled);
    let mut crowd = JoinSet::new();
    for _ in 0..100 {
        let world = world.clone();
        crowd.spawn(async move { statement(&world, "select 1").await });
    }
    for got in crowd.join_all().await {
        assert_eq!(got.status, 503);
        assert!(got.message().contains("refuses the token"), "{}", got.message());
    }
    // One success has widened it by one.
    let bad = world.standin.state.bad_logins();
    assert!(bad.values().sum::<u64>() <= 3, "{bad:?}");
    world.standin.state.rotate(USER, &world.canary("pat-2"));
    world.write("pat", &world.canary("pat-2"));
    for _ in 0..20 {
        assert_eq!(statement(&world, "select 1").await.status, 200);
    }
    // A rotation during requests: the refused request continues with the new PAT.
    world.standin.state.rotate(USER, &world.canary("pat-3"));
    world.write("pat", &world.canary("pat-3"));
    for _ in 0..20 {
        assert_eq!(statement(&world, "select 1").await.status, 200);
    }
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_here_costs_nothing_of_the_budget() {
    let world = World::with(|config| {
        config.bi().pins.role = one_of(["R"]);
        config.login.hold = Duration::from_millis(300);
    })
    .await;
    for _ in 0..5 {
        let mut asked = request(Method::GET, "/api/v2/databases", &format!("Bearer {}", world.key.expose()), "");
        asked.headers_mut().insert("x-snowflake-role", "ACCOUNTADMIN".parse().unwrap());
        let got = world.send(asked).await;
        assert!(got.status == 403 && got.message().contains("may not use the role"), "{:?}", got.body);
    }
    // The answer of a proxy between says nothing about the PAT.
    let canned = |status| Knob::Canned { status, body: "<html>".into(), location: None };
    for status in [404, 403, 407, 500] {
        world.standin.state.turn(RouteName("rest".into()), canned(status), 1);
        assert_eq!(statement(&world, "select 1").await.status, status);
    }
    let wrong_role = Knob::Canned { status: 401, body: r#"{"code":"390189","message":"m"}"#.into(), location: None };
    world.standin.state.turn(RouteName("rest".into()), wrong_role, 3);
    for _ in 0..3 {
        assert_eq!(statement(&world, "select 1").await.status, 401);
    }
    world.session().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_statements_do_not_hold_the_budget() {
    let world = Arc::new(World::start().await);
    let mut crowd = JoinSet::new();
    for _ in 0..6 {
        let world = world.clone();
        crowd.spawn(async move { statement(&world, "select system$wait(60)").await.status });
    }
    tokio::select! {
        () = world.standin.state.wait_until(|state| state.count("rest") == 6) => {}
        status = crowd.join_next() => panic!("one ended before the last was sent: {status:?}"),
    }
    crowd.shutdown().await;
    world.standin.state.wait_until(|state| state.dropped() == 6).await;
    Arc::into_inner(world).unwrap().finish().await;
}
