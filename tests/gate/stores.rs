use std::time::Duration;

use http::Method;
use patgate::internal::config::Config;

use crate::settings::{Settings, reference};
use crate::world::World;

/// The answer of the admin address.
async fn ready(world: &World) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(world.app.admin).await.unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_comes_late_is_found_when_it_comes() {
    let world = World::with(|config| {
        config.powerbi().login = reference("local:late.json#token");
        config.login.hold = Duration::from_millis(300);
    })
    .await;
    let other = world.canary("other");
    assert_eq!(ready(&world).await, 503);
    let said = world.login(world.key.expose()).await.refusal("390999");
    assert!(said.contains("has no secret at the place"), "{said}");
    for text in [format!("{{\"other\":\"{other}\"}}"), "{\"token\":\"changeme\"}".to_owned()] {
        world.write("late.json", &text);
        // A failed read also answers the requests of the next half second.
        loop {
            let said = world.login(world.key.expose()).await.refusal("390999");
            assert!(!said.contains("canary"));
            if said.contains("not a usable") {
                break;
            }
        }
    }
    world.write("late.json", &format!("{{\"token\":\"{}\",\"private_key\":\"{other}\"}}", world.pat()));
    while world.login(world.key.expose()).await.json()["success"] != true {}
    assert_eq!(ready(&world).await, 200);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_later_leaves_the_pat_in_place() {
    let often = |config: &mut Config| {
        let often = Duration::from_millis(50);
        (config.pat.refresh, config.pat.pace, config.pat.watch) = (often, often, often);
    };
    let world = World::with(often).await;
    world.session().await;
    std::fs::remove_file(world.file("pat")).unwrap();
    // Until the gate has read the store several times without a new version.
    let failed = async || {
        let text = world.operator(&world.app, Method::GET, "/metrics").await.1;
        let reads = text.lines().filter(|line| line.starts_with("patgate_store_reads_total{") && !line.contains("ok"));
        reads.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum::<u64>()
    };
    while failed().await < 5 {
        let (token, _) = world.session().await;
        assert_eq!(world.ask(Method::POST, "/session?delete=true", &token, "").await.json()["success"], true);
    }
    world.finish().await;
}
