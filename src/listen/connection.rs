//! One connection: TLS handshake, then requests, each with its deadlines.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::guard::{Guard, Note, Waits};
use super::held::Held;
use super::{owner, proxy_header};
use crate::admit::{Peer, PeerCertificate};
use crate::base::drain::Watch;
use crate::base::fault::chain;
use crate::config::Listen;
use crate::proxy::{AnswerBody, BrokeOff, Post};
use crate::telemetry::rarely::Rarely;
use crate::tls::transport::Transport;

/// The largest head: four times what drivers send with sealed tokens and long traces.
const HEAD_CAP: usize = 64 << 10;

/// For how long a connection is idle before a drain closes it.
const QUIET: Duration = Duration::from_secs(1);

/// What a new connection meets. It is published whole; a connection keeps what it met.
pub struct Door {
    /// Deadlines.
    pub listen: Listen,
    /// Our certificate; `None` where plain HTTP was asked for by its dangerous name.
    pub tls: Option<Arc<ServerConfig>>,
    /// The content of the client certificates' roots.
    pub roots: [u8; 32],
}

/// What all connections of a worker share.
pub(super) struct Setting {
    pub post: Post,
    /// Lets a line about a failed handshake through.
    pub handshakes: Rarely,
}

/// Serves a connection to its end.
pub(super) async fn serve(
    setting: Arc<Setting>,
    place: Arc<ArcSwap<Door>>,
    mut stream: TcpStream,
    from: SocketAddr,
    drain: Watch,
    _held: Held,
) {
    // Without it small answers wait for an acknowledgement; that is no reason to refuse the connection.
    let _slower = stream.set_nodelay(true);
    let door = place.load_full();
    let Some(mut peer) = setting.who(&mut stream, from, &door.listen).await else { return };
    let transport = Transport::new(stream);
    let Some(acceptor) = door.tls.clone().map(TlsAcceptor::from) else {
        peer.tls = false;
        return requests(&setting, (&place, &door), transport, peer, drain, Transport::get_ref).await;
    };
    match timeout(door.listen.handshake, acceptor.accept(transport)).await {
        Ok(Ok(tls)) => {
            let shown = tls.get_ref().1.peer_certificates().and_then(|chain| PeerCertificate::read(chain.first()?));
            peer.certificate = shown.map(Arc::new);
            requests(&setting, (&place, &door), tls, peer, drain, |tls| tls.get_ref().0.get_ref()).await;
        }
        // The commonest trouble of a new set-up: the tool does not trust our certificate.
        Ok(Err(error)) => setting.refused(peer.ip, "client", &chain(&error), "TLS handshake failed"),
        Err(_late) => tracing::debug!(peer = %peer.ip, owner = "network", "TLS handshake took too long"),
    }
}

impl Setting {
    /// Who is at the other end, as far as that can be told before TLS; nobody when a balancer's word is missing.
    async fn who(&self, stream: &mut TcpStream, from: SocketAddr, listen: &Listen) -> Option<Peer> {
        let mut peer = Peer::at(&listen.name, from.ip());
        if listen.proxy.iter().any(|trusted| trusted.contains(&peer.ip)) {
            match timeout(listen.handshake, proxy_header::read(stream)).await {
                Ok(Ok(Some(source))) => peer = Peer { proxied: true, ..Peer::at(&listen.name, source.ip()) },
                // The balancer speaks for itself, and still it is not a program of this machine's own.
                Ok(Ok(None)) => peer.proxied = true,
                Ok(Err(error)) => {
                    self.refused(peer.ip, "network", &chain(&error), "a balancer's connection was closed");
                    return None;
                }
                Err(_late) => {
                    self.refused(
                        peer.ip,
                        "network",
                        "its PROXY header took too long",
                        "a balancer's connection was closed",
                    );
                    return None;
                }
            }
        } else if peer.ip.is_loopback()
            && self.post.worker().asks_for_users()
            && let Ok(ours) = stream.local_addr()
        {
            // The table may be long; the worker's other connections do not wait for it.
            peer.user = tokio::task::spawn_blocking(move || owner::of(from, ours)).await.ok().flatten();
        }
        Some(peer)
    }

    /// Tells of a connection that came to nothing; rarely as a warning, so that a scan does not fill a disk.
    fn refused(&self, peer: IpAddr, owner: &str, cause: &str, what: &str) {
        if self.handshakes.now() {
            tracing::warn!(%peer, owner, cause, "{what}");
        } else {
            tracing::debug!(%peer, owner, cause, "{what}");
        }
    }
}

/// How a connection ended.
enum End {
    Clean,
    Broken(hyper::Error),
    Late(Waits),
}

async fn requests<T>(
    setting: &Setting,
    (place, door): (&ArcSwap<Door>, &Door),
    stream: T,
    peer: Peer,
    mut drain: Watch,
    tcp: fn(&T) -> &TcpStream,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let note = Note::new();
    let listen = &door.listen;
    let peer = Arc::new(peer);
    let service = service_fn(|request| {
        note.now(Waits::Answer);
        let (worker, note) = (setting.post.worker(), note.clone());
        let peer = match place.load().roots == door.roots {
            true => peer.clone(),
            // Who signed the certificate may no longer do so.
            false => Arc::new(Peer { certificate: None, ..Peer::clone(&peer) }),
        };
        async move {
            let response = worker.answer(peer, request).await;
            note.now(Waits::Answer);
            Ok::<_, std::convert::Infallible>(response.map(|body| Noted { body, note }))
        }
    });
    let io = TokioIo::new(Guard::new(stream, note.clone()));
    let mut connection = http1::Builder::new().max_header_size(HEAD_CAP).serve_connection(io, service);
    let mut watch = Box::pin(tokio::time::sleep(listen.idle));
    let end = {
        let mut stopped = Box::pin(drain.stopped());
        let (mut drained, mut stopping) = (false, false);
        poll_fn(|cx| {
            drained = drained || stopped.as_mut().poll(cx).is_ready();
            if drained && !stopping && note.waits() == Waits::Answer {
                // The answer says that it is the last; a connection that still owes its first request gets to that first.
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            if let Poll::Ready(outcome) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(outcome.map_or_else(End::Broken, |()| End::Clean));
            }
            loop {
                let waits = note.waits();
                let due = due(&note, listen, drained && !stopping);
                if due < watch.deadline() || watch.is_elapsed() {
                    watch.as_mut().reset(due);
                }
                if watch.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if due > Instant::now() {
                    continue;
                }
                if waits != Waits::Idle || stopping {
                    return Poll::Ready(End::Late(waits));
                }
                // Nobody waits for anything: the connection is closed with a word.
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
                if let Poll::Ready(outcome) = Pin::new(&mut connection).poll(cx) {
                    return Poll::Ready(outcome.map_or_else(End::Broken, |()| End::Clean));
                }
                watch.as_mut().reset(Instant::now() + listen.handshake);
                note.now(Waits::Idle);
            }
        })
        .await
    };
    match end {
        End::Clean => return,
        End::Late(Waits::Idle) => {}
        End::Late(waits) => {
            tracing::debug!(peer = %peer.ip, owner = "network", waits = ?waits, "a connection took too long")
        }
        End::Broken(error) => tracing::debug!(peer = %peer.ip, cause = %chain(&error), "a connection broke"),
    }
    let io: TokioIo<Guard<T>> = connection.into_parts().io;
    if note.waits() == Waits::Answer || note.unread().is_some() {
        // A part must not look like the whole: the connection is reset, not closed.
        let _closed_anyway = tcp(io.inner().get_ref()).set_zero_linger();
    }
}

/// When the connection has waited too long. In a drain one that is idle is closed; but not at once, since a client that has just
/// been answered may be sending its next request at this moment.
fn due(note: &Note, listen: &Listen, drained: bool) -> Instant {
    let limit = match note.waits() {
        Waits::Idle if drained => listen.idle.min(QUIET),
        Waits::Idle => listen.idle,
        Waits::Head => listen.head,
        // Our own deadlines, for stores and for Snowflake, are all shorter than this.
        Waits::Answer => Duration::from_secs(7 * 86_400),
    };
    let due = note.since() + limit;
    note.unread().map_or(due, |unread| due.min(unread + listen.idle))
}

/// An answer's body that notes when it is over, so that the connection is idle again.
struct Noted {
    body: AnswerBody,
    note: Arc<Note>,
}

impl Drop for Noted {
    fn drop(&mut self) {
        // hyper drops a body when it has taken its last frame, or when the connection ends in the middle of it; the second
        // must not look like the first.
        if self.body.is_end_stream() {
            self.note.now(Waits::Idle);
        }
    }
}

impl Body for Noted {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(None) = polled {
            this.note.now(Waits::Idle);
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
