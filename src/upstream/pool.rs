//! [`Pool`]: one worker's connections to one account, and the way of a request over one of them.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::answer::Answer;
use super::body::{RequestBody, Tracked};
use super::connect::{Lane, Target};
use super::kept::Kept;
use super::tunnel::Tunnel;
use crate::base::fault::chain;
use crate::config::{Account, Upstream};

/// Connections to one account.
pub struct Pool {
    target: Target,
    limits: Upstream,
    kept: Arc<Kept>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// Nothing of the request has left the gate; the body is given back to be tried again.
    Unsent(String),
    /// The request, or a part of it, was sent and the connection failed.
    Broken(String),
    /// Nothing came back in time.
    Silent,
    /// The client stopped sending the body.
    ClientStalled,
}

impl Pool {
    /// An empty pool.
    ///
    /// # Errors
    /// When the account's host is no name that TLS can verify.
    pub fn new(
        account: &Account,
        tunnel: Option<Tunnel>,
        tls: Arc<ClientConfig>,
        limits: Upstream,
    ) -> io::Result<Arc<Self>> {
        let name = ServerName::try_from(account.host.clone()).map_err(io::Error::other)?;
        let target = Target { address: account.target(), tunnel, name, tls: TlsConnector::from(tls) };
        let kept = Arc::new(Kept::new(limits.keep));
        Ok(Arc::new(Self { target, limits, kept }))
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// [`Failure`], which says how far the request had come.
    pub async fn send(self: &Arc<Self>, request: Request<RequestBody>) -> Result<Response<Answer>, Failure> {
        self.send_within(self.limits.connect, request).await
    }

    /// Like [`Pool::send`]; `written` hears when a connection is there and the request is about to be written.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send_noting(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        written: oneshot::Sender<()>,
    ) -> Result<Response<Answer>, Failure> {
        self.run(self.limits.connect, request, Some(written)).await
    }

    /// Like [`Pool::send`], with less time to connect than is configured.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send_within(
        self: &Arc<Self>,
        connect: Duration,
        request: Request<RequestBody>,
    ) -> Result<Response<Answer>, Failure> {
        self.run(connect, request, None).await
    }

    async fn run(
        self: &Arc<Self>,
        connect: Duration,
        mut request: Request<RequestBody>,
        mut written: Option<oneshot::Sender<()>>,
    ) -> Result<Response<Answer>, Failure> {
        loop {
            let (mut lane, fresh) = match self.kept.take().await {
                Some(lane) => (lane, false),
                None => (self.open(connect.min(self.limits.connect)).await?, true),
            };
            if let Some(written) = written.take() {
                let _nobody_listens = written.send(());
            }
            let progress = lane.progress.clone();
            let (parts, body) = request.into_parts();
            let sent = lane.send.try_send_request(Request::from_parts(parts, Tracked::new(body, progress.clone())));
            let mut sent = pin!(sent);
            let mut answered = pin!(poll_fn(|cx| {
                if lane.poll(cx).is_ready() {
                    // The connection has told the waiter before it ended.
                    return sent.as_mut().poll(cx);
                }
                sent.as_mut().poll(cx)
            }));
            let mut frames = progress.frames();
            let outcome = loop {
                match timeout(self.limits.first_byte, answered.as_mut()).await {
                    Ok(outcome) => break outcome,
                    Err(_late) => match (frames, progress.frames()) {
                        // The body is still going up: the time for the answer has not begun.
                        (before, Some(now)) if before != Some(now) => frames = Some(now),
                        (_, Some(_)) => return Err(Failure::ClientStalled),
                        (Some(_), None) => frames = None,
                        (None, None) => return Err(Failure::Silent),
                    },
                }
            };
            match outcome {
                Ok(response) => {
                    let silence = self.limits.silence;
                    return Ok(response.map(|body| Answer::new(body, lane, self.kept.clone(), silence)));
                }
                Err(mut error) => match error.take_message() {
                    // A kept connection was closed in the meantime: nothing was written, so nothing is repeated.
                    Some(unsent) if !fresh => {
                        let (parts, body) = unsent.into_parts();
                        request = Request::from_parts(parts, body.into_body());
                    }
                    Some(_) => return Err(Failure::Unsent(chain(error.error()))),
                    None => return Err(Failure::Broken(chain(error.error()))),
                },
            }
        }
    }

    /// Closes connections that have waited too long for a request; nobody polls them, so somebody has to look.
    pub fn sweep(&self) {
        self.kept.sweep();
    }

    async fn open(&self, within: Duration) -> Result<Box<Lane>, Failure> {
        match timeout(within, Lane::open(&self.target)).await {
            Ok(Ok(lane)) => Ok(lane),
            Ok(Err(error)) => Err(Failure::Unsent(format!("connect to {}: {}", self.target.address, chain(&error)))),
            Err(_late) => Err(Failure::Unsent(format!("connect to {}: no connection in time", self.target.address))),
        }
    }
}
