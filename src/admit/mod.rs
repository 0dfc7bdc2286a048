//! Who may enter: [`Admission`] turns a presented key and a source address into a [`Grant`], or into a [`Fault`].
//!
//! # Order
//! An address that no client may come from is told so and nothing else. Otherwise the key decides first: only the holder of
//! a client's key learns that its network is the trouble. An unknown client costs the same work as a wrong key and reads
//! the same.
//!
//! A request in a session shows a [`Ticket`] instead of a key. That the gate made it is proven by then; here it is held against
//! the configuration of this moment, so that taking out a client, or one of its keys, ends its sessions at their next request.

mod grant;
pub mod key;

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use subtle::{Choice, ConstantTimeEq};

pub use grant::Grant;

use crate::base::fault::{Fault, Kind};
use crate::base::names::ClientName;
use crate::base::secret::Secret;
use crate::config::units::Rate;
use crate::config::{Bind, Config};
use crate::session::{Bound, Ticket};
use key::{ClientKey, NoKey};

/// The clients and what they must show.
pub struct Admission {
    clients: HashMap<ClientName, Entry>,
    /// What an unknown client is compared with.
    nobody: Entry,
    clock: DefaultClock,
}

struct Entry {
    hashes: [[u8; 32]; 2],
    networks: Vec<IpNet>,
    bind: Bind,
    sessions: Arc<AtomicUsize>,
    logins: Option<(Rate, Arc<DefaultDirectRateLimiter>)>,
    grant: Option<Grant>,
}

impl Admission {
    /// The clients of a configuration. What has been counted `before` for a client and a limit that stay goes on counting.
    pub fn new(config: &Config, before: Option<&Self>) -> Self {
        let entry = |(name, client): (&ClientName, &crate::config::Client)| {
            let credential = config.credentials.get(&client.credential)?;
            let first = client.keys.first().copied()?;
            let before = before.and_then(|before| before.clients.get(name));
            let logins = |rate: Rate| {
                let kept = before.and_then(|before| before.logins.as_ref()).filter(|(kept, _)| *kept == rate);
                kept.cloned().unwrap_or_else(|| (rate, Arc::new(RateLimiter::direct(quota(rate)))))
            };
            let entry = Entry {
                // One key stands twice, so that every comparison is of two.
                hashes: [first, client.keys.get(1).copied().unwrap_or(first)],
                networks: client.networks.clone(),
                bind: client.bind,
                sessions: before.map(|before| before.sessions.clone()).unwrap_or_default(),
                logins: client.limits.logins.map(logins),
                grant: Some(Grant::new(name.clone(), client, credential)),
            };
            Some((name.clone(), entry))
        };
        Self {
            clients: config.clients.iter().filter_map(entry).collect(),
            nobody: Entry {
                hashes: [[0; 32]; 2],
                networks: Vec::new(),
                bind: Bind::Client,
                sessions: Arc::default(),
                logins: None,
                grant: None,
            },
            clock: DefaultClock::default(),
        }
    }

    /// Whether any client at all may come from this address.
    ///
    /// # Errors
    /// [`Kind::NetworkDenied`].
    pub fn address(&self, peer: IpAddr) -> Result<(), Fault> {
        let anyone = self.clients.values().any(|client| client.admits(peer));
        if anyone { Ok(()) } else { Err(denied(peer).because("no client's networks hold this address")) }
    }

    /// Decides about a login.
    ///
    /// # Errors
    /// A fault that says which rule it broke; `Ok` is the only way to a [`Grant`].
    pub fn login(&self, peer: IpAddr, presented: &Secret) -> Result<Grant, Fault> {
        let (entry, grant) = self.identify(peer, presented)?;
        if let Some((_, logins)) = &entry.logins
            && let Err(not_until) = logins.check()
        {
            let wait = not_until.wait_time_from(self.clock.now()).as_secs_f64().ceil();
            return Err(Fault::new(Kind::LoginLimit)
                .detail(wait)
                .because(format_args!("limits.logins of client {}", grant.client())));
        }
        Ok(grant)
    }

    /// Decides about a REST request, which shows the key each time.
    ///
    /// # Errors
    /// Like [`Admission::login`].
    pub fn rest(&self, peer: IpAddr, presented: &Secret) -> Result<Grant, Fault> {
        self.identify(peer, presented).map(|(_, grant)| grant)
    }

    /// Whose key that is, when it may be used from there.
    fn identify(&self, peer: IpAddr, presented: &Secret) -> Result<(&Entry, Grant), Fault> {
        self.address(peer)?;
        let key = ClientKey::parse(presented).map_err(|why| match why {
            NoKey::Foreign => Fault::new(Kind::KeyForeign).because("the credential does not begin with pgk_"),
            NoKey::Damaged => Fault::new(Kind::KeyDamaged).because("the key's check digits do not fit"),
        })?;
        let known = self.clients.get(&key.client);
        let entry = known.unwrap_or(&self.nobody);
        let fits = entry.hashes.iter().fold(Choice::from(0), |fits, hash| fits | hash.ct_eq(&key.hash));
        let grant = match (&entry.grant, bool::from(fits)) {
            (Some(grant), true) => grant.clone(),
            (Some(_), false) => {
                return Err(Fault::new(Kind::KeyWrong).because(format_args!("wrong key for client {}", key.client)));
            }
            (None, _) => {
                return Err(Fault::new(Kind::ClientUnknown).because(format_args!("no client {}", key.client)));
            }
        };
        if !entry.admits(peer) {
            return Err(denied(peer).because(format_args!("not among the networks of client {}", key.client)));
        }
        let grant = grant.of_login(tag(&key.hash), entry.bound(peer));
        Ok((entry, grant))
    }

    /// Decides about a request in a session; gives the count that the session is one of.
    ///
    /// # Errors
    /// A fault that says why the session is over for whoever sent this.
    pub fn session(&self, peer: IpAddr, ticket: &Ticket) -> Result<&Arc<AtomicUsize>, Fault> {
        let ended =
            |cause: &str| Fault::new(Kind::SessionEnded).because(format_args!("client {}: {cause}", ticket.client));
        let (entry, grant) = self
            .clients
            .get(&ticket.client)
            .and_then(|entry| Some((entry, entry.grant.as_ref()?)))
            .ok_or_else(|| ended("it is no longer in the configuration"))?;
        if !entry.hashes.iter().any(|hash| tag(hash) == ticket.key) {
            return Err(ended("the key that it logged in with is no longer in the configuration"));
        }
        if (grant.credential(), grant.account()) != (&ticket.credential, &ticket.account) {
            return Err(ended("it has another credential now"));
        }
        if !entry.admits(peer) {
            return Err(denied(peer).because(format_args!("not among the networks of client {}", ticket.client)));
        }
        if let Some(network) = ticket.bound.network
            && !network.contains(&peer)
        {
            let cause =
                format_args!("a session of client {} that is bound to {network} came from {peer}", ticket.client);
            return Err(Fault::new(Kind::SessionElsewhere).detail(network).because(cause));
        }
        Ok(&entry.sessions)
    }
}

/// What a ticket keeps of a client key's hash: enough to tell a client's two keys apart, and nothing to guess from.
fn tag(hash: &[u8; 32]) -> [u8; 8] {
    let mut tag = [0; 8];
    tag.copy_from_slice(&hash[..8]);
    tag
}

impl Entry {
    /// What a session that is opened from here is bound to.
    fn bound(&self, peer: IpAddr) -> Bound {
        let network = match self.bind {
            Bind::Client => None,
            Bind::Network => self.networks.iter().find(|network| network.contains(&peer)).copied(),
            Bind::Address => Some(IpNet::from(peer)),
        };
        Bound { network, certificate: None }
    }

    fn admits(&self, peer: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&peer))
    }
}

fn denied(peer: IpAddr) -> Fault {
    Fault::new(Kind::NetworkDenied).detail(peer)
}

fn quota(rate: Rate) -> Quota {
    let each = rate.per / rate.count.get();
    Quota::with_period(each).unwrap_or(Quota::per_second(NonZeroU32::MAX)).allow_burst(rate.count)
}

#[cfg(test)]
mod tests;
