//! Limits: which requests wait, for how long, and which do not.

use std::sync::Arc;

use http::Method;
use patgate::internal::base::clock::ManualClock;
use patgate::internal::base::secret::Secret;
use patgate::internal::config::Config;
use patgate::internal::standin::{Knob, RouteName};
use tokio::task::JoinSet;
use tokio::time::Duration;

use crate::settings::{Change, Settings, hash, networks, one_of, rates};
use crate::world::{Got, World, asked, issue, login_body, login_request, pair, still_waits};

/// More than any test takes.
const LONG: Duration = Duration::from_secs(600);

async fn login_from(world: &World, last: u8, key: &Secret) -> Got {
    let from = [127, 0, 0, last].into();
    world.send_from(from, world.app.address, login_request(login_body(key.expose()))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_are_counted_by_client_credential_source_and_gate() {
    let client = |config: &mut Config| config.bi().limits.rates.logins = rates(["100/s", "2/h"]);
    let credential = |config: &mut Config| config.powerbi().limits.logins = rates(["3/h"]);
    let gate = |config: &mut Config| config.limits.gate.logins = rates(["3/h"]);
    let source = |config: &mut Config| config.limits.source.logins = rates(["3/h"]);
    let all: [(Change<'_>, _); 4] = [
        (&client, "this client has made too many logins"),
        (&credential, "the credential of this client has made"),
        (&gate, "this gate has made"),
        (&source, "your address has made"),
    ];
    for (limit, whose) in all {
        let second = issue("other");
        let world = World::with(|config| {
            config.never_wait();
            config.bi().networks = networks(["127.0.0.0/8"]);
            config.add_client("other").keys = vec![hash(&second)];
            limit(config);
        })
        .await;
        world.hunt.secret(&second);
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
        // The others that the limit applies to.
        let second_client = login_from(&world, 1, &second).await.json()["success"] == true;
        let second_source = login_from(&world, 2, &world.key).await.json()["success"] == true;
        let free = (whose.starts_with("this client"), whose.starts_with("your address"));
        assert_eq!((second_client, second_source), free, "{whose}");
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_over_its_limit_waits_for_its_turn_if_that_is_soon() {
    let clock = ManualClock::start();
    let limit = |config: &mut Config| {
        config.bi().limits.rates.logins = rates(["10/s"]);
        config.limits.wait = LONG;
    };
    let world = World::at(&clock, limit).await;
    for _ in 0..10 {
        world.session().await;
    }
    for _ in 0..2 {
        let mut next = Box::pin(world.session());
        still_waits(next.as_mut()).await;
        clock.advance(Duration::from_millis(100));
        next.await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_their_limit_are_delayed_and_then_told_when_to_come_again() {
    let three = |config: &mut Config| {
        config.never_wait();
        config.bi().limits.rates.requests = rates(["3/h"]);
    };
    let world = World::with(three).await;
    let (token, master) = world.session().await;
    for _ in 0..3 {
        assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    }
    let got = world.query(&token, "select 1").await;
    assert_eq!((got.status, got.headers["retry-after"].to_str().unwrap()), (429, "1200"));
    assert!(got.message().contains("this client has made too many requests; the next is possible in 1200 s"));
    // Requests that end something have limits of their own.
    for path in ["/session/heartbeat", "/queries/v1/abort-request"] {
        assert_eq!(world.ask(Method::POST, path, &token, "{}").await.json()["success"], true, "{path}");
    }
    let (token, _) = pair(&world.renew(&token, &master).await.json(), "sessionToken");
    assert_eq!(world.ask(Method::POST, "/session?delete=true", &token, "").await.json()["success"], true);
    world.finish().await;

    let clock = ManualClock::start();
    let delayed = |config: &mut Config| {
        config.bi().limits.rates.requests = rates(["5/s"]);
        config.limits.delay = LONG;
    };
    let world = World::at(&clock, delayed).await;
    let (token, _) = world.session().await;
    for _ in 0..5 {
        assert_eq!(world.query(&token, "select 1").await.status, 200);
    }
    for _ in 0..3 {
        let mut next = Box::pin(world.query(&token, "select 1"));
        still_waits(next.as_mut()).await;
        clock.advance(Duration::from_millis(200));
        assert_eq!(next.await.status, 200);
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_sessions_and_a_closed_one_makes_room() {
    let world = Arc::new(World::with(|config| config.bi().limits.sessions = Some(2)).await);
    let (first, _) = world.session().await;
    world.session().await;
    let said = world.login(world.key.expose()).await.refusal("390100");
    assert!(said.contains("this client has 2 open sessions"), "{said}");
    world.ask(Method::POST, "/session?delete=true", &first, "").await;
    // Of many requests at once, one gets the free place.
    let mut crowd = JoinSet::new();
    for _ in 0..8 {
        let world = world.clone();
        crowd.spawn(async move { world.login(world.key.expose()).await.json()["success"] == true });
    }
    assert_eq!(crowd.join_all().await.into_iter().filter(|ok| *ok).count(), 1);
    // A failed login has used no place.
    let list = world.admin(&world.app, Method::GET, "/sessions").await.1;
    let one = list["sessions"][0]["session"].as_str().unwrap();
    world.admin(&world.app, Method::POST, &format!("/sessions/kill?target=session:{one}")).await;
    world.standin.state.turn(
        RouteName("login".into()),
        Knob::Canned { status: 400, body: "x".into(), location: None },
        1,
    );
    world.login(world.key.expose()).await.refusal("390999");
    world.session().await;
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_requests_at_a_time_to_their_last_byte() {
    let two = |config: &mut Config| {
        config.never_wait();
        config.bi().limits.in_flight = Some(2);
    };
    let world = Arc::new(World::with(two).await);
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
    // A client that disconnects in the middle frees its place.
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
    let slowed = |by| {
        move |config: &mut Config| {
            config.bi().networks = networks(["127.0.0.0/8"]);
            (config.limits.failures, config.limits.slow_down) = (rates(["2/h"]), by);
        }
    };
    let world = World::with(slowed(LONG)).await;
    let guess = || world.issue("bi");
    for _ in 0..2 {
        login_from(&world, 1, &guess()).await.refusal("390100");
    }
    let wrong = [guess(), guess(), guess()];
    for (key, from) in wrong.iter().zip([1, 1, 2]) {
        // From another source the gate knows only the name, which has had enough wrong keys.
        let mut one = Box::pin(login_from(&world, from, key));
        still_waits(one.as_mut()).await;
        // The right key is answered while the wrong one still waits.
        tokio::select! {
            biased;
            _early = one.as_mut() => panic!("a wrong key was not slowed down"),
            right = login_from(&world, 1, &world.key) => assert_eq!(right.json()["success"], true),
        }
    }
    // Waiting requests get an answer in the end. The count continues, since the rate is the same.
    world.reload(slowed(Duration::from_millis(20))).await.unwrap();
    for from in [1, 1, 2] {
        login_from(&world, from, &guess()).await.refusal("390100");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_the_count_of_what_stays() {
    let two = |config: &mut Config| {
        config.never_wait();
        config.bi().limits.rates.logins = rates(["2/h"]);
    };
    let world = World::with(two).await;
    world.session().await;
    world.reload(|config| config.bi().pins.role = one_of(["R"])).await.unwrap();
    world.session().await;
    world.login(world.key.expose()).await.refusal("390100");
    world.reload(|config| config.bi().limits.rates.logins = rates(["3/h"])).await.unwrap();
    world.session().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_leaves_its_connection_to_the_next() {
    let one = |config: &mut Config| {
        config.never_wait();
        config.bi().limits.rates.requests = rates(["1/h"]);
    };
    let world = World::with(one).await;
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
