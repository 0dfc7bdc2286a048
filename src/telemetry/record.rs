//! [`Record`]: the facts of one request, for the log.
//!
//! It is filled as the request goes on and read once, at the end. No code path may depend on what stands in it.

use std::net::IpAddr;
use std::time::Duration;

use crate::base::fault::{Fault, Kind, Owner};
use crate::base::names::TraceId;

/// The facts of one request.
#[derive(Debug)]
pub struct Record {
    /// The id under which everything about this request is found.
    pub trace: TraceId,
    /// Where the request came from.
    pub peer: IpAddr,
    /// The route's name.
    pub route: &'static str,
    /// The client, once its key or its claim is known.
    pub client: Option<String>,
    /// Facts of a login; boxed, since most requests have none.
    pub login: Option<Box<LoginFacts>>,
}

/// What a login tells about itself, none of it secret.
#[derive(Debug, Default)]
pub struct LoginFacts {
    /// `CLIENT_APP_ID`.
    pub driver: Option<String>,
    /// `CLIENT_APP_VERSION`.
    pub driver_version: Option<String>,
    /// `CLIENT_ENVIRONMENT.APPLICATION`.
    pub application: Option<String>,
    /// The credential used.
    pub credential: Option<String>,
    /// The fingerprint of the PAT used.
    pub pat: Option<String>,
    /// Snowflake's session id.
    pub session: Option<String>,
    /// The gate's own name of the session, where its tokens are sealed.
    pub sealed: Option<String>,
    /// The role that the session got.
    pub role: Option<String>,
    /// How many logins were sent upstream.
    pub attempts: u32,
}

impl Record {
    /// An empty record.
    pub fn new(trace: TraceId, peer: IpAddr, route: &'static str) -> Self {
        Self { trace, peer, route, client: None, login: None }
    }

    /// The login's part, made on first use.
    pub fn login(&mut self) -> &mut LoginFacts {
        self.login.get_or_insert_default()
    }

    /// One line about a login that was answered.
    pub fn logged_in(&self, outcome: &str, took: Duration) {
        let none = LoginFacts::default();
        let login = self.login.as_deref().unwrap_or(&none);
        tracing::info!(
            trace = %self.trace,
            peer = %self.peer,
            client = self.client,
            credential = login.credential,
            pat = login.pat,
            session = login.session,
            sealed = login.sealed,
            role = login.role,
            driver = login.driver,
            driver_version = login.driver_version,
            application = login.application,
            attempts = login.attempts,
            outcome,
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "login"
        );
    }

    /// One line about a request that the gate could not serve. It is an error where the operator has to act; a request that is only
    /// to wait is a line at debug level, since a storm of them would fill a disk.
    pub fn failed(&self, fault: &Fault) {
        let rule = fault.kind().rule();
        let login = self.login.as_deref();
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    trace = %self.trace,
                    kind = rule.name,
                    owner = rule.owner.as_str(),
                    cause = fault.cause(),
                    peer = %self.peer,
                    route = self.route,
                    client = self.client,
                    credential = login.and_then(|login| login.credential.as_deref()),
                    pat = login.and_then(|login| login.pat.as_deref()),
                    driver = login.and_then(|login| login.driver.as_deref()),
                    next_step = rule.next,
                    "request failed"
                )
            };
        }
        match rule.owner {
            _ if fault.kind() == Kind::RequestLimit => line!(debug),
            Owner::Client | Owner::Network => line!(warn),
            Owner::Policy if fault.kind() == Kind::PatPolicy => line!(error),
            Owner::Policy => line!(warn),
            Owner::Gate | Owner::Store | Owner::Snowflake => line!(error),
        }
    }

    /// One line about a REST request: each shows the credential anew, as a login does.
    pub fn rest(&self, status: u16) {
        let login = self.login.as_deref();
        tracing::info!(
            trace = %self.trace,
            peer = %self.peer,
            client = self.client,
            credential = login.and_then(|login| login.credential.as_deref()),
            pat = login.and_then(|login| login.pat.as_deref()),
            status,
            "rest"
        );
    }

    /// One line about a streamed request, at debug level.
    pub fn streamed(&self, status: u16) {
        tracing::debug!(trace = %self.trace, peer = %self.peer, route = self.route, status, "request");
    }

    /// One line about an answer whose body broke off after its head was sent.
    pub fn broke_off(&self, cause: &str) {
        tracing::warn!(trace = %self.trace, peer = %self.peer, route = self.route, cause, "answer broke off");
    }
}
