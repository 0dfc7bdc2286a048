//! The proxy way in: one CONNECT a connection (RFC 9110, section 9.3.6).
//!
//! A tool keeps the account's own host name and has only its proxy set. A CONNECT to an account's host ends here: the
//! gate answers with a certificate for that host, and from there on the requests are like any others. A CONNECT to a
//! listed host is tunnelled unopened. Everything else is refused: the gate is no open relay, and plain HTTP is not
//! forwarded, since drivers ask cloud metadata through their proxy, with the password in clear.
//!
//! A tool shows of a refused CONNECT the reason phrase at best, so the fault's code and a short cause stand in it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::ext::ReasonPhrase;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ServerConfig;
use secrecy::zeroize::Zeroizing;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};

use super::rewound::Rewound;
use super::state::{ConnectState, WorkerContext};
use super::tunnels::{Owner, Tunnel};
use crate::admit::{Peer, ProxyWay};
use crate::base::fault::{Fault, Kind, Reply, chain};
use crate::base::names::ClientName;
use crate::base::secret::Secret;
use crate::base::source::Source;
use crate::base::trace::TraceId;
use crate::base::tunnel_target::TunnelTarget;
use crate::upstream::dial_host;

/// The largest head of a CONNECT: a token of a proxy's own sign-on may be long.
const HEAD_CAP: usize = 16 << 10;
/// How long a listed host may take to answer; a tool that waits for the proxy gives up after ten seconds.
const DIAL: Duration = Duration::from_secs(8);

/// Where a CONNECT leads.
pub(super) enum Way {
    /// To an account: the certificate for its host, and what the CONNECT said.
    Account(Arc<ServerConfig>, ProxyWay),
    /// To a listed host.
    Tunnel(Tunnel),
}

/// What came of a connection's one request.
pub(super) enum Asked {
    /// It has its way.
    Way(Way),
    /// It was told why it has none.
    Refused(Fault),
    /// No request came in time.
    Late,
    /// It ended, or its head cannot be read.
    Gone(Option<hyper::Error>),
}

/// What a CONNECT said, as far as it was understood.
#[derive(Default)]
pub(super) struct Said {
    /// `HOST:PORT`.
    pub target: Option<String>,
    /// Whose key it showed.
    pub client: Option<ClientName>,
}

/// Reads a connection's CONNECT and answers it; also returns what it said, and the stream behind it.
pub(super) async fn ask<T>(
    context: &WorkerContext,
    state: &ConnectState,
    stream: T,
    (peer, trace): (&Peer, TraceId),
    until: Instant,
) -> (Asked, Said, Rewound<T>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (found, has_come) = (Mutex::new((None, Said::default())), AtomicBool::new(false));
    let service = service_fn(|request: Request<_>| {
        has_come.store(true, Ordering::Relaxed);
        let found = &found;
        Box::pin(async move {
            let mut said = Said::default();
            let way = decide(context, state, peer, &request, &mut said).await;
            let response = match &way {
                Ok(_) => Response::new(Full::default()),
                Err(fault) => refusal(fault, trace),
            };
            *found.lock() = (Some(way), said);
            Ok::<_, std::convert::Infallible>(response)
        })
    });
    let mut connection = http1::Builder::new().max_buf_size(HEAD_CAP).serve_connection(TokioIo::new(stream), service);
    let answered = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx));
    let late = async {
        sleep_until(until).await;
        // What the gate itself does then has deadlines of its own.
        if has_come.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    };
    let ended = tokio::select! {
        ended = answered => Some(ended),
        () = late => None,
    };
    let parts = connection.into_parts();
    let stream = Rewound::new(parts.read_buf, parts.io.into_inner());
    let (way, said) = std::mem::take(&mut *found.lock());
    let asked = match (way, ended) {
        (Some(Err(fault)), _) => Asked::Refused(fault),
        (Some(Ok(way)), Some(Ok(()))) => Asked::Way(way),
        (_, None) => Asked::Late,
        (_, Some(ended)) => Asked::Gone(ended.err()),
    };
    (asked, said, stream)
}

/// Finds the way of a request, and opens it.
async fn decide<B>(
    context: &WorkerContext,
    state: &ConnectState,
    peer: &Peer,
    request: &Request<B>,
    said: &mut Said,
) -> Result<Way, Fault> {
    let wrong = |what: &str| Fault::new(Kind::ProxyRequest).detail(what);
    if request.method() != Method::CONNECT {
        return Err(wrong("it forwards no plain HTTP"));
    }
    let authority = request.uri().authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let Some((host, port)) = TunnelTarget::split(authority).filter(|_| !authority.contains('@')) else {
        return Err(wrong("the CONNECT names no HOST:PORT"));
    };
    if [header::CONTENT_LENGTH, header::TRANSFER_ENCODING].iter().any(|name| request.headers().contains_key(name)) {
        return Err(wrong("the CONNECT has a body"));
    }
    let target = format!("{host}:{port}");
    said.target = Some(target.clone());
    let worker = context.slot.worker();
    let admission = worker.admission();
    admission.may_tunnel(peer)?;
    let client = match presented(request.headers())? {
        Some((user, key)) => match admission.at_proxy(peer, &user, &key) {
            Ok(client) => Some(client),
            Err(refusal) => return Err(refusal.in_time().await),
        },
        None if state.settings.auth => return Err(Fault::new(Kind::ProxyKeyMissing)),
        None => None,
    };
    said.client.clone_from(&client);
    if let Some((_, _, accounts)) = state.accounts.iter().find(|(name, own, _)| (name, *own) == (&host, port)) {
        let tls = state.intercept.server(&host, context.wall());
        let tls = tls.map_err(|error| Fault::new(Kind::GateBroken).with_cause(chain(&error)))?;
        let tls = tls.ok_or_else(|| Fault::new(Kind::GateBroken).with_cause("no certificate for an account's host"))?;
        return Ok(Way::Account(tls, ProxyWay { accounts: accounts.clone(), client }));
    }
    let opened = tunnel(context, state, peer, (&host, port, &target), client).await;
    opened.map(Way::Tunnel).inspect_err(|fault| {
        let away = matches!(fault.kind(), Kind::HostAway | Kind::HostSilent);
        worker.services().metrics.tunnels().ended(if away { "away" } else { "refused" });
    })
}

/// Opens a tunnel, if its host is listed.
async fn tunnel(
    context: &WorkerContext,
    state: &ConnectState,
    peer: &Peer,
    (host, port, target): (&str, u16, &str),
    client: Option<ClientName>,
) -> Result<Tunnel, Fault> {
    if !state.targets.iter().any(|listed| listed.is(host, port)) {
        return Err(Fault::new(Kind::HostUnlisted).detail(target));
    }
    context.slot.worker().admission().arrives_with_request(peer).await?;
    let owner = client.map_or_else(|| Owner::Source(Source::of(peer.ip)), Owner::Client);
    let place = state.tunnels.place(owner).ok_or_else(|| Fault::new(Kind::TunnelsFull).with_cause(target))?;
    let silent = |cause: &str| Fault::new(Kind::HostSilent).detail(target).with_cause(cause);
    match timeout(DIAL, dial_host(target)).await {
        Ok(Ok(host)) => Ok(Tunnel::new(host, place)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Err(silent(&chain(&error))),
        Ok(Err(error)) => Err(Fault::new(Kind::HostAway).detail(target).with_source(&error)),
        Err(_late) => Err(silent("no connection within 8 s")),
    }
}

/// The client's name and key that a CONNECT shows (RFC 7617).
fn presented(headers: &HeaderMap) -> Result<Option<(String, Secret)>, Fault> {
    let Some(value) = headers.get(header::PROXY_AUTHORIZATION) else { return Ok(None) };
    let read = || {
        let (scheme, coded) = value.to_str().ok()?.split_once(' ')?;
        let pair = Zeroizing::new(BASE64_STANDARD.decode(coded.trim()).ok()?);
        let (user, key) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
        scheme.eq_ignore_ascii_case("basic").then(|| (user.to_owned(), Secret::new(key.to_owned())))
    };
    let unread = || Fault::new(Kind::ProxyKeyMissing).with_cause("Proxy-Authorization is not Basic with NAME:KEY");
    read().map(Some).ok_or_else(unread)
}

/// The answer to a CONNECT that has no way.
fn refusal(fault: &Fault, trace: TraceId) -> Response<Full<Bytes>> {
    let rule = fault.kind().rule();
    let status = match rule.elsewhere {
        Reply::Proxy(status) | Reply::Status(status) | Reply::Retry(status, _) => {
            StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN)
        }
        Reply::Refusal(_) | Reply::GiveUp => StatusCode::FORBIDDEN,
    };
    let mut response = Response::new(Full::from(format!("{}\n", fault.sentence(trace))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        headers.insert(header::PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"patgate\""));
    }
    if let Reply::Retry(_, usual) = rule.elsewhere {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(fault.retry_after(usual)));
    }
    // A reason may hold what a header's value may, and that is checked here.
    if let Ok(reason) = ReasonPhrase::try_from(format!("{} {}", rule.code, fault.message())) {
        response.extensions_mut().insert(reason);
    }
    response
}
