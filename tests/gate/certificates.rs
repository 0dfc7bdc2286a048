//! The gate's own certificates: what a reload refuses, and what the operator sees of their end.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;
use patgate::internal::base::clock::{Clock, ManualClock};
use patgate::internal::standin::Certificates;

use crate::settings::networks;
use crate::world::World;

const DAY: Duration = Duration::from_secs(86_400);

/// Puts another certificate, valid for these times, in the place of the first listener's.
fn put(world: &World, from: SystemTime, until: SystemTime) {
    let made = tempfile::tempdir().unwrap();
    Certificates::make_valid(made.path(), &["localhost"], Some(from..until)).unwrap();
    copy(world, made.path(), &["server.pem", "server.key"]);
}

fn copy(world: &World, from: &Path, files: &[&str]) {
    for file in files {
        std::fs::copy(from.join(file), world.file(file)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_no_tool_accepts_is_not_taken_up_at_a_reload() {
    let clock = ManualClock::start();
    let world = World::at(&clock, |_| {}).await;
    let now = clock.wall();
    let refused = async |wanted: &str| {
        let error = world.reload(|_| {}).await.unwrap_err().to_string();
        assert!(error.contains("server.pem") && error.contains(wanted), "{error}");
        // The old one stays: the world's client trusts its CA alone.
        world.session().await;
    };
    put(&world, now - 90 * DAY, now - DAY);
    refused("ended at").await;
    put(&world, now + DAY, now + 90 * DAY);
    refused("is valid only from").await;
    let made = tempfile::tempdir().unwrap();
    Certificates::make(made.path(), &["localhost"]).unwrap();
    copy(&world, made.path(), &["server.pem"]);
    refused("is not the key of the certificate").await;
    put(&world, now - DAY, now + 90 * DAY);
    world.reload(|_| {}).await.unwrap();
    assert!(world.try_connect().await.is_err(), "the new certificate is of another CA");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ended_in_use_keeps_no_reload_of_something_else_back() {
    let clock = ManualClock::start();
    let world = World::at(&clock, |_| {}).await;
    put(&world, clock.wall() - DAY, clock.wall() + DAY);
    world.reload(|_| {}).await.unwrap();
    clock.advance(2 * DAY);
    world.reload(|config| config.listen.idle = Duration::from_secs(7)).await.unwrap();
    let more = |config: &mut patgate::internal::config::Config| {
        config.clients.values_mut().for_each(|client| client.networks = networks(["127.0.0.0/8", "10.0.0.0/8"]));
    };
    assert_eq!(world.reload(more).await.unwrap().changes.len(), 2);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_have_the_end_of_each_listener_s_certificate() {
    let clock = ManualClock::start();
    let world = World::at(&clock, |config| {
        let plain = Certificates::make_valid(
            config.listen.tls.as_ref().unwrap().certificate.parent().unwrap(),
            &["localhost", "127.0.0.1"],
            Some(UNIX_EPOCH..UNIX_EPOCH + Duration::from_secs(4_000_000_000)),
        );
        plain.unwrap();
    })
    .await;
    let (_, text) = world.operator(&world.app, Method::GET, "/metrics").await;
    let wanted = "patgate_certificate_expires_timestamp_seconds{listener=\"main\"} 4000000000.0";
    assert!(text.contains(wanted), "{text}");
    world.finish().await;
}
