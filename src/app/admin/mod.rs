//! [`AdminService`]: the operator's commands over plain HTTP on loopback, and over a Unix socket.
//!
//! One table, `routes`, has every path with its method and its command. Both posts on PATs take `credential=NAME` for
//! one credential. Every local user may ask for the health and the metrics of the gate. All else is for the operator,
//! whom the gate knows by the user of the connection ([`Caller`]).
//!
//! The health and the metrics are also served at `[health]`, to everybody who reaches that address.
//!
//! The service refuses whatever another site's page makes a browser send (`console`): such a request has the `Origin`
//! of that site, or a `Host` that is not this machine, also where a name of the page's own leads to this machine.

mod console;
mod failures;
mod routes;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::app::caller::{AdminSocket, Caller};
use crate::app::operator::{Operator, OperatorError, Refreshed};
use crate::app::operator_key::OperatorKey;
use crate::base::text::capped;
use crate::pat::Ask;
use crate::session::Revocation;
use crate::telemetry::metrics::MEDIA_TYPE;
use console::{Asset, Maker, Passes};
use routes::NoRoute;
pub use routes::Verb;

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may take; a command may read stores.
const WHOLE: Duration = Duration::from_secs(120);
/// The same for health and metrics at an address that others reach.
const WHOLE_HEALTH: Duration = Duration::from_secs(10);
/// How many connections at once.
const PLACES: usize = 64;
/// How much of a path the log has.
const PATH: usize = 64;

/// The service of the admin address.
#[derive(Clone)]
pub(super) struct AdminService {
    operator: Operator,
    key: OperatorKey,
    passes: Arc<Passes>,
}

type Answer = Response<Full<Bytes>>;

impl AdminService {
    /// A service of this operator, who has this key.
    pub(super) fn new(operator: Operator, key: OperatorKey) -> Self {
        let passes = Arc::new(Passes::new(operator.env()));
        Self { operator, key, passes }
    }

    /// Serves an address while the process lasts.
    pub(super) async fn serve(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(PLACES));
        loop {
            let accepted = async {
                let (stream, peer) = listener.accept().await?;
                let caller = Caller::tcp(&stream, peer)?;
                Ok::<_, io::Error>((stream, caller))
            };
            let accepted = accepted.await.map(|(stream, caller)| (stream, Some(caller)));
            self.clone().spawn(accepted, &places, WHOLE).await;
        }
    }

    /// Serves the address for probes and scrapes while the process lasts.
    pub(super) async fn serve_health(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(PLACES));
        loop {
            let accepted = listener.accept().await.map(|(stream, _)| (stream, None));
            self.clone().spawn(accepted, &places, WHOLE_HEALTH).await;
        }
    }

    /// Serves the operator's socket while the process lasts; strangers take none of its places.
    pub(super) async fn serve_socket(self, socket: AdminSocket) {
        let places = Arc::new(Semaphore::new(PLACES));
        loop {
            let accepted = socket.accept().await.map(|(stream, caller)| (stream, Some(caller)));
            self.clone().spawn(accepted, &places, WHOLE).await;
        }
    }

    /// Serves a connection in a place of its own; waits for the place. Without a caller it is one for the health.
    async fn spawn<S>(self, accepted: io::Result<(S, Option<Caller>)>, places: &Arc<Semaphore>, whole: Duration)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok((stream, caller)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            return;
        };
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        tokio::spawn(async move {
            let answer = async |request| {
                Ok::<_, Infallible>(match caller.clone() {
                    Some(caller) => self.answer(&request, caller).await,
                    None => self.answer_health(&request).await,
                })
            };
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
            let served = http.serve_connection(TokioIo::new(stream), service_fn(answer));
            if let Ok(Err(error)) = tokio::time::timeout(whole, served).await {
                tracing::debug!(cause = %error, "an admin connection failed");
            }
            drop(place);
        });
    }

    /// Health and metrics, and nothing else. A page in a browser may ask too: it learns what everybody may.
    async fn answer_health<B>(&self, request: &Request<B>) -> Answer {
        let verb = routes::find(request.method(), request.uri().path());
        match verb.ok().filter(|verb| verb.is_for_everyone()) {
            // None of these fails.
            Some(verb) => self.act(verb, request).await.unwrap_or_else(|failed| failures::answer(&failed)),
            None => error(StatusCode::NOT_FOUND, "this address has /livez, /readyz and /metrics, by GET and HEAD"),
        }
    }

    async fn answer<B>(&self, request: &Request<B>, caller: Caller) -> Answer {
        let maker = console::maker(request);
        if maker == Maker::Foreign {
            let why = "the admin address refuses pages of other sites: the request has their Origin, or a Host that is \
                       not this machine";
            return error(StatusCode::FORBIDDEN, why);
        }
        let (method, path) = (request.method(), request.uri().path());
        if let Some(Asset { kind, text }) = console::asset(method, path) {
            let mut asset = answer(StatusCode::OK, kind, text.to_owned());
            console::guard(asset.headers_mut());
            return asset;
        }
        if (method, path) == (&Method::POST, console::LOGIN) {
            return self.log_in(request);
        }
        let verb = routes::find(method, path);
        let cookie = maker == Maker::Console && self.passes.knows(request.headers());
        let who = match verb {
            Ok(verb) if verb.is_for_everyone() => String::new(),
            _ if cookie => "the console".to_owned(),
            _ if self.key.is_shown(request.headers()) => "an administrator".to_owned(),
            _ => match caller.may_operate(&self.operator.users()).await {
                Ok(user) => user,
                Err(why) => {
                    if self.operator.tells_of_refusal() {
                        let path = capped(request.uri().path(), PATH);
                        tracing::warn!(owner = "client", cause = why, path, "refused a command");
                    }
                    return error(StatusCode::FORBIDDEN, &why);
                }
            },
        };
        let verb = match verb {
            Ok(verb) => verb,
            Err(NoRoute::WrongMethod) => {
                return error(StatusCode::METHOD_NOT_ALLOWED, "wrong method: GET reads, POST acts");
            }
            Err(NoRoute::Unknown) => {
                let known: Vec<_> = routes::paths().collect();
                let why = "no such path: is the gate of the same version as the command?";
                return json_answer(StatusCode::NOT_FOUND, &json!({ "error": why, "known": known }));
            }
        };
        let asked = Self { operator: self.operator.asked_by(&who), ..self.clone() };
        asked.act(verb, request).await.unwrap_or_else(|failed| failures::answer(&failed))
    }

    /// Exchanges a token of `patgate console` for the page's cookie.
    fn log_in<B>(&self, request: &Request<B>) -> Answer {
        let Some(cookie) = self.passes.exchange(request.headers()) else {
            return error(StatusCode::UNAUTHORIZED, "this token is not good; `patgate console` prints a new one");
        };
        let mut opened = json_answer(StatusCode::OK, &json!({ "ok": true }));
        opened.headers_mut().insert(header::SET_COOKIE, cookie);
        opened
    }

    async fn act<B>(&self, verb: Verb, request: &Request<B>) -> Result<Answer, OperatorError> {
        let operator = &self.operator;
        Ok(match verb {
            Verb::Live => json_answer(StatusCode::OK, &json!({ "live": true })),
            Verb::Ready => {
                let readiness = operator.ready().await;
                let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                json_answer(status, &readiness)
            }
            Verb::Metrics => match operator.metrics().await {
                Ok(text) => answer(StatusCode::OK, MEDIA_TYPE, text),
                Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written as text"),
            },
            Verb::Status => json_answer(StatusCode::OK, &operator.status().await),
            Verb::Pats => match parameter(request, "clients").as_deref() {
                Some("true") => json_answer(StatusCode::OK, &operator.pats_with_clients().await),
                _ => json_answer(StatusCode::OK, &operator.pats().await),
            },
            Verb::Refresh => refreshed(operator.refresh(parameter(request, "credential").as_deref()).await?),
            Verb::Retry => match parameter(request, "credential") {
                Some(credential) => refreshed(operator.retry(&credential).await?),
                None => error(StatusCode::UNPROCESSABLE_ENTITY, "name the credential: ?credential=NAME"),
            },
            Verb::Login => match parameter(request, "credential") {
                Some(credential) => json_answer(StatusCode::OK, &operator.prove(&credential).await?),
                None => error(StatusCode::UNPROCESSABLE_ENTITY, "name the credential: ?credential=NAME"),
            },
            Verb::LookAtTokens => json_answer(StatusCode::OK, &operator.look_at_tokens().await),
            Verb::Rotate => self.rotate(request, Ask::Rotate).await?,
            Verb::Replace => self.rotate(request, Ask::Replace).await?,
            Verb::Revoke => self.revoke(request).await?,
            Verb::WayIn => match parameter(request, "client").map(|client| (operator.way_in(&client), client)) {
                Some((Some(way), _)) => json_answer(StatusCode::OK, &way),
                Some((None, client)) => error(StatusCode::NOT_FOUND, &format!("no client has the name {client}")),
                None => error(StatusCode::UNPROCESSABLE_ENTITY, "name the client: ?client=NAME"),
            },
            Verb::Reload => json_answer(StatusCode::OK, &operator.reload().await?),
            Verb::Failures => json_answer(StatusCode::OK, &operator.failures().await),
            Verb::ConsoleToken => match self.passes.token() {
                Ok(token) => json_answer(StatusCode::OK, &operator.console_token(token)),
                Err(_) => error(StatusCode::SERVICE_UNAVAILABLE, "this machine gives no randomness now"),
            },
            Verb::Drain => {
                operator.drain();
                json_answer(StatusCode::ACCEPTED, &json!({ "draining": true }))
            }
            Verb::Log => json_answer(StatusCode::OK, &operator.log_levels()),
            Verb::SetLog => match parameter(request, "level") {
                Some(levels) => json_answer(StatusCode::OK, &operator.set_log_levels(&levels)?),
                None => error(StatusCode::UNPROCESSABLE_ENTITY, "name the levels: ?level=info,pat=debug"),
            },
            Verb::Sessions => json_answer(StatusCode::OK, &operator.sessions()?),
            Verb::RotateKeys => json_answer(StatusCode::OK, &operator.rotate_keys().await?),
            Verb::EndSessions => match parameter(request, "target").as_deref().and_then(Revocation::parse) {
                Some(what) => {
                    let ended = operator.end_sessions(what).await?;
                    let status = match &ended.error {
                        Some(_) => StatusCode::INTERNAL_SERVER_ERROR,
                        None => StatusCode::OK,
                    };
                    json_answer(status, &ended)
                }
                None => {
                    let why = "name the target: ?target=client:NAME, pat:FINGERPRINT, session:ID or all";
                    error(StatusCode::UNPROCESSABLE_ENTITY, why)
                }
            },
        })
    }
}

impl AdminService {
    async fn rotate<B>(&self, request: &Request<B>, ask: Ask) -> Result<Answer, OperatorError> {
        let Some(credential) = parameter(request, "credential") else {
            return Ok(error(StatusCode::UNPROCESSABLE_ENTITY, "name the credential: ?credential=NAME"));
        };
        Ok(match parameter(request, "dry_run").as_deref() {
            Some("true") => json_answer(StatusCode::OK, &self.operator.preview_rotation(&credential, ask).await?),
            _ => json_answer(StatusCode::OK, &self.operator.rotate(&credential, ask).await?),
        })
    }
}

impl AdminService {
    async fn revoke<B>(&self, request: &Request<B>) -> Result<Answer, OperatorError> {
        let Some(credential) = parameter(request, "credential") else {
            return Ok(error(StatusCode::UNPROCESSABLE_ENTITY, "name the credential: ?credential=NAME"));
        };
        let set = |name| parameter(request, name).as_deref() == Some("true");
        let remove = set("remove");
        let report = match set("dry_run") {
            true => self.operator.preview_revocation(&credential, remove).await?,
            false => self.operator.revoke(&credential, remove).await?,
        };
        Ok(json_answer(StatusCode::OK, &report))
    }
}

fn refreshed(refreshed: Refreshed) -> Answer {
    let status = if refreshed.failed { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
    json_answer(status, &refreshed.pats)
}

/// A parameter of the query.
fn parameter<B>(request: &Request<B>, name: &str) -> Option<String> {
    let given = request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_encoding::percent_decode_str(given).decode_utf8_lossy().into_owned())
}

fn error(status: StatusCode, why: &str) -> Answer {
    json_answer(status, &json!({ "error": why }))
}

fn json_answer(status: StatusCode, body: &impl Serialize) -> Answer {
    // The gate's own types always serialize.
    answer(status, "application/json", serde_json::to_string(body).unwrap_or_default())
}

fn answer(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
