use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use patgate::internal::config::Config;
use patgate::internal::standin::{Knob, PatState, RouteName};

use crate::settings::{Settings, hash, networks, rates};
use crate::world::{USER, World, asked, issue};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_key_and_unknown_client_read_the_same() {
    let world = World::start().await;
    let mut said = Vec::new();
    for key in [world.issue("bi"), world.issue("stranger")] {
        let text = world.login(key.expose()).await.refusal("390100");
        said.push(text.split(" (trace").next().unwrap().to_owned());
    }
    assert_eq!(said[0], said[1]);
    assert!(said[0].contains("not known to this gate"));
    assert!(world.login("Sn0wflake!").await.refusal("390100").contains("begin with pgk_"));
    assert!(world.login(&world.key.expose()[1..]).await.refusal("390100").contains("begin with pgk_"));
    let cut = &world.key.expose()[..50];
    assert!(world.login(cut).await.refusal("390100").contains("damaged"));
    assert_eq!(world.standin.state.count("login"), 0, "nothing of it went to Snowflake");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_outside_a_client_s_networks_is_told_so() {
    let other = issue("other");
    let world = World::with(|config| {
        config.bi().networks = networks(["192.0.2.0/24"]);
        let client = config.add_client("other");
        (client.keys, client.networks) = (vec![hash(&other)], networks(["127.0.0.1"]));
    })
    .await;
    world.hunt.secret(&other);
    let said = world.login(world.key.expose()).await.refusal("390100");
    assert!(said.contains("your address 127.0.0.1"), "{said}");
    assert_eq!(world.login(other.expose()).await.json()["success"], true);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_ways_to_log_in_are_named_with_what_to_use_instead() {
    let world = World::start().await;
    for name in ["EXTERNALBROWSER", "SNOWFLAKE_JWT", "OAUTH", "https://x.okta.com"] {
        let body = format!(r#"{{"data":{{"AUTHENTICATOR":"{name}","TOKEN":"{}"}}}}"#, world.canary("typed"));
        let said = world.login_with(body).await.refusal("390100");
        assert!(said.contains("Use user name and password") && !said.contains("canary"), "{said}");
    }
    for (method, path) in [
        (Method::POST, "/session/authenticator-request"),
        (Method::POST, "/oauth/token-request"),
        (Method::GET, "/oauth/authorize"),
        (Method::GET, "/console/login?login_name=u"),
    ] {
        world.ask(method, path, "x", "{}").await.refusal("390100");
    }
    assert_eq!(world.standin.state.connections(), 0);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_driver_s_request_never_leaves_the_gate() {
    let world = World::start().await;
    for (method, path, status) in [
        (Method::GET, "/", 404),
        (Method::GET, "/standin/seen", 404),
        (Method::POST, "/session/v1/login-request/../../x", 404),
        (Method::GET, "/session/v1/login-request", 405),
        (Method::PUT, "/queries/v1/query-request", 405),
    ] {
        let got = world.ask(method, path, "x", "").await;
        assert_eq!((got.status, got.json()["success"].as_bool()), (status, Some(false)), "{path}");
        assert_eq!(got.headers["content-type"], "application/json");
    }
    let absolute = Request::get("http://evil.test/session/heartbeat").body(Bytes::new()).unwrap();
    assert_eq!(world.send(absolute).await.status, 421);
    let connect = Request::connect("evil.test:443").body(Bytes::new()).unwrap();
    assert_eq!(world.send(connect).await.status, 421);
    let two = Request::post("/session/heartbeat").header("host", "a").header("host", "b").body(Bytes::new()).unwrap();
    assert_eq!(world.send(two).await.status, 421);
    // The client's Host does not choose an account.
    assert_eq!(world.standin.state.connections(), 0);
    let (token, _) = world.session().await;
    let mut other = asked(Method::POST, "/session/heartbeat", &token, "");
    other.headers_mut().insert("host", "evil.test".parse().unwrap());
    assert_eq!(world.send(other).await.json()["success"], true);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_key_in_a_token_s_place_stays_here() {
    let seals = |_: &mut Config| {};
    let all: [(fn(&mut Config), _); 2] = [(seals, "390104"), (|config| config.seal = None, "390100")];
    for (change, code) in all {
        let world = World::with(change).await;
        world.query(world.key.expose(), "select 1").await.refusal(code);
        assert_eq!(world.standin.state.connections(), 0);
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_behind_the_gate_is_not_blamed_on_the_key() {
    let world = World::with(|config| config.login.hold = Duration::from_millis(300)).await;
    let key = world.key.expose().to_owned();
    world.standin.state.set_pat(USER, &world.pat(), PatState::Disabled);
    assert!(world.login(&key).await.refusal("390999").contains("refuses the token"));
    for (knob, told) in [
        (
            Knob::Canned { status: 200, body: "<html>hello</html>".into(), location: None },
            "did not speak Snowflake's protocol",
        ),
        (
            Knob::Canned { status: 307, body: String::new(), location: Some("https://elsewhere.test/".into()) },
            "send the tool to another host",
        ),
    ] {
        world.standin.state.set_pat(USER, &world.canary("pat-3"), PatState::Active);
        world.write("pat", &world.canary("pat-3"));
        world.standin.state.turn(RouteName("login".into()), knob, 1);
        assert!(world.login(&key).await.refusal("390999").contains(told));
    }
    // What a driver retries, it hides: after the hold the client gets the sentence.
    for status in [429, 502, 503] {
        let busy = Knob::Canned { status, body: String::new(), location: None };
        world.standin.state.turn(RouteName("login".into()), busy, 4);
        assert!(world.login(&key).await.refusal("390999").contains("cannot serve now"));
        while world.login(&key).await.json()["success"] != true {}
    }
    let before = world.standin.state.count("login");
    world.standin.state.turn(RouteName("login".into()), Knob::Drop, 100);
    assert!(world.login(&key).await.refusal("390999").contains("cannot reach Snowflake"));
    assert!(world.standin.state.count("login") <= before + 2, "what was sent is not sent again and again");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_policy_s_refusal_is_told_and_left_alone_for_a_while() {
    let world = World::start().await;
    world.standin.state.refuse_by_policy(true);
    for _ in 0..5 {
        assert!(world.login(world.key.expose()).await.refusal("390999").contains("network policy"));
    }
    // The client's, which asks for a role, and the gate's own.
    assert_eq!(world.standin.state.count("login"), 2);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_over_the_limit_are_told_how_long_to_wait() {
    let world = World::with(|config| config.bi().limits.rates.logins = rates(["1/h"])).await;
    world.session().await;
    let said = world.login(world.key.expose()).await.refusal("390100");
    assert!(said.contains("possible in 3600 s"), "{said}");
    world.finish().await;
}
