//! The way to an account: a forward proxy, a cap, an outage that is known; and the doors by which one comes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use crate::world::{LOCALHOST, World, local, login_body, login_request};

/// A forward proxy that wants a user and a password; it counts the tunnels.
async fn forward_proxy(wants: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(local()).await.unwrap();
    let (address, tunnels) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let counted = tunnels.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let tunnels = counted.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let tunnels = tunnels.clone();
                async move {
                    let basic = format!("Basic {}", BASE64_STANDARD.encode(wants));
                    let said =
                        request.headers().get("proxy-authorization").map(|value| value.to_str().unwrap().to_owned());
                    let mut answer = Response::new(Empty::<Bytes>::new());
                    if request.method() != "CONNECT" || said != Some(basic) {
                        *answer.status_mut() = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
                        return Ok::<_, std::convert::Infallible>(answer);
                    }
                    let to = request.uri().authority().unwrap().to_string();
                    tunnels.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(async move {
                        let mut client = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
                        let mut there = TcpStream::connect(to).await.unwrap();
                        let _ended = tokio::io::copy_bidirectional(&mut client, &mut there).await;
                    });
                    Ok(answer)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades());
        }
    });
    (address, tunnels)
}

/// The account's table once more, with more in it.
fn account(world: &World, more: &str) -> String {
    format!("address='{}'\n{more}", world.standin.address)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_behind_a_forward_proxy_is_reached_through_a_tunnel() {
    let (proxy, tunnels) = forward_proxy("gate:canary-secret").await;
    let world = World::start().await;
    world.write("proxy-password", "canary-secret\n");
    let password = world.file("proxy-password");
    let through =
        |user: &str| format!("proxy={{address='{proxy}',user='{user}',password='file:{}'}}", password.display());
    let plain = account(&world, "");
    world.reload(|text| text.replace(plain.trim_end(), &account(&world, &through("gate")))).await.unwrap();
    let (token, _) = world.session().await;
    for _ in 0..3 {
        assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    }
    assert_eq!(tunnels.load(Ordering::Relaxed), 1, "a tunnel is kept like any connection");
    let wrong =
        |text: &str| text.replace(plain.trim_end(), &account(&world, &through("stranger"))) + "[login]\nhold='0s'\n";
    world.reload(wrong).await.unwrap();
    assert!(world.login(world.key.expose()).await.refusal("390999").contains("cannot reach Snowflake"));
    let unread = |text: &str| {
        text.replace(plain.trim_end(), &account(&world, &through("gate"))).replace("proxy-password", "missing")
    };
    let error = world.reload(unread).await.unwrap_err().to_string();
    assert!(error.contains("missing") && !error.contains("canary"), "{error}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_takes_so_many_requests_at_a_time() {
    let world = Arc::new(World::with("", "[limits]\ndelay='0s'\n").await);
    let plain = account(&world, "");
    world.reload(|text| text.replace(plain.trim_end(), &account(&world, "in_flight=1"))).await.unwrap();
    let (token, _) = world.session().await;
    let mut running = JoinSet::new();
    running.spawn({
        let (world, token) = (world.clone(), token.clone());
        async move { world.query(&token, "select system$wait(60)").await.status }
    });
    world.standin.state.wait_until(|state| state.count("query") == 1).await;
    let got = world.query(&token, "select 1").await;
    assert_eq!((got.status, got.headers["retry-after"].as_bytes()), (503, &b"1"[..]));
    running.shutdown().await;
    world.standin.state.wait_until(|state| state.dropped() == 1).await;
    while world.query(&token, "select 1").await.status != 200 {}
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_held_for_its_whole_time_and_the_cause_is_told_to_those_after_it() {
    let world = World::with("", "[login]\nhold='2s'\n").await;
    let closed = TcpListener::bind(local()).await.unwrap();
    let away = format!("address='{}'\n", closed.local_addr().unwrap());
    drop(closed);
    let plain = account(&world, "");
    world.reload(|text| text.replace(&plain, &away)).await.unwrap();
    let started = Instant::now();
    world.login(world.key.expose()).await.refusal("390999");
    assert!(started.elapsed() >= Duration::from_millis(1500), "many tries of one login are one failure");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_is_known_is_told_at_once_and_ends_with_the_first_answer() {
    let world = World::with("", "[upstream]\nconnect='400ms'\nkeep='0s'\n").await;
    let (token, _) = world.session().await;
    let plain = account(&world, "");
    // A port where the kernel takes connections and nobody answers.
    let silent = TcpListener::bind(local()).await.unwrap();
    let away = format!("address='{}'\n", silent.local_addr().unwrap());
    let came = Arc::<AtomicUsize>::default();
    tokio::spawn({
        let came = came.clone();
        async move {
            let mut kept = Vec::new();
            loop {
                kept.push(silent.accept().await.unwrap());
                came.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    world.reload(|text| text.replace(&plain, &away)).await.unwrap();
    for _ in 0..20 {
        assert_eq!(world.query(&token, "select 1").await.status, 503);
    }
    let came = came.load(Ordering::Relaxed);
    assert!((5..10).contains(&came), "{came} of 20 looked");
    world.reload(str::to_owned).await.unwrap();
    assert_eq!(world.query(&token, "select 1").await.status, 200);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_be_held_to_some_doors() {
    let doors = "[listeners.internal]\naddress='127.0.0.1:0'\n[listeners.plain]\naddress='127.0.0.1:0'\ndanger_plaintext=true\n";
    let world = World::with("listeners=['internal']", doors).await;
    let login = || login_request(login_body(world.key.expose()));
    let said = world.send(login()).await.refusal("390100");
    assert!(said.contains("comes by another address"), "{said}");
    let inside = world.app.others["internal"];
    let got = world.send_from(LOCALHOST, inside, login()).await.unwrap().json();
    let (token, _) = crate::world::pair(&got, "token");
    world.query(&token, "select 1").await.refusal("390111");
    let heartbeat = crate::world::asked(http::Method::POST, "/session/heartbeat", &token, "");
    assert_eq!(world.send_from(LOCALHOST, inside, heartbeat).await.unwrap().json()["success"], true);
    assert!(world.send_from(LOCALHOST, world.app.others["plain"], login()).await.is_err(), "no TLS there");
    world.finish().await;
}
