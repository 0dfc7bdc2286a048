//! Tests of the hunt: each plants one secret in a forbidden place, and the hunt must find it.

use http::Method;
use patgate::internal::standin::{Knob, RouteName};

use crate::world::World;

/// The only finding at the end of this world.
async fn only(world: World) -> String {
    let found = world.found().await;
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_log_is_found() {
    let world = World::start().await;
    tracing::trace!(target: "patgate", pat = world.pat(), "planted");
    assert_eq!(only(world).await, "a PAT or a password in the log");

    let world = World::start().await;
    tracing::info!(target: "patgate::proxy", "planted {}", world.key.expose());
    assert_eq!(only(world).await, "a client key or another secret in the log");

    let world = World::start().await;
    let (token, _) = world.session().await;
    tracing::warn!(target: "patgate", "planted {token}");
    assert_eq!(only(world).await, "a sealed token in the log");

    let world = World::start().await;
    tracing::warn!(target: "patgate", "planted ver:3-hint:1-session-{}-0123456789abcdef", world.standin.state.mark());
    assert_eq!(only(world).await, "a token of Snowflake's in the log");

    let world = World::start().await;
    world.session().await;
    let ring = std::fs::read_to_string(world.file("state/sealing-keys")).unwrap();
    tracing::warn!(target: "patgate", "planted {ring}");
    assert_eq!(only(world).await, "a key of the ring in the log");

    let world = World::start().await;
    let basic = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("gate:{}", world.canary("password")));
    tracing::debug!(target: "patgate", "planted Basic {basic}");
    assert_eq!(only(world).await, "a PAT or a password in base 64 in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_world_hides_is_not_found_here() {
    let (world, other) = (World::start().await, World::start().await);
    tracing::info!(target: "patgate", "planted {}", other.pat());
    world.finish().await;
    assert_eq!(only(other).await, "a PAT or a password in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_state_directory_is_found() {
    let world = World::start().await;
    std::fs::write(world.file("state/planted"), format!("x{}y", world.pat())).unwrap();
    assert_eq!(only(world).await, "a PAT or a password in the file planted of the state directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_the_operator_is_shown_is_found() {
    // The gate shows names that the operator chose; here the name is a PAT.
    let secret = crate::hunt::canary();
    let world = World::with(|config| {
        crate::settings::Settings::add_credential(config, &secret);
    })
    .await;
    world.standin.state.set_pat("ANOTHER", &secret, patgate::internal::standin::PatState::Active);
    let found = world.found().await;
    for place in ["/metrics", "/pats"] {
        assert!(found.contains(&format!("a PAT in the operator's {place}")), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_an_answer_to_a_client_is_found_and_so_is_a_token_that_should_be_sealed() {
    let world = World::start().await;
    let (token, _) = world.session().await;
    let says = |body| Knob::Canned { status: 200, body, location: None };
    world.standin.state.turn(RouteName("query".into()), says(world.pat()), 1);
    world.query(&token, "select 1").await;
    assert_eq!(only(world).await, "a PAT or a password in an answer to a client");

    for sealed in [true, false] {
        let world = World::with(|config| config.seal = config.seal.take().filter(|_| sealed)).await;
        let (token, _) = world.session().await;
        let planted = format!("ver:3-hint:1-master-{}-0123456789abcdef", world.standin.state.mark());
        world.standin.state.turn(RouteName("heartbeat".into()), says(planted), 1);
        world.ask(Method::POST, "/session/heartbeat", &token, "").await;
        let found = world.found().await;
        let wanted = ["a token of Snowflake's in an answer to a client"];
        assert_eq!(found, wanted[..usize::from(sealed)], "sealed: {sealed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_beside_the_test_is_found() {
    let world = World::start().await;
    world.standin.state.spawn(async { panic!("planted") });
    world.standin.state.wait_until(|state| !state.panics().is_empty()).await;
    assert_eq!(only(world).await, "a stand-in panicked: planted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_world_that_nobody_finishes_is_looked_at_all_the_same() {
    let world = World::start().await;
    std::fs::write(world.file("state/planted"), world.pat()).unwrap();
    let dropped = tokio::spawn(async move { drop(world) }).await;
    let said = *dropped.unwrap_err().into_panic().downcast::<String>().unwrap();
    assert!(said.contains("a PAT or a password in the file planted"), "{said}");
}
