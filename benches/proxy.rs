//! CPU time of one worker for a small request and for a login, compared with nginx as a proxy for the same requests
//! from TLS to TLS.
//!
//! `cargo bench --bench proxy` (needs nginx and taskset; Linux). Both proxies run on core 0 with one worker, the load
//! and the origin on core 1. The proxies run in slices, in rotating order. The result is the median over the rounds of
//! the ratio to nginx in the same round, with the least and the greatest: absolute figures drift with the machine,
//! ratios less. nginx is in the list twice, so that its second column shows the noise.
//!
//! The gate is in the list six times: with defaults (history and audit log on), the same by its proxy way in (CONNECT,
//! then TLS), without history and audit log, with traces as well, without sealed tokens, and with a limit of every kind
//! over each request. `BASELINE=PROGRAM` adds another build of it, to measure a change in one run. `ONLY=plain` leaves
//! the last four out.
//!
//! At the end one client sends one query after the other, while another client's 200 connections refresh their reports
//! at once, and back off for a second on 429, as drivers do. The result is the first client's p99, compared with that
//! of a quiet gate.
//!
//! `USERS` is the number of service users for logins, since logins of one user queue (see `pat`). With `USERS=1` each
//! login also pays for the wake-up of an idle worker.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use patgate::internal::admit::key;
use patgate::internal::base::clock::{Clock, SystemClock, SystemRandom};
use patgate::internal::base::names::ClientName;
use patgate::internal::base::secret::Secret;
use patgate::internal::standin::Certificates;
use patgate::internal::tls;
use patgate::internal::tls::local_ca::LocalCa;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const CONNECTIONS: usize = 64;

fn main() {
    // `cargo test --benches` only checks that it compiles.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let rounds = setting("ROUNDS", 8);
    let slice = Duration::from_millis(setting("SLICE_MS", 1500));
    let pid = std::process::id().to_string();
    run("taskset", &["-acp", "1", &pid]);
    let home = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(home.path(), &["localhost", "127.0.0.1"]).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let origin = runtime.block_on(origin(&certificates));
    let users = setting("USERS", 16);
    let issue = |n| key::issue(&ClientName::parse(&format!("bench-{n}")).unwrap(), &SystemRandom).unwrap();
    let keys: Vec<_> = (0..users).map(issue).collect();
    let nginx = Proxy::nginx(home.path(), origin, "a");
    let again = Proxy::nginx(home.path(), origin, "b");
    let trusted = intercept_ca(home.path(), &certificates);
    let connector = TlsConnector::from(Arc::new(tls::client(Some(&trusted)).unwrap()));
    let gate = |name: &str, top: &str, client: &str, tables: &str| {
        let gate = Proxy::gate(home.path(), origin, &keys, name, [top, client, tables]);
        runtime.block_on(gate.logged_in(&connector, &keys[0]))
    };
    let plain = gate("patgate", "", "", "");
    let by_proxy = runtime.block_on(Proxy::by_connect(home.path(), origin, &keys).logged_in(&connector, &keys[0]));
    let baseline = std::env::var("BASELINE").ok().map(|program| {
        let gate = Proxy::gate_of(&program, home.path(), origin, &keys, "baseline", ["", "", ""]);
        runtime.block_on(gate.logged_in(&connector, &keys[0]))
    });
    let unrecorded = gate("unrecorded", "", "", "[history]\nkeep='0s'\n[audit]\nkeep='0s'\n");
    // Nothing listens there: the spans are made, and the export fails.
    let traced = gate("traced", "", "", "[traces]\notlp='http://127.0.0.1:1'\n");
    let unsealed = gate("unsealed", "seal=false\n", "", "");
    let rates = "['1000000/s','60000000/min']";
    let both = format!("{{logins={rates},requests={rates}}}");
    let client = format!("limits={{logins={rates},requests={rates},sessions=1000000,in_flight=1000000}}\n");
    let limited = gate("limited", "", &client, &format!("[limits]\ngate={both}\nsource={both}\n"));
    let login = |key: &Secret| request("/session/v1/login-request?requestId=1", login_body(key.expose()));
    let login: Vec<_> = keys.iter().map(login).collect();
    println!("{rounds} rounds, {CONNECTIONS} connections, {users} service users, slices of {} ms", slice.as_millis());
    for name in ["small request", "login", "new connection with a small request"] {
        let mut proxies = vec![&nginx, &plain, &by_proxy];
        proxies.extend(&baseline);
        if std::env::var_os("ONLY").is_none() {
            proxies.extend([&unrecorded, &traced, &unsealed, &limited]);
        }
        proxies.push(&again);
        let mut figures = vec![Vec::new(); proxies.len()];
        for round in 0..rounds {
            for turn in 0..proxies.len() {
                let i = (turn + round) % proxies.len();
                let small = vec![query(&proxies[i].token)];
                let requests = if name == "login" { &login } else { &small };
                let fresh = name.starts_with("new");
                figures[i].push(runtime.block_on(measure(proxies[i], &connector, (requests, fresh), slice)));
            }
        }
        println!("\n{name}: µs of the proxy's CPU time a request (median), ratio to nginx (median, least, greatest)");
        if baseline.is_some() {
            let ratios: Vec<f64> = figures[1].iter().zip(&figures[3]).map(|(new, old)| new / old).collect();
            println!("  patgate to baseline: {:.3}", median(&ratios));
        }
        for (i, proxy) in proxies.iter().enumerate() {
            let ratios: Vec<f64> = figures[i].iter().zip(&figures[0]).map(|(own, nginx)| own / nginx).collect();
            let (low, high) = ratios.iter().fold((f64::MAX, 0.0_f64), |(low, high), r| (low.min(*r), high.max(*r)));
            println!(
                "  {:<14} {:6.1} µs   {:.2}  ({low:.2} to {high:.2})",
                proxy.name,
                median(&figures[i]),
                median(&ratios)
            );
        }
    }
    let storming = "[clients.bench-1]\ncredential='c1'\nkeys=['KEY']\nlimits={requests='200/s',in_flight=20}\n";
    let storming = storming.replace("KEY", &key::stored(&keys[1]));
    let gate = Proxy::gate(
        home.path(),
        origin,
        &keys[..1],
        "storm",
        ["", "", &format!("[credentials.c1]\naccount='a'\nuser='U1'\npat='f:pat'\n{storming}[limits]\ndelay='0s'\n")],
    );
    runtime.block_on(async {
        let gate = gate.logged_in(&connector, &keys[0]).await;
        let token = gate.log_in(&connector, &keys[1]).await;
        storm(&gate, &connector, &token).await;
    });
}

/// One client's p99 while another client refreshes all its reports at once.
async fn storm(gate: &Proxy, connector: &TlsConnector, storming: &str) {
    let quiet = async || {
        let mut sender = connect(gate, connector).await;
        let mut took = Vec::new();
        for _ in 0..4000 {
            sender.ready().await.unwrap();
            let started = Instant::now();
            let response = sender.send_request(query(&gate.token).map(Full::new)).await.unwrap();
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap();
            took.push(started.elapsed().as_secs_f64() * 1000.0);
        }
        took.sort_by(f64::total_cmp);
        took[took.len() * 99 / 100]
    };
    let alone = quiet().await;
    let (stop, served, told) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut reports = Vec::new();
    for _ in 0..200 {
        let mut sender = connect(gate, connector).await;
        let (stop, served, told, token) = (stop.clone(), served.clone(), told.clone(), storming.to_owned());
        reports.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                sender.ready().await.unwrap();
                let response = sender.send_request(query(&token).map(Full::new)).await.unwrap();
                let status = response.status();
                response.into_body().collect().await.unwrap();
                if status == 429 {
                    told.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                } else {
                    served.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
    }
    let beside = quiet().await;
    stop.store(true, Ordering::Relaxed);
    for report in reports {
        report.await.unwrap();
    }
    println!(
        "\na storm of another client's: p99 {alone:.2} ms alone, {beside:.2} ms beside it, ratio {:.2}",
        beside / alone
    );
    println!(
        "  of the storm {} were served, {} told to wait",
        served.load(Ordering::Relaxed),
        told.load(Ordering::Relaxed)
    );
}

type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

async fn connect(proxy: &Proxy, connector: &TlsConnector) -> Sender {
    connect_to(proxy.address, proxy.by_connect, connector).await
}

async fn connect_to(address: SocketAddr, by_connect: bool, connector: &TlsConnector) -> Sender {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    if by_connect {
        tcp.write_all(b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n").await.unwrap();
        let mut answer = [0; 512];
        let length = tcp.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    }
    let tls = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Makes the CA of the proxy way in; returns a file with it and the other one, for clients.
fn intercept_ca(home: &Path, certificates: &Certificates) -> PathBuf {
    let now = SystemClock.wall();
    let valid = now - Duration::from_secs(3600)..now + Duration::from_secs(86_400);
    let made = LocalCa::new(&["localhost".to_owned()], valid).unwrap();
    std::fs::write(home.join("intercept.pem"), &made.certificate).unwrap();
    std::fs::write(home.join("intercept.key"), made.key.expose()).unwrap();
    let both = home.join("both.pem");
    std::fs::write(&both, std::fs::read_to_string(&certificates.ca).unwrap() + &made.certificate).unwrap();
    both
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// A proxy in its own process, stopped by its pid.
struct Proxy {
    name: String,
    process: Child,
    address: SocketAddr,
    /// The authorization of a request in a session.
    token: String,
    /// Whether it takes a CONNECT first.
    by_connect: bool,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx's master stops its worker on SIGTERM, and orphans it on SIGKILL.
        run("kill", &[&self.process.id().to_string()]);
        let _ended = self.process.wait();
    }
}

impl Proxy {
    fn nginx(home: &Path, origin: SocketAddr, name: &str) -> Self {
        let address = free();
        let path = home.join(format!("nginx-{name}"));
        std::fs::create_dir(&path).unwrap();
        let config = path.join("nginx.conf");
        let h = home.display();
        let p = path.display();
        std::fs::write(
            &config,
            format!(
                "daemon off; master_process on; worker_processes 1; pid {p}/pid; error_log {p}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; client_body_temp_path {p}/b; proxy_temp_path {p}/p; fastcgi_temp_path {p}/f; \
             uwsgi_temp_path {p}/u; scgi_temp_path {p}/s;\n\
             keepalive_requests 100000000; client_body_buffer_size 64k; underscores_in_headers on;\n\
             upstream origin {{ server {origin}; keepalive 128; keepalive_requests 100000000; }}\n\
             server {{ listen {address} ssl; ssl_certificate {h}/server.pem; ssl_certificate_key {h}/server.key; \
             ssl_protocols TLSv1.3;\n\
             location / {{ proxy_pass https://origin; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
             proxy_set_header Host localhost;\n\
             proxy_ssl_protocols TLSv1.3; proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_server_name on; \
             proxy_ssl_trusted_certificate {h}/ca.pem; }} }} }}\n"
            ),
        )
        .unwrap();
        let nginx = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
        let errors = path.join("error.log").display().to_string();
        let process = pinned(nginx, &["-e", &errors, "-c", &config.display().to_string(), "-p", &p.to_string()]);
        Self::ready(if name == "a" { "nginx".into() } else { "nginx again".into() }, process, address)
    }

    /// A gate with more text at the top of its configuration, in each client's table, and after all tables.
    fn gate(home: &Path, origin: SocketAddr, keys: &[Secret], name: &str, more: [&str; 3]) -> Self {
        Self::gate_of(env!("CARGO_BIN_EXE_patgate"), home, origin, keys, name, more)
    }

    /// A gate that tools enter as their proxy.
    fn by_connect(home: &Path, origin: SocketAddr, keys: &[Secret]) -> Self {
        let address = free();
        let listener = format!(
            "[listeners.proxy]\nkind='connect'\naddress='{address}'\nca='intercept.pem'\nca_key='intercept.key'\n"
        );
        let mut gate = Self::gate(home, origin, keys, "by CONNECT", ["", "", &listener]);
        (gate.address, gate.by_connect) = (address, true);
        gate
    }

    /// The same of another build.
    fn gate_of(
        program: &str,
        home: &Path,
        origin: SocketAddr,
        keys: &[Secret],
        name: &str,
        [top, client, tables]: [&str; 3],
    ) -> Self {
        let address = free();
        std::fs::write(home.join("pat"), "bench-pat").unwrap();
        let config = home.join(format!("{name}.toml"));
        std::fs::write(
            &config,
            format!(
            "{top}[state]\ndirectory='state-{name}'\n[listen]\naddress='{address}'\ncertificate='server.pem'\n\
             key='server.key'\nworkers=1\n[admin]\naddress='127.0.0.1:0'\n[log]\nlevel='{}'\n\
             [accounts.a]\nhost='localhost'\naddress='{origin}'\nca='ca.pem'\n[stores.f.file]\npath='.'\n{}{tables}",
            setting("LEVEL", "info".to_owned()),
            keys.iter().enumerate().map(|(n, key)| format!(
                "[credentials.c{n}]\naccount='a'\nuser='U{n}'\npat='f:pat'\n[clients.bench-{n}]\ncredential='c{n}'\n\
                 keys=['{}']\n{client}",
                key::stored(key)
            )).collect::<String>(),
        ),
        )
        .unwrap();
        let process = pinned(program, &["run", "--config", &config.display().to_string()]);
        Self::ready(name.to_owned(), process, address)
    }

    /// The same, with a session's token.
    async fn logged_in(mut self, connector: &TlsConnector, key: &Secret) -> Self {
        self.token = self.log_in(connector, key).await;
        self
    }

    async fn log_in(&self, connector: &TlsConnector, key: &Secret) -> String {
        let login = request("/session/v1/login-request?requestId=1", login_body(key.expose()));
        let answer = connect(self, connector).await.send_request(login.map(Full::new)).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        answer["data"]["token"].as_str().unwrap().to_owned()
    }

    fn ready(name: String, process: Child, address: SocketAddr) -> Self {
        for _ in 0..500 {
            if std::net::TcpStream::connect(address).is_ok() {
                return Self { name, process, address, token: "t".repeat(250), by_connect: false };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{name} does not answer on {address}");
    }

    /// CPU time of the process and its children, all threads, in nanoseconds.
    fn cpu(&self) -> u64 {
        let mut total = 0;
        let mut pids = vec![self.process.id()];
        let children = format!("/proc/{0}/task/{0}/children", self.process.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        pids.extend(children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
        for pid in pids {
            for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
                let stat = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
                total += stat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        total
    }
}

/// Starts a program on core 0.
fn pinned(program: &str, arguments: &[&str]) -> Child {
    Command::new("taskset")
        .args(["-c", "0", program])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{program} {arguments:?}");
}

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A bare origin: a small answer to a query, 6 KiB to a login.
async fn origin(certificates: &Certificates) -> SocketAddr {
    let acceptor = TlsAcceptor::from(tls::server(&certificates.pair(), None).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let small = Bytes::from(format!(r#"{{"data":{{"rowset":[["1"]],"pad":"{}"}},"success":true}}"#, "x".repeat(400)));
    let parameters: Vec<String> =
        (0..100).map(|i| format!(r#"{{"name":"CLIENT_PARAMETER_{i}","value":"some value {i}"}}"#)).collect();
    let login = Bytes::from(format!(
        concat!(
            r#"{{"data":{{"token":"{0}","masterToken":"{0}","sessionId":9223372036854775807,"parameters":[{1}],"#,
            r#""sessionInfo":{{"roleName":"R"}},"idToken":null}},"code":null,"success":true}}"#
        ),
        "t".repeat(250),
        parameters.join(",")
    ));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (acceptor, small, login) = (acceptor.clone(), small.clone(), login.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|request: Request<hyper::body::Incoming>| {
                    let body = if request.uri().path().starts_with("/session") { login.clone() } else { small.clone() };
                    async move {
                        let _whole = request.into_body().collect().await;
                        let response = Response::builder().header("content-type", "application/json");
                        Ok::<_, std::convert::Infallible>(response.body(Full::new(body)).unwrap())
                    }
                });
                let _ended =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

fn query(token: &str) -> Request<Bytes> {
    let mut query =
        request("/queries/v1/query-request?requestId=1", br#"{"sqlText":"select 1","sequenceId":1}"#.to_vec());
    let value = format!("Snowflake Token=\"{token}\"");
    query.headers_mut().insert("authorization", value.parse().unwrap());
    query
}

fn request(path: &str, body: Vec<u8>) -> Request<Bytes> {
    Request::post(path)
        .header("host", "localhost")
        .header("user-agent", "Go/2.1.0 (linux-amd64) gc/go1.26.8")
        .header("accept", "application/snowflake")
        .header("client_app_id", "Go")
        .header("client_app_version", "2.1.0")
        .header("content-type", "application/json")
        .header("authorization", format!("Snowflake Token=\"{}\"", "t".repeat(250)))
        .body(Bytes::from(body))
        .unwrap()
}

fn login_body(key: &str) -> Vec<u8> {
    let environment: Vec<String> =
        (0..24).map(|i| format!(r#""MEMBER_NUMBER_{i}":"some value of a real environment {i}""#)).collect();
    format!(
        concat!(
            r#"{{"data":{{"CLIENT_APP_ID":"Go","CLIENT_APP_VERSION":"2.1.0","SVN_REVISION":"","ACCOUNT_NAME":"a","#,
            r#""LOGIN_NAME":"u","PASSWORD":"{key}","#,
            r#""SESSION_PARAMETERS":{{"CLIENT_VALIDATE_DEFAULT_PARAMETERS":true}},"#,
            r#""CLIENT_ENVIRONMENT":{{{environment}}}}}}}"#
        ),
        key = key,
        environment = environment.join(",")
    )
    .into_bytes()
}

/// CPU µs per request of a proxy under 64 busy connections.
async fn measure(
    proxy: &Proxy,
    connector: &TlsConnector,
    (requests, fresh): (&[Request<Bytes>], bool),
    slice: Duration,
) -> f64 {
    let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut clients = Vec::new();
    for connection in 0..CONNECTIONS {
        let request = requests[connection % requests.len()].clone();
        let (done, stop, connector) = (done.clone(), stop.clone(), connector.clone());
        let (address, by_connect) = (proxy.address, proxy.by_connect);
        let mut sender = connect_to(address, by_connect, &connector).await;
        clients.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                if fresh {
                    sender = connect_to(address, by_connect, &connector).await;
                }
                let response = sender.send_request(request.clone().map(Full::new)).await.unwrap();
                assert_eq!(response.status(), 200);
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert!(body.ends_with(b"true}"), "{body:?}");
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    tokio::time::sleep(slice / 5).await;
    let (cpu, count, start) = (proxy.cpu(), done.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(slice).await;
    let (cpu, count) = (proxy.cpu() - cpu, done.load(Ordering::Relaxed) - count);
    if std::env::var_os("VERBOSE").is_some() {
        println!("  {}: {count} in {:?}", proxy.name, start.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    cpu as f64 / 1000.0 / count as f64
}
