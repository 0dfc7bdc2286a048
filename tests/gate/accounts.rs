//! Accounts: the forward proxy, the in-flight limit, the breaker; and the listeners of a client.

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
use patgate::internal::config::{Config, ForwardProxy, SecretSource};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Duration;

use crate::settings::Settings;
use crate::world::{LOCALHOST, World, local, login_body, login_request};

/// A forward proxy that wants a user and a password; it counts the tunnels. It runs beside the stand-in, so that a
/// panic in it fails the test.
async fn forward_proxy(world: &World, wants: String) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(local()).await.unwrap();
    let (address, tunnels) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let (counted, state) = (tunnels.clone(), world.standin.state.clone());
    world.standin.state.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (tunnels, wants, beside) = (counted.clone(), wants.clone(), state.clone());
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let (tunnels, wants, beside) = (tunnels.clone(), wants.clone(), beside.clone());
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
                    beside.spawn(async move {
                        let mut client = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
                        let mut there = TcpStream::connect(to).await.unwrap();
                        let _ended = tokio::io::copy_bidirectional(&mut client, &mut there).await;
                    });
                    Ok(answer)
                }
            });
            state.spawn(async move {
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
                let _ended = served.await;
            });
        }
    });
    (address, tunnels)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_behind_a_forward_proxy_is_reached_through_a_tunnel() {
    let world = World::start().await;
    let password = world.canary("proxy-password");
    world.write("proxy-password", &format!("{password}\n"));
    let (proxy, tunnels) = forward_proxy(&world, format!("gate:{password}")).await;
    let through = |user: &str, file: &str| {
        let password = SecretSource::File(world.file(file));
        Some(ForwardProxy { address: proxy.to_string(), user: Some((user.to_owned(), password)) })
    };
    world.reload(|config| config.prod().proxy = through("gate", "proxy-password")).await.unwrap();
    let (token, _) = world.session().await;
    for _ in 0..3 {
        assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    }
    assert_eq!(tunnels.load(Ordering::Relaxed), 1, "a tunnel is kept like any connection");
    let wrong = |config: &mut Config| {
        config.prod().proxy = through("stranger", "proxy-password");
        config.login.hold = Duration::ZERO;
    };
    world.reload(wrong).await.unwrap();
    assert!(world.login(world.key.expose()).await.refusal("390999").contains("the proxy on the way to Snowflake"));
    let unread = world.reload(|config| config.prod().proxy = through("gate", "missing")).await;
    let error = unread.unwrap_err().to_string();
    assert!(error.contains("missing") && !error.contains("canary"), "{error}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_takes_so_many_requests_at_a_time() {
    let world = Arc::new(World::with(|config| config.limits.delay = Duration::ZERO).await);
    world.reload(|config| config.prod().in_flight = Some(1)).await.unwrap();
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
    let world = World::start().await;
    // A server that closes the first connections, and then forwards to Snowflake.
    let (listener, came) = (TcpListener::bind(local()).await.unwrap(), Arc::<AtomicUsize>::default());
    let (address, behind, counted) = (listener.local_addr().unwrap(), world.standin.address, came.clone());
    const SHUT: usize = 8;
    world.standin.state.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            if counted.fetch_add(1, Ordering::Relaxed) >= SHUT {
                let mut there = TcpStream::connect(behind).await.unwrap();
                let _ended = tokio::io::copy_bidirectional(&mut stream, &mut there).await;
            }
        }
    });
    world.reload(|config| config.prod().address = Some(address.to_string())).await.unwrap();
    // More tries than open the breaker, and the gate still holds the login: its tries count as one failure.
    world.session().await;
    assert_eq!(came.load(Ordering::Relaxed), SHUT + 1);

    // A login fails after its hold; the logins after it fail at once, with the cause.
    let closed = TcpListener::bind(local()).await.unwrap();
    let away = closed.local_addr().unwrap().to_string();
    drop(closed);
    let shut = |config: &mut Config| {
        config.prod().address = Some(away.clone());
        config.login.hold = Duration::from_millis(300);
    };
    world.reload(shut).await.unwrap();
    for _ in 0..2 {
        assert!(world.login(world.key.expose()).await.refusal("390999").contains("cannot connect to Snowflake"));
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_is_known_is_told_at_once_and_ends_with_the_first_answer() {
    let short = |config: &mut Config| {
        (config.upstream.connect, config.upstream.keep) = (Duration::from_millis(400), Duration::ZERO);
    };
    let world = World::with(short).await;
    let (token, _) = world.session().await;
    // A port where the kernel accepts connections and no process answers.
    let silent = TcpListener::bind(local()).await.unwrap();
    let away = silent.local_addr().unwrap().to_string();
    let came = Arc::<AtomicUsize>::default();
    world.standin.state.spawn({
        let came = came.clone();
        async move {
            let mut kept = Vec::new();
            loop {
                kept.push(silent.accept().await.unwrap());
                came.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    world.reload(|config| config.prod().address = Some(away)).await.unwrap();
    for _ in 0..20 {
        assert_eq!(world.query(&token, "select 1").await.status, 503);
    }
    let came = came.load(Ordering::Relaxed);
    assert!((5..10).contains(&came), "{came} of 20 looked");
    world.reload(|_| {}).await.unwrap();
    assert_eq!(world.query(&token, "select 1").await.status, 200);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_be_held_to_some_listeners() {
    let listeners = |config: &mut Config| {
        config.add_listener("internal");
        config.add_listener("plain").tls = None;
        config.bi().listeners = vec!["internal".into()];
    };
    let world = World::with(listeners).await;
    let login = || login_request(login_body(world.key.expose()));
    let said = world.send(login()).await.refusal("390100");
    assert!(said.contains("must use another listener"), "{said}");
    let inside = world.app.others["internal"];
    let got = world.send_from(LOCALHOST, inside, login()).await.unwrap().json();
    let (token, _) = crate::world::pair(&got, "token");
    world.query(&token, "select 1").await.refusal("390111");
    let heartbeat = crate::world::asked(http::Method::POST, "/session/heartbeat", &token, "");
    assert_eq!(world.send_from(LOCALHOST, inside, heartbeat).await.unwrap().json()["success"], true);
    assert!(world.send_from(LOCALHOST, world.app.others["plain"], login()).await.is_err(), "no TLS there");
    world.finish().await;
}
