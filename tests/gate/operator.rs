//! Who may use the operator's commands, from where, and how often. What another user of the machine may do is with the
//! tests of the executable.

use std::time::Duration;

use http::{Method, StatusCode};
use patgate::internal::base::clock::ManualClock;
use patgate::internal::standin::PatState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{USER, World};

/// The status of a request with these header lines.
async fn status(world: &World, method: &str, path: &str, lines: &str) -> u16 {
    let mut stream = tokio::net::TcpStream::connect(world.app.admin).await.unwrap();
    stream.write_all(format!("{method} {path} HTTP/1.1\r\n{lines}\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_rebinds_a_name_reads_nothing_not_even_metrics() {
    let world = World::start().await;
    for path in ["/livez", "/readyz", "/metrics", "/pats", "/sessions", "/nothing"] {
        for lines in [
            "host: evil.test\r\n",
            "host: evil.test:8444\r\n",
            "host: localhost\r\nhost: localhost\r\n",
            "host: localhost:8444\r\norigin: http://localhost\r\n",
            "host: localhost\r\norigin: http://evil.test\r\n",
            "host: localhost\r\norigin: null\r\n",
            "host: localhost\r\nsec-fetch-site: cross-site\r\n",
        ] {
            assert_eq!(status(&world, "GET", path, lines).await, 403, "{path} {lines:?}");
        }
    }
    assert_eq!(status(&world, "GET", "http://evil.test/metrics", "host: localhost\r\n").await, 403);
    for (path, lines) in [("/metrics", "host: 127.0.0.1:8444\r\n"), ("/livez", "host: localhost\r\n")] {
        assert_eq!(status(&world, "GET", path, lines).await, 200, "{path}");
    }
    world.finish().await;
}

/// Each retry may cost the user two bad logins, of which five lock it.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_has_a_pace_for_each_credential_and_says_when_the_next_may_come() {
    let clock = ManualClock::start();
    let world = World::at(&clock, |_| {}).await;
    let retry = async || world.admin(&world.app, Method::POST, "/pats/retry?credential=powerbi").await;
    world.standin.state.set_pat(USER, &world.pat(), PatState::Disabled);
    assert_eq!(retry().await.0, StatusCode::OK);
    for _ in 0..4 {
        let (status, answer) = retry().await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert!(answer["error"].as_str().unwrap().contains("again in 10 s"), "{answer}");
    }
    clock.advance(Duration::from_millis(9_500));
    let (status, answer) = retry().await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer["error"].as_str().unwrap().contains("again in 1 s"), "{answer}");
    clock.advance(Duration::from_millis(500));
    assert_eq!(retry().await.0, StatusCode::OK);
    world.finish().await;
}
