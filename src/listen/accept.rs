//! The accept loop. No error stops it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::state::ListenerState;
use super::worker::Workers;
use crate::base::shutdown::ShutdownWatch;
use crate::telemetry::log_throttle::LogThrottle;

/// The pause after an error that the next accept would also have, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// How many connections may wait in the kernel's queue; the system may allow fewer.
const BACKLOG: u32 = 1024;

/// A bound listener and the workers it feeds.
pub struct Acceptor {
    listener: TcpListener,
    state: Arc<ArcSwap<ListenerState>>,
    workers: Workers,
    permits: Arc<Semaphore>,
}

/// Binds a listener; with `reuse_port` another process may listen on the same port, if the system supports that.
///
/// # Errors
/// The operating system's error, with the address in the text.
pub fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        share(&socket, reuse_port)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|error| {
        let next = match error.kind() {
            io::ErrorKind::AddrInUse => {
                ". Another program has this port, perhaps a gate that still runs: end it, or choose another"
            }
            io::ErrorKind::AddrNotAvailable => {
                ". This machine does not have this address: write one that it has, or 0.0.0.0"
            }
            io::ErrorKind::PermissionDenied => {
                ". Linux gives ports below 1024 to CAP_NET_BIND_SERVICE, or to a socket of systemd; Windows may have \
                 reserved the port: netsh interface ipv4 show excludedportrange tcp"
            }
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{next}"))
    })
}

/// On Unix this lets the gate bind an address whose old connections are still in TIME_WAIT.
#[cfg(unix)]
fn share(socket: &TcpSocket, reuse_port: bool) -> io::Result<()> {
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)
}

/// On Windows the same option would let any process take over the port; a restart can bind without it.
#[cfg(windows)]
fn share(_socket: &TcpSocket, reuse_port: bool) -> io::Result<()> {
    match reuse_port {
        false => Ok(()),
        true => Err(io::Error::other("Windows does not support listen.reuse_port")),
    }
}

impl Acceptor {
    /// An acceptor that accepts connections while there are `permits`, which all listeners share. Other connections
    /// wait in the kernel's queue.
    pub fn new(
        listener: TcpListener,
        state: Arc<ArcSwap<ListenerState>>,
        workers: Workers,
        permits: Arc<Semaphore>,
    ) -> Self {
        Self { listener, state, workers, permits }
    }

    /// Accepts until the drain begins.
    pub async fn run(self, shutdown: ShutdownWatch) {
        let (full, failed) = (LogThrottle::default(), LogThrottle::default());
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shutdown.stopped() => return self.last(&shutdown),
            };
            match accepted {
                // The socket moves from this runtime's reactor to the worker's.
                Ok((stream, peer)) => match stream.into_std() {
                    Ok(stream) => {
                        let Some(permit) = self.permit(&full).await else { return };
                        self.workers.hand_over(stream, peer, self.state.clone(), permit, shutdown.clone());
                    }
                    Err(error) if failed.now() => tracing::warn!(cause = %error, "cannot take over a connection"),
                    Err(_told) => {}
                },
                Err(error) if concerns_one(&error) => {}
                Err(error) => {
                    if failed.now() {
                        tracing::error!(
                            owner = "gate", cause = %error,
                            "cannot accept connections; the gate keeps trying"
                        );
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Waits for a permit. Per listener, one accepted connection may wait for it; the others wait in the kernel's
    /// queue.
    async fn permit(&self, full: &LogThrottle) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Some(permit);
        }
        if full.now() {
            tracing::warn!(owner = "gate", "the limit listen.connections is reached; new connections wait");
        }
        // The semaphore is never closed.
        self.permits.clone().acquire_owned().await.ok()
    }

    /// Accepts the connections in the kernel's queue, because closing the socket would reset them. Connections that
    /// arrive between the last accept and the close are lost; with `net.ipv4.tcp_migrate_req` Linux hands those to
    /// another process on the port.
    fn last(self, shutdown: &ShutdownWatch) {
        let Ok(listener) = self.listener.into_std() else { return };
        while let Ok(permit) = self.permits.clone().try_acquire_owned()
            && let Ok((stream, peer)) = listener.accept()
        {
            if stream.set_nonblocking(true).is_ok() {
                self.workers.hand_over(stream, peer, self.state.clone(), permit, shutdown.clone());
            }
        }
    }
}

/// Errors of the one connection that was about to be accepted.
fn concerns_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
