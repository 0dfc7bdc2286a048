//! Composition: a configuration becomes a running gate.

mod admin;
mod check;
pub mod cli;
mod client;
mod demo;
mod run;
mod shell;
#[cfg_attr(unix, path = "signal_unix.rs")]
#[cfg_attr(windows, path = "signal_windows.rs")]
mod signal;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::base::clock::{Clock, Random, SystemClock, SystemRandom};
use crate::base::drain::{Drain, drain};
use crate::base::fault::chain;
use crate::config::Config;
use crate::listen::{Acceptor, Workers, bind};
use crate::proxy::Gate;
use crate::secrets::{self, Pats};
use crate::tls;

/// Time and chance for a whole gate; a test puts its own in.
#[derive(Clone)]
pub struct Seams {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
}

impl Default for Seams {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) }
    }
}

/// A gate that serves.
pub struct App {
    /// Where drivers connect: the configured address with the port that the system chose.
    pub address: SocketAddr,
    /// Where the operator connects.
    pub admin: SocketAddr,
    drain: Drain,
    deadline: Duration,
    ended: oneshot::Receiver<()>,
}

impl App {
    /// Starts a gate on the present runtime, which becomes its control runtime; workers get threads of their own.
    ///
    /// # Errors
    /// When an address, a certificate or a root cannot be used. A store or a Snowflake that is away is no error.
    pub async fn start(config: Config, seams: Seams) -> io::Result<Self> {
        let config = Arc::new(config);
        let broken = |error: tls::TlsError| io::Error::other(chain(&error));
        let server_tls = config.listen.tls.as_ref().map(tls::server).transpose().map_err(broken)?;
        let stores = secrets::stores(&config, &seams.clock).map_err(broken)?;
        let pats = Pats::new(&config, stores, seams.clock.clone(), Handle::current());
        let gate = Arc::new(Gate::new(config.clone(), pats.clone(), seams.random).map_err(broken)?);
        let listener = bind(config.listen.address).await?;
        let admin = bind(config.admin.address).await?;
        let (address, admin_address) = (listener.local_addr()?, admin.local_addr()?);
        let (workers, threads) = Workers::start(&config.listen, &gate, server_tls.as_ref())?;
        let (drain, watch) = drain();
        pats.keep_fresh();
        tokio::spawn(admin::serve(admin, pats, watch.clone()));
        tokio::spawn(Acceptor::new(listener, workers, config.listen.connections).run(watch));
        Ok(Self { address, admin: admin_address, drain, deadline: config.listen.drain, ended: joined(threads) })
    }

    /// Stops accepting, closes idle connections, lets running requests end within `listen.drain`; `true` when all did.
    pub async fn stop(self) -> bool {
        let clean = self.drain.stop(self.deadline).await;
        if clean {
            // Nothing is left to wait for but the threads' own end.
            let _gone = self.ended.await;
        }
        clean
    }
}

/// Ends when all worker threads have.
fn joined(threads: Vec<JoinHandle<()>>) -> oneshot::Receiver<()> {
    let (tell, ended) = oneshot::channel();
    // A thread of its own: a runtime waits at its end for what it was asked to run, and a late drain must not wait.
    std::thread::spawn(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!(owner = "gate", "a worker ended in a panic");
            }
        }
        let _nobody_waits = tell.send(());
    });
    ended
}
