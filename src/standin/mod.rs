//! A small, strict Snowflake for the demo and the tests.
//!
//! It verifies: a login succeeds only with an active PAT of that user, and every other request only with a token that
//! the stand-in issued. A leaked client key, or a header that the gate forgot to change, makes a request fail, and
//! [`State::leaks`] counts leaked keys. The answers follow the drivers' sources (see [`crate::snowflake`]); five bad
//! logins in a row lock the user, as at Snowflake.
//!
//! Users that [`State::set_user`] makes have tokens by Snowflake's own rules: the statements about them come by the SQL
//! API or in a session, and time comes from the clock that it was started with.
//!
//! A panic in the stand-in looks like an outage to the gate, and a test could accept that: [`State::panics`] records
//! each.
//!
//! [`Knob`]s make it stall, cut, slow down, close and answer nonsense on purpose. `/standin/…` sets them from outside;
//! the gate does not forward such a path.

mod asked;
mod body;
mod certificates;
mod control;
mod control_users;
mod judge;
mod jwt;
mod knob;
mod lexemes;
mod query;
mod reply;
mod serve;
mod sessions;
mod sql_api;
mod sql_table;
mod state;
mod token_run;
mod token_sql;
mod tokens;
mod users;

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
pub use state::{PatState, Saying, State};
pub use tokens::TokenStatus;
pub use users::{TokenState, UserKind, UserSettings};

use crate::base::clock::{Env, Random, SystemClock};

/// A running stand-in; dropping it stops it and resets its connections.
pub struct StandIn {
    /// Its address.
    pub address: SocketAddr,
    /// Its state, and the requests that it saw.
    pub state: Arc<State>,
    stop: watch::Sender<()>,
}

impl StandIn {
    /// Stops it and resets its connections, as a drop does; the state stays.
    pub fn stop(&self) {
        self.stop.send_replace(());
    }
}

/// Starts a stand-in on the current runtime.
///
/// # Errors
/// If it cannot bind the address.
pub async fn start(address: SocketAddr, tls: Arc<ServerConfig>, random: Arc<dyn Random>) -> io::Result<StandIn> {
    start_in(address, tls, Env { clock: Arc::new(SystemClock), random }).await
}

/// The same with a clock of the caller's, by which tokens end.
///
/// # Errors
/// Like [`start`].
pub async fn start_in(address: SocketAddr, tls: Arc<ServerConfig>, env: Env) -> io::Result<StandIn> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let state = Arc::new(State::new(env));
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

/// Writes a file that only its owner may read, if the system has owners.
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
