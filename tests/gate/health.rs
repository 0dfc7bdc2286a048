//! Health and metrics for probes and scrapes: what other hosts may see, and when the gate is not ready.

use std::time::Duration;

use http::Method;
use patgate::internal::config::Config;
use patgate::internal::standin::PatState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::settings::{Settings, reference};
use crate::world::{USER, World, local};

/// The head and the body of an answer at the health address.
async fn asked(world: &World, method: &str, path: &str, lines: &str) -> (u16, String) {
    at(world.app.health.unwrap(), method, path, lines).await
}

async fn at(address: std::net::SocketAddr, method: &str, path: &str, lines: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{method} {path} HTTP/1.1\r\n{lines}\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_of_other_hosts_see_health_and_metrics_and_nothing_else() {
    let world = World::with(|config| config.health = Some(local())).await;
    world.app.settled().await;
    // A probe names the gate as its own host does.
    let host = "host: gate-7.bi.svc:8445\r\n";
    for path in ["/livez", "/readyz", "/metrics"] {
        let (status, body) = asked(&world, "GET", path, host).await;
        assert!(status == 200 && !body.is_empty(), "{path}");
        assert_eq!(asked(&world, "HEAD", path, host).await, (200, String::new()), "{path}");
        assert_eq!(asked(&world, "POST", path, host).await.0, 404, "{path}");
    }
    for (method, path) in [
        ("GET", "/pats"),
        ("GET", "/sessions"),
        ("POST", "/pats/refresh"),
        ("POST", "/reload"),
        ("POST", "/sessions/kill?target=all"),
        ("GET", "/"),
    ] {
        let (status, body) = asked(&world, method, path, host).await;
        assert!(status == 404 && body.contains("/livez, /readyz and /metrics"), "{path}: {body}");
    }
    let local = "host: localhost\r\n";
    assert_eq!(at(world.app.admin, "HEAD", "/readyz", local).await, (200, String::new()));
    assert_eq!(at(world.app.admin, "HEAD", "/reload", local).await.0, 405);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_is_ready_while_one_credential_works_and_names_those_that_snowflake_refuses() {
    let world = World::with(|config| {
        config.login.hold = Duration::from_millis(100);
        std::fs::write(config.pair().certificate.with_file_name("other"), "another-pat").unwrap();
        let other = config.add_credential("other");
        (other.user, other.login) = ("OTHER".to_owned(), reference("local:other"));
    })
    .await;
    world.app.settled().await;
    world.standin.state.set_pat("OTHER", "another-pat", PatState::Active);
    let refuse = async || {
        world.standin.state.set_pat(USER, &world.pat(), PatState::Disabled);
        world.login(world.key.expose()).await;
    };
    refuse().await;
    let (status, body) = world.admin(&world.app, Method::GET, "/readyz").await;
    assert_eq!((status, &body["refused"]), (200, &serde_json::json!(["powerbi"])), "{body}");
    let alone = |config: &mut Config| drop(config.credentials.remove("other"));
    world.reload(alone).await.unwrap();
    let (status, body) = world.admin(&world.app, Method::GET, "/readyz").await;
    assert_eq!((status, &body["refused"]), (503, &serde_json::json!(["powerbi"])), "{body}");
    assert!(body["why"].as_str().unwrap().contains("every credential"), "{body}");
    world.finish().await;
}
