//! The proxy way in: a tool keeps the account's host, and only its proxy is set.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Method, Request};
use patgate::internal::base::clock::{Clock, SystemClock};
use patgate::internal::base::tunnel_target::TunnelTarget;
use patgate::internal::config::{Config, Connect, KeyPair, Kind, Listen};
use patgate::internal::tls::local_ca::LocalCa;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::settings::Settings;
use crate::world::{LOCALHOST, World, asked, connector, exchange, login_body, login_request, pair, until};

/// What a proxy answered: status line, headers, and the body of a refusal.
struct Answer {
    line: String,
    rest: String,
}

impl Answer {
    /// Checks that it is a refusal with this status and code, and that its trace can be looked up.
    fn refused(&self, status: u16, code: &str) -> &str {
        assert!(self.line.starts_with(&format!("HTTP/1.1 {status} {code} ")), "{} {}", self.line, self.rest);
        let (head, body) = self.rest.split_once("\r\n\r\n").unwrap();
        for header in ["connection: close", "content-type: text/plain; charset=utf-8"] {
            assert!(head.contains(header), "{head}");
        }
        let trace = body.split_once("(trace ").unwrap().1.split_once(')').unwrap().0;
        assert!(trace.len() == 32 && body.starts_with("patgate: "), "{body}");
        body
    }
}

/// A directory with a CA that may sign for the account's host.
fn ca(home: &std::path::Path) -> KeyPair {
    let now = SystemClock.wall();
    let day = Duration::from_secs(86_400);
    let made = LocalCa::new(&["localhost".to_owned()], now - day..now + 90 * day).unwrap();
    let pair = KeyPair { certificate: home.join("intercept.pem"), key: home.join("intercept.key") };
    std::fs::write(&pair.certificate, made.certificate).unwrap();
    std::fs::write(&pair.key, made.key.expose()).unwrap();
    pair
}

/// The directory of a world's configuration.
fn home(config: &Config) -> std::path::PathBuf {
    config.listen.tls.as_ref().unwrap().certificate.parent().unwrap().to_owned()
}

/// The proxy way in, for hosts like these.
fn listener(config: &mut Config, tunnel: &[String], change: impl FnOnce(&mut Connect)) {
    let targets = tunnel.iter().map(|text| TunnelTarget::parse(text).unwrap()).collect();
    let mut connect = Connect { ca: ca(&home(config)), tunnel: targets, allowlist: None, auth: false, tunnels: 64 };
    change(&mut connect);
    config.add_listener("proxy");
    let listen = config.listeners.get_mut("proxy").unwrap();
    *listen = Listen { kind: Kind::Connect(Arc::new(connect)), tls: None, ..listen.clone() };
}

fn proxy(world: &World) -> SocketAddr {
    world.app.others["proxy"]
}

/// Sends a head, and reads the answer; a refusal to its end.
async fn ask<T: AsyncRead + AsyncWrite + Unpin>(stream: &mut T, head: &str) -> Answer {
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    while !all.ends_with(b"\r\n\r\n") {
        all.push(stream.read_u8().await.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&all))));
    }
    let text = String::from_utf8(all).unwrap();
    let (line, rest) = text.split_once("\r\n").unwrap();
    let (line, mut rest) = (line.to_owned(), rest.to_owned());
    if !line.contains(" 200 ") {
        stream.read_to_string(&mut rest).await.unwrap();
    }
    Answer { line, rest }
}

async fn asked_of(address: SocketAddr, head: &str) -> (Answer, TcpStream) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    (ask(&mut stream, head).await, stream)
}

fn head(target: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
}

/// The head of a CONNECT that says whose it is.
fn head_of(target: &str, user: &str, key: &str) -> String {
    let basic = BASE64_STANDARD.encode(format!("{user}:{key}"));
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {basic}\r\n\r\n")
}

/// One request through the proxy, as a tool sends it that trusts the CA.
async fn through(world: &World, connect: &str, request: Request<Bytes>) -> crate::world::Got {
    let (answer, stream) = asked_of(proxy(world), connect).await;
    assert!(answer.line.contains(" 200 "), "{}", answer.line);
    let tls = connector(&world.file("intercept.pem"));
    let tls = tls.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    exchange(world.hunt.hear(tls), request).await.unwrap()
}

fn login(world: &World) -> Request<Bytes> {
    login_request(login_body(world.key.expose()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_to_an_account_is_served_like_any_request() {
    let world = World::with(|config| listener(config, &[], |_| {})).await;
    for connect in [
        head("localhost:443"),
        head("LOCALHOST.:443"),
        // One driver sends it so: no Host, and HTTP/1.0.
        "CONNECT localhost:443 HTTP/1.0\r\n\r\n".to_owned(),
        "CONNECT localhost:443 HTTP/1.1\r\nHost: elsewhere\r\nProxy-Connection: keep-alive\r\nUser-Agent:\r\n\r\n"
            .to_owned(),
        head_of("localhost:443", "bi", world.key.expose()),
    ] {
        let got = through(&world, &connect, login(&world)).await.json();
        assert_eq!(got["success"], true, "{connect} {got}");
        let (token, _) = pair(&got, "token");
        let query = asked(Method::POST, "/queries/v1/query-request?requestId=q", &token, r#"{"sqlText":"select 1"}"#);
        assert_eq!(through(&world, &connect, query).await.json()["data"]["rowset"][0][0], "1");
    }
    // A refusal of the login is in the form that drivers show.
    let wrong = login_request(login_body(world.issue("bi").expose()));
    through(&world, &head("localhost:443"), wrong).await.refusal("390100");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_no_open_relay() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = target.local_addr().unwrap();
    let world = World::with(|config| listener(config, &["*.stage.test:443".to_owned()], |_| {})).await;
    let admin = world.app.admin;
    for (head, code) in [
        (head(&there.to_string()), "PG-316"),
        (head(&admin.to_string()), "PG-316"),
        (head(&format!("localhost:{}", there.port())), "PG-316"),
        (head("evilstage.test:443"), "PG-316"),
        (head("stage.test:443"), "PG-316"),
        (head("a.stage.test:80"), "PG-316"),
        (head("[::1]:443"), "PG-316"),
        (head("localhost"), "PG-132"),
        (head("localhost:443@evil.test:443"), "PG-132"),
        (format!("GET http://{there}/ HTTP/1.1\r\nHost: {there}\r\n\r\n"), "PG-132"),
        ("GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "PG-132"),
        ("POST /session/v1/login-request HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}".to_owned(), "PG-132"),
        ("CONNECT localhost:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".to_owned(), "PG-132"),
        (
            "CONNECT localhost:443 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "PG-132",
        ),
    ] {
        asked_of(proxy(&world), &head).await.0.refused(403, code);
    }
    // The drivers' door is no proxy either.
    let got = world.send(Request::builder().method("CONNECT").uri("localhost:443").body(Bytes::new()).unwrap()).await;
    assert_eq!(got.status, 421);
    let nothing = tokio::time::timeout(Duration::from_millis(50), target.accept()).await;
    assert!(nothing.is_err(), "somebody was connected to the target");
    world.finish().await;
}

/// A host that reads five bytes and answers with that many.
async fn stage(length: usize) -> (SocketAddr, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async move {
        let mut served = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut got = [0; 5];
            if stream.read_exact(&mut got).await.is_err() {
                continue;
            }
            assert_eq!(&got, b"hello");
            let _gone = stream.write_all(&vec![7; length]).await;
            served += 1;
            if served == 2 {
                break;
            }
        }
        served
    };
    (address, tokio::spawn(serve))
}

/// The value of a metric.
async fn metric(world: &World, name: &str) -> u64 {
    let text = world.operator(&world.app, Method::GET, "/metrics").await.1;
    let of = |line: &str| line.strip_prefix(name).and_then(|rest| rest.trim().parse().ok());
    text.lines().find_map(of).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_host_is_tunnelled_unopened_and_counted() {
    const LENGTH: usize = 10_000_000;
    let ((address, served), closed) = (stage(LENGTH).await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let away = closed.local_addr().unwrap();
    drop(closed);
    let listed = [address.to_string(), away.to_string(), "no-such-host.invalid:443".to_owned()];
    let world = World::with(|config| listener(config, &listed, |_| {})).await;
    let (answer, mut stream) = asked_of(proxy(&world), &head(&address.to_string())).await;
    assert_eq!(answer.line, "HTTP/1.1 200 OK");
    stream.write_all(b"hello").await.unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    assert!(got.len() == LENGTH && got.iter().all(|byte| *byte == 7));
    drop(stream);
    // What a tool sends right behind the head goes there too.
    let early = format!("{}hello", head(&address.to_string()));
    let mut stream = TcpStream::connect(proxy(&world)).await.unwrap();
    assert!(ask(&mut stream, &early).await.line.contains(" 200 "));
    got.clear();
    stream.read_to_end(&mut got).await.unwrap();
    assert_eq!(got.len(), LENGTH);
    drop(stream);
    assert_eq!(served.await.unwrap(), 2);
    for gone in &listed[1..] {
        asked_of(proxy(&world), &head(gone)).await.0.refused(502, "PG-208");
    }
    until(async || metric(&world, "patgate_tunnels_total{outcome=\"closed\"}").await == 2).await;
    for (name, count) in [
        ("patgate_tunnels_total{outcome=\"away\"}", 2),
        ("patgate_tunnel_bytes_total{direction=\"from_host\"}", 2 * LENGTH as u64),
        ("patgate_tunnel_bytes_total{direction=\"to_host\"}", 10),
        ("patgate_tunnels_open", 0),
    ] {
        assert_eq!(metric(&world, name).await, count, "{name}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_has_a_share_of_the_tunnels_and_a_client_its_own() {
    let listener_there = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener_there.local_addr().unwrap().to_string();
    let world = World::with(|config| {
        listener(config, std::slice::from_ref(&target), |_| {});
        // A tunnel counts as admitted: it keeps no place among strangers, of whom a source has two here.
        config.limits.unadmitted = 16;
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..16 {
        let (answer, stream) = asked_of(proxy(&world), &head(&target)).await;
        assert!(answer.line.contains(" 200 "), "{}", answer.line);
        open.push((stream, listener_there.accept().await.unwrap()));
    }
    asked_of(proxy(&world), &head(&target)).await.0.refused(503, "PG-317");
    let named = head_of(&target, "bi", world.key.expose());
    let (answer, own) = asked_of(proxy(&world), &named).await;
    assert!(answer.line.contains(" 200 "), "{}", answer.line);
    // A tunnel counts as admitted, and logins go on beside them.
    assert_eq!(through(&world, &head("localhost:443"), login(&world)).await.json()["success"], true);
    open.pop();
    until(async || asked_of(proxy(&world), &head(&target)).await.0.line.contains(" 200 ")).await;
    drop((open, own));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_may_ask_who_it_is_and_that_limits_what_follows() {
    let another = crate::world::issue("excel");
    let standin = World::start().await;
    let change = |config: &mut Config| {
        listener(config, &["stage.test:443".to_owned()], |connect| connect.auth = true);
        config.add_client("excel").keys = vec![crate::settings::hash(&another)];
        config.add_account("dev", &standin.standin).host = "dev.test".to_owned();
        config.add_credential("dev").account = "dev".into();
        let dev = config.add_client("dev");
        (dev.credential, dev.keys) = ("dev".into(), vec![crate::settings::hash(&crate::world::issue("dev"))]);
        // One CA for both hosts is not there; the second account is not reached here.
        config.accounts.get_mut("dev").unwrap().host = "localhost".to_owned();
        config.accounts.get_mut("dev").unwrap().port = 8443;
    };
    let world = World::with(change).await;
    world.hunt.secret(&another);
    let key = world.key.expose().to_owned();
    let target = "localhost:443";
    let missing = asked_of(proxy(&world), &head(target)).await.0;
    assert!(missing.rest.contains("proxy-authenticate: Basic realm=\"patgate\""), "{}", missing.rest);
    missing.refused(407, "PG-133");
    let bearer = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Bearer {key}\r\n\r\n");
    asked_of(proxy(&world), &bearer).await.0.refused(407, "PG-133");
    for (user, key, code) in
        [("bi", world.issue("bi").expose(), "PG-105"), ("excel", key.as_str(), "PG-134"), ("bi", "no key", "PG-102")]
    {
        asked_of(proxy(&world), &head_of(target, user, key)).await.0.refused(403, code);
    }
    let own = head_of(target, "bi", &key);
    assert_eq!(through(&world, &own, login(&world)).await.json()["success"], true);
    // The login's key is another client's.
    let said = through(&world, &own, login_request(login_body(another.expose()))).await.refusal("390100");
    assert!(said.contains("two clients are named"), "{said}");
    // The account behind the CONNECT is another one than the key's.
    let said = through(&world, &head_of("localhost:8443", "bi", &key), login(&world)).await.refusal("390100");
    assert!(said.contains("for another account"), "{said}");
    world.finish().await;
    standin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_and_listeners_of_clients_hold_here_too() {
    let world = World::with(|config| {
        listener(config, &["stage.test:443".to_owned()], |_| {});
        config.bi().listeners = vec!["main".into()];
    })
    .await;
    asked_of(proxy(&world), &head("stage.test:443")).await.0.refused(403, "PG-201");
    asked_of(proxy(&world), &head("localhost:443")).await.0.refused(403, "PG-201");
    world.reload(|config| config.bi().networks = crate::settings::networks(["127.0.0.2"])).await.unwrap();
    let mut stream = TcpStream::connect(proxy(&world)).await.unwrap();
    let _reset = stream.write_all(head("localhost:443").as_bytes()).await;
    assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)), "an address of no client");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_speak_tls_to_the_proxy_where_it_has_a_certificate() {
    let world = World::with(|config| {
        listener(config, &[], |_| {});
        let pair = config.listen.tls.clone();
        config.listeners.get_mut("proxy").unwrap().tls = pair;
    })
    .await;
    let mut outer = world.connect_from(LOCALHOST, proxy(&world)).await;
    let answer = ask(&mut outer, &head("localhost:443")).await;
    assert!(answer.line.contains(" 200 "), "{}", answer.line);
    let tls = connector(&world.file("intercept.pem"));
    let tls = tls.connect(ServerName::try_from("localhost").unwrap(), outer).await.unwrap();
    assert_eq!(exchange(tls, login(&world)).await.unwrap().json()["success"], true);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_and_a_drain_break_no_tunnel() {
    let host = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = host.local_addr().unwrap().to_string();
    let world = World::with(|config| listener(config, std::slice::from_ref(&target), |_| {})).await;
    let (_, mut tool) = asked_of(proxy(&world), &head(&target)).await;
    let (mut far, _) = host.accept().await.unwrap();
    // Another CA, and no host listed any more: what is open goes on.
    world.reload(|config| listener(config, &[], |_| {})).await.unwrap();
    asked_of(proxy(&world), &head(&target)).await.0.refused(403, "PG-316");
    assert_eq!(through(&world, &head("localhost:443"), login(&world)).await.json()["success"], true);
    // A CA that no tool accepts is not taken up, and the one in use stays.
    let ended = world
        .reload(|config| {
            listener(config, &[], |_| {});
            let now = SystemClock.wall();
            let day = Duration::from_secs(86_400);
            let made = LocalCa::new(&["localhost".to_owned()], now - 9 * day..now - day).unwrap();
            std::fs::write(home(config).join("intercept.pem"), made.certificate).unwrap();
            std::fs::write(home(config).join("intercept.key"), made.key.expose()).unwrap();
        })
        .await;
    assert!(ended.unwrap_err().to_string().contains("ended at"), "an ended CA was taken up");
    tool.write_all(b"more").await.unwrap();
    far.read_exact(&mut [0; 4]).await.unwrap();
    // In a drain it may say what it has to say.
    let way_in = proxy(&world);
    let ending = tokio::spawn(world.app.stop());
    until(async || TcpStream::connect(way_in).await.is_err()).await;
    for _ in 0..4 {
        far.write_all(b"still here").await.unwrap();
        tool.read_exact(&mut [0; 10]).await.unwrap();
    }
    assert!(ending.await.unwrap(), "the drain was not clean");
    assert_eq!(tool.read(&mut [0; 1]).await.unwrap_or(0), 0);
}
