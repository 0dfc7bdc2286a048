//! One connection: TLS handshake, then requests, each with its deadlines.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body::{Body, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::proxy_way::{self, Asked, Way};
use super::slot::ConnectionSlot;
use super::state::{ListenerState, WorkerContext};
use super::unadmitted::Stranger;
use super::watched_stream::{Activity, Waiting, WatchedStream};
use super::{peer_user, proxy_header};
use crate::admit::{LocalUser, Peer, PeerCertificate};
use crate::base::fault::{Kind, Owner, chain};
use crate::base::shutdown::ShutdownWatch;
use crate::base::source::Source;
use crate::config::Listen;
use crate::proxy::{AnswerBody, BrokeOff};
use crate::telemetry::connection_record::ConnectionRecord;
use crate::tls::HandshakeFailure;
use crate::tls::transport::Transport;

/// The largest head: four times what drivers send with sealed tokens and long traces.
const HEAD_CAP: usize = 64 << 10;

/// How much of a connection's data hyper keeps in each direction.
const BUFFER: usize = 128 << 10;

/// How long the gate reads what a client sends after the last answer.
const LINGER: Duration = Duration::from_secs(2);

/// How long a connection must be idle before a drain closes it.
const QUIET: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub(super) async fn serve(
    context: Arc<WorkerContext>,
    published: Arc<ArcSwap<ListenerState>>,
    mut stream: TcpStream,
    from: SocketAddr,
    shutdown: ShutdownWatch,
    _slot: ConnectionSlot,
) {
    // Without TCP_NODELAY small answers wait for an acknowledgement, but the connection still works.
    let _slower = stream.set_nodelay(true);
    let listener = published.load_full();
    let mut record = context.record(&listener.listen.name, from);
    let Some(mut peer) = context.who(&mut stream, from, &listener.listen, &mut record).await else { return };
    record.source(peer.ip);
    peer.connection = Some(record.ids());
    let _open = context.slot.worker().services().metrics.connection();
    if !context.slot.worker().expects(&peer) {
        return context.refused(&mut record, Kind::AddressUnexpected, "this address is in no client's networks");
    }
    // From here to its first admitted request it has this time, whatever it sends.
    let until = Instant::now() + listener.listen.admission;
    let Some(mut stranger) = context.unadmitted.arrive(Source::of(peer.ip)) else {
        return context.refused(
            &mut record,
            Kind::AddressCrowd,
            "the address has a fourth of all connections, without an admitted request",
        );
    };
    if timeout_at(until, stranger.place()).await.is_err() {
        return context.refused(&mut record, Kind::NoPlace, "no place within listen.admission");
    }
    peer.user = context.user(&stream, from, &peer).await;
    let arrived = Arrived { peer, record, stranger: (stranger, until) };
    let (states, transport) = ((&*published, &*listener), Transport::new(stream));
    let Some(config) = listener.tls.clone() else {
        return spoken(&context, states, transport, arrived, shutdown, Transport::get_ref).await;
    };
    let (listen, mut arrived) = (&listener.listen, arrived);
    let tls = handshake(&context, config, transport, (listen, until), &mut arrived.record, Transport::has_read).await;
    if let Some(tls) = tls {
        let shown = tls.get_ref().1.peer_certificates().and_then(PeerCertificate::read);
        arrived.peer.certificate = shown.map(Arc::new);
        spoken(&context, states, tls, arrived, shutdown, |tls| tls.get_ref().0.get_ref()).await;
    }
}

/// A connection that has a place, until it is admitted.
struct Arrived {
    peer: Peer,
    record: ConnectionRecord,
    stranger: (Stranger, Instant),
}

/// Serves a connection by what its listener speaks; `tcp` is the socket below the stream.
async fn spoken<T>(
    context: &WorkerContext,
    (published, listener): (&ArcSwap<ListenerState>, &ListenerState),
    stream: T,
    mut arrived: Arrived,
    shutdown: ShutdownWatch,
    tcp: impl Fn(&T) -> &TcpStream,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(connect) = &listener.connect else {
        arrived.peer.tls = listener.tls.is_some();
        arrived.record.ready();
        return requests(context, (published, listener), stream, arrived, shutdown, tcp).await;
    };
    let (listen, until) = (&listener.listen, arrived.stranger.1);
    let head = until.min(Instant::now() + listen.head);
    let who = (&arrived.peer, arrived.record.ids().0);
    let (asked, said, mut stream) = proxy_way::ask(context, connect, stream, who, head).await;
    arrived.record.connects(said.target, said.client);
    match asked {
        Asked::Way(Way::Account(config, way)) => {
            arrived.peer.way = Some(way);
            let tls = handshake(context, config, stream, (listen, until), &mut arrived.record, |_| true).await;
            if let Some(tls) = tls {
                arrived.record.ready();
                requests(context, (published, listener), tls, arrived, shutdown, |tls| tcp(tls.get_ref().0.get_ref()))
                    .await;
            }
        }
        Asked::Way(Way::Tunnel(tunnel)) => {
            // It is admitted: its place among strangers is free for the next.
            let Arrived { mut record, stranger, .. } = arrived;
            drop(stranger);
            let metrics = context.slot.worker().services().metrics.clone();
            let broke_off = tunnel.carry(&mut stream, listen.idle, &shutdown, (&metrics, &mut record)).await;
            if broke_off {
                // What the host did not finish must not look finished.
                let _closed_anyway = tcp(stream.get_ref()).set_zero_linger();
            }
        }
        Asked::Refused(fault) => {
            arrived.record.refused(fault);
            let _gone_anyway = timeout(LINGER, stream.shutdown()).await;
            linger(tcp(stream.get_ref())).await;
        }
        Asked::Late => context.refused(&mut arrived.record, Kind::Unadmitted, "no CONNECT in time"),
        Asked::Gone(Some(error)) => arrived.record.ended(Owner::Network, "a connection failed", &chain(&error)),
        Asked::Gone(None) => arrived.record.probed(),
    }
}

/// Shakes hands as a server, within a deadline; what fails is told and counted.
async fn handshake<T>(
    context: &WorkerContext,
    config: Arc<ServerConfig>,
    stream: T,
    (listen, until): (&Listen, Instant),
    record: &mut ConnectionRecord,
    has_read: impl Fn(&T) -> bool,
) -> Option<TlsStream<T>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |record: &mut ConnectionRecord, kind, cause: &str| {
        context.slot.worker().services().metrics.handshake_failed(kind);
        context.refused(record, kind, cause);
    };
    let until = until.min(Instant::now() + listen.handshake);
    match timeout_at(until, TlsAcceptor::from(config).accept(stream).into_fallible()).await {
        Ok(Ok(tls)) => return Some(tls),
        // A balancer or a monitor looks whether the port is open.
        Ok(Err((_closed, stream))) if !has_read(&stream) => record.probed(),
        // The most frequent problem of a new set-up: the tool does not trust the gate's certificate.
        Ok(Err((error, _stream))) => {
            let HandshakeFailure { kind, cause } = HandshakeFailure::of(&error);
            failed(record, kind, &cause);
        }
        Err(_late) => failed(record, Kind::TlsSlow, "no handshake within listen.handshake"),
    }
    None
}

impl WorkerContext {
    /// Identifies the peer, as far as possible before TLS; `None` if a balancer's PROXY header is missing.
    async fn who(
        &self,
        stream: &mut TcpStream,
        from: SocketAddr,
        listen: &Listen,
        record: &mut ConnectionRecord,
    ) -> Option<Peer> {
        let mut peer = Peer::at(&listen.name, from.ip());
        if listen.proxy.iter().any(|trusted| trusted.contains(&peer.ip)) {
            match timeout(listen.handshake, proxy_header::read(stream)).await {
                Ok(Ok(Some(source))) => peer = Peer { proxied: true, ..Peer::at(&listen.name, source.ip()) },
                // The balancer's header names no other address, but the peer still does not count as a local program.
                Ok(Ok(None)) => peer.proxied = true,
                Ok(Err(error)) => {
                    self.refused(record, Kind::ProxyHeader, &chain(&error));
                    return None;
                }
                Err(_late) => {
                    self.refused(record, Kind::ProxyHeader, "its PROXY header took too long");
                    return None;
                }
            }
        }
        Some(peer)
    }

    /// The user of a program on this machine, if a client's rules need it. Only a connection with a place asks for it.
    async fn user(&self, stream: &TcpStream, from: SocketAddr, peer: &Peer) -> Option<LocalUser> {
        let ours = stream.local_addr().ok()?;
        if peer.proxied || !peer.ip.is_loopback() || !self.slot.worker().asks_for_users() {
            return None;
        }
        // The table may be long, so another thread reads it: the worker's other connections must not wait.
        let user = tokio::task::spawn_blocking(move || peer_user::of(from, ours)).await.ok().flatten()?;
        // Its port is nobody else's while this end lives; after a reset the table may show another user there.
        stream.peer_addr().ok().map(|_alive| user)
    }
}

/// How a connection ended.
enum End {
    Clean,
    Broken(hyper::Error),
    Late(Waiting),
    /// It had no admitted request in time.
    Unadmitted(Waiting),
}

async fn requests<T>(
    context: &WorkerContext,
    (published, listener): (&ArcSwap<ListenerState>, &ListenerState),
    stream: T,
    arrived: Arrived,
    shutdown: ShutdownWatch,
    tcp: impl Fn(&T) -> &TcpStream,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Arrived { peer, mut record, stranger: (stranger, until) } = arrived;
    let (activity, unread) = (Activity::new(), Arc::new(AtomicBool::new(false)));
    let listen = &listener.listen;
    let peer = Arc::new(peer);
    let service = service_fn(|request| {
        activity.now(Waiting::Answer);
        let (worker, activity, unread) = (context.slot.worker(), activity.clone(), unread.clone());
        let counts = peer
            .certificate
            .as_ref()
            .is_none_or(|shown| published.load().still_trusts(shown, listener, worker.services().env.clock.wall()));
        let peer = match counts {
            true => peer.clone(),
            false => Arc::new(Peer { certificate: None, ..Peer::clone(&peer) }),
        };
        async move {
            let mut response = worker.answer(peer, request).await;
            if !counts {
                // The client shows what it has now on its next connection.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            // The gate closes a connection itself only where a body is left on it.
            unread.fetch_or(response.headers().contains_key(header::CONNECTION), Ordering::Relaxed);
            activity.now(Waiting::Answer);
            Ok::<_, std::convert::Infallible>(response.map(|body| TrackedBody { body, activity }))
        }
    });
    let io = TokioIo::new(WatchedStream::new(stream, activity.clone()));
    let mut connection =
        http1::Builder::new().max_header_size(HEAD_CAP).max_buf_size(BUFFER).serve_connection(io, service);
    let mut watch = Box::pin(tokio::time::sleep(listen.idle));
    let end = {
        let mut stopped = Box::pin(shutdown.stopped());
        let (mut drained, mut stopping) = (false, false);
        let mut stranger = Some(stranger);
        poll_fn(|cx| {
            drained = drained || stopped.as_mut().poll(cx).is_ready();
            if drained && !stopping && activity.waiting() == Waiting::Answer {
                // hyper marks the next answer as the last one; a connection without a request yet may still send its
                // first.
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            if let Poll::Ready(outcome) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(outcome.map_or_else(End::Broken, |()| End::Clean));
            }
            if peer.is_admitted() {
                stranger = None;
            }
            loop {
                let waiting = activity.waiting();
                let due = due(&activity, listen, drained && !stopping);
                let due = if stranger.is_some() { due.min(until) } else { due };
                if due < watch.deadline() || watch.is_elapsed() {
                    watch.as_mut().reset(due);
                }
                if watch.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if due > Instant::now() {
                    continue;
                }
                if stranger.is_some() && until <= Instant::now() {
                    return Poll::Ready(End::Unadmitted(waiting));
                }
                if waiting != Waiting::Idle || stopping {
                    return Poll::Ready(End::Late(waiting));
                }
                // No answer is due: close the connection in the normal way of HTTP.
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
                if let Poll::Ready(outcome) = Pin::new(&mut connection).poll(cx) {
                    return Poll::Ready(outcome.map_or_else(End::Broken, |()| End::Clean));
                }
                watch.as_mut().reset(Instant::now() + listen.handshake);
                activity.now(Waiting::Idle);
            }
        })
        .await
    };
    match end {
        End::Clean if !unread.load(Ordering::Relaxed) => return,
        End::Clean => {
            let io: TokioIo<WatchedStream<T>> = connection.into_parts().io;
            return linger(tcp(io.inner().get_ref())).await;
        }
        End::Unadmitted(waiting) => context.refused(&mut record, Kind::Unadmitted, waiting.as_str()),
        End::Late(Waiting::Idle) => {}
        End::Late(waiting) => record.ended(Owner::Network, "a connection took too long", waiting.as_str()),
        End::Broken(error) => record.ended(Owner::Network, "a connection failed", &chain(&error)),
    }
    let io: TokioIo<WatchedStream<T>> = connection.into_parts().io;
    if activity.waiting() == Waiting::Answer || activity.unread().is_some() {
        // A partial answer must not look complete: reset the connection instead of closing it.
        let _closed_anyway = tcp(io.inner().get_ref()).set_zero_linger();
    }
}

/// Reads what a client still sends after the last answer. A socket that is closed with unread data resets the
/// connection, and the client may lose the answer (RFC 9112, section 9.6).
async fn linger(tcp: &TcpStream) {
    let mut discarded = [0; 16 << 10];
    let read = async {
        while tcp.readable().await.is_ok() {
            match tcp.try_read(&mut discarded) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_reset) => return,
            }
        }
    };
    let _reset_anyway = timeout(LINGER, read).await;
}

/// The time when the connection has waited too long. A drain closes an idle connection, but not at once: a client that
/// just got an answer may be sending its next request.
fn due(activity: &Activity, listen: &Listen, drained: bool) -> Instant {
    let limit = match activity.waiting() {
        Waiting::Idle if drained => listen.idle.min(QUIET),
        Waiting::Idle => listen.idle,
        Waiting::Head => listen.head,
        // The deadlines for stores and for Snowflake are all shorter than this.
        Waiting::Answer => Duration::from_secs(7 * 86_400),
    };
    let due = activity.since() + limit;
    activity.unread().map_or(due, |unread| due.min(unread + listen.idle))
}

/// An answer's body that records its end, after which the connection is idle.
struct TrackedBody {
    body: AnswerBody,
    activity: Arc<Activity>,
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        // hyper drops a body after its last frame, or when the connection ends in the middle of it; the second must not
        // look like the first.
        if self.body.is_end_stream() {
            self.activity.now(Waiting::Idle);
        }
    }
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(None) = polled {
            this.activity.now(Waiting::Idle);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
