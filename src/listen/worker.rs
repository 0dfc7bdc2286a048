//! Worker threads, and the choice of the worker for a new connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::connection;
use super::slot::ConnectionSlot;
use super::state::{ListenerState, WorkerContext};
use super::unadmitted::Unadmitted;
use crate::base::shutdown::ShutdownWatch;
use crate::proxy::{Current, WorkerSlot};
use crate::telemetry::log_throttle::LogThrottle;

/// How often a worker checks waiting connections.
const SWEEP: Duration = Duration::from_secs(10);
/// A worker that has not done so for this long hangs.
const LATE: Duration = Duration::from_secs(30);

/// The worker threads. They stop when the last handle is dropped and their connections have ended.
#[derive(Clone)]
pub struct Workers(Arc<[WorkerHandle]>);

struct WorkerHandle {
    sender: UnboundedSender<Arrival>,
    connections: Arc<AtomicUsize>,
    swept: Arc<Swept>,
}

/// When a worker last checked its connections, in milliseconds since its start.
struct Swept {
    start: Instant,
    last: AtomicU64,
}

impl Swept {
    fn now(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    fn ago(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

/// A connection on its way to its worker. The permits limit the queue.
struct Arrival {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    listener: Arc<ArcSwap<ListenerState>>,
    slot: ConnectionSlot,
    shutdown: ShutdownWatch,
}

impl Workers {
    /// Starts the given number of threads, or one per core; also returns the handles to wait for their end.
    ///
    /// # Errors
    /// If it cannot start a thread or a runtime, or cannot set up an account.
    pub fn start(
        count: Option<usize>,
        current: &Arc<Current>,
        unadmitted: &Arc<Unadmitted>,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let count = count.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let mut handles = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let context = WorkerContext { slot: WorkerSlot::new(current.clone())?, unadmitted: unadmitted.clone() };
            let (sender, arrivals) = unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let swept = Arc::new(Swept { start: Instant::now(), last: AtomicU64::new(0) });
            let theirs = swept.clone();
            let run = move || runtime.block_on(serve(arrivals, context, &theirs));
            threads.push(std::thread::Builder::new().name(format!("worker-{number}")).spawn(run)?);
            handles.push(WorkerHandle { sender, connections: Arc::default(), swept });
        }
        Ok((Self(handles.into()), threads))
    }

    /// Whether none of them hangs.
    pub fn are_alive(&self) -> bool {
        self.0.iter().all(|worker| worker.swept.ago() < LATE)
    }

    /// Gives a connection, in non-blocking mode, to the worker with the fewest connections.
    pub fn hand_over(
        &self,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        listener: Arc<ArcSwap<ListenerState>>,
        permit: OwnedSemaphorePermit,
        shutdown: ShutdownWatch,
    ) {
        let Some(handle) = self.0.iter().min_by_key(|handle| handle.connections.load(Ordering::Relaxed)) else {
            return;
        };
        let slot = ConnectionSlot::new(handle.connections.clone(), permit);
        if handle.sender.send(Arrival { stream, peer, listener, slot, shutdown }).is_err() {
            tracing::error!(owner = "gate", "a worker has stopped; a connection for it is lost");
        }
    }
}

async fn serve(mut arrivals: UnboundedReceiver<Arrival>, context: WorkerContext, swept: &Swept) {
    let (context, failed) = (Arc::new(context), LogThrottle::default());
    let mut connections = tokio::task::JoinSet::new();
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            arrival = arrivals.recv() => match arrival {
                Some(Arrival { stream, peer, listener, slot, shutdown }) => match TcpStream::from_std(stream) {
                    Ok(stream) => {
                        connections.spawn(connection::serve(context.clone(), listener, stream, peer, shutdown, slot));
                    }
                    Err(error) if failed.now() => tracing::warn!(cause = %error, "cannot take over a connection"),
                    Err(_told) => {}
                },
                None => break,
            },
            Some(_ended) = connections.join_next() => {}
            _ = sweep.tick() => {
                context.slot.worker().sweep();
                swept.now();
            }
        }
    }
    while connections.join_next().await.is_some() {}
}
