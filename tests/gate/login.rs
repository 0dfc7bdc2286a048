use http::Request;
use patgate::internal::base::secret::Secret;
use patgate::internal::standin::{Knob, PatState, Place};
use std::io::Write;

use crate::world::{PAT, USER, World, login_body};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_logs_in_and_snowflake_sees_only_the_pat() {
    let world = World::start().await;
    let got = world.login(world.key.expose()).await;
    let answer = got.json();
    assert_eq!((got.status, &answer["success"]), (200, &true.into()), "{answer}");
    assert_eq!(got.headers["content-type"], "application/json");
    let seen = world.standin.state.seen().pop().unwrap();
    assert_eq!((seen.user.as_str(), seen.credential.clone()), (USER, Secret::new(PAT.into()).fingerprint()));
    assert_eq!(seen.query, "requestId=1&roleName=R");
    assert!(
        seen.body.contains(r#""ACCOUNT_NAME":"myorg-prod""#) && seen.headers.contains("host: localhost\n"),
        "{seen:?}"
    );
    assert!(seen.headers.contains("accept-encoding: identity"));
    // Tokens of other kinds are dropped, and a 64-bit number keeps its digits.
    assert!(answer["data"].get("idToken").is_none() && answer["data"].get("mfaToken").is_none());
    assert!(answer["data"]["sessionId"].as_u64().unwrap() > 1 << 60);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_taken_in_every_place_and_from_gzip() {
    let world = World::start().await;
    let key = world.key.expose();
    for body in [
        format!(r#"{{"data":{{"AUTHENTICATOR":"programmatic_access_token","TOKEN":"{key}"}}}}"#),
        format!(r#"{{"data":{{"AUTHENTICATOR":"PROGRAMMATIC_ACCESS_TOKEN","TOKEN":null,"PASSWORD":"{key}"}}}}"#),
        format!(r#"{{"data":{{"PASSWORD":"{key}","PASSCODE":"1"}},"inFlightCtx":"x"}}"#),
    ] {
        assert_eq!(world.login_with(body).await.json()["success"], true);
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(login_body(key).as_bytes()).unwrap();
    let request = Request::post("/session/v1/login-request?request_id=1")
        .header("content-encoding", "gzip")
        .header("authorization", "Snowflake Token=\"None\"")
        .header("dpop", "proof")
        .header("cookie", "c=1")
        .header("client_app_id", "");
    let got = world.send(request.body(gzip.finish().unwrap().into()).unwrap()).await;
    assert_eq!(got.json()["success"], true);
    let headers = world.standin.state.seen().pop().unwrap().headers;
    for gone in ["authorization:", "dpop:", "cookie:", "content-encoding:"] {
        assert!(!headers.contains(gone), "{headers}");
    }
    assert!(headers.contains("client_app_id: \n"), "{headers}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_s_context_replaces_what_the_client_asks_for() {
    let tables = "[credentials.powerbi]\naccount='prod'\nuser='BI_SERVICE'\npat='local:pat'\nrole='BI_READER'\nwarehouse='BI WH'\n";
    let world = World::with("", tables).await;
    let answer = world.login(world.key.expose()).await.json();
    assert_eq!(answer["data"]["sessionInfo"]["roleName"], "BI_READER", "{answer}");
    assert_eq!(world.standin.state.seen()[0].query, "requestId=1&roleName=BI_READER&warehouse=BI%20WH");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_pat_is_read_again_within_the_same_login() {
    let world = World::start().await;
    world.session().await;
    // No overlap: the old one is dead before the store is written, and nobody has told the gate.
    world.standin.state.rotate(USER, "canary-pat-2");
    world.write("pat", "canary-pat-2\n");
    world.session().await;
    world.session().await;
    let logins: Vec<_> = world.standin.state.seen().iter().map(|seen| seen.ok).collect();
    assert_eq!(logins, [true, false, true, true]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_never_refused_more_than_twice() {
    let world = World::with("", "[login]\nhold='300ms'\n").await;
    world.standin.state.set_pat(USER, PAT, PatState::Expired);
    for _ in 0..20 {
        let said = world.login(world.key.expose()).await.refusal("390999");
        assert!(said.contains("your key is fine") && !said.contains("394400"), "{said}");
    }
    let bad = world.standin.state.bad_logins();
    assert_eq!(bad.values().copied().collect::<Vec<_>>(), [2]);
    // A new version opens the way at once.
    world.standin.state.set_pat(USER, "canary-pat-2", PatState::Active);
    world.write("pat", "canary-pat-2");
    world.session().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_behind_in_a_rotation_is_waited_for() {
    let world = World::start().await;
    world.standin.state.rotate(USER, "canary-pat-2");
    let later = async {
        // Snowflake has refused the old one, and the gate has looked in vain.
        world.standin.state.wait_until(|state| state.seen().len() == 1).await;
        world.write("pat", "canary-pat-2");
    };
    let ((_, _), ()) = tokio::join!(world.session(), later);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_outage_is_held_and_not_told() {
    let world = World::start().await;
    world.standin.state.turn(Place("login".into()), Knob::Drop, 1);
    world.session().await;
    assert_eq!(world.standin.state.count("login"), 2);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snowflake_s_own_refusals_reach_the_client_as_they_are() {
    let world = World::start().await;
    let body = r#"{"data":null,"code":"390189","message":"Role 'X' specified in the connect string does not exist","success":false,"headers":null}"#;
    world.standin.state.turn(Place("login".into()), Knob::Canned { status: 200, body: body.into(), location: None }, 1);
    let got = world.login(world.key.expose()).await;
    assert_eq!(got.body, body);
    assert_eq!(got.headers["x-patgate-trace"].len(), 32);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_nobody_hears_counts_all_the_same() {
    let world = World::with("", "[login]\nhold='300ms'\n").await;
    world.standin.state.set_pat(USER, PAT, PatState::Expired);
    // The client goes away while Snowflake thinks.
    for _ in 0..6 {
        world.standin.state.turn(Place("login".into()), Knob::Late(std::time::Duration::from_millis(200)), 1);
        let impatient = tokio::time::timeout(std::time::Duration::from_millis(50), world.login(world.key.expose()));
        // Gone, or told at once that the budget is spent.
        let _either = impatient.await;
    }
    while world.login(world.key.expose()).await.status != 200 {}
    assert_eq!(world.standin.state.bad_logins().values().copied().collect::<Vec<_>>(), [2]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_may_have_been_a_refusal() {
    let world = World::with("", "[login]\nhold='300ms'\n").await;
    world.standin.state.set_pat(USER, PAT, PatState::Expired);
    world.standin.state.turn(Place("login".into()), Knob::CutAfter(20), 8);
    let crowd = (0..4).map(|_| world.login(world.key.expose()));
    let crowd = futures_join(crowd.collect());
    // Two answers are lost; for a while nobody else is let through.
    let _still_waiting = tokio::time::timeout(std::time::Duration::from_secs(3), crowd).await;
    assert_eq!(world.standin.state.count("login"), 2);
    assert_eq!(world.standin.state.leaks(), 0);
}

/// Waits for all of them, at once.
async fn futures_join<F: Future>(all: Vec<F>) {
    let mut all: Vec<_> = all.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        all.retain_mut(|one| one.as_mut().poll(cx).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_one_user_share_its_budget() {
    let tables = "[credentials.powerbi]\naccount='prod'\nuser='BI_SERVICE'\npat='local:pat'\nrole='A'\n\
                  [credentials.other]\naccount='prod'\nuser='bi_service'\npat='local:pat'\nrole='B'\n[login]\nhold='0ms'\n";
    let other = patgate::internal::admit::key::issue(
        &patgate::internal::base::names::ClientName::parse("other").unwrap(),
        &patgate::internal::base::clock::SystemRandom,
    )
    .unwrap();
    let tables = format!(
        "{tables}[clients.other]\ncredential='other'\nkeys=['{}']\n",
        patgate::internal::admit::key::stored(&other)
    );
    let world = World::with("", &tables).await;
    world.standin.state.set_pat(USER, PAT, PatState::Expired);
    for _ in 0..3 {
        for key in [world.key.expose(), other.expose()] {
            world.login(key).await.refusal("390999");
        }
    }
    assert_eq!(world.standin.state.count("login"), 2);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_the_context_that_it_may_have_and_is_told_what_it_may_not() {
    let world = World::with("roles=['BI','READER']\nwarehouse='BI_WH'\ndatabases=['D']", "").await;
    let login = async |query: &str| {
        let path = format!("/session/v1/login-request?requestId=1{query}");
        let request = http::Request::post(path).body(crate::world::login_body(world.key.expose()).into()).unwrap();
        world.send(request).await
    };
    let said = login("&roleName=ACCOUNTADMIN").await.refusal("390189");
    assert!(said.contains("may not use the role ACCOUNTADMIN"), "{said}");
    let said = login("&roleName=reader&databaseName=SECRETS").await.refusal("390201");
    assert!(said.contains("may not use the database SECRETS"), "{said}");
    assert_eq!(world.standin.state.connections(), 0);
    assert_eq!(login("&roleName=reader&warehouse=OTHER").await.json()["success"], true);
    assert_eq!(login("").await.json()["data"]["sessionInfo"]["roleName"], "BI");
    let queries: Vec<_> = world.standin.state.seen().into_iter().map(|seen| seen.query).collect();
    assert_eq!(
        queries,
        [
            "requestId=1&roleName=reader&warehouse=BI_WH&databaseName=D",
            "requestId=1&roleName=BI&warehouse=BI_WH&databaseName=D"
        ]
    );
    world.finish().await;
}
