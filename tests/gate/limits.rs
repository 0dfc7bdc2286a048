//! Limits: who is held back, for how long, and who is not.

use std::sync::Arc;

use http::Method;
use patgate::internal::admit::key;
use patgate::internal::base::clock::SystemRandom;
use patgate::internal::base::names::ClientName;
use patgate::internal::base::secret::Secret;
use patgate::internal::standin::{Knob, Place};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use crate::world::{Got, World, asked, login_body, login_request, pair};

const NEVER: &str = "[limits]\nwait='0s'\ndelay='0s'\n";

fn other() -> (Secret, String) {
    let other = key::issue(&ClientName::parse("other").unwrap(), &SystemRandom).unwrap();
    let table =
        format!("[clients.other]\ncredential='powerbi'\nkeys=['{}']\nnetworks=['127.0.0.0/8']\n", key::stored(&other));
    (other, table)
}

async fn login_from(world: &World, last: u8, key: &Secret) -> Got {
    let from = [127, 0, 0, last].into();
    world.send_from(from, world.app.address, login_request(login_body(key.expose()))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_are_counted_by_client_credential_source_and_gate() {
    let credential =
        "[credentials.powerbi]\naccount='prod'\nuser='BI_SERVICE'\npat='local:pat'\nlimits={logins='3/h'}\n";
    for (client, table, whose) in [
        ("limits={logins=['100/s','2/h']}", NEVER.to_owned(), "this client has made too many logins"),
        ("", format!("{NEVER}{credential}"), "the credential of this client has made"),
        ("", format!("{NEVER}gate={{logins='3/h'}}\n"), "this gate has made"),
        ("", format!("{NEVER}source={{logins='3/h'}}\n"), "your address has made"),
    ] {
        let (second, another) = other();
        let world = World::with(&format!("networks=['127.0.0.0/8']\n{client}"), &(table + &another)).await;
        let mut refused = None;
        for _ in 0..4 {
            let got = login_from(&world, 1, &world.key).await;
            if got.json()["success"] != true {
                refused = Some(got.refusal("390100"));
                break;
            }
        }
        let said = refused.expect("a limit");
        assert!(said.contains(whose) && said.contains("the next is possible in"), "{said}");
        // Who else is held back by it.
        let second_client = login_from(&world, 1, &second).await.json()["success"] == true;
        let second_source = login_from(&world, 2, &world.key).await.json()["success"] == true;
        let free = (whose.starts_with("this client"), whose.starts_with("your address"));
        assert_eq!((second_client, second_source), free, "{whose}");
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_over_its_limit_waits_for_its_turn_if_that_is_soon() {
    let world = World::with("limits={logins='1/s'}", "[limits]\nwait='5s'\n").await;
    let started = Instant::now();
    for _ in 0..3 {
        world.session().await;
    }
    assert!(started.elapsed() >= Duration::from_millis(1900), "two of them have waited");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_their_limit_are_delayed_and_then_told_when_to_come_again() {
    let world = World::with("limits={requests=['3/h']}", NEVER).await;
    let (token, master) = world.session().await;
    for _ in 0..3 {
        assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    }
    let got = world.query(&token, "select 1").await;
    assert_eq!((got.status, got.headers["retry-after"].to_str().unwrap()), (429, "1200"));
    assert!(got.message().contains("this client has made too many requests; the next is possible in 1200 s"));
    // What ends something is never held back.
    for path in ["/session/heartbeat", "/queries/v1/abort-request"] {
        assert_eq!(world.ask(Method::POST, path, &token, "{}").await.json()["success"], true, "{path}");
    }
    let (token, _) = pair(&world.renew(&token, &master).await.json(), "sessionToken");
    assert_eq!(world.ask(Method::POST, "/session?delete=true", &token, "").await.json()["success"], true);
    world.finish().await;

    let world = World::with("limits={requests='5/s'}", "[limits]\ndelay='5s'\n").await;
    let (token, _) = world.session().await;
    let started = Instant::now();
    for _ in 0..8 {
        assert_eq!(world.query(&token, "select 1").await.status, 200);
    }
    assert!(started.elapsed() >= Duration::from_millis(500), "three of them have waited");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_sessions_and_a_closed_one_makes_room() {
    let world = Arc::new(World::with("limits={sessions=2}", "").await);
    let (first, _) = world.session().await;
    world.session().await;
    let said = world.login(world.key.expose()).await.refusal("390100");
    assert!(said.contains("this client has 2 sessions open"), "{said}");
    world.ask(Method::POST, "/session?delete=true", &first, "").await;
    // Many at once find the one place that is free.
    let mut crowd = JoinSet::new();
    for _ in 0..8 {
        let world = world.clone();
        crowd.spawn(async move { world.login(world.key.expose()).await.json()["success"] == true });
    }
    assert_eq!(crowd.join_all().await.into_iter().filter(|ok| *ok).count(), 1);
    // A login that failed has taken no place.
    let list = world.admin(&world.app, Method::GET, "/sessions").await.1;
    let one = list["sessions"][0]["session"].as_str().unwrap();
    world.admin(&world.app, Method::POST, &format!("/sessions/kill?target=session:{one}")).await;
    world.standin.state.turn(Place("login".into()), Knob::Canned { status: 400, body: "x".into(), location: None }, 1);
    world.login(world.key.expose()).await.refusal("390999");
    world.session().await;
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_requests_at_a_time_to_their_last_byte() {
    let world = Arc::new(World::with("limits={in_flight=2}", NEVER).await);
    let (token, _) = world.session().await;
    let mut running = JoinSet::new();
    for seconds in [60, 61] {
        let (world, token) = (world.clone(), token.clone());
        running.spawn(async move { world.query(&token, &format!("select system$wait({seconds})")).await.status });
    }
    world.standin.state.wait_until(|state| state.count("query") == 2).await;
    let got = world.query(&token, "select 1").await;
    assert!(got.status == 429 && got.message().contains("2 requests under way"), "{}", got.message());
    let abort = world.ask(Method::POST, "/queries/v1/abort-request", &token, r#"{"requestId":"r1"}"#).await;
    assert_eq!(abort.json()["success"], true);
    assert_eq!(running.join_all().await, [200, 200]);
    assert_eq!(world.query(&token, "select 1").await.status, 200);
    // A client that goes away in the middle gives its place back.
    let mut leaving = JoinSet::new();
    for _ in 0..2 {
        let (world, token) = (world.clone(), token.clone());
        leaving.spawn(async move { world.query(&token, "select system$wait(60)").await.status });
    }
    world.standin.state.wait_until(|state| state.count("query") == 5).await;
    leaving.shutdown().await;
    world.standin.state.wait_until(|state| state.dropped() >= 2).await;
    while world.query(&token, "select 1").await.status != 200 {}
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_answered_later_each_time_and_right_ones_never_wait() {
    let world = World::with("networks=['127.0.0.0/8']", "[limits]\nfailures='2/h'\nslow_down='2s'\n").await;
    let guess = || key::issue(&ClientName::parse("bi").unwrap(), &SystemRandom).unwrap();
    let mut took = Vec::new();
    for _ in 0..4 {
        let started = Instant::now();
        login_from(&world, 1, &guess()).await.refusal("390100");
        took.push(started.elapsed() >= Duration::from_millis(2000));
    }
    assert_eq!(took, [false, false, true, true]);
    let (good, bad) = tokio::join!(
        async {
            let got = login_from(&world, 1, &world.key).await.json();
            (got["success"] == true, Instant::now())
        },
        async {
            login_from(&world, 1, &guess()).await.refusal("390100");
            Instant::now()
        }
    );
    assert!(good.0 && good.1 < bad, "the right key was answered before the wrong one");
    // From another source the name alone is known, and has been tried often enough.
    let started = Instant::now();
    login_from(&world, 2, &guess()).await.refusal("390100");
    assert!(started.elapsed() >= Duration::from_millis(2000));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_the_count_of_what_stays() {
    let limits = "limits={logins='2/h'}";
    let world = World::with(limits, NEVER).await;
    world.session().await;
    world.reload(|text| text.replace("[clients.bi]\n", "[clients.bi]\nroles=['R']\n")).await.unwrap();
    world.session().await;
    world.login(world.key.expose()).await.refusal("390100");
    world.reload(|text| text.replace(limits, "limits={logins='3/h'}")).await.unwrap();
    world.session().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_leaves_its_connection_to_the_next() {
    let world = World::with("limits={requests='1/h'}", NEVER).await;
    let (token, _) = world.session().await;
    let stream = hyper_util::rt::TokioIo::new(world.connect().await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for expected in [200, 429, 429, 429] {
        let mut query = asked(Method::POST, "/queries/v1/query-request", &token, vec![b' '; 20_000]);
        query.headers_mut().insert("host", "gate.test".parse().unwrap());
        sender.ready().await.expect("the connection goes on");
        let answer = sender.send_request(query.map(http_body_util::Full::new)).await.unwrap();
        assert_eq!(answer.status(), expected);
        http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
    }
    world.finish().await;
}
