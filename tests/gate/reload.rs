//! Reloads while the gate serves: no request fails, and an invalid configuration changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use patgate::internal::config::Config;
use patgate::internal::standin::{Certificates, PatState};
use tokio::task::JoinSet;

use crate::settings::{Change, Settings, fixed, hash, networks, one_of, reference};
use crate::world::{USER, World, login_body, pair};

/// How often the test changes the configuration under load.
const RELOADS: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_a_key_and_a_credential_come_and_go_without_a_restart() {
    let world = World::start().await;
    let (token, _) = world.session().await;
    let (second, other) = (world.issue("bi"), world.issue("other"));
    world.login(other.expose()).await.refusal("390100");

    // A second key for the client, a second client with its own credential.
    world.standin.state.set_pat("OTHER", &world.canary("pat-other"), PatState::Active);
    world.write("pat-other", &world.canary("pat-other"));
    let add = |config: &mut Config| {
        config.bi().keys.insert(0, hash(&second));
        let credential = config.add_credential("other");
        (credential.user, credential.login) = ("OTHER".to_owned(), reference("local:pat-other"));
        let client = config.add_client("other");
        (client.credential, client.keys) = ("other".into(), vec![hash(&other)]);
    };
    let reloaded = world.reload(add).await.unwrap();
    assert_eq!(reloaded.changes, ["clients.bi changed (keys)", "clients.other added", "credentials.other added"]);
    assert!(reloaded.at_restart.is_empty());
    for key in [&world.key, &second, &other] {
        assert_eq!(world.login(key.expose()).await.json()["success"], true);
    }
    assert_eq!(world.query(&token, "select 1").await.json()["success"], true, "sessions go on");
    let reads = world.admin(&world.app, Method::GET, "/pats").await.1;
    assert_eq!(reads["pats"].as_array().unwrap().len(), 2);

    // The first key is removed, and its session ends.
    let replaced = world.reload(|config| config.bi().keys = vec![hash(&second)]).await;
    assert_eq!(replaced.unwrap().changes.len(), 3);
    world.query(&token, "select 1").await.refusal("390111");
    world.login(world.key.expose()).await.refusal("390100");
    world.login(other.expose()).await.refusal("390100");
    assert_eq!(world.login(second.expose()).await.json()["success"], true);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_leaves_the_old_configuration_in_use() {
    let world = World::start().await;
    let (token, _) = world.session().await;
    let missing = |config: &mut Config| config.pair().certificate = world.file("missing.pem");
    let no_key = |config: &mut Config| config.pair().key = world.file("ca.pem");
    let no_root = |config: &mut Config| config.prod().ca = Some(world.file("server.key"));
    let all: [(Change<'_>, _); 3] = [
        (&missing, "missing.pem"),
        (&no_key, "ca.pem holds no private key"),
        (&no_root, "server.key holds no certificate"),
    ];
    for (change, why) in all {
        let error = world.reload(change).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
        world.session().await;
    }
    let all: [fn(&mut Config); 2] = [|config| config.seal = None, |config| config.listen.tls = None];
    for change in all {
        let error = world.reload(change).await.unwrap_err().to_string();
        assert!(error.contains("at a start only"), "{error}");
    }
    let said = world.reload(|config| config.listen.workers = Some(2)).await.unwrap();
    assert_eq!(said.at_restart, ["listen.workers"]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_to_new_connections_and_an_old_one_resumes_until_then() {
    let mut world = World::start().await;
    world.session().await;
    let made = tempfile::tempdir().unwrap();
    let new = Certificates::make(made.path(), &["localhost"]).unwrap();
    for file in ["server.pem", "server.key"] {
        std::fs::copy(made.path().join(file), world.file(file)).unwrap();
    }
    // The certificate changes only at a reload; then clients that trust only the old CA refuse it.
    world.session().await;
    world.reload(|_| {}).await.unwrap();
    assert!(world.try_connect().await.is_err());
    world.trust(&new.ca);
    world.session().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_reloads_under_load_break_no_request() {
    let world = Arc::new(World::with(|config| config.pat.refresh = Duration::from_secs(3600)).await);
    world.standin.state.set_pat("OTHER", &world.pat(), PatState::Active);
    let stop = Arc::<AtomicBool>::default();
    let mut crowd = JoinSet::new();
    for _ in 0..4 {
        let (world, stop) = (world.clone(), stop.clone());
        crowd.spawn(async move {
            let (mut served, mut token) = (0, world.session().await.0);
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
                served += 1;
                if served % 10 == 0 {
                    token = world.session().await.0;
                }
            }
            served
        });
    }
    for number in 0..RELOADS {
        let change = |config: &mut Config| {
            config.bi().networks = networks(["127.0.0.0/8", &format!("10.{}.0.0/16", number % 200)]);
            match number % 3 {
                0 => {}
                // Another credential, so that the cache of PATs is another.
                1 => config.add_credential(&format!("more{number}")).user = USER.to_owned(),
                // Other deadlines upstream, so that the pools are others.
                _ => config.upstream.keep = Duration::from_millis(number as u64),
            }
        };
        assert!(!world.reload(change).await.unwrap().changes.is_empty(), "number {number}");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(crowd.join_all().await.into_iter().sum::<usize>() > RELOADS / 50);
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_that_are_tightened_end_the_sessions_that_they_would_not_have_opened() {
    let world = World::with(|config| config.bi().pins.role = one_of(["BI", "ADMIN"])).await;
    let open = async |query: &str| {
        let request = http::Request::post(format!("/session/v1/login-request?requestId=1{query}"));
        let got = world.send(request.body(login_body(world.key.expose()).into()).unwrap()).await.json();
        assert_eq!(got["success"], true, "{got}");
        pair(&got, "token")
    };
    let (bi, admin, wh) = (open("").await, open("&roleName=admin").await, open("&roleName=BI&warehouse=WH").await);
    let works = async |(token, master): &(String, String)| {
        let asked = world.query(token, "select 1").await.json();
        if asked["success"] != true {
            assert_eq!(asked["code"], "390111");
            world.renew(token, master).await.refusal("390111");
        }
        asked["success"] == true
    };
    let steps: [(fn(&mut Config), _); 5] = [
        (|config| config.bi().pins.role = one_of(["admin", "BI", "READER"]), [true, true, true]),
        (|config| config.bi().pins.role = one_of(["BI"]), [true, false, true]),
        (|config| config.bi().pins.role = Default::default(), [true, true, true]),
        (|config| config.bi().pins.warehouse = fixed("wh"), [false, false, true]),
        (|config| config.bi().pins.role = fixed("ADMIN"), [false, true, false]),
    ];
    for (number, (change, wanted)) in steps.into_iter().enumerate() {
        world.reload(change).await.unwrap();
        let now = [works(&bi).await, works(&admin).await, works(&wh).await];
        assert_eq!(now, wanted, "step {number}");
    }
    // One that was opened while its role was free may have all roles of the user.
    world.reload(|config| config.bi().pins.role = Default::default()).await.unwrap();
    let free = open("&roleName=BI").await;
    assert!(works(&free).await);
    world.reload(|config| config.bi().pins.role = one_of(["BI"])).await.unwrap();
    assert!(!works(&free).await);
    world.finish().await;
}
