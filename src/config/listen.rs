//! `[listen]`, and more listeners below `[listeners]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::connect::connect;
use super::entries::{NETWORK, host_bits, network};
use super::read::{Found, Section};
use super::{Kind, Listen};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// The most connections.
pub(super) const CONNECTIONS: usize = 1_000_000;

/// A certificate chain and its private key: PEM files, or one name for both in the certificate store of Windows.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyPair {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl KeyPair {
    /// What a name in the certificate store of Windows begins with.
    pub const SYSTEM_STORE: &str = "windows:";

    /// The name in the certificate store of Windows, where this is one.
    pub fn system_store(path: &Path) -> Option<&str> {
        path.to_str()?.strip_prefix(Self::SYSTEM_STORE)
    }
}

impl Listen {
    /// How long a stop may take: the notice, and then the drain.
    pub fn ending(&self) -> Duration {
        self.notice + self.drain
    }
}

/// The keys that every listener may set.
pub(super) struct OwnSettings {
    pub address: SocketAddr,
    pub public: Option<(String, u16)>,
    pub tls: Option<KeyPair>,
    pub client_ca: Option<std::path::PathBuf>,
    pub client_crl: Option<std::path::PathBuf>,
    pub proxy: Vec<IpNet>,
}

/// `[listen]`.
pub(super) fn listen(top: &Section<'_>) -> Option<Listen> {
    let Some(section) = top.section("listen") else {
        if !top.has("listen") {
            top.error("`[listen]` is missing", "Write [listen] with address, certificate and key");
        }
        return None;
    };
    let OwnSettings { address, public, tls, client_ca, client_crl, proxy } = own_settings(&section, Kind::DRIVER, None);
    let (handshake, admission, head) = deadlines(&section);
    let read = Listen {
        name: Listen::MAIN.into(),
        kind: Kind::Driver,
        address,
        public,
        tls,
        client_ca,
        client_crl,
        proxy,
        workers: section.count("workers", 1..1024).map(|found| found.value),
        connections: section.count("connections", 1..CONNECTIONS).map_or(10_000, |found| found.value),
        handshake,
        admission,
        head,
        idle: section.duration("idle", 10 * MINUTE, Duration::from_millis(50)..24 * HOUR),
        notice: section.duration("notice", Duration::ZERO, Duration::ZERO..5 * MINUTE),
        reuse_port: section.flag("reuse_port").is_some_and(|flag| flag.value),
        drain: section.duration("drain", 30 * SECOND, Duration::ZERO..HOUR),
    };
    section.finish();
    Some(read)
}

/// `[listeners.NAME]`: another listener; keys that it does not set are those of `[listen]`.
pub(super) fn listener(name: &str, section: Section<'_>, main: &Listen) -> Option<(Arc<str>, Listen)> {
    if name == Listen::MAIN {
        section.error("this is the name of [listen]", "Choose another name");
    }
    let name: Arc<str> = name.into();
    let kind = section.choice("kind", &[(Kind::DRIVER, false), (Kind::CONNECT, true)]);
    if kind.is_some_and(|connects| connects.value) {
        return connect(name, section, main);
    }
    let own = own_settings(&section, Kind::DRIVER, main.tls.as_ref());
    let OwnSettings { address, public, tls, client_ca, client_crl, proxy } = own;
    // Without roots of its own a listener has the lists of the main one too.
    let client_crl = if client_ca.is_some() { client_crl } else { client_crl.or_else(|| main.client_crl.clone()) };
    let client_ca = client_ca.or_else(|| main.client_ca.clone());
    let proxy = if section.has("proxy") { proxy } else { main.proxy.clone() };
    section.finish();
    Some((name.clone(), Listen { name, address, public, tls, client_ca, client_crl, proxy, ..main.clone() }))
}

/// How long a handshake, a connection before it is admitted, and a head may take.
pub(super) fn deadlines(section: &Section<'_>) -> (Duration, Duration, Duration) {
    let read = |key| section.duration(key, 10 * SECOND, Duration::from_millis(50)..5 * MINUTE);
    (read("handshake"), read("admission"), read("head"))
}

/// The keys that listeners of both kinds have; `usual` are the certificate and the key of one that names none.
pub(super) fn own_settings(section: &Section<'_>, kind: &str, usual: Option<&KeyPair>) -> OwnSettings {
    let address = section.required_parsed("address", "an address and a port, such as \"127.0.0.1:8443\"", |text| {
        text.parse::<SocketAddr>().ok()
    });
    let public = section.parsed("public", "NAME:PORT, such as \"gate.example.com:443\"", |text| {
        let (name, port) = text.rsplit_once(':')?;
        Some((rustls::pki_types::ServerName::try_from(name).ok().map(|_| name.to_owned())?, port.parse().ok()?))
    });
    let plaintext = section.flag("danger_plaintext");
    let tls = match &plaintext {
        Some(flag) if flag.value => {
            for key in ["certificate", "key"] {
                if let Some(path) = section.path(key) {
                    section.error_at(
                        &path.span,
                        key,
                        "it has no effect with danger_plaintext = true",
                        "Remove one of the two",
                    );
                }
            }
            if let Some(address) = &address
                && !address.value.ip().is_loopback()
                && kind == Kind::DRIVER
            {
                section.error_at(
                    &flag.span,
                    "danger_plaintext",
                    "plain HTTP is for loopback addresses only",
                    "Listen on 127.0.0.1, or remove this and write certificate and key",
                );
            }
            None
        }
        _ if usual.is_some() && !section.has("certificate") && !section.has("key") => usual.cloned(),
        // What a tool says to the proxy itself stays on this machine.
        _ if kind == Kind::CONNECT
            && !section.has("certificate")
            && !section.has("key")
            && address.as_ref().is_none_or(|address| address.value.ip().is_loopback()) =>
        {
            None
        }
        _ => {
            let pem = "the path of a PEM file";
            let certificate = section.required_parsed("certificate", pem, |text| match text {
                "" => None,
                text if KeyPair::system_store(Path::new(text)).is_some() => Some(PathBuf::from(text)),
                text => Some(section.base().join(text)),
            });
            match certificate {
                Some(named) if KeyPair::system_store(&named.value).is_some() => Some(in_system_store(section, named)),
                certificate => {
                    let key = section.required_path("key", pem);
                    certificate.zip(key).map(|(of, key)| KeyPair { certificate: of.value, key: key.value })
                }
            }
        }
    };
    let (client_ca, client_crl) = (section.path("client_ca"), section.path("client_crl"));
    if let (None, Some(list), None) = (&client_ca, &client_crl, usual) {
        section.error_at(&list.span, "client_crl", "it has no effect without client_ca", "Write both, or neither");
    }
    let proxy = section.list("proxy", NETWORK, network);
    host_bits(section, "proxy", proxy.as_ref());
    OwnSettings {
        address: address.map_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |found| found.value),
        tls,
        public: public.map(|found| found.value),
        client_ca: client_ca.map(|found| found.value),
        client_crl: client_crl.map(|found| found.value),
        proxy: proxy.map_or_else(Vec::new, |found| found.value),
    }
}

/// A certificate in the store of Windows, which has its key too.
fn in_system_store(section: &Section<'_>, named: Found<PathBuf>) -> KeyPair {
    let name = KeyPair::system_store(&named.value).and_then(|name| name.split_once('/'));
    if cfg!(unix) {
        section.error_at(&named.span, "certificate", "only Windows has a certificate store", "Name PEM files");
    } else if name.is_none_or(|(store, wanted)| store.is_empty() || wanted.is_empty()) {
        let remedy = "Write windows:MY/HOST, or windows:MY/THUMBPRINT";
        section.error_at(&named.span, "certificate", "it names no certificate of a store", remedy);
    }
    if let Some(key) = section.path("key") {
        section.error_at(&key.span, "key", "the store has the key of this certificate", "Remove it");
    }
    KeyPair { certificate: named.value.clone(), key: named.value }
}
