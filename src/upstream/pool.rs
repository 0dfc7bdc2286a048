//! [`Pool`]: one worker's connections to one account; it sends a request over one of them.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use rustls::pki_types::ServerName;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::account::AccountState;
use super::body::{ProgressBody, RequestBody};
use super::connect::{Connection, Endpoint};
use super::distrust::in_words;
use super::failure::{Blame, Failure, Hop, is_exhausted};
use super::idle_pool::IdlePool;
use super::response_body::ResponseBody;
use crate::base::fault::chain;
use crate::config::Upstream;

/// What kind of connection a request needs.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// The longest that a kept connection may have been idle. One that a firewall has forgotten looks open.
    pub youngest: Duration,
    /// How long a new connection may take, beside `upstream.connect`.
    pub connect: Duration,
}

impl Way {
    /// Any connection.
    pub const ANY: Self = Self { youngest: Duration::MAX, connect: Duration::MAX };
}

/// Connections to one account.
pub struct Pool {
    endpoint: Endpoint,
    limits: Upstream,
    idle: Arc<IdlePool>,
}

impl Pool {
    /// An empty pool.
    ///
    /// # Errors
    /// If TLS cannot verify the account's host name.
    pub fn new(state: &AccountState) -> io::Result<Arc<Self>> {
        let (account, limits) = (state.account(), state.limits().clone());
        let name = ServerName::try_from(account.host.clone()).map_err(io::Error::other)?;
        let endpoint = Endpoint {
            address: account.connect_to(),
            tunnel: state.tunnel().cloned(),
            name,
            tls: TlsConnector::from(state.tls().clone()),
        };
        let idle = Arc::new(IdlePool::new(limits.keep));
        Ok(Arc::new(Self { endpoint, limits, idle }))
    }

    /// Sends a request and waits for the head of the answer. It calls `written` when it has a connection, just before
    /// it writes the request.
    ///
    /// # Errors
    /// [`Failure`], which says how far the request came, and whose failure it is.
    pub async fn send(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
        mut written: Option<oneshot::Sender<()>>,
        way: Way,
    ) -> Result<Response<ResponseBody>, Failure> {
        loop {
            let (mut connection, fresh) = match self.idle.take(way.youngest).await {
                Some(connection) => (connection, false),
                None => (self.open(way.connect).await?, true),
            };
            let begun = Instant::now();
            if let Some(written) = written.take() {
                let _nobody_listens = written.send(());
            }
            let progress = connection.progress.clone();
            let (parts, body) = request.into_parts();
            let sent =
                connection.send.try_send_request(Request::from_parts(parts, ProgressBody::new(body, progress.clone())));
            let mut sent = pin!(sent);
            let mut answered = pin!(poll_fn(|cx| {
                if connection.poll(cx).is_ready() {
                    // The connection gave the waiter its result before it ended.
                    return sent.as_mut().poll(cx);
                }
                sent.as_mut().poll(cx)
            }));
            let mut frames = progress.frames();
            let outcome = loop {
                match timeout(self.limits.first_byte, answered.as_mut()).await {
                    Ok(outcome) => break outcome,
                    Err(_late) => match (frames, progress.frames()) {
                        // The client still sends the body: the time for the answer has not begun.
                        (before, Some(now)) if before != Some(now) => frames = Some(now),
                        (_, Some(_)) => return Err(Failure::ClientStalled),
                        (Some(_), None) => frames = None,
                        (None, None) => {
                            self.idle.condemn(begun);
                            return Err(Failure::Silent);
                        }
                    },
                }
            };
            match outcome {
                Ok(response) => {
                    let silence = self.limits.silence;
                    return Ok(response.map(|body| ResponseBody::new(body, connection, self.idle.clone(), silence)));
                }
                Err(mut error) => match error.take_message() {
                    // An idle connection was closed in the meantime. The request was not written, so sending it is no
                    // repetition.
                    Some(unsent) if !fresh => {
                        let (parts, body) = unsent.into_parts();
                        request = Request::from_parts(parts, body.into_body());
                    }
                    Some(_) => return Err(Failure::unsent(Blame::Way(Hop::Exchange), chain(error.error()))),
                    None if progress.client_broke() => {
                        return Err(Failure::broken(Blame::Client, chain(error.error())));
                    }
                    None => {
                        self.idle.condemn(begun);
                        return Err(Failure::broken(Blame::Way(Hop::Exchange), chain(error.error())));
                    }
                },
            }
        }
    }

    /// Looks whether a new connection can be opened.
    ///
    /// # Errors
    /// [`Failure::Unsent`].
    pub async fn reach(&self) -> Result<(), Failure> {
        self.open(Duration::MAX).await.map(drop)
    }

    /// Closes connections that were idle for too long. Nothing polls idle connections, so the worker calls this
    /// regularly.
    pub fn sweep(&self) {
        self.idle.sweep();
    }

    async fn open(&self, within: Duration) -> Result<Box<Connection>, Failure> {
        let mut hop = Hop::Resolve;
        match timeout(self.limits.connect.min(within), Connection::open(&self.endpoint, &mut hop)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => {
                let blame = if is_exhausted(&error) { Blame::Machine } else { Blame::Way(hop.of(&error)) };
                Err(Failure::unsent(blame, format!("connect to {}: {}", self.endpoint.address, in_words(&error))))
            }
            Err(_late) => {
                let what = if hop == Hop::Tls { "no TLS handshake" } else { "no connection" };
                let cause = format!("connect to {}: {what} in time", self.endpoint.address);
                Err(Failure::unsent(Blame::Way(hop.silent()), cause))
            }
        }
    }
}
