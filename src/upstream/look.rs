//! [`Look`]: the way to an account, hop by hop, as the operator wants to see it: each address of the name, TCP, the
//! forward proxy, TLS, and the certificate that is shown there. Nothing of HTTP is sent.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::account::AccountState;
use super::dial::dial;
use super::distrust::in_words;
use super::failure::{Hop, is_exhausted};
use super::tunnel::Tunnel;
use crate::base::clock::Clock;
use crate::base::fault::{Fault, Kind, chain};
use crate::base::rfc3339;
use crate::base::trial::Trial;
use crate::config::Account;
use crate::tls::{self, Shown};

/// How long one hop may take.
const HOP: Duration = Duration::from_secs(4);
/// How many addresses of a name are tried.
const ADDRESSES: usize = 16;

/// What was found on the way.
#[derive(Debug, Clone)]
pub struct Look {
    /// The name, of the account or of its forward proxy, and its addresses.
    pub resolve: Trial,
    /// TCP to each address.
    pub connect: Trial,
    /// The tunnel through the forward proxy; `None` without one.
    pub proxy: Option<Trial>,
    /// The TLS handshake, with the configured roots.
    pub tls: Trial,
    /// The certificate that was shown.
    pub shown: Option<Shown>,
}

const BEFORE: &str = "not tried: a step before it failed";

impl AccountState {
    /// Looks at the way to the account.
    pub async fn look(&self, clock: &dyn Clock) -> Look {
        let (account, tunnel) = (self.account(), self.tunnel());
        let untried = || Trial::untried(BEFORE);
        let mut look = Look {
            resolve: untried(),
            connect: untried(),
            proxy: tunnel.map(|_| untried()),
            tls: untried(),
            shown: None,
        };
        let target = tunnel.map_or_else(|| account.connect_to(), |tunnel| tunnel.address().to_owned());
        let begun = clock.now();
        let resolved = resolve(&target).await;
        look.resolve = Trial::of(&resolved, since(clock, begun), |all| format!("{target}: {}", listed(all)));
        let Ok(addresses) = resolved else { return look };
        let begun = clock.now();
        let connected = connect_each(addresses, clock).await;
        look.connect = Trial::of(&connected, since(clock, begun), Clone::clone);
        if connected.is_err() {
            return look;
        }
        let begun = clock.now();
        let stream = open(tunnel, &account.connect_to()).await;
        if let Some(proxy) = &mut look.proxy {
            let through = |_: &TcpStream| format!("{target} opens a tunnel to {}", account.connect_to());
            *proxy = Trial::of(&stream, since(clock, begun), through);
        }
        let stream = match stream {
            Ok(stream) => stream,
            Err(_) if tunnel.is_some() => return look,
            Err(fault) => {
                look.connect = Trial::bad(&fault, since(clock, begun));
                return look;
            }
        };
        let begun = clock.now();
        let (outcome, shown) = handshake(account, stream).await;
        let told = shown.as_ref().map(told).unwrap_or_default();
        look.tls = Trial::of(&outcome, since(clock, begun), |()| format!("verified for {}; {told}", account.host));
        if outcome.is_err() && !told.is_empty() {
            look.tls.what = format!("{}; {told}", look.tls.what);
        }
        look.shown = shown;
        look
    }

    /// Whether a host that drivers need can be connected from here, on the way that the account is reached.
    ///
    /// # Errors
    /// The fault.
    pub async fn reaches(&self, host: &str, port: u16) -> Result<(), Fault> {
        open(self.tunnel(), &format!("{host}:{port}")).await.map(drop)
    }
}

/// A connection to an address, through the forward proxy if there is one.
async fn open(tunnel: Option<&Tunnel>, address: &str) -> Result<TcpStream, Fault> {
    let mut hop = Hop::Resolve;
    let opening = async {
        match tunnel {
            Some(tunnel) => tunnel.open(address, &mut hop).await,
            None => dial(address, &mut hop).await,
        }
    };
    match timeout(HOP, opening).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(fault(hop, &error)),
        Err(_late) => Err(fault(hop, &late())),
    }
}

async fn resolve(target: &str) -> Result<Vec<SocketAddr>, Fault> {
    let looked = timeout(HOP, tokio::net::lookup_host(target)).await.unwrap_or_else(|_| Err(late()));
    let mut all: Vec<_> = looked.map_err(|error| fault(Hop::Resolve, &prefixed(target, &error)))?.collect();
    all.sort_by_key(SocketAddr::is_ipv6);
    all.dedup();
    all.truncate(ADDRESSES);
    match all.is_empty() {
        true => Err(Fault::new(Kind::NameUnresolved).with_cause(format_args!("{target} has no address"))),
        false => Ok(all),
    }
}

/// Connects to each address; one is enough.
async fn connect_each(addresses: Vec<SocketAddr>, clock: &dyn Clock) -> Result<String, Fault> {
    let begun = clock.now();
    let mut tries = JoinSet::new();
    for address in addresses {
        tries.spawn(async move {
            let connected = timeout(HOP, TcpStream::connect(address)).await.unwrap_or_else(|_| Err(late()));
            (address, connected.map(drop))
        });
    }
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    while let Some(Ok((address, connected))) = tries.join_next().await {
        match connected {
            Ok(()) => good.push(format!("{address} in {} ms", since(clock, begun).as_millis())),
            Err(error) => bad.push((address, error)),
        }
    }
    let told: Vec<_> = bad.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    match (good.is_empty(), bad.first()) {
        (true, Some((_, error))) => {
            let kind = if is_exhausted(error) { Kind::MachineExhausted } else { Kind::ConnectFailed };
            Err(Fault::new(kind).with_cause(told.join(", ")))
        }
        (_, None) => Ok(good.join(", ")),
        (_, Some(_)) => Ok(format!("{}; but {}", good.join(", "), told.join(", "))),
    }
}

async fn handshake(account: &Account, stream: TcpStream) -> (Result<(), Fault>, Option<Shown>) {
    let unfit = |error: &dyn std::error::Error| Fault::new(Kind::GateBroken).with_cause(chain(error));
    let (config, recorder) = match tls::recording(account.ca.as_deref()) {
        Ok(both) => both,
        Err(error) => return (Err(unfit(&error)), None),
    };
    let name = match ServerName::try_from(account.host.clone()) {
        Ok(name) => name,
        Err(error) => return (Err(unfit(&error)), None),
    };
    let shaken = timeout(HOP, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    let outcome = match shaken {
        Ok(Ok(_stream)) => Ok(()),
        Ok(Err(error)) => {
            let kind = if Hop::Tls.of(&error) == Hop::Tls { Kind::UpstreamTls } else { Kind::ConnectFailed };
            Err(Fault::new(kind).with_cause(in_words(&error)))
        }
        Err(_late) => Err(Fault::new(Kind::ConnectFailed).with_cause("no TLS handshake in time")),
    };
    (outcome, recorder.shown())
}

/// What the certificate says.
fn told(shown: &Shown) -> String {
    let names = if shown.names.is_empty() { shown.subject.clone() } else { shown.names.join(", ") };
    let Shown { issuer, top, sent, .. } = shown;
    let top = if top == issuer { String::new() } else { format!(", below {top}") };
    format!("the certificate shown is for {names}, issued by {issuer}{top}, {sent} sent, ends {}", {
        rfc3339::show(shown.ends)
    })
}

fn fault(hop: Hop, error: &io::Error) -> Fault {
    let kind = if is_exhausted(error) { Kind::MachineExhausted } else { hop.kind() };
    Fault::new(kind).with_cause(error)
}

fn prefixed(target: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{target}: {error}"))
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", HOP.as_secs()))
}

fn listed(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ")
}

fn since(clock: &dyn Clock, begun: Instant) -> Duration {
    clock.now().saturating_duration_since(begun)
}
