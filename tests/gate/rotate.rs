//! The gate rotates PATs by itself, while clients log in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use patgate::internal::base::clock::{Clock as _, ManualClock};
use patgate::internal::base::secret::Secret;
use patgate::internal::config::{Config, Rotation, Rotator};
use patgate::internal::snowflake::key_pair::KeyPair;
use patgate::internal::standin::{Saying, TokenState, UserSettings};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::settings::{Settings, key_pair};
use crate::world::{USER, World, until};

const PEM: &str = include_str!("../keys/ec.pem");
const TOKEN: &str = "BI_PAT";
const ROTATIONS: usize = 30;
const DAY: Duration = Duration::from_secs(86_400);

fn rotated(config: &mut Config, every: Duration, overlap: Duration) {
    let rotator =
        Rotator { account: "prod".into(), user: "ROTATOR".into(), login: key_pair("local:rotator.pem", None) };
    config.rotators.insert("admin".into(), rotator);
    let (lifetime, role) = (None, None);
    config.powerbi().rotation =
        Some(Rotation { rotator: "admin".into(), token: TOKEN.into(), every, overlap, lifetime, role });
}

/// A world whose user has a token with a rotator, in the store before the gate looks at Snowflake.
async fn world(clock: &Arc<ManualClock>, overlap: Duration) -> World {
    let world = World::at(clock, |config| rotated(config, DAY * 30, overlap)).await;
    let state = &world.standin.state;
    let pair = KeyPair::parse(&Secret::new(PEM.into()), None).unwrap_or_else(|error| panic!("{error}"));
    state.set_account("myorg-prod");
    state.set_user(USER, UserSettings::default());
    state.add_public_key("ROTATOR", BASE64_STANDARD.decode(pair.public_pem_body()).unwrap());
    state.allow_changes("ROTATOR", USER, true);
    world.hunt.secret(&Secret::new(PEM.lines().nth(2).unwrap().to_owned()));
    world.write("rotator.pem", PEM);
    let token = state.add_token(USER, TOKEN, Some("R"), Some(90)).unwrap();
    world.write("pat", &token);
    world.admin(&world.app, Method::POST, "/pats/refresh").await;
    world
}

async fn order(world: &World, what: &str) -> (u16, Value) {
    world.admin(&world.app, Method::POST, &format!("/pats/{what}credential=powerbi")).await
}

fn stored(world: &World) -> TokenState {
    let fingerprint = Secret::new(std::fs::read_to_string(world.file("pat")).unwrap()).fingerprint();
    let found = world.standin.state.tokens(USER).into_iter().find(|token| token.fingerprint == fingerprint);
    found.unwrap_or_else(|| panic!("Snowflake does not know the token in the store"))
}

/// What the journals of rotations say.
fn journal(world: &World) -> String {
    let is_one = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("rotation-") && !name.contains('.')
    };
    let files = std::fs::read_dir(world.file("state")).unwrap().map(|file| file.unwrap().path()).filter(is_one);
    files.map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

/// Logs in again and again, until told to stop; says how often.
fn crowd(world: &Arc<World>, clients: usize) -> (Arc<AtomicBool>, Arc<AtomicUsize>, JoinSet<()>) {
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut crowd = JoinSet::new();
    for _ in 0..clients {
        let (world, stop, done) = (world.clone(), stop.clone(), done.clone());
        crowd.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let got = world.login(world.key.expose()).await;
                assert_eq!(got.json()["success"], true, "{:?}", got.body);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    (stop, done, crowd)
}

async fn rotations_under_load(overlap: Duration) {
    let clock = ManualClock::start();
    let world = Arc::new(world(&clock, overlap).await);
    let (stop, done, mut crowd) = crowd(&world, 8);
    for number in 0..ROTATIONS {
        let before = (stored(&world), done.load(Ordering::Relaxed));
        // Two rotations of one millisecond would have one name.
        clock.advance(Duration::from_secs(1));
        let (status, report) = order(&world, "rotate?").await;
        assert_eq!((status, &report["old"]), (200, &Value::from(before.0.fingerprint.as_str())), "{number}: {report}");
        let now = stored(&world);
        assert_eq!((now.name.as_str(), &report["new"]), (TOKEN, &Value::from(now.fingerprint.as_str())));
        assert!(world.standin.state.tokens(USER).iter().filter(|token| token.expires_at > clock.wall()).count() <= 13);
        world.standin.state.wait_until(|_| done.load(Ordering::Relaxed) > before.1).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(client) = crowd.join_next().await {
        client.unwrap();
    }
    assert_eq!(world.standin.state.bad_logins_in_all(), 0);
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_by_the_gate_fail_no_login() {
    rotations_under_load(DAY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_by_the_gate_without_overlap_fail_no_login() {
    rotations_under_load(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_rotated_in_the_background_and_written_down() {
    let clock = ManualClock::start();
    let world = world(&clock, DAY).await;
    let first = stored(&world);
    world.session().await;
    // The time counts from the day on which the token was made.
    until(async || journal(&world).contains(&first.fingerprint)).await;
    clock.advance(DAY * 31);
    // The rotator's login may have been under way just then, and ended by it: the gate tries again a little later.
    until(async || {
        clock.advance(Duration::from_secs(60));
        let (status, _) = world.admin(&world.app, Method::GET, "/pats").await;
        status == 200 && stored(&world).fingerprint != first.fingerprint
    })
    .await;
    assert_eq!(stored(&world).name, TOKEN);
    world.session().await;
    let line = r#"patgate_pat_rotations_total{credential="powerbi",outcome="ok"} 1"#;
    until(async || world.operator(&world.app, Method::GET, "/metrics").await.1.contains(line)).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_prints_the_statements_and_changes_nothing() {
    let clock = ManualClock::start();
    let world = world(&clock, DAY).await;
    let before = world.standin.state.tokens(USER);
    let (status, preview) = order(&world, "rotate?dry_run=true&").await;
    let rotate = format!(
        "ALTER USER \"{USER}\" ROTATE PROGRAMMATIC ACCESS TOKEN \"{TOKEN}\" EXPIRE_ROTATED_TOKEN_AFTER_HOURS = 24"
    );
    assert_eq!((status, preview["statements"][1].as_str()), (200, Some(rotate.as_str())), "{preview}");
    assert!(preview["obstacle"].is_null() && preview["steps"].as_array().unwrap().len() == 4, "{preview}");
    assert_eq!(world.standin.state.tokens(USER), before);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_ends_the_old_token_at_once() {
    let clock = ManualClock::start();
    let world = world(&clock, DAY).await;
    // An earlier one goes on for its overlap: which of the two has leaked, nobody knows.
    clock.advance(Duration::from_secs(1));
    assert_eq!(order(&world, "rotate?").await.0, 200);
    assert_eq!(world.standin.state.tokens(USER).len(), 2);
    let old = stored(&world);
    clock.advance(Duration::from_secs(1));
    let (status, report) = order(&world, "replace?").await;
    assert_eq!(status, 200, "{report}");
    assert!(report["old_end"].as_str().unwrap().contains("rotated before is removed too: "), "{report}");
    let tokens = world.standin.state.tokens(USER);
    assert!(tokens.iter().all(|token| token.fingerprint != old.fingerprint), "{tokens:?}");
    assert_eq!((stored(&world).name.as_str(), tokens.len()), (TOKEN, 1));
    world.session().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_says_whose_it_is_and_the_old_token_goes_on() {
    let clock = ManualClock::start();
    let world = world(&clock, DAY).await;
    let old = stored(&world);
    let dead = Saying { code: "390432".into(), text: "Network policy is required.".into() };
    world.standin.state.next_token_is_dead(USER, Some(dead));
    let (status, failed) = order(&world, "rotate?").await;
    assert_eq!((status, &failed["owner"]), (502, &Value::from("policy")), "{failed}");
    assert_eq!(stored(&world).fingerprint, old.fingerprint);
    world.session().await;
    let none = world.admin(&world.app, Method::POST, "/pats/rotate?credential=nobody").await;
    assert_eq!(none.0, 404, "{}", none.1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_knows_the_token_its_end_and_who_has_come_with_it() {
    let clock = ManualClock::start();
    let world = world(&clock, DAY).await;
    world.session().await;
    clock.advance(Duration::from_secs(1));
    assert_eq!(order(&world, "rotate?").await.0, 200);
    let status = async || world.admin(&world.app, Method::GET, "/pats?clients=true").await.1;
    let before = status().await;
    let (pat, client) = (&before["pats"][0], &before["clients"][0]);
    assert_eq!((&pat["token"]["name"], &pat["token"]["state"]), (&TOKEN.into(), &"active".into()), "{pat}");
    assert_eq!((&pat["token"]["role"], &pat["held"]["expires_from"]), (&"R".into(), &"token".into()), "{pat}");
    assert!(pat["rotation"]["last"].is_string() && pat["rotation"]["failure"].is_null(), "{pat}");
    assert_eq!((&client["client"], &client["current"]), (&"bi".into(), &false.into()), "{client}");
    world.session().await;
    until(async || status().await["clients"][0]["current"] == true).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_disabled_and_its_sessions_end() {
    let clock = ManualClock::start();
    let world = world(&clock, DAY).await;
    let (session, _) = world.session().await;
    // All credentials of the user feel it.
    world
        .reload(|config| {
            config.add_credential("same").rotation = None;
            config.add_client("other").credential = "same".into();
        })
        .await
        .unwrap();
    let (status, preview) = order(&world, "revoke?dry_run=true&").await;
    let felt: Vec<_> = preview["clients"].as_array().unwrap().iter().map(|one| one["client"].clone()).collect();
    assert_eq!(felt, ["bi", "other"], "{preview}");
    assert_eq!((status, &preview["revocation"]["rotator"]), (200, &"admin".into()), "{preview}");
    assert_eq!((&preview["clients"][0]["client"], &preview["clients"][0]["sessions"]), (&"bi".into(), &1.into()));
    assert_eq!(stored(&world).status.as_str(), "ACTIVE");
    let (status, report) = order(&world, "revoke?").await;
    assert_eq!((status, &report["ended"]), (200, &1.into()), "{report}");
    assert_eq!(stored(&world).status.as_str(), "DISABLED");
    assert_ne!(world.query(&session, "select 1").await.json()["success"], true);
    world.login(world.key.expose()).await.refusal("390999");
    assert_eq!(world.standin.state.bad_logins_in_all(), 0, "it is not sent any more");
    // A new one mends it, without a word to the guard.
    clock.advance(Duration::from_secs(1));
    assert_eq!(order(&world, "replace?").await.0, 200);
    world.session().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_that_still_lives_at_snowflake_is_not_made_anew() {
    let clock = ManualClock::start();
    let world = world(&clock, DAY).await;
    world.session().await;
    // Long enough for the gate to mend a store that would be behind.
    world.standin.state.age_tokens(USER, Duration::from_secs(3_600));
    let old = stored(&world);
    world.standin.state.allow_changes("ROTATOR", USER, false);
    let (status, failed) = order(&world, "revoke?").await;
    assert_eq!(status, 502, "{failed}");
    world.login(world.key.expose()).await.refusal("390999");
    world.standin.state.allow_changes("ROTATOR", USER, true);
    let seen = async || world.admin(&world.app, Method::GET, "/pats").await.1["pats"][0]["token"]["seen"].clone();
    let before = seen().await;
    until(async || {
        clock.advance(Duration::from_secs(60));
        seen().await != before
    })
    .await;
    // What leaked would go on under another name.
    let tokens = world.standin.state.tokens(USER);
    assert_eq!((tokens.len(), &tokens[0].fingerprint), (1, &old.fingerprint), "{tokens:?}");
    assert_eq!(order(&world, "revoke?").await.0, 200);
    assert_eq!(stored(&world).status.as_str(), "DISABLED");
    world.finish().await;
}
