//! [`Tunnels`]: the places of blind tunnels, and the copying within one.
//!
//! A tunnel carries what the gate does not read: results and stages, encrypted between the tool and the cloud's
//! storage. It has a place of its own, of which a client, or a source that named none, has a share; it ends when
//! nothing
//! moves for a while, and in a drain as soon as it is quiet.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::base::fault;
use crate::base::names::ClientName;
use crate::base::shutdown::ShutdownWatch;
use crate::base::source::Source;
use crate::telemetry::connection_record::ConnectionRecord;
use crate::telemetry::metrics::{Metrics, TunnelBytes};

/// The part of all places that one owner may have.
const SHARE: usize = 4;
/// What an owner may have in any case: a driver loads a result over ten connections at once.
const FEW: usize = 16;
/// How long a tunnel must be quiet before a drain ends it.
const QUIET: Duration = Duration::from_secs(1);
/// How long one side may be silent when the other has said all: nobody who speaks TLS keeps half a connection.
const HALF: Duration = Duration::from_secs(10);
/// The buffers of a tunnel, to the host and from it.
const BUFFERS: (usize, usize) = (8 << 10, 32 << 10);

/// Whose a tunnel is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// A client that showed its key to the proxy.
    Client(ClientName),
    /// Somebody from this source.
    Source(Source),
}

/// The places of a listener's tunnels.
pub struct Tunnels {
    /// The places of all listeners.
    all: Arc<Semaphore>,
    places: usize,
    share: usize,
    owners: Mutex<(usize, HashMap<Owner, usize>)>,
}

/// A place; dropping it gives it back.
pub(super) struct Place {
    tunnels: Arc<Tunnels>,
    owner: Owner,
    _of_all: OwnedSemaphorePermit,
}

impl Tunnels {
    /// So many places at this listener, of those of all.
    pub fn new(places: usize, all: &Arc<Semaphore>) -> Arc<Self> {
        let share = (places.min(all.available_permits()) / SHARE).max(FEW);
        Arc::new(Self { all: all.clone(), places, share, owners: Mutex::default() })
    }

    /// A place, at once or not at all: a tool that waits would hold a connection meanwhile.
    pub(super) fn place(self: &Arc<Self>, owner: Owner) -> Option<Place> {
        let mut owners = self.owners.lock();
        let (all, of) = &mut *owners;
        let own = of.get(&owner).copied().unwrap_or_default();
        if *all >= self.places || own >= self.share {
            return None;
        }
        let of_all = self.all.clone().try_acquire_owned().ok()?;
        *all += 1;
        of.insert(owner.clone(), own + 1);
        Some(Place { tunnels: self.clone(), owner, _of_all: of_all })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut owners = self.tunnels.owners.lock();
        let (all, of) = &mut *owners;
        *all -= 1;
        match of.get_mut(&self.owner) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(of.remove(&self.owner)),
        }
    }
}

/// An open tunnel.
pub(super) struct Tunnel {
    host: TcpStream,
    _place: Place,
}

impl Tunnel {
    /// A tunnel to a host.
    pub(super) fn new(host: TcpStream, place: Place) -> Self {
        Self { host, _place: place }
    }

    /// Carries it until it ends, and writes down what came of it; `true` if a side broke off.
    pub(super) async fn carry<T>(
        mut self,
        stream: &mut T,
        idle: Duration,
        shutdown: &ShutdownWatch,
        (metrics, record): (&Metrics, &mut ConnectionRecord),
    ) -> bool
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        record.ready();
        let metrics = metrics.tunnels();
        let (_open, bytes) = (metrics.one(), metrics.bytes());
        let (ended, from_host) = copy(stream, &mut self.host, idle, shutdown, &bytes).await;
        let (outcome, broken) = match ended {
            Ended::Closed => ("closed", None),
            Ended::Quiet => ("quiet", None),
            Ended::Broken(error) => ("broken", Some(error)),
        };
        metrics.ended(outcome);
        record.tunnelled(from_host);
        if let Some(error) = &broken {
            record.ended(fault::Owner::Network, "a tunnel broke off", &fault::chain(error));
        }
        broken.is_some()
    }
}

/// How a tunnel ended.
#[derive(Debug)]
enum Ended {
    /// Both sides had said all.
    Closed,
    /// Nothing moved for its idle limit, or it was quiet in a drain.
    Quiet,
    /// One side broke off.
    Broken(io::Error),
}

/// Copies both ways until one of the ends; returns also how many bytes the host sent. `bytes` counts both ways.
async fn copy<A, B>(
    client: &mut A,
    host: &mut B,
    idle: Duration,
    shutdown: &ShutdownWatch,
    bytes: &TunnelBytes,
) -> (Ended, u64)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let moved =
        Moved { start: Instant::now(), last: AtomicU64::new(0), from_host: AtomicU64::new(0), half: Notify::new() };
    let mut client = Metered { inner: client, moved: &moved, count: |length| bytes.sent(length) };
    let mut host = Metered {
        inner: host,
        moved: &moved,
        count: |length| {
            moved.from_host.fetch_add(length as u64, Ordering::Relaxed);
            bytes.received(length);
        },
    };
    let quiet = async {
        let mut stopped = std::pin::pin!(shutdown.stopped());
        let (mut draining, mut limit) = (false, idle);
        loop {
            let due = moved.at() + limit;
            tokio::select! {
                () = sleep_until(due) => if moved.at() + limit <= Instant::now() { return },
                () = &mut stopped, if !draining => (draining, limit) = (true, limit.min(QUIET)),
                () = moved.half.notified() => limit = limit.min(HALF),
            }
        }
    };
    let ended = tokio::select! {
        copied = copy_bidirectional_with_sizes(&mut client, &mut host, BUFFERS.0, BUFFERS.1) => match copied {
            Ok(_) => Ended::Closed,
            Err(error) => Ended::Broken(error),
        },
        () = quiet => Ended::Quiet,
    };
    (ended, moved.from_host.load(Ordering::Relaxed))
}

/// When something last moved, and how much.
struct Moved {
    start: Instant,
    last: AtomicU64,
    from_host: AtomicU64,
    /// A side has said all.
    half: Notify,
}

impl Moved {
    fn now(&self) {
        self.last.store(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn at(&self) -> Instant {
        self.start + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

/// A stream whose reads count.
struct Metered<'a, T, F> {
    inner: &'a mut T,
    moved: &'a Moved,
    count: F,
}

impl<T: AsyncRead + Unpin, F: Fn(usize) + Unpin> AsyncRead for Metered<'_, T, F> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        ready!(Pin::new(&mut *this.inner).poll_read(cx, into))?;
        this.moved.now();
        match into.filled().len() - before {
            0 => this.moved.half.notify_one(),
            length => (this.count)(length),
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin, F: Unpin> AsyncWrite for Metered<'_, T, F> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut *this.inner).poll_write(cx, bytes))?;
        this.moved.now();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::base::shutdown::Shutdown;
    use crate::telemetry::metrics::TunnelMetrics;

    #[test]
    fn an_owner_has_a_share_and_gives_it_back() {
        let all = Arc::new(Semaphore::new(85));
        let tunnels = Tunnels::new(80, &all);
        let source = |last| Owner::Source(Source::of(IpAddr::from([10, 0, 0, last])));
        let many = |owner: &Owner| (0..100).map_while(|_| tunnels.place(owner.clone())).collect::<Vec<_>>();
        let one = many(&source(1));
        assert_eq!(one.len(), 20, "a fourth of 80");
        let others: Vec<_> = (2..=9).map(|last| many(&source(last)).len()).collect();
        assert_eq!(others, [20; 8], "each gives its places back");
        let held: Vec<_> = (2..=4).map(|last| many(&source(last))).collect();
        assert!(tunnels.place(Owner::Client(ClientName::parse("bi").unwrap())).is_none(), "all are in use");
        // Another listener has what is left of all.
        let other = Tunnels::new(80, &all);
        let rest: Vec<_> = (0..100).map_while(|_| other.place(source(1))).collect();
        assert_eq!(rest.len(), 5);
        drop((one, held, rest));
        assert_eq!(all.available_permits(), 85);
        assert_eq!(*tunnels.owners.lock(), (0, HashMap::new()));
        // A small pool still has enough for one driver.
        assert_eq!(many(&source(1)).len(), 20);
        assert_eq!(Tunnels::new(4, &all).share, FEW);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_ends_with_its_sides_or_when_nothing_moves() {
        let bytes = TunnelMetrics::default().bytes();
        let (shutdown, limit) = (Shutdown::default(), Duration::from_secs(600));
        let watch = shutdown.watch();
        let (mut tool, mut client) = duplex(64);
        let (mut stage, mut host) = duplex(64);
        let sides = async {
            tool.write_all(b"hello").await.unwrap();
            let mut got = [0; 5];
            stage.read_exact(&mut got).await.unwrap();
            // Something moves before each limit is over.
            for _ in 0..3 {
                tokio::time::sleep(limit - Duration::from_secs(1)).await;
                stage.write_all(b"world!").await.unwrap();
            }
            drop(stage);
            let mut all = Vec::new();
            tool.read_to_end(&mut all).await.unwrap();
            assert_eq!(all.len(), 18);
            drop(tool);
        };
        let ((ended, from_host), ()) = tokio::join!(copy(&mut client, &mut host, limit, &watch, &bytes), sides);
        assert!(matches!(ended, Ended::Closed), "{ended:?}");
        assert_eq!((from_host, bytes.counted()), (18, (5, 18)));

        let (_tool, mut client) = duplex(64);
        let (_stage, mut host) = duplex(64);
        let begun = Instant::now();
        assert!(matches!(copy(&mut client, &mut host, limit, &watch, &bytes).await.0, Ended::Quiet));
        assert_eq!(begun.elapsed(), limit);
        // One side has gone, and the other says nothing.
        let (tool, mut client) = duplex(64);
        let (_stage, mut host) = duplex(64);
        drop(tool);
        let begun = Instant::now();
        assert!(matches!(copy(&mut client, &mut host, limit, &watch, &bytes).await.0, Ended::Quiet));
        assert_eq!(begun.elapsed(), HALF);
        // In a drain a quiet one ends soon.
        let (_tool, mut client) = duplex(64);
        let (_stage, mut host) = duplex(64);
        let begun = Instant::now();
        let stop = tokio::spawn(shutdown.stop(limit));
        assert!(matches!(copy(&mut client, &mut host, limit, &watch, &bytes).await.0, Ended::Quiet));
        assert!(begun.elapsed() <= QUIET);
        drop(watch);
        assert!(stop.await.unwrap());
    }
}
