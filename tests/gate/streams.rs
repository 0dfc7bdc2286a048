use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use patgate::internal::standin::{Knob, RouteName};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_its_life_through_the_gate() {
    let world = World::start().await;
    let (token, master) = world.session().await;
    assert_eq!(world.query(&token, "select 1").await.json()["data"]["rowset"][0][0], "1");
    assert_eq!(world.ask(Method::POST, "/session/heartbeat", &token, "").await.json()["success"], true);
    assert_eq!(world.ask(Method::POST, "/telemetry/send", &token, "{}").await.json()["success"], true);
    world.standin.state.expire_sessions();
    assert_eq!(world.query(&token, "select 1").await.json()["code"], "390112");
    let renew = serde_json::json!({ "oldSessionToken": token, "requestType": "RENEW" }).to_string();
    let renewed = world.ask(Method::POST, "/session/token-request", &master, renew).await.json();
    let token = renewed["data"]["sessionToken"].as_str().unwrap().to_owned();
    let got = world.query(&token, "select 2").await;
    assert_eq!(got.json()["data"]["rowset"][0][0], "2");
    assert_eq!(got.headers["x-snowflake-session"], "standin-sticky");
    assert_eq!(world.ask(Method::POST, "/session?delete=true", &token, "").await.json()["success"], true);
    assert_eq!(world.query(&token, "select 1").await.json()["code"], "390104");
    // One connection to Snowflake served it all.
    assert_eq!(world.standin.state.connections(), 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_stream_down_and_ten_up() {
    let world = World::start().await;
    let (token, _) = world.session().await;
    let got = world.query(&token, "select repeat('x', 1000) from table(generator(rowcount => 100000))").await;
    assert!(got.body.len() > 100_000_000);
    assert!(got.body.ends_with(br#""success":true}"#));
    let long = format!("select 1 -- {}", "y".repeat(10_000_000));
    assert_eq!(world.query(&token, &long).await.json()["success"], true);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_queries_are_polled_and_cancelled_over_other_connections() {
    let world = World::start().await;
    let (token, _) = world.session().await;
    world.standin.state.poll_after(Duration::from_millis(50));
    let first = world.query(&token, "select system$wait(200, 'MILLISECONDS')").await.json();
    assert_eq!(first["code"], "333333");
    let path = first["data"]["getResultUrl"].as_str().unwrap().to_owned();
    while world.ask(Method::GET, &path, &token, "").await.json()["code"] == "333333" {}
    world.standin.state.poll_after(Duration::from_secs(30));
    let running = world.query(&token, "select system$wait(60)");
    let abort = async {
        world.standin.state.wait_until(|state| state.count("query") == 2).await;
        loop {
            world.ask(Method::POST, "/queries/v1/abort-request?requestId=r2", &token, r#"{"requestId":"r1"}"#).await;
            if world.standin.state.count("abort") > 0 {
                break;
            }
        }
    };
    let (cancelled, ()) = tokio::join!(running, abort);
    assert_eq!(cancelled.json()["code"], "604");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_answer_is_reset_and_never_looks_whole() {
    let world = World::start().await;
    let (token, _) = world.session().await;
    world.standin.state.turn(RouteName("query".into()), Knob::CutAfter(300_000), 1);
    let request = Request::post("/queries/v1/query-request")
        .header("authorization", format!("Snowflake Token=\"{token}\""))
        .body(Bytes::from(r#"{"sqlText":"select repeat('x', 100) from table(generator(rowcount => 100000))"}"#))
        .unwrap();
    let got = world.try_send(request).await;
    assert!(got.is_err(), "a cut body must be an error, not {} bytes", got.map_or(0, |got| got.body.len()));
    // The gate serves the next request normally.
    assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_takes_its_request_along() {
    let world = World::start().await;
    let (token, _) = world.session().await;
    for knob in [Knob::Stall, Knob::Slow(Duration::from_millis(20))] {
        let before = world.standin.state.dropped();
        let asked = world.standin.state.count("query");
        world.standin.state.turn(RouteName("query".into()), knob, 1);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(world.connect().await)).await.unwrap();
        let driving = tokio::spawn(connection);
        let request = Request::post("/queries/v1/query-request")
            .header("host", "gate.test")
            .header("authorization", format!("Snowflake Token=\"{token}\""))
            .body(Full::new(Bytes::from(
                r#"{"sqlText":"select repeat('x', 100) from table(generator(rowcount => 1000000))"}"#,
            )))
            .unwrap();
        let answer = tokio::spawn(async move { sender.send_request(request).await });
        world.standin.state.wait_until(|state| state.count("query") > asked).await;
        driving.abort();
        answer.abort();
        world.standin.state.wait_until(|state| state.dropped() > before).await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_snowflake_closed_is_not_noticed() {
    let world = World::start().await;
    let (token, _) = world.session().await;
    for _ in 0..20 {
        world.standin.state.close_connections();
        assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_in_a_session_is_a_status_that_drivers_retry() {
    let world = World::start().await;
    let (token, _) = world.session().await;
    // The stand-in stops permanently.
    world.standin.stop();
    while tokio::net::TcpStream::connect(world.standin.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let got = world.query(&token, "select 1").await;
    assert_eq!((got.status, got.headers["retry-after"].as_bytes()), (503, &b"2"[..]));
    assert!(got.message().contains("cannot connect to Snowflake"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_seals_nothing_but_session_tokens_goes_up_in_a_driver_s_authorization() {
    let world = World::with(|config| config.seal = None).await;
    let key = world.key.expose().as_bytes();
    let ask = async |path: &str, value: &[u8]| {
        let value = http::HeaderValue::from_bytes(value).unwrap();
        let request = Request::post(path).header("authorization", value).body(Bytes::from("{}")).unwrap();
        world.send(request).await
    };
    for value in [&[b"Bearer ", key].concat()[..], &[b"Snowflake Token=\"", key, b"\xff\""].concat()] {
        ask("/queries/v1/query-request", value).await.refusal("390100");
    }
    assert_eq!(world.standin.state.connections(), 0);
    // The gate drops a header without a session token, and Snowflake asks for one.
    for value in [&b"Bearer somebody's"[..], b"Basic"] {
        assert_eq!(ask("/session/heartbeat", value).await.json()["code"], "390101");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_running_answers_end() {
    let world = World::start().await;
    let (token, _) = world.session().await;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(world.connect().await)).await.unwrap();
    tokio::spawn(connection);
    world.standin.state.turn(RouteName("query".into()), Knob::Slow(Duration::from_millis(5)), 1);
    let body = Bytes::from(r#"{"sqlText":"select repeat('x', 100) from table(generator(rowcount => 20000))"}"#);
    let request = Request::post("/queries/v1/query-request")
        .header("host", "gate.test")
        .header("authorization", format!("Snowflake Token=\"{token}\""))
        .body(Full::new(body))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let ((), body) = tokio::join!(world.finish(), answer.into_body().collect());
    assert!(body.unwrap().to_bytes().ends_with(br#""success":true}"#));
}
