//! A small, strict Snowflake for the demo and the tests.
//!
//! It verifies: a login succeeds only with a PAT that is active for that user, and every other request only with a
//! token that the stand-in itself gave out. A client key that leaks, or a header that should have been changed and was
//! not, fails by itself, and [`State::leaks`] counts it. What it answers follows the drivers' sources
//! ([`crate::snowflake`]); five bad logins in a row lock the user, as at Snowflake.
//!
//! A panic in it would look to the gate like an outage, and a test might call that right: [`State::panics`] keeps each.
//!
//! [`Knob`]s make it stall, cut, crawl, close and answer nonsense on purpose. `/standin/…` sets them from outside; no
//! gate forwards such a path.

mod body;
mod certificates;
mod control;
mod knob;
mod query;
mod serve;
mod state;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub use certificates::Certificates;
pub use knob::{Knob, RouteName};
pub use state::{PatState, State};

use crate::base::clock::Random;

/// A running stand-in; dropping it ends it and resets its connections.
pub struct StandIn {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it knows and saw.
    pub state: Arc<State>,
    stop: watch::Sender<()>,
}

impl StandIn {
    /// Ends it and resets its connections, as dropping it does; what it knows and saw stays.
    pub fn stop(&self) {
        self.stop.send_replace(());
    }
}

/// Starts a stand-in on the present runtime.
///
/// # Errors
/// When the address cannot be bound.
pub async fn start(address: SocketAddr, tls: Arc<ServerConfig>, random: Arc<dyn Random>) -> io::Result<StandIn> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let state = Arc::new(State::new(random));
    let (stop, stopped) = watch::channel(());
    state.spawn(accept(listener, TlsAcceptor::from(tls), state.clone(), stopped));
    Ok(StandIn { address, state, stop })
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>, mut stopped: watch::Receiver<()>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _gone = stopped.changed() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (tls, served, mut stopped) = (tls.clone(), state.clone(), stopped.clone());
        state.spawn(async move {
            let state = served;
            let _slower = stream.set_nodelay(true);
            let Ok(stream) = tls.accept(stream).await else { return };
            state.count_connection();
            let service = service_fn(|request| serve::answer(state.clone(), request));
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new());
            tokio::select! {
                _ended = http.serve_connection(TokioIo::new(stream), service) => {}
                _gone = stopped.changed() => {}
                () = state.connections_closed() => {}
            }
        });
    }
}

/// Writes a file that only its owner may read, as far as the system knows owners.
///
/// # Errors
/// The system's.
pub fn write_private(path: &std::path::Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}
