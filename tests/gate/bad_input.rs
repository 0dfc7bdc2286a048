use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{World, login_body};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Writes bytes as they are and reads to the end of the connection.
async fn raw(world: &World, bytes: &[u8]) -> String {
    let mut stream = world.connect().await;
    // The gate may close before it has read everything.
    let _closed_early = stream.write_all(bytes).await;
    let mut text = Vec::new();
    let _reset = stream.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

async fn zipped(world: &World, body: Vec<u8>) -> crate::world::Got {
    let request = Request::post("/session/v1/login-request").header("content-encoding", "gzip");
    world.send(request.body(Bytes::from(body)).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_body_that_is_none_gets_its_sentence() {
    let world = World::start().await;
    let (whole, secret) = (login_body(world.key.expose()), world.canary("typed"));
    let utf16: Vec<u8> = whole.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for body in [
        &b""[..],
        b"null",
        b"<xml/>",
        &whole.as_bytes()[..whole.len() / 2],
        &utf16,
        format!("{}{}", "[".repeat(30_000), "]".repeat(30_000)).as_bytes(),
        format!(r#"{{"data":{{"X":{}1{},"PASSWORD":"{secret}"}}}}"#, "[".repeat(20_000), "]".repeat(20_000)).as_bytes(),
        r#"{"data":{"PASSWORD":"caf\xe9"}}"#.as_bytes(),
        b"{\"data\":{\"PASSWORD\":\"\xe9\"}}",
    ] {
        let said = world.login_with(Bytes::copy_from_slice(body)).await.refusal("390400");
        assert!(said.contains("cannot be read") && !said.contains("canary"), "{said}");
    }
    assert!(zipped(&world, b"no gzip".to_vec()).await.refusal("390400").contains("gzip is damaged"));
    let half = gzip(whole.as_bytes());
    assert!(zipped(&world, half[..half.len() / 2].to_vec()).await.refusal("390400").contains("gzip is damaged"));
    let request =
        Request::post("/session/v1/login-request").header("content-encoding", "br").body(Bytes::from(whole)).unwrap();
    assert!(world.send(request).await.refusal("390400").contains("neither gzip nor identity"));
    assert_eq!(world.standin.state.connections(), 0);
    world.session().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn size_is_capped_before_and_after_inflating() {
    let world = World::start().await;
    for got in [
        world.login_with(vec![b' '; (64 << 10) + 1]).await,
        zipped(&world, gzip(&vec![b' '; 512 << 10])).await,
        zipped(&world, gzip(&vec![0; 64 << 20])).await,
    ] {
        assert_eq!((got.status, got.json()["success"].as_bool()), (413, Some(false)));
    }
    // As large as allowed: the padding is an unknown member.
    let mut body = login_body(world.key.expose());
    body.push_str(&" ".repeat((64 << 10) - body.len()));
    assert_eq!(world.login_with(body).await.json()["success"], true);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_framing_is_refused_before_anything_is_forwarded() {
    let world = World::start().await;
    let path = "POST /queries/v1/query-request HTTP/1.1\r\nHost: a\r\n";
    for head in [
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length : 5\r\n\r\nhello",
        "X: a\r\n b\r\nBad Header\r\n\r\n",
    ] {
        let text = raw(&world, format!("{path}{head}").as_bytes()).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 400"), "{head}: {text}");
    }
    assert_eq!(world.standin.state.connections(), 0);
    world.session().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_a_hundred_kilobytes_is_refused() {
    let world = World::start().await;
    let head = format!("POST /session/heartbeat HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(100 << 10));
    let text = raw(&world, head.as_bytes()).await;
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
    let many: String = (0..200).map(|i| format!("X-{i}: 1\r\n")).collect();
    let text = raw(&world, format!("POST /session/heartbeat HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes()).await;
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
    assert_eq!(world.standin.state.connections(), 0);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_nothing_or_too_slowly_is_closed_in_time() {
    let world = World::with(|config| {
        let short = Duration::from_millis(200);
        (config.login.deadline, config.listen.handshake, config.listen.head) = (short, short, short);
        config.listen.idle = short * 2;
    })
    .await;
    let closed = async |mut stream: Box<dyn Stream>, bytes: &[u8]| {
        stream.write_all(bytes).await.unwrap();
        let mut text = Vec::new();
        // It returns when the gate closes: a gate that misses its deadline blocks the test for ever.
        let _reset = stream.read_to_end(&mut text).await;
        String::from_utf8_lossy(&text).into_owned()
    };
    let tcp = async || Box::new(tokio::net::TcpStream::connect(world.app.address).await.unwrap()) as Box<dyn Stream>;
    let tls = async || Box::new(world.connect().await) as Box<dyn Stream>;
    assert_eq!(closed(tcp().await, b"").await, "");
    assert!(!closed(tcp().await, b"GET / HTTP/1.1\r\n\r\n").await.contains("HTTP/1.1 2"));
    assert_eq!(closed(tls().await, b"").await, "");
    assert_eq!(closed(tls().await, b"POST /session/heartbeat HTTP/1.1\r\nHo").await, "");
    let slow =
        closed(tls().await, b"POST /session/v1/login-request HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{").await;
    assert!(slow.starts_with("HTTP/1.1 408") && slow.contains("did not arrive in time"), "{slow}");
    let idle = closed(tls().await, b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(idle.starts_with("HTTP/1.1 404"), "{idle}");
    world.session().await;
    world.finish().await;
}

/// A socket with or without TLS.
trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Stream for T {}
