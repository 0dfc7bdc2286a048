use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::world::{World, still_waits};

const ASK: &[u8] = b"GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Requests an unknown path and gets the gate's own answer.
async fn is_served(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    stream.write_all(ASK).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 404"), "{text}");
}

/// A client that speaks only these versions and offers these protocols.
fn client(world: &World, versions: &[&'static rustls::SupportedProtocolVersion], offers: &[&[u8]]) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(world.file("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = offers.iter().map(|offer| offer.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_tls_are_served_and_http_1_alone_is_offered() {
    let world = World::start().await;
    let offers: [&[&[u8]]; 3] = [&[b"h2", b"http/1.1"], &[b"http/1.1"], &[]];
    for (version, number) in [(&rustls::version::TLS12, 0x0303), (&rustls::version::TLS13, 0x0304)] {
        for offer in offers {
            let tcp = TcpStream::connect(world.app.address).await.unwrap();
            let name = ServerName::try_from("127.0.0.1").unwrap();
            let mut stream = client(&world, &[version], offer).connect(name, tcp).await.unwrap();
            let session = stream.get_ref().1;
            assert_eq!(u16::from(session.protocol_version().unwrap()), number);
            assert_eq!(session.alpn_protocol(), (!offer.is_empty()).then_some(&b"http/1.1"[..]));
            is_served(&mut stream).await;
        }
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_served_on_loopback_where_it_was_asked_for_by_its_name() {
    let world = World::with(|config| (config.listen.tls, config.listen.workers) = (None, None)).await;
    let mut stream = TcpStream::connect(world.app.address).await.unwrap();
    is_served(&mut stream).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_cap_wait_for_a_place() {
    let world = World::with(|config| (config.listen.workers, config.listen.connections) = (Some(2), 2)).await;
    let (one, two) = (world.connect().await, world.connect().await);
    let mut third = Box::pin(world.connect());
    // Two hold permits: the third is in the kernel's queue, without a handshake.
    still_waits(third.as_mut()).await;
    drop(one);
    drop((two, third.await));
    world.session().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_at_a_listener_does_not_close_it() {
    let world = World::start().await;
    for i in 0..200_u32 {
        let mut stream = TcpStream::connect(world.app.address).await.unwrap();
        let junk: Vec<u8> = (0..i).map(|n| (n * 31 % 256) as u8).collect();
        let _closed_early = stream.write_all(&junk).await;
    }
    world.session().await;
    world.finish().await;
}
