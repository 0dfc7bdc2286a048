//! Admission: [`Admission`] turns a key and a source address into a [`Grant`] or a [`Fault`].
//!
//! # Order
//! If the address is in no client's networks, the gate says only that. Otherwise it checks the key first: only the
//! holder of a client's key learns that the network is wrong. An unknown client takes the same work as a wrong key and
//! gets the same text.
//!
//! A client without a key is identified by the certificate of its connection, or as a program on this machine. The gate
//! ignores its password. Where several would do, the user name that was typed says which (`login_names`).
//!
//! A request in a session has a [`Ticket`] instead of a key. The ticket is already unsealed, so the gate made it.
//! Admission checks it against the current configuration, so that removing a client, or one of its keys, ends its
//! sessions at their next request.

mod counted;
mod entry;
mod grant;
mod identify;
pub mod key;
mod limits;
mod peer;
mod rate;
mod upkeep;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::OwnedSemaphorePermit;

pub use counted::Counted;
use entry::{Entry, denied};
pub use grant::Grant;
pub use identify::Shown;
pub use peer::{LocalUser, Peer, PeerCertificate, ProxyWay};

use crate::base::clock::Clock;
use crate::base::fault::{Fault, Kind};
use crate::base::ids::KeyTag;
use crate::base::names::ClientName;
use crate::base::secret::Secret;
use crate::config::{self, Bind, Config};
use crate::replicas::Replicas;
use crate::ticket::Ticket;
use key::ClientKey;
use limits::{Action, ConcurrencyLimit, Limits, RateLimits};
use upkeep::Upkeep;

/// The hash for a client without a key; no key has this hash.
const NO_KEY: [u8; 32] = [0; 32];

/// The clients and their rules.
pub struct Admission {
    clients: HashMap<ClientName, Entry>,
    /// The networks of all clients.
    networks: Vec<IpNet>,
    /// The hash to compare the key of an unknown client with.
    nobody: Entry,
    limits: Limits,
    credentials: HashMap<Arc<str>, Arc<RateLimits>>,
}

/// How much work a request makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// A query, or a part of one.
    Work,
    /// A heartbeat, a cancellation, a logout, a renewal, telemetry: little, in places of its own, so that it never
    /// waits behind the requests that it concerns.
    Upkeep,
}

/// A refusal that its client gets later, after many wrong keys. It holds nothing of the request.
#[derive(Debug)]
pub struct Refusal {
    fault: Fault,
    delay: Duration,
}

impl Refusal {
    /// Waits for the time of the answer.
    pub async fn in_time(self) -> Fault {
        tokio::time::sleep(self.delay).await;
        self.fault
    }
}

/// The permit for one request in flight. The request drops it with the last byte of the answer.
#[derive(Default)]
pub struct RequestPermit {
    _place: Option<OwnedSemaphorePermit>,
}

impl Admission {
    /// The clients of a configuration. Unchanged limits of `before` keep their counts.
    pub fn new(
        config: &Config,
        replicas: Option<Arc<Replicas>>,
        before: Option<&Self>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let credential = |(name, credential): (&Arc<str>, &config::Credential)| {
            let before = before.and_then(|before| before.credentials.get(name));
            (name.clone(), Arc::new(RateLimits::new(&credential.limits, before.map(|before| &**before), clock)))
        };
        let credentials: HashMap<_, _> = config.credentials.iter().map(credential).collect();
        let entry = |(name, client): (&ClientName, &config::Client)| {
            let first = client.keys.first().copied().unwrap_or(NO_KEY);
            let before = before.and_then(|before| before.clients.get(name));
            let credential = config.credentials.get(&client.credential)?;
            let entry = Entry {
                // A single key is there twice, so that every comparison takes two.
                hashes: [first, client.keys.get(1).copied().unwrap_or(first)],
                keyed: !client.keys.is_empty(),
                certificates: client.certificates.clone(),
                trusted: client.trust_loopback.then(|| client.users.clone()),
                networks: client.networks.clone(),
                login_names: client.login_names.clone(),
                listeners: client.listeners.clone(),
                bind: client.bind,
                rates: RateLimits::new(&client.limits.rates, before.map(|before| &before.rates), clock),
                credential: credentials.get(&client.credential)?.clone(),
                concurrency: ConcurrencyLimit::new(&client.limits, before.map(|before| &before.concurrency)),
                upkeep: Upkeep::new(&client.limits, before.map(|before| &before.upkeep), clock),
                grant: Some(Grant::new(name.clone(), client, credential, config.accounts.get(&credential.account)?)),
            };
            Some((name.clone(), entry))
        };
        let no_rates = || RateLimits::new(&config::Rates::default(), None, clock);
        let clients = config.clients.iter().filter_map(entry).collect();
        let nobody = Entry {
            hashes: [NO_KEY; 2],
            keyed: true,
            certificates: Vec::new(),
            trusted: None,
            networks: Vec::new(),
            login_names: Vec::new(),
            listeners: Vec::new(),
            bind: Bind::Client,
            rates: no_rates(),
            credential: Arc::new(no_rates()),
            concurrency: ConcurrencyLimit::new(&config::ClientLimits::default(), None),
            upkeep: Upkeep::new(&config::ClientLimits::default(), None, clock),
            grant: None,
        };
        let all = config.clients.values().flat_map(|client| &client.networks).copied().collect();
        let networks = IpNet::aggregate(&all);
        let limits = Limits::new(&config.limits, replicas, before.map(|before| &before.limits), clock);
        Self { clients, networks, nobody, limits, credentials }
    }

    /// Checks whether a login may come from this address, and whether its rate allows it.
    ///
    /// # Errors
    /// [`Kind::NetworkDenied`], [`Kind::LoginLimit`].
    pub async fn arrives_to_log_in(&self, peer: &Peer) -> Result<(), Fault> {
        self.address(peer)?;
        self.limits.source(Action::Login, peer).await
    }

    /// Whether any client may come from this address.
    pub fn is_expected(&self, peer: &Peer) -> bool {
        self.networks.iter().any(|network| network.contains(&peer.ip))
    }

    /// Decides whose a CONNECT is, by the client's name and key that it shows to the proxy.
    ///
    /// # Errors
    /// Like [`Admission::log_in`]; [`Kind::ClientMixed`] if the name is not that of the key's client.
    pub fn at_proxy(&self, peer: &Peer, user: &str, key: &Secret) -> Result<ClientName, Refusal> {
        let (_, grant) = self.counted(peer, Some(key), self.by_key(peer, key))?;
        if grant.client().as_str() != user {
            let fault = Fault::new(Kind::ClientMixed)
                .detail("the proxy's user name is not the name of the client whose key is its password")
                .with_cause(format_args!("the key is that of client {}", grant.client()));
            return Err(Refusal { fault, delay: Duration::ZERO });
        }
        Ok(grant.client().clone())
    }

    /// Whether any client may come from this address to this listener.
    ///
    /// # Errors
    /// [`Kind::NetworkDenied`].
    pub fn may_tunnel(&self, peer: &Peer) -> Result<(), Fault> {
        let here = |entry: &Entry| entry.listeners.is_empty() || entry.listeners.contains(&peer.listener);
        match self.clients.values().any(|entry| here(entry) && entry.admits(peer)) {
            true => Ok(()),
            false => Err(denied(peer).with_cause("no client may come to this listener from this address")),
        }
    }

    fn address(&self, peer: &Peer) -> Result<(), Fault> {
        if self.is_expected(peer) {
            Ok(())
        } else {
            Err(denied(peer).with_cause("this address is in no client's networks"))
        }
    }

    /// Whether a client's rules need the user of its connection.
    pub fn asks_for_users(&self) -> bool {
        self.clients.values().any(|client| client.trusted.as_ref().is_some_and(|users| !users.is_empty()))
    }

    /// Decides about a login at once; [`Admission::login_in_time`] applies the limits.
    ///
    /// # Errors
    /// A [`Refusal`], whose fault the client gets later; `Ok` is the only way to a [`Grant`].
    pub fn log_in(&self, peer: &Peer, shown: &Shown<'_>) -> Result<Grant, Refusal> {
        self.admit(peer, shown).map(|(_, grant)| grant)
    }

    /// Both, in a test.
    #[cfg(test)]
    pub async fn login(&self, peer: &Peer, shown: &Shown<'_>) -> Result<Grant, Fault> {
        match self.log_in(peer, shown) {
            Ok(grant) => self.login_in_time(&grant).await.map(|()| grant),
            Err(refusal) => Err(refusal.in_time().await),
        }
    }

    /// Waits for the limits on the logins of an admitted client.
    ///
    /// # Errors
    /// [`Kind::LoginLimit`].
    pub async fn login_in_time(&self, grant: &Grant) -> Result<(), Fault> {
        let entry = self.clients.get(grant.client()).unwrap_or(&self.nobody);
        let (client, credential) = ((&entry.rates, grant.client()), (&*entry.credential, &**grant.credential()));
        self.limits.client(Action::Login, client, credential).await
    }

    /// Counts the session that a login opens.
    ///
    /// # Errors
    /// [`Kind::SessionLimit`].
    pub fn session_to_open(&self, grant: &Grant) -> Result<Counted, Fault> {
        self.clients.get(grant.client()).unwrap_or(&self.nobody).concurrency.session()
    }

    /// Decides about a REST request, which has the key each time.
    ///
    /// # Errors
    /// Like [`Admission::log_in`], and [`Kind::RequestLimit`].
    pub async fn rest(&self, peer: &Peer, presented: Option<&Secret>) -> Result<(Grant, RequestPermit), Fault> {
        self.arrives_with_request(peer).await?;
        let (entry, grant) = match self.admit(peer, &Shown { secret: presented, login_name: None }) {
            Ok(admitted) => admitted,
            Err(refusal) => return Err(refusal.in_time().await),
        };
        let permit = self.permit(entry, grant.client(), grant.credential()).await?;
        Ok((grant, permit))
    }

    /// Identifies the client.
    fn admit(&self, peer: &Peer, shown: &Shown<'_>) -> Result<(&Entry, Grant), Refusal> {
        let identified = self.counted(peer, shown.secret, self.identify(peer, shown))?;
        peer.admit();
        Ok(identified)
    }

    /// Counts a wrong key, of which many make the answer late.
    fn counted<T>(&self, peer: &Peer, secret: Option<&Secret>, identified: Result<T, Fault>) -> Result<T, Refusal> {
        identified.map_err(|fault| {
            let guessed =
                matches!(fault.kind(), Kind::KeyWrong | Kind::ClientUnknown | Kind::KeyDamaged | Kind::KeyForeign);
            let name = secret.and_then(|secret| ClientKey::parse(secret).ok()).map(|key| key.client);
            let delay = if guessed { self.limits.slow_down(peer, name.as_ref()) } else { Duration::ZERO };
            Refusal { fault, delay }
        })
    }

    async fn permit(&self, entry: &Entry, client: &ClientName, credential: &str) -> Result<RequestPermit, Fault> {
        self.limits.client(Action::Request, (&entry.rates, client), (&entry.credential, credential)).await?;
        Ok(RequestPermit { _place: entry.concurrency.request(self.limits.delay()).await? })
    }

    /// Applies the rate limits to a request in a session, after [`Admission::session`] has admitted it.
    ///
    /// # Errors
    /// [`Kind::RequestLimit`].
    pub async fn request(&self, ticket: &Ticket) -> Result<RequestPermit, Fault> {
        let entry = self.clients.get(&ticket.client).unwrap_or(&self.nobody);
        self.permit(entry, &ticket.client, &ticket.credential).await
    }

    /// Applies the limits of upkeep to a request in a session, after [`Admission::session`] has admitted it.
    ///
    /// # Errors
    /// [`Kind::RequestLimit`].
    pub async fn upkeep(&self, ticket: &Ticket) -> Result<RequestPermit, Fault> {
        let entry = self.clients.get(&ticket.client).unwrap_or(&self.nobody);
        Ok(RequestPermit { _place: Some(entry.upkeep.permit(self.limits.delay(), &ticket.client).await?) })
    }

    /// Checks whether a request may come from this address, and whether its rate allows it.
    ///
    /// # Errors
    /// [`Kind::NetworkDenied`], [`Kind::RequestLimit`].
    pub async fn arrives_with_request(&self, peer: &Peer) -> Result<(), Fault> {
        self.address(peer)?;
        self.limits.source(Action::Request, peer).await
    }

    /// Decides about a request in a session; returns the count of its client's sessions.
    ///
    /// # Errors
    /// A fault that says why this sender may not use the session.
    pub fn session(&self, peer: &Peer, ticket: &Ticket) -> Result<&Arc<AtomicUsize>, Fault> {
        let ended =
            |cause: &str| Fault::new(Kind::SessionEnded).with_cause(format_args!("client {}: {cause}", ticket.client));
        let (entry, grant) = self
            .clients
            .get(&ticket.client)
            .and_then(|entry| Some((entry, entry.grant.as_ref()?)))
            .ok_or_else(|| ended("it is no longer in the configuration"))?;
        if !entry.hashes.iter().any(|hash| KeyTag::of_hash(hash) == ticket.key) {
            return Err(ended("the key that it logged in with is no longer in the configuration"));
        }
        let same = (grant.credential(), grant.account()) == (&ticket.credential, &ticket.account);
        if !same || grant.user_tag() != ticket.user_tag {
            return Err(ended("it has another credential now, or the credential has another account or user"));
        }
        if !grant.pins().would_open(ticket.context.as_ref()) {
            return Err(ended("it was opened with a role or another context that the client may not have now"));
        }
        entry.fits(peer, &ticket.client)?;
        let elsewhere = |from: &dyn fmt::Display| {
            let cause =
                format_args!("a session of client {} is bound to {from} and came from {}", ticket.client, peer.ip);
            Fault::new(Kind::SessionElsewhere).with_cause(cause)
        };
        if let Some(network) = ticket.bound.network
            && !network.contains(&peer.ip)
        {
            return Err(elsewhere(&network));
        }
        if let Some(certificate) = ticket.bound.certificate
            && peer.certificate.as_ref().is_none_or(|shown| shown.fingerprint != certificate)
        {
            return Err(elsewhere(&"a connection with another certificate"));
        }
        peer.admit();
        Ok(&entry.concurrency.sessions)
    }
}

#[cfg(test)]
mod tests;
