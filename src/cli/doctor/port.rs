//! Whether a gate runs, and its addresses: can they be bound, or does the gate answer there with its certificate?

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::step::{Link, Step};
use crate::app::Verb;
use crate::app::status::Status;
use crate::base::clock::Env;
use crate::base::fault::{Owner, chain};
use crate::cli::place::Place;
use crate::config::{Config, Listen};
use crate::tls;

/// How long a gate on this machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// The step of the gate, and that of each address.
pub(super) async fn steps(config: &Config, place: &Place, env: &Env) -> Vec<Step> {
    let begun = env.clock.now();
    let asked = timeout(PATIENCE, ask(place)).await;
    let answer = asked.unwrap_or_else(|_late| Err(format!("the gate at {place} gives no answer")));
    let gate = match &answer {
        Ok(Some(status)) => {
            let ready = if status.ready { "ready" } else { "not ready" };
            Step::good(Link::Gate, "", format!("a gate of version {} runs, {ready}", status.version))
                .with(status.attention.clone())
        }
        Ok(None) => Step::unknown(Link::Gate, "", format!("no gate answers at {place}")),
        Err(why) => Step::unknown(Link::Gate, "", &**why),
    };
    let gate = gate.since(&*env.clock, begun);
    let mut looks = Vec::new();
    for listen in config.all_listeners() {
        let address = match &answer {
            Ok(Some(status)) => {
                status.listeners.iter().find(|one| *one.listener == *listen.name).map(|one| one.address)
            }
            Ok(None) | Err(_) => None,
        };
        let (listen, env, may_run) = (listen.clone(), env.clone(), answer.is_err());
        looks.push(tokio::spawn(async move {
            let begun = env.clock.now();
            let step = match address {
                Some(running) => answers(&listen, running).await,
                None if may_run => Step::unknown(Link::Port, &*listen.name, "not tried: a gate may run"),
                None => bound(&listen).await,
            };
            step.since(&*env.clock, begun)
        }));
    }
    let mut steps = Vec::new();
    for look in looks {
        steps.extend(look.await);
    }
    steps.push(gate);
    steps
}

/// The running gate; `None` if none listens there.
async fn ask(place: &Place) -> Result<Option<Status>, String> {
    let (method, path) = Verb::Status.route();
    match place.ask(method, path).await {
        Ok((StatusCode::OK, body)) => {
            let other = |_| format!("another program, or another version of patgate, answers at {place}");
            serde_json::from_slice(&body).map(Some).map_err(other)
        }
        Ok((StatusCode::FORBIDDEN, _)) => {
            Err("a gate runs, and this user is none of its operators (admin.users)".to_owned())
        }
        Ok((status, _)) => Err(format!("{status} from {place}")),
        Err(error) => {
            let absent = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound];
            match error.downcast_ref::<io::Error>().is_some_and(|error| absent.contains(&error.kind())) {
                true => Ok(None),
                false => Err(format!("no answer from {place}: {error}")),
            }
        }
    }
}

/// No gate runs: whether one could listen.
async fn bound(listen: &Listen) -> Step {
    let (link, name, address) = (Link::Port, &*listen.name, listen.address);
    match TcpListener::bind(address).await {
        Ok(_free) => Step::good(link, name, format!("{address} is free")),
        Err(error) => {
            let next = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "If a gate runs, name its admin address with --admin; else end the other program, or change the \
                     address."
                }
                io::ErrorKind::PermissionDenied => "Give the gate the right to ports below 1024, or use another port.",
                _ => "Write an address of this machine.",
            };
            Step::bad(link, name, Owner::Gate, format!("{address} cannot be bound: {error}")).next(next)
        }
    }
}

/// A gate runs: whether it answers, with the certificate in the file.
async fn answers(listen: &Listen, address: SocketAddr) -> Step {
    let (link, name) = (Link::Port, &*listen.name);
    let local = match address.ip() {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let target = SocketAddr::new(local, address.port());
    let stream = match timeout(PATIENCE, TcpStream::connect(target)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Step::bad(link, name, Owner::Gate, format!("{target}: {error}")),
        Err(_late) => return Step::bad(link, name, Owner::Gate, format!("{target} does not accept connections")),
    };
    let Some(pair) = listen.tls.as_ref().filter(|_| listen.proxy.is_empty()) else {
        return Step::good(link, name, format!("{target} accepts connections"));
    };
    // Who signed it does not matter: what counts is which certificate is shown.
    let Ok((config, recorder)) = tls::looking(Some(&pair.certificate)).or_else(|_| tls::looking(None)) else {
        return Step::unknown(link, name, "TLS cannot be set up here");
    };
    let host = ServerName::IpAddress(local.into());
    let shaken = timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(host, stream)).await;
    if let Ok(Ok(mut stream)) = shaken {
        let _closed = timeout(PATIENCE, stream.shutdown()).await;
    }
    match recorder.shown().map(|shown| (shown.is_in(&pair.certificate), shown)) {
        Some((Ok(true), _)) => {
            Step::good(link, name, format!("the gate at {target} shows the certificate in the file"))
        }
        Some((Ok(false), shown)) => {
            let what = format!("{target} shows another certificate than the file has, one of {}", shown.issuer);
            Step::bad(link, name, Owner::Gate, what)
                .next("`patgate reload` says why the gate keeps the old one; or another program listens there.")
        }
        Some((Err(error), _)) => Step::bad(link, name, Owner::Gate, chain(&error)),
        None => Step::bad(link, name, Owner::Gate, format!("{target} does not shake hands by TLS")),
    }
}
