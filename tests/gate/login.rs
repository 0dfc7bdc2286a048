use std::io::Write;
use std::time::Duration;

use http::Request;
use patgate::internal::base::clock::ManualClock;
use patgate::internal::base::secret::Secret;
use patgate::internal::standin::{Knob, PatState, RouteName};

use crate::settings::{Settings, fixed, hash, one_of};
use crate::world::{USER, World, issue, login_body};

/// How long the gate holds a login if the test waits for the end of the hold.
const HOLD: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_key_logs_in_and_snowflake_sees_only_the_pat() {
    let world = World::start().await;
    let got = world.login(world.key.expose()).await;
    let answer = got.json();
    assert_eq!((got.status, &answer["success"]), (200, &true.into()), "{answer}");
    assert_eq!(got.headers["content-type"], "application/json");
    let seen = world.standin.state.seen().pop().unwrap();
    assert_eq!((seen.user.as_str(), seen.credential.clone()), (USER, Secret::new(world.pat()).fingerprint()));
    assert_eq!(seen.query, "requestId=1&roleName=R");
    assert!(
        seen.body.contains(r#""ACCOUNT_NAME":"myorg-prod""#) && seen.headers.contains("host: localhost\n"),
        "{seen:?}"
    );
    assert!(seen.headers.contains("accept-encoding: identity"));
    // The gate drops tokens of other kinds, and a 64-bit number keeps its digits.
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
        .header("x-forwarded-for", "192.0.2.1")
        .header("x-http-method-override", "DELETE")
        .header("client_app_id", "");
    let got = world.send(request.body(gzip.finish().unwrap().into()).unwrap()).await;
    assert_eq!(got.json()["success"], true);
    let headers = world.standin.state.seen().pop().unwrap().headers;
    for gone in ["authorization:", "dpop:", "cookie:", "content-encoding:", "x-forwarded-for:", "x-http-method"] {
        assert!(!headers.contains(gone), "{headers}");
    }
    assert!(headers.contains("client_app_id: \n"), "{headers}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_s_context_replaces_what_the_client_asks_for() {
    let world = World::with(|config| {
        let pins = &mut config.powerbi().pins;
        (pins.role, pins.warehouse) = (fixed("BI_READER"), fixed("BI WH"));
    })
    .await;
    let answer = world.login(world.key.expose()).await.json();
    assert_eq!(answer["data"]["sessionInfo"]["roleName"], "BI_READER", "{answer}");
    assert_eq!(world.standin.state.seen()[0].query, "requestId=1&roleName=BI_READER&warehouse=BI%20WH");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_pat_is_read_again_within_the_same_login() {
    let world = World::start().await;
    world.session().await;
    // No overlap: the old PAT is dead before the store has the new one, and the gate gets no notice.
    world.standin.state.rotate(USER, &world.canary("pat-2"));
    world.write("pat", &format!("{}\n", world.canary("pat-2")));
    world.session().await;
    world.session().await;
    let logins: Vec<_> = world.standin.state.seen().iter().map(|seen| seen.ok).collect();
    assert_eq!(logins, [true, false, true, true]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_never_refused_more_than_twice() {
    let world = World::with(|config| config.login.hold = HOLD).await;
    world.standin.state.set_pat(USER, &world.pat(), PatState::Expired);
    for _ in 0..20 {
        let said = world.login(world.key.expose()).await.refusal("390999");
        assert!(said.contains("your key is fine") && !said.contains("394400"), "{said}");
    }
    let bad = world.standin.state.bad_logins();
    assert_eq!(bad.values().copied().collect::<Vec<_>>(), [2]);
    // With a new version logins work at once.
    world.standin.state.set_pat(USER, &world.canary("pat-2"), PatState::Active);
    world.write("pat", &world.canary("pat-2"));
    world.session().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_behind_in_a_rotation_is_waited_for() {
    let world = World::start().await;
    world.standin.state.rotate(USER, &world.canary("pat-2"));
    let later = async {
        // Snowflake has refused the old PAT, and the gate has found no newer one.
        world.standin.state.wait_until(|state| state.seen().len() == 1).await;
        world.write("pat", &world.canary("pat-2"));
    };
    let ((_, _), ()) = tokio::join!(world.session(), later);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_outage_is_held_and_not_told() {
    let world = World::start().await;
    world.standin.state.turn(RouteName("login".into()), Knob::Drop, 1);
    world.session().await;
    // The dropped one, the gate's own since that may have been a refusal, and the same again.
    assert_eq!(world.standin.state.count("login"), 3);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snowflake_s_own_refusals_reach_the_client_as_they_are() {
    let world = World::start().await;
    let body = concat!(
        r#"{"data":null,"code":"390189","message":"Role 'X' specified in the connect string does not exist","#,
        r#""success":false,"headers":null}"#
    );
    world.standin.state.turn(
        RouteName("login".into()),
        Knob::Canned { status: 200, body: body.into(), location: None },
        1,
    );
    let got = world.login(world.key.expose()).await;
    let trace = got.headers["x-patgate-trace"].to_str().unwrap();
    assert_eq!(trace.len(), 32);
    // With the trace id behind Snowflake's text, so that whoever reads it can be helped.
    let told = body.replace("does not exist", &format!("does not exist (patgate, trace {trace})"));
    assert_eq!(got.body, told);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_nobody_hears_counts_all_the_same() {
    let world = World::with(|config| config.login.hold = HOLD).await;
    world.standin.state.set_pat(USER, &world.pat(), PatState::Expired);
    // The client disconnects while Snowflake works.
    for _ in 0..6 {
        world.standin.state.turn(RouteName("login".into()), Knob::Late(Duration::from_millis(200)), 1);
        let sent = world.standin.state.count("login");
        tokio::select! {
            () = world.standin.state.wait_until(|state| state.count("login") > sent) => {}
            // The gate answers without Snowflake that the budget is spent.
            _told = world.login(world.key.expose()) => {}
        }
    }
    while world.login(world.key.expose()).await.status != 200 {}
    assert_eq!(world.standin.state.bad_logins().values().copied().collect::<Vec<_>>(), [2]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_keeps_its_place_until_the_gate_s_own_login_succeeds() {
    // The clock decides how long a lost answer counts, and it stands still.
    let clock = ManualClock::start();
    let world = World::at(&clock, |config| config.login.hold = HOLD).await;
    world.standin.state.turn(RouteName("login".into()), Knob::CutAfter(20), 1);
    world.login(world.key.expose()).await.refusal("390999");
    world.session().await;
    let seen = world.standin.state.seen();
    let own = seen.iter().filter(|seen| seen.body.contains(r#""CLIENT_APP_ID":"patgate""#));
    assert_eq!((own.count(), world.standin.state.bad_logins_in_all()), (1, 0));
    // It has been logged out.
    world.standin.state.wait_until(|state| state.count("logout") == 1).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_one_user_share_its_budget() {
    let other = issue("other");
    let world = World::with(|config| {
        config.login.hold = Duration::ZERO;
        config.powerbi().pins.role = fixed("A");
        let second = config.add_credential("other");
        (second.user, second.pins.role) = ("bi_service".to_owned(), fixed("B"));
        let client = config.add_client("other");
        (client.credential, client.keys) = ("other".into(), vec![hash(&other)]);
    })
    .await;
    world.hunt.secret(&other);
    world.standin.state.set_pat(USER, &world.pat(), PatState::Expired);
    for _ in 0..3 {
        for key in [world.key.expose(), other.expose()] {
            world.login(key).await.refusal("390999");
        }
    }
    // The first has the form of the gate's own login, so it decides for all.
    assert_eq!(world.standin.state.count("login"), 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_the_context_that_it_may_have_and_is_told_what_it_may_not() {
    let world = World::with(|config| {
        let pins = &mut config.bi().pins;
        (pins.role, pins.warehouse, pins.database) = (one_of(["BI", "READER"]), fixed("BI_WH"), one_of(["D"]));
    })
    .await;
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
    // One value goes, in the spelling of the list, whatever stands beside it.
    assert_eq!(login("&roleName=reader&rolename=&warehouse=OTHER").await.json()["success"], true);
    assert_eq!(login("").await.json()["data"]["sessionInfo"]["roleName"], "BI");
    let queries: Vec<_> = world.standin.state.seen().into_iter().map(|seen| seen.query).collect();
    assert_eq!(
        queries,
        [
            "requestId=1&roleName=READER&warehouse=BI_WH&databaseName=D",
            "requestId=1&roleName=BI&warehouse=BI_WH&databaseName=D"
        ]
    );
    // A session with a pinned role has none of the user's other roles.
    let mut body: serde_json::Value = serde_json::from_str(&login_body(world.key.expose())).unwrap();
    body["data"]["SECONDARY_ROLES"] = "ALL".into();
    assert_eq!(world.login_with(body.to_string()).await.json()["success"], false, "R is no role of this client");
    body["data"]["secondary_roles"] = "ALL".into();
    let request = http::Request::post("/session/v1/login-request?roleName=bi&secondaryRoles=ALL");
    assert_eq!(world.send(request.body(body.to_string().into()).unwrap()).await.json()["success"], true);
    for seen in world.standin.state.seen() {
        assert_eq!(seen.body.to_uppercase().matches("SECONDARY_ROLES").count(), 1, "{}", seen.body);
        assert!(seen.body.contains(r#""SECONDARY_ROLES":"NONE""#) && !seen.query.contains("ALL"), "{}", seen.query);
    }
    world.finish().await;
}
