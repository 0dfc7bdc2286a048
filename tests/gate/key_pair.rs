//! A credential with a key pair in place of a PAT: the gate signs a token for each login and each REST request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Method, Request};
use patgate::internal::base::secret::Secret;
use patgate::internal::snowflake::key_pair::KeyPair;
use patgate::internal::standin::State;

use crate::settings::{Settings, key_pair};
use crate::world::{USER, World, until};

const EC: &str = include_str!("../keys/ec.pem");
const EC_ENCRYPTED: &str = include_str!("../keys/ec-aes.pem");
const RSA: &str = include_str!("../keys/rsa.pem");
/// That of the encrypted key.
const PASSPHRASE: &str = "canary-pass";

/// Lets a user log in with a key pair.
fn trust(state: &State, pem: &str, passphrase: Option<&str>) {
    let passphrase = passphrase.map(|text| Secret::new(text.to_owned()));
    let pair = KeyPair::parse(&Secret::new(pem.to_owned()), passphrase.as_ref());
    let pair = pair.unwrap_or_else(|error| panic!("{error}"));
    state.add_public_key(USER, BASE64_STANDARD.decode(pair.public_pem_body()).unwrap());
}

/// A world whose user logs in with the key pair in `key.pem`, which Snowflake takes for its own account alone.
async fn world(pem: &str, passphrase: Option<&str>) -> World {
    let world = World::with(|config| {
        let reference = passphrase.map(|_| "local:phrase");
        config.powerbi().login = key_pair("local:key.pem", reference);
    })
    .await;
    // The lines of the key in the middle are its own alone.
    let own = |pem: &str| pem.lines().nth(2).unwrap_or_default().to_owned();
    for pem in [EC, EC_ENCRYPTED, RSA] {
        world.hunt.secret(&Secret::new(own(pem)));
    }
    world.standin.state.set_account("myorg-prod");
    if let Some(passphrase) = passphrase {
        world.hunt.secret(&Secret::new(passphrase.to_owned()));
        world.write("phrase", &format!("{passphrase}\n"));
    }
    world.write("key.pem", pem);
    // A failed read also answers the requests of the next half second.
    until(async || {
        let (_, list) = world.admin(&world.app, Method::POST, "/pats/refresh").await;
        list["pats"][0]["failure"]["kind"] != "missing"
    })
    .await;
    world
}

fn statement(world: &World) -> Request<Bytes> {
    let request = Request::post("/api/v2/statements?requestId=1").header("content-type", "application/json");
    let request = request.header("authorization", format!("Bearer {}", world.key.expose()));
    request.body(Bytes::from_static(br#"{"statement":"select 7"}"#)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_a_query_and_a_statement_go_with_tokens_of_the_key_pair() {
    for (pem, passphrase) in [(EC, None), (RSA, None), (EC_ENCRYPTED, Some(PASSPHRASE))] {
        let world = world(pem, passphrase).await;
        trust(&world.standin.state, pem, passphrase);
        let (token, _) = world.session().await;
        assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
        let got = world.send(statement(&world)).await;
        assert_eq!((got.status, got.json()["data"][0][0].as_str()), (200, Some("7")), "{:?}", got.body);
        world.session().await;
        let seen = world.standin.state.seen();
        let sent: Vec<_> = seen.iter().filter(|seen| seen.user == USER).map(|seen| seen.credential.clone()).collect();
        assert!(sent.len() >= 3 && sent.iter().all(|one| *one != Secret::new(pem.trim().to_owned()).fingerprint()));
        assert_eq!(world.standin.state.bad_logins_in_all(), 0);
        let (_, list) = world.admin(&world.app, Method::GET, "/pats").await;
        let pat = &list["pats"][0];
        assert_eq!((&pat["kind"], &pat["held"]["expires"]), (&"key_pair".into(), &serde_json::Value::Null), "{pat}");
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_pair_is_rotated_while_clients_log_in() {
    let world = Arc::new(world(EC, None).await);
    trust(&world.standin.state, EC, None);
    let stop = Arc::<AtomicBool>::default();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (world, stop) = (world.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let got = world.login(world.key.expose()).await;
                    assert_eq!(got.json()["success"], true, "{:?}", got.body);
                }
            })
        })
        .collect();
    for pem in [RSA, EC, RSA] {
        // The user has both keys for a while, as Snowflake means it.
        trust(&world.standin.state, pem, None);
        world.write("key.pem", pem);
        let version = Secret::new(pem.trim().to_owned()).fingerprint();
        until(async || world.admin(&world.app, Method::GET, "/pats").await.1["pats"][0]["held"]["id"] == *version)
            .await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(world.standin.state.bad_logins_in_all(), 0);
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_snowflake_does_not_know_is_told_by_its_name_and_locks_nobody() {
    let world = world(EC, None).await;
    trust(&world.standin.state, RSA, None);
    for _ in 0..8 {
        let told = world.login(world.key.expose()).await.message();
        assert!(told.contains("Snowflake refuses the key pair of the service user"), "{told}");
    }
    assert!(world.standin.state.bad_logins_in_all() <= 2, "{}", world.standin.state.bad_logins_in_all());
    let (_, list) = world.admin(&world.app, Method::GET, "/pats").await;
    assert_eq!(list["pats"][0]["held"]["refused"], true, "{list}");
    // The right one comes into the store.
    world.write("key.pem", RSA);
    while world.login(world.key.expose()).await.json()["success"] != true {}
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_is_told_to_the_operator_and_never_sent() {
    let world = world(&EC_ENCRYPTED.replace("-----\n", "-----\n\n"), Some("another passphrase")).await;
    let told = world.login(world.key.expose()).await.message();
    assert!(told.contains("not a usable Snowflake token or key"), "{told}");
    let (_, list) = world.admin(&world.app, Method::POST, "/pats/refresh").await;
    let failure = list["pats"][0]["failure"].to_string();
    assert!(failure.contains("unusable") && failure.contains("the passphrase does not open this key"), "{list}");
    assert_eq!(world.standin.state.count("login"), 0);
    world.finish().await;
}
