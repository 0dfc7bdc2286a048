//! What one look at the gate says of the ways out of it.

use std::time::Duration;

use http::Method;
use patgate::internal::base::clock::{Clock, ManualClock};
use patgate::internal::standin::Certificates;
use serde_json::Value;

use crate::settings::Settings;
use crate::world::World;

const DAY: Duration = Duration::from_secs(86_400);

async fn status(world: &World) -> Value {
    let (code, status) = world.admin(&world.app, Method::GET, "/status").await;
    assert_eq!(code, 200);
    status
}

fn attention(status: &Value) -> String {
    status["attention"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned() + "\n").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_reached_is_down_since_then_with_the_cause() {
    let world = World::with(|config| {
        config.login.hold = Duration::ZERO;
        config.prod().address = Some("127.0.0.1:1".to_owned());
    })
    .await;
    world.app.settled().await;
    assert_eq!(status(&world).await["attention"], Value::Array(Vec::new()));
    // Five in a row make an outage.
    for _ in 0..5 {
        assert_eq!(world.login(world.key.expose()).await.json()["success"], false);
    }
    let status = status(&world).await;
    let account = &status["accounts"][0];
    assert_eq!((&account["name"], &account["up"]), (&"prod".into(), &false.into()), "{account}");
    assert!(account["since"].is_string() && account["cause"].as_str().unwrap().contains("127.0.0.1:1"), "{account}");
    assert!(attention(&status).contains("account prod: connect to 127.0.0.1:1"), "{status}");
    let failure = &status["failures"][0];
    assert_eq!((&failure["code"], &failure["count"]), (&"PG-613".into(), &5.into()), "{failure}");
    assert!(failure["last"].is_string(), "{failure}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_soon_and_a_secret_that_is_missing_need_attention() {
    let clock = ManualClock::start();
    let now = clock.wall();
    let world = World::at(&clock, |config| {
        let home = config.pair().certificate.parent().unwrap().to_owned();
        Certificates::make_valid(&home, &["localhost"], Some(now - 80 * DAY..now + 9 * DAY + DAY / 2)).unwrap();
        config.powerbi().login = crate::settings::reference("local:missing");
    })
    .await;
    world.app.settled().await;
    let status = status(&world).await;
    let certificate = &status["listeners"][0]["certificate"];
    assert_eq!((&certificate["days_left"], &certificate["valid"]), (&9.into(), &true.into()), "{certificate}");
    assert_eq!((&status["ready"], &status["credentials"][0]["state"]), (&false.into(), &"missing".into()));
    let store = &status["stores"][0];
    assert!(store["up"] == true, "a store that says what it has not answers: {store}");
    for wanted in ["its certificate ends in 9 days", "credential powerbi: it has no usable PAT"] {
        assert!(attention(&status).contains(wanted), "{status}");
    }
    world.finish().await;
}
