//! Storms of logins, beside the same without a gate: what the guard's queue costs.
//!
//! `cargo bench --bench storm`. One process has the gate, the stand-in for Snowflake and the clients. A login takes the
//! stand-in `LATENCY` to answer. Each line has the time until the last login is through, and its ratio to the same
//! logins sent to the stand-in directly. The last lines have the p99 of a quiet client's queries during a storm, beside
//! that of the same client before it, and the rate of logins that one and eight service users get at several latencies.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use patgate::internal::admit::key;
use patgate::internal::app::App;
use patgate::internal::base::clock::{Env, SystemRandom};
use patgate::internal::base::names::ClientName;
use patgate::internal::base::secret::Secret;
use patgate::internal::config::file;
use patgate::internal::standin::{self, Certificates, PatState, RouteName, StandIn};
use patgate::internal::tls;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// The most service users of a storm.
const USERS: usize = 8;

fn main() {
    // `cargo test --benches` only checks that it compiles.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = tempfile::tempdir().unwrap();
        let bench = Bench::start(home.path()).await;
        for (logins, latency) in [(50, 300), (200, 500), (1000, 500)] {
            for users in [1, USERS] {
                bench.delay(latency);
                bench.warm(users).await;
                let gate = bench.storm(bench.app.address, logins, users).await;
                let direct = bench.storm(bench.standin.address, logins, users).await;
                println!(
                    "{logins:5} logins of {latency} ms at once, {users} service users: the last after {:.2} s, without \
                     a gate {:.2} s: {:.1}",
                    gate.as_secs_f64(),
                    direct.as_secs_f64(),
                    gate.as_secs_f64() / direct.as_secs_f64()
                );
            }
        }
        let quiet = bench.p99(300).await;
        bench.delay(500);
        let (during, _) = tokio::join!(bench.p99(300), bench.storm(bench.app.address, 300, USERS));
        println!(
            "a quiet client's p99: {quiet:.2} ms, during a storm of 300 logins {during:.2} ms: {:.2}",
            during / quiet
        );
        for users in [1, USERS] {
            for latency in [100, 300, 500, 1000] {
                bench.delay(latency);
                bench.warm(users).await;
                let logins = 100 * users;
                let took = bench.storm(bench.app.address, logins, users).await.as_secs_f64();
                println!("{latency:5} ms, {users} service users: {:6.1} logins a second", logins as f64 / took);
            }
        }
        bench.app.stop().await;
    });
}

struct Bench {
    app: App,
    standin: StandIn,
    keys: Vec<Secret>,
    connector: TlsConnector,
}

impl Bench {
    async fn start(home: &Path) -> Self {
        let certificates = Certificates::make(home, &["localhost", "127.0.0.1"]).unwrap();
        let server = tls::server(&certificates.pair(), None).unwrap();
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let standin = standin::start(local, server, Arc::new(SystemRandom)).await.unwrap();
        let mut text = format!(
            "state.directory = 'state'\n[listen]\naddress = '127.0.0.1:0'\ncertificate = 'server.pem'\n\
             key = 'server.key'\n\
             [admin]\naddress = '127.0.0.1:0'\n[accounts.a]\nhost = 'localhost'\naddress = '{}'\nca = 'ca.pem'\n\
             [stores.f.file]\npath = '.'\n",
            standin.address
        );
        let mut keys = Vec::new();
        for user in 0..USERS {
            let key = key::issue(&ClientName::parse(&format!("c{user}")).unwrap(), &SystemRandom).unwrap();
            standin.state.set_pat(&format!("U{user}"), &format!("pat-{user}"), PatState::Active);
            std::fs::write(home.join(format!("pat-{user}")), format!("pat-{user}")).unwrap();
            text += &format!(
                "[credentials.c{user}]\naccount = 'a'\nuser = 'U{user}'\npat = 'f:pat-{user}'\n[clients.c{user}]\n\
                 credential = 'c{user}'\nkeys = ['{}']\nnetworks = ['127.0.0.0/8']\n",
                key::stored(&key)
            );
            keys.push(key);
        }
        let path = home.join("patgate.toml");
        std::fs::write(&path, &text).unwrap();
        let (config, _) = file::parse(&path, &text).unwrap();
        let app = App::start(config, Env::default()).await.unwrap();
        app.settled().await;
        let connector = TlsConnector::from(Arc::new(tls::client(Some(&certificates.ca)).unwrap()));
        Self { app, standin, keys, connector }
    }

    fn delay(&self, millis: u64) {
        self.standin.state.delay(RouteName("login".into()), Duration::from_millis(millis));
    }

    /// Proves the PAT of each user, as a gate that works has done.
    async fn warm(&self, users: usize) {
        for user in 0..users {
            assert_eq!(self.login(self.app.address, user).await["success"], true);
        }
    }

    /// How long until the last of so many logins at once is through.
    async fn storm(&self, to: SocketAddr, logins: usize, users: usize) -> Duration {
        let (begun, mut all) = (Instant::now(), JoinSet::new());
        for login in 0..logins {
            let (connector, request) = (self.connector.clone(), self.request(to, login % users));
            all.spawn(async move { send(to, &connector, request).await["success"] == true });
        }
        let served = all.join_all().await;
        assert!(served.iter().all(|served| *served), "{} of {logins} failed", served.iter().filter(|ok| !**ok).count());
        begun.elapsed()
    }

    async fn login(&self, to: SocketAddr, user: usize) -> Value {
        send(to, &self.connector, self.request(to, user)).await
    }

    /// A login; to Snowflake itself with the PAT.
    fn request(&self, to: SocketAddr, user: usize) -> Request<Full<Bytes>> {
        let direct = to == self.standin.address;
        let secret = if direct { format!("pat-{user}") } else { self.keys[user].expose().to_owned() };
        let body = json!({ "data": {
            "CLIENT_APP_ID": "Go", "LOGIN_NAME": format!("U{user}"), "AUTHENTICATOR": "PROGRAMMATIC_ACCESS_TOKEN",
            "TOKEN": secret, "SESSION_PARAMETERS": {},
        }});
        let request = Request::post("/session/v1/login-request?requestId=1").header("host", "localhost");
        request.body(Full::new(Bytes::from(body.to_string()))).unwrap()
    }

    /// The p99 of a client that sends one query after the other, in milliseconds.
    async fn p99(&self, queries: usize) -> f64 {
        self.delay(0);
        let token = self.login(self.app.address, 0).await["data"]["token"].as_str().unwrap().to_owned();
        self.delay(500);
        let mut sender = connect(self.app.address, &self.connector).await;
        let mut took = Vec::new();
        for _ in 0..queries {
            let request = Request::post("/queries/v1/query-request?requestId=1").header("host", "localhost");
            let request = request.header("authorization", format!("Snowflake Token=\"{token}\""));
            sender.ready().await.unwrap();
            let begun = Instant::now();
            let body = Full::new(Bytes::from_static(br#"{"sqlText":"select 1"}"#));
            let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap();
            took.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        took.sort_by(f64::total_cmp);
        took[took.len() * 99 / 100]
    }
}

async fn connect(to: SocketAddr, connector: &TlsConnector) -> hyper::client::conn::http1::SendRequest<Full<Bytes>> {
    let tcp = TcpStream::connect(to).await.unwrap();
    let tls = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn send(to: SocketAddr, connector: &TlsConnector, request: Request<Full<Bytes>>) -> Value {
    let mut sender = connect(to, connector).await;
    let response = sender.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap_or(Value::Null)
}
