//! [`Gate`]: the executable as a running gate, before a stand-in for Snowflake in the test's own process.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use patgate::internal::admit::key;
use patgate::internal::base::clock::SystemRandom;
use patgate::internal::base::names::ClientName;
use patgate::internal::base::secret::Secret;
use patgate::internal::standin::{self, Certificates, PatState, StandIn};
use patgate::internal::tls;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// A gate that runs, with its files. It is killed when the test drops it.
pub struct Gate {
    pub child: Child,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub standin: StandIn,
    home: tempfile::TempDir,
    key: Secret,
    client: TlsConnector,
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Gate {
    /// Starts a gate with more lines in its configuration. Returns also its log after the line that says where it
    /// listens.
    pub async fn start(more: &str, change: impl FnOnce(&mut Command)) -> (Self, BufReader<ChildStderr>) {
        let (gate, _, log) = Self::start_logging("", more, change).await;
        (gate, log)
    }

    /// The same, with more lines in `[listen]`; returns the log up to that line, and lets nobody read the rest.
    pub async fn start_with(listen: &str, more: &str, change: impl FnOnce(&mut Command)) -> (Self, Vec<String>) {
        let (gate, lines, _log) = Self::start_logging(listen, more, change).await;
        (gate, lines)
    }

    async fn start_logging(
        listen: &str,
        more: &str,
        change: impl FnOnce(&mut Command),
    ) -> (Self, Vec<String>, BufReader<ChildStderr>) {
        let home = tempfile::tempdir().unwrap();
        let certificates = Certificates::make(home.path(), &["localhost", "127.0.0.1"]).unwrap();
        let server = tls::server(&certificates.pair(), None).unwrap();
        let standin = standin::start(([127, 0, 0, 1], 0).into(), server, Arc::new(SystemRandom)).await.unwrap();
        standin.state.set_pat("U", "the-pat", PatState::Active);
        std::fs::write(home.path().join("pat"), "the-pat").unwrap();
        let key = key::issue(&ClientName::parse("x").unwrap(), &SystemRandom).unwrap();
        let config = format!(
            "[listen]\naddress='127.0.0.1:0'\ncertificate='server.pem'\nkey='server.key'\nworkers=1\n{listen}\n\
             [accounts.a]\nhost='localhost'\naddress='{}'\nca='ca.pem'\n[stores.f.file]\npath='.'\n\
             [credentials.c]\naccount='a'\nuser='U'\npat='f:pat'\n[clients.x]\ncredential='c'\nkeys=['{}']\n{more}\n",
            standin.address,
            key::stored(&key),
        );
        std::fs::write(home.path().join("patgate.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_patgate"));
        command.args(["run", "--config"]).arg(home.path().join("patgate.toml"));
        command.env_remove("STATE_DIRECTORY").stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = Vec::new();
        let listening = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the gate has ended");
            lines.push(line.clone());
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            if line["message"] == "listening" {
                break line;
            }
        };
        let at = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        let client = TlsConnector::from(Arc::new(tls::client(Some(&certificates.ca)).unwrap()));
        let gate = Self { child, address: at("address"), admin: at("admin"), standin, home, key, client };
        (gate, lines, log)
    }

    /// A connection from that address of this machine.
    pub async fn connect(&self, from: IpAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Logs in with the client's key.
    pub async fn login(&self) -> Value {
        let data = serde_json::json!({ "LOGIN_NAME": "u", "PASSWORD": self.key.expose() });
        let body = serde_json::json!({ "data": data }).to_string();
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let tls = self.client.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
        let request = Request::post("/session/v1/login-request").header("content-type", "application/json");
        let (_, text) = exchange(tls, request.body(Full::from(body)).unwrap()).await;
        serde_json::from_str(&text).unwrap()
    }

    /// A request to the admin address.
    pub async fn admin(&self, method: Method, path: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).body(Full::default()).unwrap();
        exchange(TcpStream::connect(self.admin).await.unwrap(), request).await
    }

    /// A command with this gate's configuration, to be run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_patgate"));
        command.args(arguments).arg("--config").arg(self.config());
        command
    }

    /// The client's key.
    pub fn key(&self) -> &str {
        self.key.expose()
    }

    /// The gate's configuration.
    pub fn config(&self) -> PathBuf {
        self.home.path().join("patgate.toml")
    }
}

/// One request over a connection of its own.
pub async fn exchange<S>(stream: S, mut request: Request<Full<Bytes>>) -> (u16, String)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    request.headers_mut().entry("host").or_insert_with(|| "localhost".parse().unwrap());
    let got = sender.send_request(request).await.unwrap();
    let status = got.status().as_u16();
    (status, String::from_utf8_lossy(&got.into_body().collect().await.unwrap().to_bytes()).into_owned())
}
