//! `patgate doctor`: every step of a good chain, and the first step that fails of a broken one.

use std::sync::Arc;
use std::time::Duration;

use patgate::internal::admit::key;
use patgate::internal::base::clock::{Clock, SystemClock, SystemRandom};
use patgate::internal::base::names::ClientName;
use patgate::internal::standin::{self, Certificates, PatState, StandIn};
use patgate::internal::tls;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::check::Home;
use crate::gate::Gate;
use crate::text;

const DAY: Duration = Duration::from_secs(86_400);

/// A stand-in, and a configuration for it, with no gate.
async fn home(more: &str) -> (Home, StandIn) {
    let snowflake = tempfile::tempdir().unwrap();
    let made = Certificates::make(snowflake.path(), &["localhost"]).unwrap();
    let server = tls::server(&made.pair(), None).unwrap();
    let standin = standin::start(([127, 0, 0, 1], 0).into(), server, Arc::new(SystemRandom)).await.unwrap();
    standin.state.set_pat("U", "the-pat", PatState::Active);
    let port = standin.address.port();
    standin.state.allow_hosts(&[("SNOWFLAKE_DEPLOYMENT", "localhost", 443), ("STAGE", "127.0.0.1", port)]);
    let account = format!("host='localhost'\naddress='{}'", standin.address);
    let home = Home::new(&account, &format!("[admin]\naddress='127.0.0.1:1'\n{more}"));
    std::fs::copy(&made.ca, home.path("ca.pem")).unwrap();
    (home, standin)
}

/// The exit code, and the steps.
fn doctor(home: &Home) -> (i32, Vec<Value>) {
    let begun = SystemClock.now();
    let (code, said) = home.run("doctor", &["--json"]);
    let took = SystemClock.now() - begun;
    assert!(took < Duration::from_secs(20), "{took:?}");
    let json: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    (code, json["steps"].as_array().unwrap().clone())
}

fn step<'a>(steps: &'a [Value], name: &str) -> &'a Value {
    steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("no step {name}: {steps:?}"))
}

fn failed(steps: &[Value]) -> Vec<&str> {
    steps.iter().filter(|step| step["ok"] == false).map(|step| step["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_of_a_good_chain_is_told_without_a_gate() {
    let (home, standin) = home("").await;
    let (code, steps) = doctor(&home);
    assert_eq!((code, failed(&steps)), (0, vec![]), "{steps:?}");
    for name in [
        "file",
        "files",
        "certificate",
        "descriptors",
        "state",
        "port",
        "store_reach",
        "store_login",
        "store_read",
        "pat",
        "dns",
        "tcp",
        "tls",
        "clock",
        "login",
        "context",
        "select",
        "hosts",
        "sql_api",
    ] {
        let step = step(&steps, name);
        assert_eq!(step["ok"], true, "{step}");
        assert!(step["ms"].is_u64() && step["code"].is_null() && step["owner"].is_null(), "{step}");
        assert!(step.as_object().unwrap().contains_key("next_step"), "{step}");
        assert!(!step["proves"].as_str().unwrap().is_empty(), "{step}");
    }
    assert_eq!(step(&steps, "gate")["ok"], Value::Null, "no gate runs");
    assert!(step(&steps, "tls")["what"].as_str().unwrap().contains("issued by CN=patgate private CA"));
    assert_eq!((standin.state.seen().len(), standin.state.open_sessions()), (2, 0), "one login, one SQL API request");
    let (code, said) = home.run("doctor", &[]);
    assert!(code == 0 && said.contains("✓ login c") && said.contains("proves: "), "{said}");
    assert!(!said.contains("the-pat"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pat_is_told_and_never_sent_again() {
    let (home, standin) = home("").await;
    standin.state.set_pat("U", "the-pat", PatState::Disabled);
    for round in 0..3 {
        let (code, steps) = doctor(&home);
        let login = step(&steps, "login");
        assert_eq!((code, &login["code"], &login["owner"]), (6, &"PG-605".into(), &"snowflake".into()), "{login}");
        assert!(!login["next_step"].as_str().unwrap().is_empty());
        assert_eq!(login["what"].as_str().unwrap().contains("not sent"), round > 0, "{login}");
        assert_eq!((&step(&steps, "select")["ok"], &step(&steps, "hosts")["ok"]), (&Value::Null, &Value::Null));
        assert_eq!(standin.state.bad_logins_in_all(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_root_is_not_trusted_is_told_with_its_issuer() {
    let (home, _standin) = home("").await;
    std::fs::copy(home.path("server.pem"), home.path("ca.pem")).unwrap();
    let (code, steps) = doctor(&home);
    let tls = step(&steps, "tls");
    assert_eq!((code, &tls["code"], &tls["owner"]), (6, &"PG-614".into(), &"snowflake".into()), "{tls}");
    let what = tls["what"].as_str().unwrap();
    assert!(
        what.contains("no trusted root has signed it") && what.contains("issued by CN=patgate private CA"),
        "{what}"
    );
    assert_eq!(failed(&steps), ["tls", "login"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_certificate_is_the_gate_s_with_the_words_of_the_drivers() {
    let (home, _standin) = home("").await;
    let ca = std::fs::read(home.path("ca.pem")).unwrap();
    let now = SystemClock.wall();
    Certificates::make_valid(home.path("x").parent().unwrap(), &["localhost"], Some(now - 80 * DAY..now - DAY))
        .unwrap();
    std::fs::write(home.path("ca.pem"), ca).unwrap();
    let (code, steps) = doctor(&home);
    let certificate = step(&steps, "certificate");
    assert_eq!((code, &certificate["code"], &certificate["owner"]), (4, &"PG-403".into(), &"gate".into()));
    assert!(certificate["details"].to_string().contains("JDBC: PKIX path validation failed"), "{certificate}");
    assert_eq!(failed(&steps), ["certificate"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_told_and_nothing_is_sent() {
    let more = "[stores.v.vault]\naddress='https://127.0.0.1:1'\nca='ca.pem'\ntoken='file:token'";
    let (home, standin) = home(more).await;
    home.private("token", "t");
    let config = std::fs::read_to_string(home.path("patgate.toml")).unwrap();
    std::fs::write(home.path("patgate.toml"), config.replace("f:pat", "v:kv/pat#token")).unwrap();
    let (code, steps) = doctor(&home);
    let reach = step(&steps, "store_reach");
    assert_eq!((code, &reach["code"], &reach["subject"]), (5, &"PG-502".into(), &"v".into()), "{reach}");
    assert_eq!((&step(&steps, "store_login")["ok"], &step(&steps, "store_read")["ok"]), (&Value::Null, &Value::Null));
    assert_eq!((step(&steps, "tls")["ok"].clone(), standin.state.seen().len()), (true.into(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_address_and_a_closed_port_are_told_at_their_hop() {
    let (home, standin) = home("").await;
    let config = std::fs::read_to_string(home.path("patgate.toml")).unwrap();
    for (address, hop, code) in [("no-such-host.invalid:443", "dns", "PG-612"), ("127.0.0.1:1", "tcp", "PG-613")] {
        std::fs::write(home.path("patgate.toml"), config.replace(&standin.address.to_string(), address)).unwrap();
        let (exit, steps) = doctor(&home);
        let step_ = step(&steps, hop);
        assert_eq!((exit, &step_["ok"], &step_["code"]), (6, &false.into(), &code.into()), "{step_}");
        assert_eq!((failed(&steps), &step(&steps, "tls")["ok"]), (vec![hop, "login"], &Value::Null));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_results_that_are_not_reached_are_told() {
    let (home, standin) = home("").await;
    standin.state.allow_hosts(&[("OCSP_CACHE", "127.0.0.1", 2), ("STAGE", "127.0.0.1", 1)]);
    let (code, steps) = doctor(&home);
    let hosts = step(&steps, "hosts");
    assert_eq!((code, &hosts["ok"]), (6, &false.into()), "{hosts}");
    assert!(hosts["what"].as_str().unwrap().contains("127.0.0.1:1, from which results come"), "{hosts}");
    assert_eq!(hosts["details"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_errors_is_the_only_step() {
    let (home, _standin) = home("[nonsense]\nx=1").await;
    let (code, steps) = doctor(&home);
    assert_eq!((code, failed(&steps), steps.len()), (4, vec!["file"], 1), "{steps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_gate_logs_in_and_shows_the_certificate_of_the_file() {
    let (gate, _log) = Gate::start("[admin]\naddress='127.0.0.1:0'", |_| {}).await;
    let port = gate.standin.address.port();
    gate.standin.state.allow_hosts(&[("STAGE", "localhost", port)]);
    let run = || {
        let output = gate.command(&["doctor", "--json", "--admin", &gate.admin.to_string()]).output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
        (output.status.code().unwrap(), json["steps"].as_array().unwrap().clone())
    };
    let (code, steps) = tokio::task::block_in_place(run);
    assert_eq!((code, failed(&steps)), (0, vec![]), "{steps:?}");
    assert_eq!(step(&steps, "gate")["ok"], true);
    assert!(step(&steps, "port")["what"].as_str().unwrap().contains("shows the certificate in the file"), "{steps:?}");
    let status = || gate.command(&["status", "--json", "--admin", &gate.admin.to_string()]).output().unwrap();
    let status: Value = serde_json::from_slice(&tokio::task::block_in_place(status).stdout).unwrap();
    assert_eq!(status["failures"], serde_json::json!([]), "a look is no failure of a client");
    gate.standin.state.set_pat("U", "the-pat", PatState::Expired);
    for _ in 0..2 {
        let (code, steps) = tokio::task::block_in_place(run);
        assert_eq!((code, &step(&steps, "login")["code"]), (6, &"PG-608".into()), "{steps:?}");
        assert_eq!(gate.standin.state.bad_logins_in_all(), 1);
    }
}

/// The exit code, and the steps, from a tool's machine.
fn client(gate: &Gate, port: u16, key: &str, ca: &str) -> (i32, Vec<Value>) {
    let (home, address) = (gate.config().parent().unwrap().to_owned(), format!("localhost:{port}"));
    std::fs::write(home.join("key"), format!("{key}\n")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_patgate"));
    command.args(["doctor", "--json", "--client", &address]);
    command.arg("--key-file").arg(home.join("key")).arg("--ca").arg(home.join(ca));
    let output = tokio::task::block_in_place(|| command.output().unwrap());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert!(!text(&output.stdout).contains(key), "{json}");
    (output.status.code().unwrap(), json["steps"].as_array().unwrap().clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_s_machine_sees_each_step_up_to_a_statement() {
    let (gate, _log) = Gate::start("[admin]\naddress='127.0.0.1:0'", |_| {}).await;
    let (good, port) = (gate.key().to_owned(), gate.address.port());
    let (code, steps) = client(&gate, port, &good, "ca.pem");
    assert_eq!((code, failed(&steps)), (0, vec![]), "{steps:?}");
    for name in ["key", "dns", "tcp", "tls", "login", "select"] {
        assert_eq!(step(&steps, name)["ok"], true, "{steps:?}");
    }
    assert_eq!(gate.standin.state.open_sessions(), 0, "logged out");
    // A key of the same client that is not its key, a damaged one, and what is none.
    let other = key::issue(&ClientName::parse("x").unwrap(), &SystemRandom).unwrap();
    let damaged = format!("{}x", &good[..good.len() - 1]);
    for (key, at, pg) in
        [(other.expose(), "login", "PG-104"), (&damaged, "key", "PG-103"), ("a-password", "key", "PG-102")]
    {
        let (code, steps) = client(&gate, port, key, "ca.pem");
        let found = step(&steps, at);
        assert_eq!((code, &found["code"], &found["owner"]), (2, &pg.into(), &"client".into()), "{steps:?}");
        assert_eq!((failed(&steps), &step(&steps, "select")["ok"]), (vec![at], &Value::Null));
    }
    // Roots that do not hold the gate's, and a port where nobody listens.
    let (code, steps) = client(&gate, port, &good, "server.pem");
    let tls = step(&steps, "tls");
    assert_eq!((code, &tls["code"], failed(&steps)), (2, &"PG-118".into(), vec!["tls"]), "{tls}");
    assert!(tls["details"].to_string().contains("JDBC: PKIX path building failed"), "{tls}");
    let (code, steps) = client(&gate, 1, &good, "ca.pem");
    assert_eq!((code, failed(&steps), &step(&steps, "tcp")["owner"]), (3, vec!["tcp"], &"network".into()), "{steps:?}");
}

/// A forward proxy that opens every tunnel, or none.
async fn forward_proxy(opens: bool) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let target = text(&head).split(' ').nth(1).unwrap().to_owned();
                let status = if opens { "200 OK" } else { "403 Forbidden" };
                let _gone = stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await;
                if let Ok(mut there) = tokio::net::TcpStream::connect(target).await {
                    let _ended = tokio::io::copy_bidirectional(&mut stream, &mut there).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_through_a_forward_proxy_has_a_step_of_its_own() {
    let (home, standin) = home("").await;
    let config = std::fs::read_to_string(home.path("patgate.toml")).unwrap();
    for opens in [true, false] {
        let proxy = forward_proxy(opens).await;
        let way = format!("address='{}'\nproxy={{address='{proxy}'}}", standin.address);
        let config = config.replace(&format!("address='{}'", standin.address), &way);
        std::fs::write(home.path("patgate.toml"), config).unwrap();
        let (code, steps) = tokio::task::block_in_place(|| doctor(&home));
        let found = step(&steps, "proxy");
        match opens {
            true => assert_eq!((code, failed(&steps), &found["ok"]), (0, vec![], &true.into()), "{steps:?}"),
            false => {
                assert_eq!((code, &found["code"], failed(&steps)), (6, &"PG-615".into(), vec!["proxy", "login"]));
                assert_eq!((&step(&steps, "tcp")["ok"], &step(&steps, "tls")["ok"]), (&true.into(), &Value::Null));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_past_a_gate_that_takes_no_commands_of_this_user() {
    let (home, standin) = home("").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = std::fs::read_to_string(home.path("patgate.toml")).unwrap();
    let admin = listener.local_addr().unwrap().to_string();
    std::fs::write(home.path("patgate.toml"), config.replace("127.0.0.1:1'", &format!("{admin}'"))).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _asked = stream.read(&mut head).await;
            let body = r#"{"error":"this user is not an operator of this gate"}"#;
            let head = format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _gone = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    let (code, steps) = tokio::task::block_in_place(|| doctor(&home));
    let login = step(&steps, "login");
    assert_eq!((code, &login["ok"], standin.state.seen().len()), (0, &Value::Null, 0), "{steps:?}");
    assert!(login["what"].as_str().unwrap().contains("is not an operator of this gate"), "{login}");
    assert_eq!((&step(&steps, "port")["ok"], &step(&steps, "gate")["ok"]), (&Value::Null, &Value::Null));
}
