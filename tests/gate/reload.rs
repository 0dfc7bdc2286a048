//! Changes while the gate serves: nobody notices, and what is wrong changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use patgate::internal::admit::key;
use patgate::internal::base::clock::SystemRandom;
use patgate::internal::base::names::ClientName;
use patgate::internal::standin::{Certificates, PatState};
use tokio::task::JoinSet;

use crate::world::{PAT, USER, World};

/// How often the configuration is changed under load.
const RELOADS: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_a_key_and_a_credential_come_and_go_without_a_restart() {
    let world = World::start().await;
    let (token, _) = world.session().await;
    let second = key::issue(&ClientName::parse("bi").unwrap(), &SystemRandom).unwrap();
    let other = key::issue(&ClientName::parse("other").unwrap(), &SystemRandom).unwrap();
    world.login(other.expose()).await.refusal("390100");

    // A second key for the client, a second client with a credential of its own.
    world.standin.state.set_pat("OTHER", "canary-pat-other", PatState::Active);
    world.write("pat-other", "canary-pat-other");
    let add = |text: &str| {
        text.replace("keys=['", &format!("keys=['{}','", key::stored(&second)))
            + &format!(
                "[credentials.other]\naccount='prod'\nuser='OTHER'\npat='local:pat-other'\n\
                 [clients.other]\ncredential='other'\nkeys=['{}']\n",
                key::stored(&other)
            )
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

    // The first key goes, and its session with it.
    let replaced = |text: &str| text.replace(&key::stored(&world.key), &key::stored(&second));
    assert_eq!(world.reload(replaced).await.unwrap().changes.len(), 3);
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
    for (change, why) in [
        (("certificate='server.pem'", "certificate='missing.pem'"), "missing.pem"),
        (("key='server.key'", "key='ca.pem'"), "ca.pem holds no private key"),
        (("ca='ca.pem'", "ca='server.key'"), "server.key holds no certificate"),
    ] {
        let error = world.reload(|text| text.replace(change.0, change.1)).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
        world.session().await;
    }
    for (change, why) in [
        (("[listen]\n", "seal=false\n[listen]\n"), "at a start only"),
        (("certificate='server.pem'\nkey='server.key'", "danger_plaintext=true"), "at a start only"),
    ] {
        let error = world.reload(|text| text.replacen(change.0, change.1, 1)).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let said = world.reload(|text| text.replace("workers=1", "workers=2")).await.unwrap();
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
    // Not taken up before a reload, and refused by those who trust only the old CA after it.
    world.session().await;
    world.reload(str::to_owned).await.unwrap();
    assert!(world.try_connect().await.is_err());
    world.trust(&new.ca);
    world.session().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_reloads_under_load_break_no_request() {
    let world = Arc::new(World::with("", "[pat]\nrefresh='1h'\n").await);
    world.standin.state.set_pat("OTHER", PAT, PatState::Active);
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
    let network = |text: &str, number: usize| {
        text.replace(
            "[clients.bi]\n",
            &format!("[clients.bi]\nnetworks=['127.0.0.0/8','10.{}.0.0/16']\n", number % 200),
        )
    };
    for number in 0..RELOADS {
        let reloaded = match number % 3 {
            0 => world.reload(|text| network(text, number)).await,
            // Another credential, so that the cache of PATs is another.
            1 => {
                let more = format!("[credentials.more{number}]\naccount='prod'\nuser='{USER}'\npat='local:pat'\n");
                world.reload(|text| network(text, number) + &more).await
            }
            // Other deadlines upstream, so that the pools are others.
            _ => world.reload(|text| network(text, number) + &format!("[upstream]\nkeep='{number}ms'\n")).await,
        };
        assert!(!reloaded.unwrap().changes.is_empty(), "number {number}");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(crowd.join_all().await.into_iter().sum::<usize>() > RELOADS / 10);
    Arc::into_inner(world).unwrap().finish().await;
}
