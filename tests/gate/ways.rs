//! The ways to Snowflake: what passes is tried again, and what a client leaves behind is put away.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use patgate::internal::standin::{Knob, RouteName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::World;

/// A redirect to the account's own host, as Snowflake sends while it moves a service.
fn moved(path: &str) -> Knob {
    Knob::Canned { status: 307, body: String::new(), location: Some(path.to_owned()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_the_account_s_own_host_is_tried_again_on_every_route() {
    let world = World::start().await;
    let turn = |route: &str, path: &str| world.standin.state.turn(RouteName(route.into()), moved(path), 1);
    turn("login", "/session/v1/login-request?requestId=1");
    let (token, master) = world.session().await;
    turn("renew", "/session/token-request");
    assert_eq!(world.renew(&token, &master).await.json()["success"], true);
    turn("rest", "/api/v2/statements");
    let statement = Request::builder().method(Method::POST).uri("/api/v2/statements");
    let statement = statement.header("authorization", format!("Bearer {}", world.key.expose()));
    let got = world.send(statement.body(Bytes::from_static(br#"{"statement":"select 1"}"#)).unwrap()).await;
    assert_eq!(got.status, 200, "{:?}", got.body);
    // A streamed request cannot be sent again by the gate: its driver is told to.
    let (token, _) = world.session().await;
    turn("query", "/queries/v1/query-request");
    let got = world.query(&token, "select 1").await;
    assert_eq!((got.status, got.headers.contains_key("retry-after")), (503, true));
    assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    turn("logout", "/session");
    assert_eq!(world.ask(Method::POST, "/session?delete=true", &token, "").await.status, 503);
    assert_eq!(world.ask(Method::POST, "/session?delete=true", &token, "").await.json()["success"], true);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_whose_client_leaves_is_counted_and_logged_out() {
    let world = World::start().await;
    world.standin.state.delay(RouteName("login".into()), Duration::from_millis(300));
    for number in 1..=3 {
        tokio::select! {
            _answered = world.login(world.key.expose()) => panic!("it was answered at once"),
            () = world.standin.state.wait_until(|state| state.count("login") == number) => {}
        }
        world.standin.state.wait_until(|state| state.count("logout") == number).await;
    }
    // The stand-in counts a request before it carries it out.
    while world.standin.state.open_sessions() > 0 {
        tokio::task::yield_now().await;
    }
    world.standin.state.delay(RouteName("login".into()), Duration::ZERO);
    world.session().await;
    let (_, text) = world.operator(&world.app, Method::GET, "/metrics").await;
    for line in [
        r#"patgate_logins_total{client="bi",outcome="abandoned"} 3"#,
        r#"patgate_logins_total{client="bi",outcome="success"} 1"#,
    ] {
        assert!(text.contains(line), "{text}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_cannot_connect_ends_with_its_hold() {
    // Nothing answers the handshake there.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let world = World::with(|config| {
        config.login.hold = Duration::from_millis(500);
        for account in config.accounts.values_mut() {
            account.address = Some(address.clone());
        }
    })
    .await;
    // `upstream.connect` is 10 s: only the hold ends it within the time that a test may take.
    let said = tokio::time::timeout(Duration::from_secs(8), world.login(world.key.expose())).await;
    assert!(said.expect("the hold was not handed down").refusal("390999").contains("cannot connect to Snowflake"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let world = World::start().await;
    let (token, _) = world.session().await;
    // The whole body never comes, so the stand-in is not the one who answers.
    too_large(&world, "/session/heartbeat", &token).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_of_snowflake_reaches_the_client() {
    let world = World::start().await;
    let (token, _) = world.session().await;
    for number in 0..6 {
        let early = Knob::Early { status: 413, reads_on: number % 2 == 0 };
        world.standin.state.turn(RouteName("query".into()), early, 1);
        too_large(&world, "/queries/v1/query-request?requestId=1", &token).await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_whether_the_connection_can_be_used_again() {
    let world = World::start().await;
    let (token, _) = world.session().await;
    world.standin.stop();
    let mut stream = world.connect().await;
    let head = |length: usize| {
        format!(
            "POST /queries/v1/query-request?requestId=1 HTTP/1.1\r\nhost: x\r\n\
             authorization: Snowflake Token=\"{token}\"\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    // Head and body in two writes; the body is here in time, so the connection goes on.
    stream.write_all(head(24).as_bytes()).await.unwrap();
    stream.write_all(br#"{"sqlText":"select 1;;"}"#).await.unwrap();
    let first = one_answer(&mut stream).await;
    assert!(first.starts_with("http/1.1 503") && !first.contains("connection: close"), "{first}");
    // This body never comes whole: the answer says that it was the last.
    stream.write_all(head(1_000_000).as_bytes()).await.unwrap();
    let last = one_answer(&mut stream).await;
    assert!(last.starts_with("http/1.1 503") && last.contains("connection: close"), "{last}");
    world.finish().await;
}

/// Sends most of a body of 20 MB, whatever is answered meanwhile, and finds the answer that it is too large.
async fn too_large(world: &World, path: &str, token: &str) {
    let mut stream = world.connect().await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Snowflake Token=\"{token}\"\r\n\
         content-length: 20000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..19 {
        // The gate may have stopped reading, but it has reset nothing.
        stream.write_all(&piece).await.unwrap();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 413") && answer.contains("connection: close"), "{answer}");
}

/// The next answer on a connection, in small letters; its body is not long.
async fn one_answer(stream: &mut crate::world::Tls) -> String {
    let mut text = String::new();
    let mut part = [0; 4096];
    while !text.contains("\"headers\":null}") {
        let read = stream.read(&mut part).await.unwrap();
        assert!(read > 0, "{text}");
        text += &String::from_utf8_lossy(&part[..read]).to_ascii_lowercase();
    }
    text
}
