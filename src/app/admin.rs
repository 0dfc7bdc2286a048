//! The operator's door: plain HTTP on loopback.
//!
//! | request | answer |
//! |---|---|
//! | `GET /livez` | the process runs |
//! | `GET /readyz` | every credential has a PAT that may be used, and no drain has begun |
//! | `GET /metrics` | what is counted, for Prometheus |
//! | `GET /pats` | what is held for each credential, and from where; never the PAT |
//! | `POST /pats/refresh` | reads every PAT now: for a store's event hook |
//! | `POST /pats/retry?credential=NAME` | forgets that credential's bad logins, then reads its PAT |
//! | `POST /reload` | reads the configuration again, with what it names |
//! | `GET /sessions` | the sessions that were lately served; never a token |
//! | `POST /sessions/rotate` | adds a key to a ring of the gate's own making, which seals from now on |
//! | `POST /sessions/kill?target=…` | ends what was opened until now: `client:NAME`, `pat:FINGERPRINT` or `session:ID` |
//!
//! Both posts on PATs take `credential=NAME` for one credential alone. A post, or a look at PATs or sessions, that a web page
//! makes somebody's browser send is refused: it carries `Origin`, or a `Host` that is no name of this machine. Whoever may connect here may act:
//! the address is loopback, and a hook from outside comes by way of something on this host.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::house::House;
use super::reload::Reloads;

use crate::base::names::is_this_machine;
use crate::base::rfc3339;
use crate::pat::ServiceUser;
use crate::proxy::Gate;
use crate::secrets::{Pats, Status};
use crate::session::{Live, SessionId, Target, millis};
use crate::telemetry::metrics::{MEDIA_TYPE, PatGauges};

/// Every path there is.
const KNOWN: [&str; 10] = [
    "/livez",
    "/readyz",
    "/metrics",
    "/pats",
    "/pats/refresh",
    "/pats/retry",
    "/reload",
    "/sessions",
    "/sessions/kill",
    "/sessions/rotate",
];

const HEAD: Duration = Duration::from_secs(5);

/// What the operator may look at and act on.
#[derive(Clone)]
pub(super) struct Desk {
    pub house: Arc<House>,
    /// Set where the configuration came from a file.
    pub reloads: Arc<OnceLock<Reloads>>,
    /// Whether the gate is coming to its end.
    pub stopping: watch::Receiver<bool>,
}

/// Serves while the process lasts.
pub(super) async fn serve(listener: TcpListener, desk: Desk) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let desk = desk.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| desk.answer(request));
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(cause = %error, "an admin connection broke");
            }
        });
    }
}

impl Desk {
    async fn answer<B>(&self, request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
        let harmless =
            request.method() == Method::GET && ["/livez", "/readyz", "/metrics"].contains(&request.uri().path());
        if !harmless && is_from_a_page(&request) {
            let why = "this door is not for browsers: Origin, or a Host that is not this machine";
            return Ok(json_answer(StatusCode::FORBIDDEN, &json!({ "error": why })));
        }
        let path = request.uri().path();
        let (status, body) = match (request.method(), path) {
            (&Method::GET, "/livez") => (StatusCode::OK, json!({ "live": true })),
            (&Method::GET, "/readyz") => self.ready().await,
            (&Method::GET, "/metrics") => return Ok(self.scrape().await),
            (&Method::GET, "/pats") => (StatusCode::OK, self.pats_held().await),
            (&Method::POST, "/pats/refresh") => self.refresh(parameter(&request, "credential")).await,
            (&Method::POST, "/pats/retry") => self.retry(parameter(&request, "credential")).await,
            (&Method::POST, "/reload") => self.reload().await,
            (&Method::GET, "/sessions") => self.sessions(),
            (&Method::POST, "/sessions/rotate") => self.rotate().await,
            (&Method::POST, "/sessions/kill") => self.kill(parameter(&request, "target")).await,
            (_, path) if KNOWN.contains(&path) => {
                let error = "the wrong method: GET asks, POST acts";
                (StatusCode::METHOD_NOT_ALLOWED, json!({ "error": error }))
            }
            _ => (StatusCode::NOT_FOUND, json!({ "error": "no such path", "known": KNOWN })),
        };
        Ok(json_answer(status, &body))
    }

    fn gate(&self) -> Arc<Gate> {
        self.house.current.load_full()
    }

    fn pats(&self) -> Pats {
        self.gate().pats.clone()
    }

    async fn ready(&self) -> (StatusCode, Value) {
        if *self.stopping.borrow() {
            return (StatusCode::SERVICE_UNAVAILABLE, json!({ "ready": false, "why": "the gate is stopping" }));
        }
        let status = self.pats().status().await;
        let without: Vec<_> = status.iter().filter(|one| !one.is_ready()).map(|one| &one.credential).collect();
        if without.is_empty() {
            let overdue = |one: &&Status| one.held.as_ref().is_some_and(|held| held.overdue);
            let stale: Vec<_> = status.iter().filter(overdue).map(|one| &one.credential).collect();
            let refused = |one: &&Status| one.held.as_ref().is_some_and(|held| held.refused);
            let refused: Vec<_> = status.iter().filter(refused).map(|one| &one.credential).collect();
            return (StatusCode::OK, json!({ "ready": true, "stale": stale, "refused": refused }));
        }
        let why = "these credentials have no PAT that may be used; GET /pats says why";
        (StatusCode::SERVICE_UNAVAILABLE, json!({ "ready": false, "why": why, "credentials": without }))
    }

    async fn scrape(&self) -> Response<Full<Bytes>> {
        self.house.lasting.metrics.clear_pats();
        if let Some(replicas) = &self.house.lasting.replicas {
            self.house.lasting.metrics.set_replicas(replicas.is_up(), replicas.errors());
        }
        for one in self.pats().status().await {
            let held = one.held.as_ref();
            let expires = held.and_then(|held| held.expires?.duration_since(UNIX_EPOCH).ok());
            self.house.lasting.metrics.set_pat(&PatGauges {
                credential: &one.credential,
                ready: one.is_ready() && !held.is_some_and(|held| held.refused),
                age: held.map(|held| held.age.as_secs_f64()),
                expires: expires.map(|expires| expires.as_secs_f64()),
            });
        }
        match self.house.lasting.metrics.text() {
            Ok(text) => answer(StatusCode::OK, MEDIA_TYPE, text),
            Err(_) => json_answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": "no text of the metrics" })),
        }
    }

    async fn pats_held(&self) -> Value {
        json!({ "pats": self.pats().status().await.iter().map(Status::json).collect::<Vec<_>>() })
    }

    async fn refresh(&self, credential: Option<String>) -> (StatusCode, Value) {
        if let Some(unknown) = credential.as_deref().filter(|name| !self.gate().config.credentials.contains_key(*name))
        {
            return (StatusCode::NOT_FOUND, json!({ "error": "no such credential", "credential": unknown }));
        }
        let outcomes = self.pats().refresh(credential.as_deref()).await;
        let failed = outcomes.iter().any(|(_, outcome)| outcome.is_err());
        tracing::info!(credential, references = outcomes.len(), failed, "PATs were read because somebody asked for it");
        let status = if failed { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
        (status, self.pats_held().await)
    }

    async fn retry(&self, credential: Option<String>) -> (StatusCode, Value) {
        let Some(credential) = credential else {
            return (StatusCode::UNPROCESSABLE_ENTITY, json!({ "error": "say which: ?credential=NAME" }));
        };
        let config = self.gate().config.clone();
        let found = config.credentials.get(credential.as_str());
        if let Some((found, account)) = found.and_then(|found| Some((found, config.accounts.get(&found.account)?))) {
            tracing::warn!(
                credential,
                "the bad logins of a credential's user are forgotten because somebody asked for it"
            );
            let user = ServiceUser::new(&account.authority().to_lowercase().into(), &found.user);
            self.house.lasting.budget.forgive(&user);
            self.house.lasting.replicas.iter().for_each(|replicas| replicas.forgive(&user.to_string()));
            self.pats().forgive();
        }
        self.refresh(Some(credential)).await
    }

    async fn reload(&self) -> (StatusCode, Value) {
        let Some(reloads) = self.reloads.get() else {
            return (StatusCode::NOT_FOUND, json!({ "error": "this gate's configuration is no file" }));
        };
        match reloads.now("somebody asked for it").await {
            Ok(reloaded) => (StatusCode::OK, json!({ "changes": reloaded.changes, "at_restart": reloaded.at_restart })),
            Err(cause) => (StatusCode::UNPROCESSABLE_ENTITY, json!({ "error": cause })),
        }
    }

    fn sessions(&self) -> (StatusCode, Value) {
        let Some(sealing) = &self.house.lasting.sealing else { return not_sealed() };
        let now = sealing.clock.now();
        let mut all = sealing.sessions.list();
        all.sort_unstable_by_key(|(id, live)| (live.opened, *id));
        let one = |(id, live): &(SessionId, Live)| {
            let opened = UNIX_EPOCH.checked_add(Duration::from_millis(live.opened)).map(rfc3339::show);
            json!({
                "session": id.to_string(), "client": live.client.as_str(), "account": &*live.account, "pat": &*live.pat,
                "from": live.from, "opened": opened, "idle_s": now.saturating_duration_since(live.seen).as_secs(),
            })
        };
        (StatusCode::OK, json!({ "sessions": all.iter().map(one).collect::<Vec<_>>() }))
    }

    async fn rotate(&self) -> (StatusCode, Value) {
        let Some(sealing) = &self.house.lasting.sealing else { return not_sealed() };
        match sealing.keys.rotate().await {
            Ok(keys) => (StatusCode::OK, json!({ "keys": keys })),
            Err(cause) => (StatusCode::UNPROCESSABLE_ENTITY, json!({ "error": cause })),
        }
    }

    async fn kill(&self, target: Option<String>) -> (StatusCode, Value) {
        let Some(sealing) = &self.house.lasting.sealing else { return not_sealed() };
        let Some(target) = target.as_deref().and_then(Target::parse) else {
            let error = "say what: ?target=client:NAME, pat:FINGERPRINT or session:ID";
            return (StatusCode::UNPROCESSABLE_ENTITY, json!({ "error": error }));
        };
        let covered = |(id, live): &(SessionId, Live)| match &target {
            Target::Client(name) => live.client == *name,
            Target::Pat(pat) => *live.pat == **pat,
            Target::Session(session) => id == session,
        };
        let ended = sealing.sessions.list().iter().filter(|one| covered(one)).map(|(id, _)| *id).collect::<Vec<_>>();
        tracing::warn!(audit = true, ended = %target, sessions = ended.len(), "sessions are ended because somebody asked for it");
        let now = sealing.clock.wall();
        let known = match &target {
            Target::Client(client) => self.gate().config.clients.contains_key(client),
            Target::Pat(_) | Target::Session(_) => !ended.is_empty(),
        };
        let (name, until) = (target.to_string(), millis(now));
        let outcome = sealing.revoked.add(target, now);
        ended.iter().for_each(|id| sealing.sessions.ended(*id));
        if let Some(replicas) = &self.house.lasting.replicas {
            replicas.end_sessions(&name, until, sealing.longest).await;
        }
        let mut answer = json!({ "ended": ended.len(), "known": known });
        if let Err(error) = outcome {
            answer["error"] =
                format!("it holds until the gate restarts, for it cannot be written down: {error}").into();
            return (StatusCode::INTERNAL_SERVER_ERROR, answer);
        }
        (StatusCode::OK, answer)
    }
}

/// A parameter of the query.
fn parameter<B>(request: &Request<B>, name: &str) -> Option<String> {
    let given = request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_encoding::percent_decode_str(given).decode_utf8_lossy().into_owned())
}

fn not_sealed() -> (StatusCode, Value) {
    (StatusCode::NOT_FOUND, json!({ "error": "tokens are not sealed (seal = false): the gate knows no sessions" }))
}

fn is_from_a_page<B>(request: &Request<B>) -> bool {
    let host = request.headers().get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    request.headers().contains_key(header::ORIGIN) || !(host.is_empty() || is_this_machine(host))
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    answer(status, "application/json", body.to_string())
}

fn answer(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
