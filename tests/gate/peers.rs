//! Peers: certificates, balancers, programs on this machine.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use patgate::internal::base::clock::ManualClock;
use patgate::internal::base::login_names::LoginName;
use patgate::internal::base::names::CertificateName;
use patgate::internal::config::{Bind, Config, KeyPair};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, RevokedCertParams, SanType,
};
use time::OffsetDateTime;

use crate::settings::{Settings, networks};
use crate::world::{World, asked, login_body, login_request, pair};

/// A CA of clients in a directory, and certificates that it signs.
struct Clients {
    home: tempfile::TempDir,
    issuer: Issuer<'static, rcgen::KeyPair>,
}

impl Clients {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(home.path().join("clients-ca.pem"), ca.self_signed(&key).unwrap().pem()).unwrap();
        Self { home, issuer: Issuer::new(ca, key) }
    }

    fn ca(&self) -> PathBuf {
        self.home.path().join("clients-ca.pem")
    }

    fn certificate(&self, name: &str, names: &[&str]) -> KeyPair {
        self.certificate_until(name, names, rcgen::date_time_ymd(4096, 1, 1), 0)
    }

    fn certificate_until(&self, name: &str, names: &[&str], until: OffsetDateTime, serial: u64) -> KeyPair {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut client = CertificateParams::default();
        client.not_after = until;
        client.serial_number = (serial != 0).then(|| serial.into());
        let name_of = |name: &&str| match name.strip_prefix("uri:") {
            Some(uri) => SanType::URI(Ia5String::try_from(uri).unwrap()),
            None => SanType::DnsName(Ia5String::try_from(*name).unwrap()),
        };
        client.subject_alt_names = names.iter().map(name_of).collect();
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let signed = client.signed_by(&key, &self.issuer).unwrap();
        let file = |ending: &str| self.home.path().join(format!("{name}.{ending}"));
        std::fs::write(file("pem"), signed.pem()).unwrap();
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        KeyPair { certificate: file("pem"), key: file("key") }
    }
}

impl Clients {
    /// A list with these serial numbers.
    fn revoke(&self, serials: &[u64]) -> PathBuf {
        let now = OffsetDateTime::now_utc();
        let one = |serial: &u64| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: now + Duration::from_secs(3_600),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(one).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let file = self.home.path().join("clients.crl");
        std::fs::write(&file, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        file
    }
}

/// A heartbeat on a connection that is kept: whether it succeeded.
async fn beat(sender: &mut SendRequest<Full<Bytes>>, token: &str) -> bool {
    let mut beat = asked(Method::POST, "/session/heartbeat", token, "").map(Full::new);
    beat.headers_mut().insert("host", "gate.test".parse().unwrap());
    sender.ready().await.unwrap();
    let body = sender.send_request(beat).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice::<serde_json::Value>(&body).unwrap()["success"] == true
}

async fn kept(world: &World) -> SendRequest<Full<Bytes>> {
    let stream = hyper_util::rt::TokioIo::new(world.connect().await);
    let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A full handshake looks at the end of a certificate by the machine's clock; a kept connection, and one that resumes
/// its TLS session, have only what the gate looks at. Here its clock is ahead.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_s_end_counts_at_each_request_kept_and_resumed() {
    let (clients, clock) = (Clients::new(), ManualClock::start());
    let end = OffsetDateTime::now_utc() + Duration::from_secs(600);
    let (short, long) =
        (clients.certificate_until("short", &["bi.example"], end, 0), clients.certificate("long", &["bi.example"]));
    let mut world = World::at(&clock, |config| {
        config.listen.client_ca = Some(clients.ca());
        config.bi().certificates = vec![CertificateName::parse("dns:bi.example").unwrap()];
    })
    .await;
    world.show(Some(&short));
    let (token, _) = world.session().await;
    let mut connection = kept(&world).await;
    assert!(beat(&mut connection, &token).await);
    clock.jump(Duration::from_secs(590));
    assert!(beat(&mut connection, &token).await);
    clock.jump(Duration::from_secs(12));
    assert!(!beat(&mut connection, &token).await, "on the kept connection");
    world.login(world.key.expose()).await.refusal("390100");
    // The same connector resumes.
    world.query(&token, "select 1").await.refusal("390111");
    world.show(Some(&long));
    assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_refused_in_handshakes_and_on_kept_connections() {
    let clients = Clients::new();
    let far = rcgen::date_time_ymd(4096, 1, 1);
    let (first, second) = (
        clients.certificate_until("1", &["bi.example"], far, 1001),
        clients.certificate_until("2", &["bi.example"], far, 1002),
    );
    let list = clients.revoke(&[1002]);
    let mut world = World::with(|config| {
        (config.listen.client_ca, config.listen.client_crl) = (Some(clients.ca()), Some(list.clone()));
        config.bi().certificates = vec![CertificateName::parse("dns:bi.example").unwrap()];
    })
    .await;
    world.show(Some(&second));
    let login = || login_request(login_body(world.key.expose()));
    assert!(world.try_send(login()).await.is_err());
    world.show(Some(&first));
    let (token, _) = world.session().await;
    let mut connection = kept(&world).await;
    assert!(beat(&mut connection, &token).await);
    // The file is read again like the others.
    clients.revoke(&[1001]);
    world.reload(|_| {}).await.unwrap();
    assert!(!beat(&mut connection, &token).await, "on the kept connection");
    let login = || login_request(login_body(world.key.expose()));
    assert!(world.try_send(login()).await.is_err(), "nor does it resume");
    world.show(Some(&second));
    assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    // What is no list is refused, and the old one stays.
    std::fs::write(&list, "no list").unwrap();
    assert!(world.reload(|_| {}).await.unwrap_err().to_string().contains("certificate revocation list"));
    assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    world.finish().await;
}

/// A client of this machine's programs; of these users', if any is named.
fn sidecar(config: &mut Config, users: &[&str]) {
    let client = config.add_client("sidecar");
    client.trust_loopback = true;
    client.users = users.iter().map(|user| (*user).to_owned()).collect();
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_of_this_machine_are_told_apart_by_the_user_name_that_they_type() {
    let world = World::with(|config| {
        for (client, names) in [("sales", "SALES_*"), ("hr", "HR")] {
            let client = config.add_client(client);
            client.trust_loopback = true;
            client.login_names = vec![LoginName::parse(names).unwrap()];
        }
    })
    .await;
    let typed = async |name: &str| {
        let body = login_body("").replace("\"LOGIN_NAME\":\"u\"", &format!("\"LOGIN_NAME\":\"{name}\""));
        world.login_with(body).await
    };
    for (name, client) in [("sales_emea", "sales"), ("Hr", "hr")] {
        let (_, before) = world.operator(&world.app, Method::GET, "/metrics").await;
        assert!(before.contains(&format!("client=\"{client}\",outcome=\"success\"}} 0")), "{before}");
        assert_eq!(typed(name).await.json()["success"], true, "{name}");
        let (_, after) = world.operator(&world.app, Method::GET, "/metrics").await;
        assert!(
            after.contains(&format!("patgate_logins_total{{client=\"{client}\",outcome=\"success\"}} 1")),
            "{after}"
        );
    }
    // A name that is nobody's is told of a key, and of no other name.
    let refused = typed("SOMEBODY").await.refusal("390100");
    assert!(!refused.to_lowercase().contains("sales") && !refused.contains("HR"), "{refused}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_opens_by_its_names_and_a_session_is_bound_to_it() {
    let clients = Clients::new();
    let (ours, renewed) =
        (clients.certificate("ours", &["bi.example"]), clients.certificate("renewed", &["bi.example"]));
    let (spiffe, other) =
        (clients.certificate("spiffe", &["uri:spiffe://x/bi"]), clients.certificate("other", &["x.example"]));
    let strangers = Clients::new();
    let stranger = strangers.certificate("stranger", &["bi.example"]);
    let mut world = World::with(|config| {
        let named = |name| vec![CertificateName::parse(name).unwrap()];
        config.listen.client_ca = Some(clients.ca());
        config.add_client("alone").certificates = named("uri:spiffe://x/bi");
        (config.bi().certificates, config.bi().bind) = (named("dns:bi.example"), Bind::Certificate);
    })
    .await;
    let key = world.key.expose().to_owned();
    assert!(world.login(&key).await.refusal("390100").contains("must show a TLS certificate"));
    world.show(Some(&other));
    world.login(&key).await.refusal("390100");
    world.show(Some(&stranger));
    // In TLS 1.3 a client learns of it only when it reads.
    assert!(
        world.try_send(asked(Method::POST, "/session/heartbeat", "x", "")).await.is_err(),
        "a CA that nobody trusts"
    );

    world.show(Some(&ours));
    let (token, master) = world.session().await;
    assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    for foreign in [None, Some(&renewed), Some(&other)] {
        world.show(foreign);
        world.query(&token, "select 1").await.refusal("390111");
        world.renew(&token, &master).await.refusal("390111");
    }
    world.show(Some(&ours));
    let (token, _) = pair(&world.renew(&token, &master).await.json(), "sessionToken");

    // Removed roots are no longer trusted, also on existing connections.
    let stream = hyper_util::rt::TokioIo::new(world.connect().await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut beat = async || {
        let mut beat = asked(Method::POST, "/session/heartbeat", &token, "").map(http_body_util::Full::new);
        beat.headers_mut().insert("host", "gate.test".parse().unwrap());
        sender.ready().await.unwrap();
        let body =
            http_body_util::BodyExt::collect(sender.send_request(beat).await.unwrap().into_body()).await.unwrap();
        serde_json::from_slice::<serde_json::Value>(&body.to_bytes()).unwrap()["success"].clone()
    };
    assert_eq!(beat().await, true);
    world.reload(|config| config.listen.client_ca = Some(strangers.ca())).await.unwrap();
    // That connection ends, and the next one begins with what counts then.
    assert_eq!(beat().await, false);
    world.reload(|_| {}).await.unwrap();
    assert_eq!(world.query(&token, "select 1").await.json()["success"], true);

    // Without a key, with any text in the password field; the gate sends that text nowhere.
    world.show(Some(&spiffe));
    let typed = world.canary("hunter2");
    for body in [login_body(&typed), r#"{"data":{"LOGIN_NAME":"u"}}"#.to_owned()] {
        let (token, _) = pair(&world.login_with(body).await.json(), "token");
        assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    }
    let pat = world.pat();
    assert!(world.standin.state.seen().iter().all(|seen| !seen.body.contains("hunter2") && seen.body.contains(&pat)));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_s_word_is_believed_from_a_balancer_alone() {
    let world = World::with(|config| {
        config.bi().networks = networks(["203.0.113.0/24"]);
        config.listen.proxy = networks(["127.0.0.1"]);
    })
    .await;
    let key = world.key.expose();
    let login = || login_request(login_body(key));
    let good = world.send_after(b"PROXY TCP4 203.0.113.7 127.0.0.1 40000 443\r\n", login()).await.unwrap();
    assert_eq!(good.json()["success"], true);
    let two = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x7f\0\0\x01\x9c\x40\x01\xbb";
    assert_eq!(world.send_after(two, login()).await.unwrap().json()["success"], true);
    // An address in no client's networks, although the balancer itself is local.
    assert!(world.send_after(b"PROXY TCP4 198.51.100.7 127.0.0.1 40000 443\r\n", login()).await.is_err());
    assert!(world.send_after(b"PROXY UNKNOWN\r\n", login()).await.is_err());
    assert!(world.send_after(b"", login()).await.is_err(), "a balancer that says nothing is not heard");
    assert!(world.send_after(b"PROXY TCP4 203.0.113.7 127.0.0.1", login()).await.is_err());
    world.finish().await;

    let world = World::with(|config| config.listen.proxy = networks(["127.0.0.2"])).await;
    let word = world.send_after(b"PROXY TCP4 127.0.0.1 127.0.0.1 40000 443\r\n", login_request(login_body("x"))).await;
    assert!(word.is_err(), "nobody else is believed");
    world.session().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_on_this_machine_may_hold_nothing_where_the_word_says_so() {
    let world = World::with(|config| sidecar(config, &[])).await;
    let (token, _) = pair(&world.login("whatever").await.json(), "token");
    assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    let statement = http::Request::post("/api/v2/statements").body(r#"{"statement":"select 1"}"#.into()).unwrap();
    assert_eq!(world.send(statement).await.status, 200);
    // But no web page in a browser on this machine.
    for name in ["origin", "sec-fetch-site"] {
        let page = http::Request::post("/api/v2/statements").header(name, "https://evil.test");
        assert_eq!(world.send(page.body(r#"{"statement":"select 1"}"#.into()).unwrap()).await.status, 404);
    }
    world.finish().await;

    let plain = |config: &mut Config| {
        config.listen.tls = None;
        sidecar(config, &[]);
    };
    let world = World::with(plain).await;
    for (host, status) in [("localhost:1", 200), ("127.0.0.1", 200), ("rebound.evil.test", 421)] {
        let stream = world.hunt.hear(tokio::net::TcpStream::connect(world.app.address).await.unwrap());
        let stream = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut statement = http::Request::post("/api/v2/statements").header("host", host);
        statement = statement.header("content-type", "application/json");
        let body = http_body_util::Full::new(bytes::Bytes::from(r#"{"statement":"select 1"}"#));
        assert_eq!(sender.send_request(statement.body(body).unwrap()).await.unwrap().status(), status, "{host}");
    }
    world.finish().await;

    let behind = |config: &mut Config| {
        config.listen.proxy = networks(["127.0.0.1"]);
        sidecar(config, &[]);
    };
    let world = World::with(behind).await;
    let word = b"PROXY TCP4 127.0.0.1 127.0.0.1 40000 443\r\n";
    world.send_after(word, login_request(login_body("whatever"))).await.unwrap().refusal("390100");
    world.finish().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn named_local_users_are_told_by_whose_socket_it_is() {
    let me = nix::unistd::getuid().as_raw();
    let world = World::with(|config| sidecar(config, &["nobody-of-that-name", &me.to_string()])).await;
    let (token, _) = pair(&world.login("whatever").await.json(), "token");
    assert_eq!(world.query(&token, "select 1").await.json()["success"], true);
    world.finish().await;
    let world = World::with(|config| sidecar(config, &[&(me + 1).to_string()])).await;
    world.login("whatever").await.refusal("390100");
    world.finish().await;
}
