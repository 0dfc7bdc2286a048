use http::Method;

use crate::world::{PAT, World};

/// What the admin door answers.
async fn ready(world: &World) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(world.app.admin).await.unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_comes_late_is_found_when_it_comes() {
    let tables = "[credentials.powerbi]\naccount='prod'\nuser='BI_SERVICE'\npat='local:late.json#token'\n[login]\nhold='300ms'\n";
    let world = World::with("", tables).await;
    assert_eq!(ready(&world).await, 503);
    let said = world.login(world.key.expose()).await.refusal("390999");
    assert!(said.contains("secrets manager does not give"), "{said}");
    for (text, says) in [("{\"other\":\"canary\"}", "not a usable"), ("{\"token\":\"changeme\"}", "not a usable")] {
        world.write("late.json", text);
        // A failed read answers for half a second.
        loop {
            let said = world.login(world.key.expose()).await.refusal("390999");
            assert!(!said.contains("canary"));
            if said.contains(says) {
                break;
            }
        }
    }
    world.write("late.json", &format!("{{\"token\":\"{PAT}\",\"private_key\":\"canary\"}}"));
    while world.login(world.key.expose()).await.json()["success"] != true {}
    assert_eq!(ready(&world).await, 200);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_later_leaves_the_pat_in_place() {
    let world = World::with("", "[pat]\nrefresh='1s'\n").await;
    world.session().await;
    std::fs::remove_file(world.file("pat")).unwrap();
    let until = tokio::time::Instant::now() + std::time::Duration::from_millis(2500);
    while tokio::time::Instant::now() < until {
        let (token, _) = world.session().await;
        assert_eq!(world.ask(Method::POST, "/session?delete=true", &token, "").await.json()["success"], true);
    }
    world.finish().await;
}
