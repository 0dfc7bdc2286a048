//! [`AccountClient`]: sends requests to one account.
//!
//! The pool handles connections, their reuse, TLS, the forward proxy and the deadlines. Before the pool come the
//! breaker and the in-flight limit. All clients of one account share its [`AccountState`]; each worker has its own
//! client with its own connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use rustls::ClientConfig;
use tokio::sync::oneshot;

use super::body::RequestBody;
use super::breaker::{Breaker, BreakerState};
use super::failure::{Blame, Failure};
use super::hold::{Held, Hold};
use super::in_flight::{InFlight, InFlightPermit};
use super::pool::{Pool, Way};
use super::response_body::ResponseBody;
use super::tunnel::Tunnel;
use crate::config::{Account, ForwardProxy, Upstream};
use crate::stores::{StoreError, load_now};
use crate::tls::{self, TlsError};

/// How long ago a kept connection must have been in use, for a request that has one try or two.
const ALIVE: Duration = Duration::from_secs(2);

/// The state that all clients of one account share. It survives a change of the configuration that does not change the
/// account.
pub struct AccountState {
    account: Account,
    limits: Upstream,
    /// The content of its CA file.
    roots: Option<[u8; 32]>,
    tls: Arc<ClientConfig>,
    tunnel: Option<Tunnel>,
    breaker: Arc<Breaker>,
    in_flight: InFlight,
}

/// Why an account cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A CA file.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The password of a forward proxy.
    #[error(transparent)]
    Secret(#[from] StoreError),
    /// A host that TLS cannot verify, or an invalid user name of a forward proxy.
    #[error(transparent)]
    Name(#[from] io::Error),
}

impl AccountState {
    /// Whether it can be reached, as far as the last requests show; `None` if the last one is too long ago.
    pub fn is_up(&self) -> Option<bool> {
        self.breaker.is_up()
    }

    /// Sets an account up, without connecting. It keeps the unchanged parts of the state `before`.
    ///
    /// # Errors
    /// [`AccountError`].
    pub fn new(account: &Account, limits: &Upstream, before: Option<&Arc<Self>>) -> Result<Arc<Self>, AccountError> {
        let roots = account.ca.as_deref().map(tls::fingerprint).transpose()?;
        let tunnel = account.proxy.as_ref().map(tunnel).transpose()?;
        let same = |kept: &&Arc<Self>| kept.account == *account && kept.roots == roots && kept.tunnel == tunnel;
        let state = match before.filter(same) {
            Some(kept) if kept.limits == *limits => return Ok(kept.clone()),
            Some(kept) => Self {
                account: account.clone(),
                limits: limits.clone(),
                roots,
                tls: kept.tls.clone(),
                tunnel,
                breaker: kept.breaker.clone(),
                in_flight: kept.in_flight.clone(),
            },
            None => Self {
                account: account.clone(),
                limits: limits.clone(),
                roots,
                tls: Arc::new(tls::client(account.ca.as_deref())?),
                tunnel,
                breaker: Arc::default(),
                in_flight: InFlight::new(account.in_flight),
            },
        };
        let state = Arc::new(state);
        // The workers make their clients later; make one here, so that errors show now.
        AccountClient::new(&state, None)?;
        Ok(state)
    }
}

impl AccountState {
    /// Its settings.
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// The tunnel through its forward proxy, if there is one.
    pub(super) fn tunnel(&self) -> Option<&Tunnel> {
        self.tunnel.as_ref()
    }

    /// Its limits.
    pub(super) fn limits(&self) -> &Upstream {
        &self.limits
    }

    /// Roots and session cache, for all workers.
    pub(super) fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }

    /// For how long Snowflake is known to be unreachable, and why; `None` if it is not.
    pub fn outage(&self) -> Option<(Duration, String)> {
        self.breaker.outage()
    }
}

/// One worker's client of one account.
pub struct AccountClient {
    state: Arc<AccountState>,
    authority: HeaderValue,
    pool: Arc<Pool>,
}

impl AccountClient {
    /// A client of an account. It takes over the connections of the client `before` if the account is the same.
    ///
    /// # Errors
    /// If TLS cannot verify the account's host name.
    pub fn new(state: &Arc<AccountState>, before: Option<&Self>) -> io::Result<Self> {
        let pool = match before.filter(|before| Arc::ptr_eq(&before.state, state)) {
            Some(before) => before.pool.clone(),
            None => Pool::new(state)?,
        };
        let authority = state.account.authority().parse().map_err(io::Error::other)?;
        Ok(Self { state: state.clone(), authority, pool })
    }

    /// `ACCOUNT_NAME` in a login.
    pub fn account_name(&self) -> &str {
        &self.state.account.name
    }

    /// The `Host` header.
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// A permit under the in-flight limit. It waits for one only while Snowflake is not known to be unreachable.
    ///
    /// # Errors
    /// [`Failure::Away`], [`Failure::Busy`].
    pub async fn in_flight(&self, within: Duration) -> Result<InFlightPermit, Failure> {
        if let Some(permit) = self.state.in_flight.free() {
            return Ok(permit);
        }
        if self.state.breaker.is_open() {
            return Err(self.state.breaker.away());
        }
        let busy = || Failure::Busy(format!("in_flight of account {}", self.state.account.host));
        self.state.in_flight.permit(within).await.ok_or_else(busy)
    }

    /// Sends a request once and waits for the head of the answer, unless Snowflake is known to be unreachable.
    ///
    /// # Errors
    /// [`Failure`], which says how far the request came, and whose failure it is.
    pub async fn send(
        &self,
        request: Request<RequestBody>,
        place: InFlightPermit,
    ) -> Result<Response<ResponseBody>, Failure> {
        let sent = self.exchange(request, place, None, Way::ANY).await;
        if let Err(Failure::Unsent { blame: Blame::Way(hop), cause }) = &sent {
            self.state.breaker.failed(*hop, cause);
        }
        sent
    }

    /// One of several tries of a request that the gate holds while Snowflake is unreachable. A failure is reported to
    /// [`Hold::again`], which tells the breaker. It goes on a connection that was in use a moment ago, or on a new one:
    /// a silently dead one would take a login's whole time. `written` is told just before the request is written.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send_held(
        &self,
        request: Request<RequestBody>,
        place: InFlightPermit,
        written: Option<oneshot::Sender<()>>,
        hold: Duration,
    ) -> Result<Response<ResponseBody>, Failure> {
        self.exchange(request, place, written, Way { youngest: ALIVE, connect: hold }).await
    }

    /// The hold of a request: at most `time`.
    pub fn hold(&self, request: Held, time: Duration) -> Hold {
        Hold::of(request, time, self.state.breaker.clone())
    }

    /// Opens a connection as for a request, sends nothing over it, and closes it.
    ///
    /// # Errors
    /// [`Failure`], whose kind says at which step the way ends.
    pub async fn reach(&self) -> Result<(), Failure> {
        self.pool.reach().await
    }

    /// Closes connections that were idle for too long. Nothing polls idle connections, so the worker calls this
    /// regularly.
    pub fn sweep(&self) {
        self.pool.sweep();
    }

    async fn exchange(
        &self,
        request: Request<RequestBody>,
        place: InFlightPermit,
        written: Option<oneshot::Sender<()>>,
        way: Way,
    ) -> Result<Response<ResponseBody>, Failure> {
        let breaker = &self.state.breaker;
        if breaker.try_acquire() == BreakerState::Open {
            return Err(breaker.away());
        }
        let response = self.pool.send(request, written, way).await?;
        breaker.close();
        Ok(response.map(|body| body.holding(place)))
    }
}

/// The tunnel through an account's forward proxy, with the login that the proxy needs.
fn tunnel(proxy: &ForwardProxy) -> Result<Tunnel, AccountError> {
    let login = match &proxy.user {
        Some((user, source)) => Some((user.as_str(), load_now(source)?)),
        None => None,
    };
    Ok(Tunnel::new(&proxy.address, login.as_ref().map(|(user, password)| (*user, password)))?)
}
