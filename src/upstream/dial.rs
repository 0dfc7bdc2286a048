//! TCP connections to a host with several addresses: tried in parallel, as RFC 8305 has it, and watched for life.
//!
//! The gate starts a try with the next address when the one before has failed, or after [`STAGGER`], and takes the
//! first that connects. Families take turns, the resolver's first one first.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::failure::Hop;

#[cfg_attr(unix, path = "watched_unix.rs")]
#[cfg_attr(windows, path = "watched_windows.rs")]
mod watched;

/// The connection attempt delay of RFC 8305, section 5.
const STAGGER: Duration = Duration::from_millis(250);
/// How long an idle connection is quiet before the system asks whether the other side is still there.
const QUIET: Duration = Duration::from_secs(10);
/// How soon it asks again.
const AGAIN: Duration = Duration::from_secs(3);
/// How long data may stay unacknowledged before the system gives up a connection.
pub(super) const UNANSWERED: Duration = Duration::from_secs(12);

/// Connects to `HOST:PORT`. It resolves the name each time, so that it follows a change of address. `hop` is the part
/// of the path under way.
///
/// # Errors
/// If the name has no address, or no address answers: the error of the last one.
pub(super) async fn dial(address: &str, hop: &mut Hop) -> io::Result<TcpStream> {
    *hop = Hop::Resolve;
    let addresses = interleaved(tokio::net::lookup_host(address).await?.collect());
    *hop = Hop::Connect;
    let tcp = first(addresses, TcpStream::connect).await?;
    tcp.set_nodelay(true)?;
    watched::watch(&SockRef::from(&tcp), QUIET, AGAIN, UNANSWERED)?;
    Ok(tcp)
}

/// Connects to the `HOST:PORT` of a tunnel that the gate does not read.
///
/// # Errors
/// Like [`dial`].
pub async fn dial_host(target: &str) -> io::Result<TcpStream> {
    dial(target, &mut Hop::Resolve).await
}

/// Lets the families take turns (RFC 8305, section 4).
fn interleaved(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let Some(first) = addresses.first().copied() else { return VecDeque::new() };
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == first.is_ipv4());
    let mut all = VecDeque::new();
    while !(one.is_empty() && other.is_empty()) {
        all.extend(one.pop_front());
        all.extend(other.pop_front());
    }
    all
}

/// The first connection, of tries that start one after the other.
async fn first<T, F>(mut addresses: VecDeque<SocketAddr>, connect: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut tries: Vec<Pin<Box<F>>> = Vec::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match addresses.pop_front() {
            Some(address) => tries.push(Box::pin(connect(address))),
            None if tries.is_empty() => return Err(last),
            None => {}
        }
        let any = poll_fn(|cx| {
            let mut at = 0;
            while let Some(one) = tries.get_mut(at) {
                match one.as_mut().poll(cx) {
                    Poll::Ready(outcome) => {
                        drop(tries.remove(at));
                        return Poll::Ready(outcome);
                    }
                    Poll::Pending => at += 1,
                }
            }
            Poll::Pending
        });
        let outcome = match addresses.is_empty() {
            true => any.await,
            false => tokio::select! {
                outcome = any => outcome,
                () = sleep(STAGGER) => continue,
            },
        };
        match outcome {
            Ok(connected) => return Ok(connected),
            Err(error) => last = error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns() {
        let all = ["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1"].map(address).to_vec();
        let order: Vec<String> = interleaved(all).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["[::1]:1", "127.0.0.1:1", "[::2]:1", "[::3]:1"]);
        assert!(interleaved(Vec::new()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_silent_or_refuses_keeps_nobody_from_the_next() {
        let addresses = || ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"].map(address).into();
        let begun = tokio::time::Instant::now();
        // The first is silent, the second refuses, the third answers.
        let connect = |address: SocketAddr| async move {
            match address.to_string().as_str() {
                "10.0.0.1:1" => std::future::pending().await,
                "10.0.0.2:1" => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                _ => Ok(address),
            }
        };
        assert_eq!(first(addresses(), connect).await.unwrap(), address("10.0.0.3:1"));
        assert_eq!(begun.elapsed(), STAGGER);
        let refused = |_| async { Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused)) };
        assert_eq!(first(addresses(), refused).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(first(VecDeque::new(), refused).await.is_err());
        // A slow first one wins, if it answers before the others.
        let slow = |address: SocketAddr| async move {
            sleep(Duration::from_millis(if address.ip().to_string() == "10.0.0.1" { 400 } else { 60_000 })).await;
            Ok(address)
        };
        assert_eq!(first(addresses(), slow).await.unwrap(), address("10.0.0.1:1"));
    }

    #[tokio::test]
    async fn a_connection_is_watched_for_life() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = dial(&listener.local_addr().unwrap().to_string(), &mut Hop::Resolve).await.unwrap();
        let socket = SockRef::from(&tcp);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        #[cfg(unix)] // Windows does not say it.
        assert_eq!(socket.tcp_keepalive_time().unwrap(), QUIET);
    }
}
