//! [`World`]: a whole gate in this process, with a stand-in for Snowflake behind it and a minimal driver before it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use patgate::internal::app::{App, Reloaded};
use patgate::internal::base::clock::Env;
use patgate::internal::base::clock::{ManualClock, SystemRandom};
use patgate::internal::base::secret::Secret;
use patgate::internal::config::{Config, KeyPair};
use patgate::internal::standin::{self, Certificates, PatState, StandIn};
use patgate::internal::{admit, tls};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::hunt::{Hunt, Listening};
use crate::settings::{base, client_name};

/// The service user of every world.
pub const USER: &str = "BI_SERVICE";

/// A client's end of a TLS connection.
pub type Tls = Listening<TlsStream<TcpStream>>;

/// A gate and its surroundings. It ends with [`World::finish`]; if a test drops it without that, its hunt searches for
/// secrets.
pub struct World {
    pub app: App,
    config: Config,
    seams: Env,
    pub standin: StandIn,
    pub key: Secret,
    // The hunt reads the directory, and fields drop in their order.
    pub hunt: Hunt,
    pub home: tempfile::TempDir,
    client: TlsConnector,
}

/// A whole answer.
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Checks that it is a refusal in the form that drivers show, and returns its sentence.
    pub fn refusal(&self, code: &str) -> String {
        let body = self.json();
        assert_eq!(
            (self.status, &body["code"], &body["success"]),
            (200, &Value::from(code), &Value::from(false)),
            "{body}"
        );
        assert_eq!(self.headers["content-type"], "application/json");
        let trace = self.headers["x-patgate-trace"].to_str().unwrap();
        let message = self.message();
        assert!(message.starts_with("patgate: "), "{message}");
        assert_eq!(message.matches(trace).count(), 1, "{message}");
        message
    }
}

impl World {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A world whose configuration is the base with a change.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::within(Env::default(), change).await
    }

    /// The same, with a clock that the test sets; timers in the gate still use the machine's time.
    pub async fn at(clock: &Arc<ManualClock>, change: impl FnOnce(&mut Config)) -> Self {
        Self::within(Env { clock: clock.clone(), ..Env::default() }, change).await
    }

    async fn within(seams: Env, change: impl FnOnce(&mut Config)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut hunt = Hunt::new(&home.path().join("state"));
        let certificates = Certificates::make(home.path(), &["localhost", "127.0.0.1"]).unwrap();
        let server = tls::server(&certificates.pair(), None).unwrap();
        let standin = standin::start_in(local(), server, seams.clone()).await.unwrap();
        hunt.standin(&standin.state);
        let pat = hunt.canary(FIRST_PAT);
        standin.state.set_pat(USER, &pat, PatState::Active);
        std::fs::write(home.path().join("pat"), pat).unwrap();
        let key = issue("bi");
        hunt.secret(&key);
        let mut config = base(home.path(), &standin, &key);
        change(&mut config);
        if config.seal.is_none() {
            hunt.nothing_is_sealed();
        }
        let app = App::start(config.clone(), seams.clone()).await.unwrap();
        let client = connector(&certificates.ca);
        Self { app, config, seams, standin, key, hunt, home, client }
    }

    /// Makes the gate use its first configuration with a change.
    pub async fn reload(&self, change: impl FnOnce(&mut Config)) -> io::Result<Reloaded> {
        self.app.reload(self.changed(change)).await
    }

    /// Another gate with the same configuration except `change`, and the same state directory.
    pub async fn replica(&self, change: impl FnOnce(&mut Config)) -> App {
        App::start(self.changed(change), self.seams.clone()).await.unwrap()
    }

    fn changed(&self, change: impl FnOnce(&mut Config)) -> Config {
        let mut config = self.config.clone();
        change(&mut config);
        config
    }

    /// The PAT that the world starts with.
    pub fn pat(&self) -> String {
        self.canary(FIRST_PAT)
    }

    /// A text to use as a secret; the hunt must find it nowhere when the world ends.
    pub fn canary(&self, name: &str) -> String {
        self.hunt.canary(name)
    }

    /// A new key for a client of that name.
    pub fn issue(&self, name: &str) -> Secret {
        let key = issue(name);
        self.hunt.secret(&key);
        key
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Replaces a file in one step, as a careful writer does.
    pub fn write(&self, name: &str, text: &str) {
        write_whole(&self.file(name), text);
    }

    /// A TLS connection to the gate.
    pub async fn connect(&self) -> Tls {
        self.connect_from(LOCALHOST, self.app.address).await
    }

    /// The same, but it may fail.
    pub async fn try_connect(&self) -> io::Result<Tls> {
        self.try_connect_from(LOCALHOST, self.app.address).await
    }

    /// From now on the client shows this certificate if the gate asks for one.
    pub fn show(&mut self, pair: Option<&KeyPair>) {
        let ca = self.file("ca.pem");
        self.client = TlsConnector::from(Arc::new(tls::client_as(Some(&ca), pair).unwrap()));
    }

    /// One request over a connection that begins with these bytes, before TLS.
    pub async fn send_after(&self, first: &[u8], request: Request<Bytes>) -> io::Result<Got> {
        let mut tcp = TcpStream::connect(self.app.address).await?;
        tokio::io::AsyncWriteExt::write_all(&mut tcp, first).await?;
        let tls = self.client.connect(ServerName::try_from("localhost").unwrap(), tcp).await?;
        exchange(self.hunt.hear(tls), request).await.map_err(io::Error::other)
    }

    /// From now on the client trusts this CA alone.
    pub fn trust(&mut self, ca: &Path) {
        self.client = connector(ca);
    }

    /// A TLS connection from that address of this machine to a gate.
    pub async fn connect_from(&self, from: IpAddr, to: SocketAddr) -> Tls {
        self.try_connect_from(from, to).await.unwrap()
    }

    /// The same, but it may fail.
    async fn try_connect_from(&self, from: IpAddr, to: SocketAddr) -> io::Result<Tls> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        let name = ServerName::try_from("localhost").unwrap();
        Ok(self.hunt.hear(self.client.connect(name, socket.connect(to).await?).await?))
    }

    /// One request on a new connection.
    pub async fn send(&self, request: Request<Bytes>) -> Got {
        self.try_send(request).await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub async fn try_send(&self, request: Request<Bytes>) -> Result<Got, Box<dyn std::error::Error + Send + Sync>> {
        self.send_from(LOCALHOST, self.app.address, request).await
    }

    /// One request from that address of this machine to a gate, on a new connection.
    pub async fn send_from(
        &self,
        from: IpAddr,
        to: SocketAddr,
        request: Request<Bytes>,
    ) -> Result<Got, Box<dyn std::error::Error + Send + Sync>> {
        exchange(self.try_connect_from(from, to).await?, request).await
    }

    /// A login with the caller's body.
    pub async fn login_with(&self, body: impl Into<Bytes>) -> Got {
        self.send(login_request(body)).await
    }

    /// A login as Go does it, with this credential in PASSWORD.
    pub async fn login(&self, credential: &str) -> Got {
        self.login_with(login_body(credential)).await
    }

    /// A request with a session token.
    pub async fn ask(&self, method: Method, path: &str, token: &str, body: impl Into<Bytes>) -> Got {
        self.send(asked(method, path, token, body)).await
    }

    /// A renewal, with the kind of request spelt as most drivers do.
    pub async fn renew(&self, token: &str, master: &str) -> Got {
        let body = serde_json::json!({ "oldSessionToken": token, "requestType": "RENEW" }).to_string();
        self.ask(Method::POST, "/session/token-request?requestId=r2", master, body).await
    }

    /// A request to the admin address of a gate.
    pub async fn admin(&self, app: &App, method: Method, path: &str) -> (u16, Value) {
        let (status, text) = self.operator(app, method, path).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    /// The same, for an answer that is not JSON.
    pub async fn operator(&self, app: &App, method: Method, path: &str) -> (u16, String) {
        let stream = TokioIo::new(TcpStream::connect(app.admin).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let got = sender.send_request(request.body(Full::new(Bytes::new())).unwrap()).await.unwrap();
        let status = got.status().as_u16();
        let text = String::from_utf8_lossy(&got.into_body().collect().await.unwrap().to_bytes()).into_owned();
        self.hunt.operator(path, text.clone());
        (status, text)
    }

    /// A query.
    pub async fn query(&self, token: &str, sql: &str) -> Got {
        let body = serde_json::json!({ "sqlText": sql }).to_string();
        self.ask(Method::POST, "/queries/v1/query-request?requestId=r1", token, body).await
    }

    /// Logs in and returns session and master token.
    pub async fn session(&self) -> (String, String) {
        let got = self.login(self.key.expose()).await.json();
        assert_eq!(got["success"], true, "{got}");
        pair(&got, "token")
    }

    /// Reads all pages of the admin address for the hunt, and stops a gate of this world.
    pub async fn end(&self, app: App) {
        self.look_at(&app).await;
        assert!(app.stop().await, "the drain was not clean");
    }

    /// Reads everything that the admin address shows.
    async fn look_at(&self, app: &App) {
        let sessions = if self.config.seal.is_some() { 200 } else { 404 };
        for (path, status) in [("/metrics", 200), ("/pats", 200), ("/status", 200), ("/sessions", sessions)] {
            assert_eq!(self.operator(app, Method::GET, path).await.0, status, "{path}");
        }
    }

    /// Stops the gate and makes the checks of every test: no panic, and no secret in a forbidden place.
    pub async fn finish(self) {
        assert_eq!(self.found().await, [""; 0]);
    }

    /// Stops the gate and returns the findings.
    pub async fn found(self) -> Vec<String> {
        self.look_at(&self.app).await;
        assert!(self.app.stop().await, "the drain was not clean");
        self.hunt.found()
    }
}

/// The name of the canary that is the first PAT.
const FIRST_PAT: &str = "pat-1";

/// A new key for a client of that name, for a world that has not begun.
pub fn issue(name: &str) -> Secret {
    admit::key::issue(&client_name(name), &SystemRandom).unwrap()
}

/// Session and master token in an answer; the first has one of two names.
pub fn pair(answer: &Value, name: &str) -> (String, String) {
    let token = |name: &str| answer["data"][name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    (token(name), token("masterToken"))
}

/// A request in a session.
pub fn asked(method: Method, path: &str, token: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    let value = format!("Snowflake Token=\"{token}\"");
    Request::builder().method(method).uri(path).header("authorization", value).body(body.into()).unwrap()
}

/// The address of the tests' clients.
pub const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// One request on a connection.
pub async fn exchange<T>(
    stream: T,
    mut request: Request<Bytes>,
) -> Result<Got, Box<dyn std::error::Error + Send + Sync>>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    request.headers_mut().entry("host").or_insert_with(|| "gate.test".parse().unwrap());
    let response = sender.send_request(request.map(Full::new)).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    drop(sender);
    driving.await??;
    Ok(Got { status: head.status.as_u16(), headers: head.headers, body })
}

/// A client that trusts this CA alone.
pub fn connector(ca: &Path) -> TlsConnector {
    TlsConnector::from(Arc::new(tls::client(Some(ca)).unwrap()))
}

/// A login with that body.
pub fn login_request(body: impl Into<Bytes>) -> Request<Bytes> {
    let request =
        Request::post("/session/v1/login-request?requestId=1&roleName=R").header("content-type", "application/json");
    request.body(body.into()).unwrap()
}

pub fn login_body(credential: &str) -> String {
    serde_json::json!({ "data": {
        "CLIENT_APP_ID": "Go", "CLIENT_APP_VERSION": "2.1.0", "ACCOUNT_NAME": "any", "LOGIN_NAME": "u",
        "PASSWORD": credential, "SESSION_PARAMETERS": {}, "CLIENT_ENVIRONMENT": { "APPLICATION": "test" },
    }})
    .to_string()
}

pub fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub fn write_whole(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// Returns when it is so; the test fails if that takes longer than a busy machine may need.
pub async fn until(is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), waiting).await.expect("it never was so");
}

/// Checks that something has not ended which nothing in the test ends. If it ends during the check, the test fails; a
/// slow machine never fails it.
pub async fn still_waits<T>(what: impl Future<Output = T>) {
    let looked = tokio::time::timeout(std::time::Duration::from_millis(100), what).await;
    assert!(looked.is_err(), "it did not wait");
}
