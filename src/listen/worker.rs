//! Worker threads, and who gets the next connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::connection::{self, Door, Setting};
use super::held::Held;
use crate::base::drain::Watch;
use crate::proxy::{Current, Post};
use crate::telemetry::rarely::Rarely;

/// How often a worker looks after connections that wait.
const SWEEP: Duration = Duration::from_secs(10);

/// The worker threads. They end when the last handle to them is dropped and their connections are done.
#[derive(Clone)]
pub struct Workers(Arc<[Seat]>);

struct Seat {
    entrance: UnboundedSender<Arrival>,
    held: Arc<AtomicUsize>,
}

/// A connection on its way to its worker. The queue is bounded by the permits.
struct Arrival {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    door: Arc<ArcSwap<Door>>,
    held: Held,
    drain: Watch,
}

impl Workers {
    /// Starts so many threads, or one a core; also gives the handles to wait for their end.
    ///
    /// # Errors
    /// When a thread or a runtime cannot be made, or an account cannot be set up.
    pub fn start(count: Option<usize>, gate: &Arc<Current>) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let count = count.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let mut seats = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let setting = Setting { post: Post::new(gate.clone())?, handshakes: Rarely::default() };
            let (entrance, arrivals) = unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let run = move || runtime.block_on(serve(arrivals, setting));
            threads.push(std::thread::Builder::new().name(format!("worker-{number}")).spawn(run)?);
            seats.push(Seat { entrance, held: Arc::default() });
        }
        Ok((Self(seats.into()), threads))
    }

    /// Gives a connection, which does not block, to the worker that holds the fewest.
    pub fn hand_over(
        &self,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        door: Arc<ArcSwap<Door>>,
        permit: OwnedSemaphorePermit,
        drain: Watch,
    ) {
        let Some(seat) = self.0.iter().min_by_key(|seat| seat.held.load(Ordering::Relaxed)) else { return };
        let held = Held::new(seat.held.clone(), permit);
        if seat.entrance.send(Arrival { stream, peer, door, held, drain }).is_err() {
            tracing::error!(owner = "gate", "a worker has ended; its connection is lost");
        }
    }
}

async fn serve(mut arrivals: UnboundedReceiver<Arrival>, setting: Setting) {
    let setting = Arc::new(setting);
    let mut connections = tokio::task::JoinSet::new();
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            arrival = arrivals.recv() => match arrival {
                Some(Arrival { stream, peer, door, held, drain }) => match TcpStream::from_std(stream) {
                    Ok(stream) => {
                        connections.spawn(connection::serve(setting.clone(), door, stream, peer, drain, held));
                    }
                    Err(error) => tracing::warn!(cause = %error, "a connection cannot be taken over"),
                },
                None => break,
            },
            Some(_ended) = connections.join_next() => {}
            _ = sweep.tick() => setting.post.worker().sweep(),
        }
    }
    while connections.join_next().await.is_some() {}
}
