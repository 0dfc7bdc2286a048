//! Sealed tokens: the tokens of a client, and who can use them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, Request};
use patgate::internal::app::App;
use patgate::internal::base::clock::{ManualClock, SystemRandom};
use patgate::internal::config::{Bind, Config};
use patgate::internal::standin::{self, Certificates, Knob, PatState, RouteName};
use patgate::internal::tls;
use tokio::task::JoinSet;

use crate::settings::{Settings, client_name, hash, networks, reference};
use crate::world::{LOCALHOST, USER, World, asked, issue, local, login_body, pair};

const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
const HEARTBEAT: &str = "/session/heartbeat";
const LOGOUT: &str = "/session?delete=true";

/// A heartbeat in a session, from an address of this machine.
async fn beat(world: &World, app: &App, from: IpAddr, token: &str) -> crate::world::Got {
    world.send_from(from, app.address, asked(Method::POST, HEARTBEAT, token, "")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_never_holds_a_token_of_snowflake_s() {
    let world = World::start().await;
    let login = world.login(world.key.expose()).await;
    assert!(!String::from_utf8_lossy(&login.body).contains("ver:3"), "{:?}", login.body);
    let (token, master) = pair(&login.json(), "token");
    assert_eq!(login.json()["data"]["masterValidityInSeconds"], 14_400, "the rest stays as it was");
    assert!(login.json()["data"]["sessionId"].as_u64().unwrap() > 1 << 53);
    assert_eq!(world.query(&token, "select 7").await.json()["data"]["rowset"][0][0], "7");

    world.standin.state.expire_sessions();
    assert_eq!(world.query(&token, "select 7").await.json()["code"], "390112", "the driver hears when to renew");
    let renewed = world.renew(&token, &master).await;
    assert!(!String::from_utf8_lossy(&renewed.body).contains("ver:3"), "{:?}", renewed.body);
    let (token, master) = pair(&renewed.json(), "sessionToken");
    assert_eq!(world.query(&token, "select 8").await.json()["data"]["rowset"][0][0], "8");

    // An older Node's spelling.
    let body = serde_json::json!({ "oldSessionToken": token, "REQUEST_TYPE": "RENEW" }).to_string();
    let renewed = world.ask(Method::POST, "/session/token-request", &master, body).await;
    let (token, _) = pair(&renewed.json(), "sessionToken");
    assert_eq!(world.ask(Method::POST, LOGOUT, &token, "").await.json()["success"], true);
    assert_eq!(world.query(&token, "select 9").await.json()["success"], false, "after the logout it is worth nothing");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_place_of_a_wrong_token_gets_the_answer_that_ends_the_session() {
    let world = World::start().await;
    let (token, master) = world.session().await;
    let (_, other_master) = world.session().await;
    let connections = world.standin.state.connections();
    let flipped = token.replacen("pgs1_", "pgs1_A", 1);
    for wrong in ["None", "ver:3-hint:1-session-x", "", &flipped, &master] {
        world.query(wrong, "select 1").await.refusal("390104");
        world.ask(Method::POST, LOGOUT, wrong, "").await.refusal("390111");
    }
    for (old, header) in
        [(&*token, "None"), (&token, &token), (&master, &master), ("x", &master), (&token, &other_master)]
    {
        world.renew(old, header).await.refusal("390114");
    }
    let two = Request::post(HEARTBEAT).header("authorization", "a").header("authorization", "b");
    world.send(two.body(bytes::Bytes::new()).unwrap()).await.refusal("390104");
    world.ask(Method::POST, "/session/token-request", &master, "[]").await.refusal("390400");
    assert_eq!(world.standin.state.connections(), connections, "none of it was sent on");
    assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_token_is_of_no_use_elsewhere() {
    let two = networks(["127.0.0.1", "127.0.0.2"]);
    for (networks_of_it, bind, there) in [
        (networks(["127.0.0.1"]), Bind::Client, Some("not in a network")),
        (two.clone(), Bind::Network, Some("opened elsewhere")),
        (networks(["127.0.0.0/8"]), Bind::Address, Some("opened elsewhere")),
        (two, Bind::Client, None),
    ] {
        let world = World::with(|config| {
            // Another client may use that address, so that this client's rule decides.
            let other = config.add_client("other");
            (other.networks, other.keys) = (networks(["127.0.0.0/8"]), vec![[0; 32]]);
            (config.bi().networks, config.bi().bind) = (networks_of_it, bind);
        })
        .await;
        let (token, master) = world.session().await;
        let got = beat(&world, &world.app, ELSEWHERE, &token).await;
        let body = serde_json::json!({ "oldSessionToken": token, "requestType": "RENEW" }).to_string();
        let renewal = asked(Method::POST, "/session/token-request", &master, body);
        let renewed = world.send_from(ELSEWHERE, world.app.address, renewal).await.unwrap();
        match there {
            Some(said) => {
                assert!(got.refusal("390111").contains(said), "{}", got.message());
                renewed.refusal("390111");
                assert_eq!(beat(&world, &world.app, LOCALHOST, &token).await.json()["success"], true);
            }
            None => assert!(got.json()["success"] == true && renewed.json()["success"] == true),
        }
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_gets_over_a_short_trouble_that_its_driver_would_not() {
    let world = World::start().await;
    let (token, master) = world.session().await;
    let canned = |status| Knob::Canned { status, body: String::new(), location: None };
    for (knob, times) in [(canned(503), 2), (canned(429), 1), (Knob::Drop, 1)] {
        world.standin.state.turn(RouteName("renew".into()), knob, times);
    }
    let (token, master) = pair(&world.renew(&token, &master).await.json(), "sessionToken");
    world.standin.state.turn(RouteName("renew".into()), Knob::Drop, 2);
    let before = world.standin.state.count("renew");
    assert_eq!(world.renew(&token, &master).await.status, 503);
    assert_eq!(world.standin.state.count("renew") - before, 2, "what may have been carried out is sent once more");
    assert_eq!(world.renew(&token, &master).await.json()["success"], true);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_ends_sessions_on_every_gate_of_the_directory() {
    let clock = ManualClock::start();
    let world = World::at(&clock, |_| {}).await;
    for target in ["client", "pat", "session"] {
        let (token, master) = world.session().await;
        let (status, list) = world.admin(&world.app, Method::GET, "/sessions").await;
        let listed = &list["sessions"][0];
        assert_eq!((status, listed["client"].as_str(), listed["account"].as_str()), (200, Some("bi"), Some("prod")));
        let target = format!("{target}:{}", listed[target].as_str().unwrap());
        let kill = format!("/sessions/kill?target={target}");
        assert_eq!(world.admin(&world.app, Method::POST, &kill).await.1["ended"], 1, "{target}");
        assert!(world.query(&token, "select 1").await.refusal("390111").contains("has ended this session"));
        world.renew(&token, &master).await.refusal("390111");
        let next = world.replica(|_| {}).await;
        beat(&world, &next, LOCALHOST, &token).await.refusal("390111");
        world.end(next).await;
        // It covers no later ones, also at the same time, or if the clock was ahead and is set back.
        assert_eq!(world.query(&world.session().await.0, "select 1").await.json()["success"], true);
        clock.jump(Duration::from_secs(1));
        assert_eq!(world.query(&world.session().await.0, "select 1").await.json()["success"], true);
        let (token, _) = world.session().await;
        world.ask(Method::POST, LOGOUT, &token, "").await;
        for left in world.admin(&world.app, Method::GET, "/sessions").await.1["sessions"].as_array().unwrap() {
            let kill = format!("/sessions/kill?target=session:{}", left["session"].as_str().unwrap());
            world.admin(&world.app, Method::POST, &kill).await;
        }
    }
    assert_eq!(world.admin(&world.app, Method::POST, "/sessions/kill?target=bi").await.0, 422);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_or_a_key_that_is_taken_out_takes_its_sessions_along() {
    let world = World::start().await;
    let (token, _) = world.session().await;
    let renamed = |config: &mut Config| {
        let client = config.clients.remove(&client_name("bi")).unwrap();
        config.clients.insert(client_name("someone-else"), client);
    };
    let another_credential = |config: &mut Config| {
        config.bi().credential = "another".into();
        let credential = config.credentials.remove("powerbi").unwrap();
        config.credentials.insert("another".into(), credential);
    };
    let all: [(fn(&mut Config), _); 4] = [
        (renamed, true),
        (|config| config.bi().keys = vec![[0; 32]], true),
        (another_credential, true),
        (|config| config.bi().keys.insert(0, [0; 32]), false),
    ];
    for (change, ended) in all {
        let gate = world.replica(change).await;
        let got = beat(&world, &gate, LOCALHOST, &token).await;
        match ended {
            true => drop(got.refusal("390111")),
            false => assert_eq!(got.json()["success"], true),
        }
        world.end(gate).await;
    }
    world.finish().await;
}

/// How often the test adds a key under load.
const ROTATIONS: u64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn the_ring_turns_under_load_and_nobody_loses_a_session() {
    let clock = ManualClock::start();
    let read_often = |config: &mut Config| config.seal.as_mut().unwrap().refresh = Duration::from_secs(1);
    let world = Arc::new(World::at(&clock, read_often).await);
    let other = Arc::new(world.replica(|_| {}).await);
    let mut crowd = JoinSet::new();
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    for _ in 0..8 {
        let (world, other, stop, done) = (world.clone(), other.clone(), stop.clone(), done.clone());
        crowd.spawn(async move {
            let (mut token, mut master) = world.session().await;
            let mut requests = 0;
            while !stop.load(Ordering::Relaxed) {
                for app in [&other, &world.app] {
                    assert_eq!(beat(&world, app, LOCALHOST, &token).await.json()["success"], true);
                }
                let body = serde_json::json!({ "oldSessionToken": token, "requestType": "RENEW" }).to_string();
                let renewal = asked(Method::POST, "/session/token-request", &master, body);
                let renewed = world.send_from(LOCALHOST, other.address, renewal).await.unwrap().json();
                (token, master) = pair(&renewed, "sessionToken");
                requests += 3;
                done.fetch_add(1, Ordering::Relaxed);
            }
            requests
        });
    }
    for keys in 1..=ROTATIONS {
        let (status, told) =
            world.admin(if keys % 2 == 0 { &other } else { &world.app }, Method::POST, "/sessions/rotate").await;
        assert_eq!((status, told["keys"].as_u64()), (200, Some(keys + 1)));
        clock.advance(Duration::from_secs(60));
        // Every session has used the new key about once before the next key.
        let before = done.load(Ordering::Relaxed);
        tokio::select! {
            () = world.standin.state.wait_until(|_| done.load(Ordering::Relaxed) >= before + 8) => {}
            ended = crowd.join_next() => panic!("a client gave up: {ended:?}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(crowd.join_all().await.into_iter().sum::<u32>() > 100);
    let ring = std::fs::read_to_string(world.file("state/sealing-keys")).unwrap();
    assert!(ring.lines().count() >= 50, "{} keys", ring.lines().count());
    world.end(Arc::into_inner(other).unwrap()).await;
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_from_a_store_serves_replicas_and_one_that_is_away_at_the_start_keeps_nobody_out() {
    let world = World::with(|config| {
        let seal = config.seal.as_mut().unwrap();
        (seal.keys, seal.refresh) = (Some(reference("local:ring").secret().clone()), Duration::from_secs(3600));
    })
    .await;
    let key = |letter: &str| world.canary(&letter.repeat(44));
    let (early, _) = world.session().await;
    world.write("ring", &key("a"));
    let first = world.replica(|_| {}).await;
    let login = Request::post("/session/v1/login-request").body(login_body(world.key.expose()).into()).unwrap();
    let (token, _) = pair(&world.send_from(LOCALHOST, first.address, login).await.unwrap().json(), "token");
    // The gate reads the ring for an unknown key; older sealed tokens still work.
    assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    assert_eq!(world.query(&early, "select 1").await.json()["success"], true);
    beat(&world, &first, LOCALHOST, &early).await.refusal("390104");
    // A new key in front, and the old one still there.
    world.write("ring", &format!("{}\n{}\n", key("b"), key("a")));
    let second = world.replica(|_| {}).await;
    let login = Request::post("/session/v1/login-request").body(login_body(world.key.expose()).into()).unwrap();
    let (newer, _) = pair(&world.send_from(LOCALHOST, second.address, login).await.unwrap().json(), "token");
    for app in [&world.app, &first, &second] {
        for token in [&token, &newer] {
            assert_eq!(beat(&world, app, LOCALHOST, token).await.json()["success"], true);
        }
    }
    world.end(first).await;
    world.end(second).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_in_one_process_are_chosen_by_client() {
    let certificates = tempfile::tempdir().unwrap();
    let made = Certificates::make(certificates.path(), &["localhost"]).unwrap();
    let server = tls::server(&made.pair(), None).unwrap();
    let second = standin::start(local(), server, Arc::new(SystemRandom)).await.unwrap();
    let (key, pat) = (issue("test"), crate::hunt::canary());
    second.state.set_pat(USER, &pat, PatState::Active);
    std::fs::write(certificates.path().join("pat"), pat).unwrap();
    let world = World::with(|config| {
        config.add_account("test", &second).ca = Some(made.ca.clone());
        config.add_files("second", certificates.path());
        let credential = config.add_credential("test");
        (credential.account, credential.login) = ("test".into(), reference("second:pat"));
        let client = config.add_client("test");
        (client.credential, client.keys) = ("test".into(), vec![hash(&key)]);
    })
    .await;
    world.hunt.secret(&key);
    world.hunt.standin(&second.state);
    let (token, _) = world.session().await;
    let (other, other_master) = pair(&world.login(key.expose()).await.json(), "token");
    for _ in 0..3 {
        assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
        assert_eq!(world.query(&other, "select 1").await.json()["success"], true);
    }
    assert_eq!(world.renew(&other, &other_master).await.json()["success"], true);
    assert_eq!(
        (world.standin.state.count("query"), second.state.count("query"), second.state.count("renew")),
        (3, 3, 1)
    );
    world.finish().await;
}
