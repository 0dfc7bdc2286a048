//! A new connection to Snowflake: TCP, TLS with verification, HTTP/1.1.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::client::conn::http1::{self, Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::body::{Progress, ProgressBody};
use super::dial::dial;
use super::failure::Hop;
use super::reads_on::ReadsOn;
use super::tunnel::Tunnel;
use crate::tls::transport::Transport;

type Io = TokioIo<TlsStream<Transport<ReadsOn<TcpStream>>>>;

/// Where to connect, and the name to verify there.
pub(super) struct Endpoint {
    /// `NAME:PORT` or `IP:PORT`.
    pub address: String,
    /// The forward proxy on the way there.
    pub tunnel: Option<Tunnel>,
    /// The name that the certificate must carry, and SNI.
    pub name: ServerName<'static>,
    /// Roots and session cache, one for all workers.
    pub tls: TlsConnector,
}

/// One connection. It makes progress only while it is polled.
pub(super) struct Connection {
    pub send: SendRequest<ProgressBody>,
    driver: http1::Connection<Io, ProgressBody>,
    pub progress: Arc<Progress>,
    /// The address of this machine that it comes from.
    pub from: Option<IpAddr>,
    ended: bool,
}

impl Connection {
    /// Opens a connection. It is boxed, because it moves from the pool to a request, to its answer, and back.
    /// `hop` is the part of the path under way.
    pub(super) async fn open(endpoint: &Endpoint, hop: &mut Hop) -> io::Result<Box<Self>> {
        let tcp = match &endpoint.tunnel {
            None => dial(&endpoint.address, hop).await?,
            Some(tunnel) => tunnel.open(&endpoint.address, hop).await?,
        };
        let from = tcp.local_addr().ok().map(|local| local.ip());
        *hop = Hop::Tls;
        let tls = endpoint.tls.connect(endpoint.name.clone(), Transport::new(ReadsOn::new(tcp))).await?;
        *hop = Hop::Exchange;
        let handshake = Builder::new().max_header_size(64 << 10).handshake(TokioIo::new(tls)).await;
        let (send, driver) = handshake.map_err(io::Error::other)?;
        Ok(Box::new(Self { send, driver, progress: Arc::default(), from, ended: false }))
    }

    /// Drives the connection; ready when it has ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended {
            return Poll::Ready(());
        }
        // The waiter for the answer or its body gets the error.
        let outcome = Pin::new(&mut self.driver).poll(cx);
        self.ended = outcome.is_ready();
        outcome.map(|_| ())
    }

    /// Whether the next request may be sent on it.
    pub(super) fn is_ready(&self) -> bool {
        !self.ended && self.send.is_ready()
    }
}
