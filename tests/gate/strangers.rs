//! What those get who are not admitted: no connection from a strange address, a share of few places, a short time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use patgate::internal::config::Config;
use tokio::io::AsyncReadExt;

use crate::settings::{Settings, networks, rates};
use crate::world::{LOCALHOST, Tls, World, asked, login_body, login_request, still_waits};

const LONG: Duration = Duration::from_secs(600);

/// How many connections were closed early for this reason.
async fn refused(world: &World, reason: &str) -> u64 {
    let text = world.operator(&world.app, Method::GET, "/metrics").await.1;
    let name = format!("patgate_connections_refused_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

/// A connection for several requests.
async fn driver(tls: Tls) -> SendRequest<Full<Bytes>> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Status and text of an answer on such a connection; `None` if it was closed.
async fn answer(sender: &mut SendRequest<Full<Bytes>>, mut request: Request<Bytes>) -> Option<(u16, String)> {
    request.headers_mut().insert("host", "gate.test".parse().unwrap());
    sender.ready().await.ok()?;
    let answer = sender.send_request(request.map(Full::new)).await.ok()?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}

async fn status(sender: &mut SendRequest<Full<Bytes>>, request: Request<Bytes>) -> Option<u16> {
    Some(answer(sender, request).await?.0)
}

async fn text(sender: &mut SendRequest<Full<Bytes>>, request: Request<Bytes>) -> Option<String> {
    Some(answer(sender, request).await?.1)
}

/// Whether the gate closes this connection before TLS.
async fn is_closed(world: &World, from: [u8; 4]) -> bool {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(from), 0).into()).unwrap();
    let mut stream = socket.connect(world.app.address).await.unwrap();
    matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_no_client_is_closed_at_once_and_counted() {
    let world = World::with(|config| config.bi().networks = networks(["127.0.0.1", "203.0.113.0/24"])).await;
    for count in 1..=3 {
        assert!(is_closed(&world, [127, 0, 0, 2]).await);
        assert_eq!(refused(&world, "address_unexpected").await, count);
    }
    world.session().await;
    // A reload takes up the networks, also for a connection that is there.
    let mut sender = driver(world.connect().await).await;
    assert_eq!(status(&mut sender, login_request(login_body(world.key.expose()))).await, Some(200));
    world.reload(|config| config.bi().networks = networks(["127.0.0.2"])).await.unwrap();
    assert!(is_closed(&world, [127, 0, 0, 1]).await);
    for (request, code) in [
        (login_request(login_body(world.key.expose())), "390100"),
        (asked(Method::POST, "/queries/v1/query-request", "x", "{}"), "390111"),
    ] {
        let said = text(&mut sender, request).await.unwrap();
        assert!(said.contains(code) && said.contains("your address 127.0.0.1 is not in a network"), "{said}");
    }
    world.reload(|_| {}).await.unwrap();
    world.finish().await;
    // Behind a balancer the address in its header counts.
    let balanced = |config: &mut Config| {
        config.bi().networks = networks(["203.0.113.0/24"]);
        config.listen.proxy = networks(["127.0.0.1"]);
    };
    let world = World::with(balanced).await;
    let from = |ip: &str| format!("PROXY TCP4 {ip} 127.0.0.1 5000 8443\r\n");
    let login = || login_request(login_body(world.key.expose()));
    assert!(world.send_after(from("198.51.100.1").as_bytes(), login()).await.is_err());
    assert_eq!(refused(&world, "address_unexpected").await, 1);
    assert_eq!(world.send_after(from("203.0.113.9").as_bytes(), login()).await.unwrap().json()["success"], true);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_admitted_request_a_connection_has_a_short_time_whatever_it_sends() {
    let short = |config: &mut Config| config.listen.admission = Duration::from_millis(500);
    let world = World::with(short).await;
    let (token, _) = world.session().await;
    let mut admitted = driver(world.connect().await).await;
    assert_eq!(status(&mut admitted, login_request(login_body(world.key.expose()))).await, Some(200));
    let mut in_session = driver(world.connect().await).await;
    let query = || asked(Method::POST, "/queries/v1/query-request", &token, r#"{"sqlText":"select 1"}"#);
    assert_eq!(status(&mut in_session, query()).await, Some(200));
    // Each of these is closed, also in the middle of requests that are answered.
    let wrong = login_body(world.issue("bi").expose());
    for request in [
        None,
        Some(Request::get("/nothing").body(Bytes::new()).unwrap()),
        Some(login_request(wrong)),
        Some(asked(Method::POST, "/session/heartbeat", "pgs1_forged", "")),
    ] {
        let mut stranger = driver(world.connect().await).await;
        match request {
            None => {
                while stranger.ready().await.is_ok() && !stranger.is_closed() {
                    tokio::task::yield_now().await;
                }
            }
            Some(request) => while status(&mut stranger, request.clone()).await.is_some() {},
        }
    }
    assert_eq!(refused(&world, "unadmitted").await, 4);
    // Those that came before them and were admitted go on.
    assert_eq!(status(&mut admitted, login_request(login_body(world.key.expose()))).await, Some(200));
    assert_eq!(status(&mut in_session, query()).await, Some(200));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_has_a_share_of_the_places_and_the_others_do_not_notice() {
    let few = |config: &mut Config| {
        config.limits.unadmitted = 8;
        config.bi().networks = networks(["127.0.0.0/8"]);
        config.listen.admission = LONG;
        (config.limits.failures, config.limits.slow_down) = (rates(["1/h"]), LONG);
    };
    let world = Arc::new(World::with(few).await);
    let login_from = |last: u8, key: &str| {
        let (world, request) = (world.clone(), login_request(login_body(key)));
        async move { world.send_from([127, 0, 0, last].into(), world.app.address, request).await }
    };
    // A wrong key holds the one place of its source while its answer is delayed.
    let wrong = world.issue("bi");
    login_from(2, wrong.expose()).await.unwrap().refusal("390100");
    let mut delayed = Box::pin(login_from(2, wrong.expose()));
    still_waits(delayed.as_mut()).await;
    let key = world.key.expose().to_owned();
    let mut behind = Box::pin(login_from(2, &key));
    still_waits(behind.as_mut()).await;
    for _ in 0..20 {
        assert_eq!(login_from(1, &key).await.unwrap().json()["success"], true);
    }
    // Who leaves gives the place to the next of that source.
    drop(delayed);
    assert_eq!(behind.await.unwrap().json()["success"], true);
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_stay_leave_room_for_clients() {
    let narrow = |config: &mut Config| {
        config.listen.connections = 20;
        config.listen.admission = Duration::from_secs(1);
        config.limits.slow_down = Duration::ZERO;
        config.bi().networks = networks(["127.0.0.0/8"]);
    };
    let world = World::with(narrow).await;
    let mut kept = Vec::new();
    for last in 2..=21 {
        let mut sender = driver(world.connect_from([127, 0, 0, last].into(), world.app.address).await).await;
        let wrong = login_request(login_body(world.issue("bi").expose()));
        assert_eq!(status(&mut sender, wrong).await, Some(200));
        kept.push(sender);
    }
    // All places are taken; in a second they are free again, although nobody has left.
    let request = login_request(login_body(world.key.expose()));
    let got = world.send_from(LOCALHOST, world.app.address, request).await.unwrap();
    assert_eq!(got.json()["success"], true);
    drop(kept);
    // One source cannot have more than a fourth of all connections, or eight, without an admitted request.
    let mut tcp = Vec::new();
    for _ in 0..8 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 9], 0).into()).unwrap();
        tcp.push(socket.connect(world.app.address).await.unwrap());
    }
    assert!(is_closed(&world, [127, 0, 0, 9]).await);
    world.finish().await;
}
