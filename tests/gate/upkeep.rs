//! Heartbeats, cancellations, logouts, renewals and telemetry: limits of their own, small bodies, and an end that only
//! Snowflake's answer makes.

use std::sync::Arc;

use http::Method;
use patgate::internal::config::Config;
use patgate::internal::standin::{Knob, RouteName};
use tokio::task::JoinSet;

use crate::settings::{Settings, rates};
use crate::world::{Got, World, pair};

const ALL: [&str; 5] = [
    "/session/heartbeat",
    "/queries/v1/abort-request",
    "/queries/01b2-ab/abort-request",
    "/telemetry/send",
    "/session?delete=true",
];

fn canned(world: &World, route: &str, status: u16, body: &str) {
    let knob = Knob::Canned { status, body: body.into(), location: None };
    world.standin.state.turn(RouteName(route.into()), knob, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn upkeep_has_a_rate_of_its_own() {
    let limits = |config: &mut Config| {
        config.never_wait();
        config.bi().limits.rates.requests = rates(["1/h"]);
        config.bi().limits.upkeep = rates(["6/h"]);
    };
    let world = World::with(limits).await;
    let (token, master) = world.session().await;
    for path in &ALL[..4] {
        assert_eq!(world.ask(Method::POST, path, &token, "{}").await.status, 200, "{path}");
    }
    let (token, master) = pair(&world.renew(&token, &master).await.json(), "sessionToken");
    assert_eq!(world.ask(Method::POST, ALL[0], &token, "{}").await.status, 200);
    for path in ALL {
        let got = world.ask(Method::POST, path, &token, "{}").await;
        assert_eq!((got.status, got.headers["retry-after"].to_str().unwrap()), (429, "600"), "{path}");
        assert!(got.message().contains("too many heartbeats, cancellations"), "{}", got.message());
    }
    assert_eq!(world.renew(&token, &master).await.status, 429);
    // A query has its own rate.
    assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upkeep_has_places_of_its_own() {
    let limits = |config: &mut Config| {
        config.never_wait();
        config.bi().limits.in_flight = Some(1);
        config.bi().limits.upkeep_in_flight = 2;
    };
    let world = Arc::new(World::with(limits).await);
    let (token, master) = world.session().await;
    world.standin.state.turn(RouteName("heartbeat".into()), Knob::Stall, 2);
    let mut stalled = JoinSet::new();
    for _ in 0..2 {
        let (world, token) = (world.clone(), token.clone());
        stalled.spawn(async move { world.ask(Method::POST, "/session/heartbeat", &token, "").await.status });
    }
    world.standin.state.wait_until(|state| state.count("heartbeat") == 2).await;
    for path in ALL {
        let got = world.ask(Method::POST, path, &token, "{}").await;
        assert!(got.status == 429 && got.message().contains("2 heartbeats, cancellations"), "{}", got.message());
    }
    assert_eq!(world.renew(&token, &master).await.status, 429);
    assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    stalled.shutdown().await;
    // Who leaves gives the place back.
    while world.ask(Method::POST, "/session/heartbeat", &token, "").await.status != 200 {}
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upkeep_has_small_bodies() {
    for sealed in [true, false] {
        let world = World::with(|config| config.seal = config.seal.take().filter(|_| sealed)).await;
        let (token, master) = world.session().await;
        let too_large = |got: Got, path: &str| {
            assert_eq!((got.status, got.headers["content-type"].as_bytes()), (413, &b"application/json"[..]), "{path}");
            assert!(got.message().starts_with("patgate: the request is larger than"), "{path}: {}", got.message());
        };
        for path in ALL {
            let most = match path {
                "/telemetry/send" => 1 << 20,
                abort if abort.ends_with("abort-request") => 2 << 20,
                _ => 64 << 10,
            };
            too_large(world.ask(Method::POST, path, &token, vec![b' '; most + 1]).await, path);
        }
        let padded = |size: usize| {
            let body = serde_json::json!({ "oldSessionToken": token, "requestType": "RENEW", "pad": " ".repeat(size) });
            world.ask(Method::POST, "/session/token-request", &master, body.to_string())
        };
        too_large(padded(64 << 10).await, "renewal");
        for route in ["heartbeat", "abort", "telemetry", "logout", "renew"] {
            assert_eq!(world.standin.state.count(route), 0, "{route}");
        }
        // As large as it may be.
        assert_eq!(world.ask(Method::POST, ALL[0], &token, vec![b' '; 64 << 10]).await.json()["success"], true);
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_answer_to_a_logout_makes_room_for_another_session() {
    let world = World::with(|config| config.bi().limits.sessions = Some(1)).await;
    let (token, _) = world.session().await;
    let full = async || world.login(world.key.expose()).await.refusal("390100").contains("1 open sessions");
    for query in
        ["", "?delete=false", "?delete=false&delete=true", "?delete=true&delete=false", "?delete=true&DELETE=no"]
    {
        let got = world.ask(Method::POST, &format!("/session{query}"), &token, "").await;
        assert_eq!(got.status, 404, "{query}");
        assert!(full().await, "{query}");
    }
    assert_eq!(world.standin.state.count("logout"), 0);
    for (status, answer) in [
        (200, r#"{"success":false,"code":"390112","message":"expired"}"#),
        (200, "<html>"),
        (200, r#"{"data":{"success":true}}"#),
        (500, r#"{"success":true}"#),
    ] {
        canned(&world, "logout", status, answer);
        let got = world.ask(Method::POST, "/session?delete=true", &token, "").await;
        assert_eq!((got.status, &got.body[..]), (status, answer.as_bytes()), "the driver gets Snowflake's answer");
        assert!(full().await, "{answer}");
    }
    assert_eq!(world.ask(Method::POST, "/session?delete=true", &token, "").await.json()["success"], true);
    world.session().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_renews_and_makes_no_other_session() {
    for sealed in [true, false] {
        let world = World::with(|config| config.seal = config.seal.take().filter(|_| sealed)).await;
        let (token, master) = world.session().await;
        for kind in [
            r#""requestType":"CLONE""#,
            r#""requestType":"ISSUE""#,
            r#""requestType":"RENEW","REQUEST_TYPE":"CLONE""#,
            r#""requestType":"RENEW","requestType":"CLONE""#,
            r#""n":1"#,
        ] {
            let body = format!(r#"{{"oldSessionToken":"{token}",{kind}}}"#);
            let got = world.ask(Method::POST, "/session/token-request", &master, body).await;
            let said = got.refusal("390400");
            assert!(said.contains("requestType is not RENEW"), "{said}");
        }
        assert_eq!(world.standin.state.count("renew"), 0);
        assert_eq!(world.renew(&token, &master).await.json()["success"], true);
        world.finish().await;
    }
}
