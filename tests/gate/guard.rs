//! The guard on a whole gate: storms, clients that are refused for what they ask for, requests that break off.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use patgate::internal::standin::{RouteName, Saying};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::settings::{Settings, hash};
use crate::world::{Got, USER, World, issue, login_body};

fn saying(code: &str, text: &str) -> Option<Saying> {
    Some(Saying { code: code.to_owned(), text: text.to_owned() })
}

/// A login in a role; an empty one asks for nothing.
async fn login_in(world: &World, key: &str, role: &str) -> Got {
    let path = format!("/session/v1/login-request?requestId=1&roleName={role}");
    world.send(Request::post(path).body(login_body(key).into()).unwrap()).await
}

/// How many logins of the gate's own Snowflake has seen.
fn own(world: &World) -> usize {
    let seen = world.standin.state.seen();
    seen.iter().filter(|seen| seen.body.contains(r#""CLIENT_APP_ID":"patgate""#)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_two_hundred_slow_logins_fails_none() {
    let world = Arc::new(World::start().await);
    world.session().await;
    world.standin.state.delay(RouteName("login".into()), Duration::from_millis(500));
    let mut crowd = JoinSet::new();
    for _ in 0..200 {
        let world = world.clone();
        crowd.spawn(async move { world.login(world.key.expose()).await });
    }
    for got in crowd.join_all().await {
        assert_eq!(got.json()["success"], true, "{:?}", got.body);
    }
    assert_eq!((world.standin.state.bad_logins_in_all(), own(&world)), (0, 0));
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_snowflake_refuses_with_the_pat_s_own_code_is_that_client_s_affair() {
    let other = issue("other");
    let world = World::with(|config| {
        let client = config.add_client("other");
        (client.credential, client.keys) = ("powerbi".into(), vec![hash(&other)]);
    })
    .await;
    world.hunt.secret(&other);
    world.standin.state.refuse_role("ODD", saying("394400", "Programmatic access token is invalid."));
    for _ in 0..5 {
        let said = login_in(&world, world.key.expose(), "ODD").await.refusal("390999");
        assert!(said.contains("Snowflake accepts the gate") && !said.contains("394400"), "{said}");
        assert_eq!(login_in(&world, other.expose(), "GOOD").await.json()["success"], true);
        assert_eq!(login_in(&world, world.key.expose(), "").await.json()["success"], true);
    }
    assert_eq!((world.standin.state.bad_logins_in_all(), own(&world)), (1, 1));
    // The gate's own session has ended.
    world.standin.state.wait_until(|state| state.open_sessions() == 10).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_to_one_client_s_statement_takes_the_pat_from_nobody() {
    let world = World::start().await;
    world.standin.state.refuse_role("ODD", saying("390318", "Something nobody knows."));
    let statement = async |role: &str| {
        let body = serde_json::json!({ "statement": "select 1", "role": role }).to_string();
        let request = Request::builder().method(Method::POST).uri("/api/v2/statements?requestId=1");
        let request = request.header("authorization", format!("Bearer {}", world.key.expose()));
        world.send(request.body(Bytes::from(body)).unwrap()).await
    };
    for _ in 0..4 {
        let got = statement("ODD").await;
        assert_eq!(got.status, 403, "{:?}", got.body);
        assert!(got.message().contains("Snowflake accepts the gate"), "{}", got.message());
        assert_eq!(statement("GOOD").await.status, 200);
        world.session().await;
    }
    // A code that nobody knows may be Snowflake's own trouble, so the statement goes twice.
    assert_eq!((world.standin.state.bad_logins_in_all(), own(&world)), (2, 2));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_nobody_knows_is_told_in_the_gate_s_words_and_not_repeated() {
    let world = World::start().await;
    world.standin.state.refuse_user(USER, saying("390202", "Authentication attempt of BI_SERVICE rejected."));
    for _ in 0..8 {
        let said = world.login(world.key.expose()).await.refusal("390999");
        assert!(said.contains("refuses the logins of the gate") && !said.contains("BI_SERVICE"), "{said}");
    }
    // The client's, and the gate's own.
    assert_eq!(world.standin.state.bad_logins_in_all(), 2);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_its_client_breaks_off_costs_nobody_else_a_place() {
    let world = World::start().await;
    for _ in 0..6 {
        let mut stream = world.connect().await;
        let head = format!(
            "POST /api/v2/statements HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             transfer-encoding: chunked\r\n\r\n5\r\n{{\"st\r\n",
            world.key.expose()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        drop(stream);
        let mut malformed = world.connect().await;
        malformed.write_all(format!("{head}zz\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _closed = malformed.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains("cannot reach Snowflake"), "{answer}");
    }
    world.session().await;
    assert_eq!((world.standin.state.count("rest"), own(&world)), (0, 0));
    world.finish().await;
}
