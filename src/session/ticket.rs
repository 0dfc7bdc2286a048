//! [`Ticket`]: what stands in a sealed token.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use secrecy::zeroize::Zeroizing;

use crate::base::clock::{NoEntropy, Random};
use crate::base::names::ClientName;
use crate::base::secret::{Secret, hex};

/// How far the clocks of two replicas may differ.
const SLACK: u64 = 60_000;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Queries and everything else in a session.
    Session,
    /// Renewal.
    Master,
}

/// The gate's own name of a session, the same over its renewals: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// A new one.
    ///
    /// # Errors
    /// [`NoEntropy`].
    pub fn new(random: &dyn Random) -> Result<Self, NoEntropy> {
        let mut bytes = [0; 16];
        random.fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Reads 32 hex digits, as `Display` writes them.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|number| Self(number.to_be_bytes()))
    }

    /// A number that spreads ids evenly.
    pub(super) fn spread(self) -> usize {
        usize::from(self.0[0])
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where else than at the gate a ticket is good for nothing, by the client's policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bound {
    /// It is to come from this network.
    pub network: Option<IpNet>,
    /// It is to come over a connection with this client certificate: the SHA-256 of its DER form.
    pub certificate: Option<[u8; 32]>,
}

/// A token of Snowflake's, whom it was given to and for how long.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// What the token is good for.
    pub good_for: Use,
    /// The session.
    pub session: SessionId,
    /// The client that logged in.
    pub client: ClientName,
    /// The first bytes of the hash of the client key that it logged in with; zeros where it needed none.
    pub key: [u8; 8],
    /// Where and as whom the session was opened: the first bytes of a hash of the account's host and the service user. Names in a
    /// configuration may come to mean something else.
    pub target: [u8; 8],
    /// The credential that it logged in with.
    pub credential: Arc<str>,
    /// The account at which the session is.
    pub account: Arc<str>,
    /// The fingerprint of the PAT version that opened the session.
    pub pat: Arc<str>,
    /// When the session was opened, in milliseconds of the Unix epoch; a renewal does not change it.
    pub opened: u64,
    /// When the ticket ends, likewise.
    pub expires: u64,
    /// What it is bound to beside the client.
    pub bound: Bound,
    /// Snowflake's token.
    pub token: Secret,
}

impl Ticket {
    /// Whether its time is over.
    pub fn is_over(&self, now: SystemTime) -> bool {
        millis(now) > self.expires.saturating_add(SLACK)
    }

    /// The other token of the same session, or the same one renewed.
    #[must_use]
    pub fn follow_up(&self, good_for: Use, token: Secret, expires: u64) -> Self {
        Self { good_for, token, expires, ..self.clone() }
    }

    /// The bytes that are sealed; `None` when a text is longer than can be said.
    pub(super) fn write(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(Vec::with_capacity(192 + self.token.expose().len()));
        out.push(match self.good_for {
            Use::Session => 1,
            Use::Master => 2,
        });
        out.extend_from_slice(&self.session.0);
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.target);
        out.extend_from_slice(&self.opened.to_be_bytes());
        out.extend_from_slice(&self.expires.to_be_bytes());
        match self.bound.network {
            None => out.push(0),
            Some(IpNet::V4(network)) => {
                out.extend_from_slice(&[4, network.prefix_len()]);
                out.extend_from_slice(&network.network().octets());
            }
            Some(IpNet::V6(network)) => {
                out.extend_from_slice(&[6, network.prefix_len()]);
                out.extend_from_slice(&network.network().octets());
            }
        }
        match &self.bound.certificate {
            None => out.push(0),
            Some(hash) => {
                out.push(1);
                out.extend_from_slice(hash);
            }
        }
        for text in [self.client.as_str(), &self.credential, &self.account, &self.pat, self.token.expose()] {
            out.extend_from_slice(&u16::try_from(text.len()).ok()?.to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        Some(out)
    }

    /// Reads what [`Ticket::write`] wrote; `None` when it is not that to the last byte.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest(bytes);
        let good_for = match rest.byte()? {
            1 => Use::Session,
            2 => Use::Master,
            _ => return None,
        };
        let session = SessionId(rest.take()?);
        let (key, target) = (rest.take()?, rest.take()?);
        let (opened, expires) = (u64::from_be_bytes(rest.take()?), u64::from_be_bytes(rest.take()?));
        let network = match rest.byte()? {
            0 => None,
            4 => {
                let prefix = rest.byte()?;
                Some(IpNet::new(IpAddr::V4(Ipv4Addr::from(rest.take::<4>()?)), prefix).ok()?)
            }
            6 => {
                let prefix = rest.byte()?;
                Some(IpNet::new(IpAddr::V6(Ipv6Addr::from(rest.take::<16>()?)), prefix).ok()?)
            }
            _ => return None,
        };
        let certificate = match rest.byte()? {
            0 => None,
            1 => Some(rest.take()?),
            _ => return None,
        };
        let client = ClientName::parse(rest.text()?)?;
        let (credential, account, pat) = (rest.text()?.into(), rest.text()?.into(), rest.text()?.into());
        let token = Secret::new(rest.text()?.to_owned());
        let bound = Bound { network, certificate };
        rest.0.is_empty().then_some(Self {
            good_for,
            session,
            client,
            key,
            target,
            credential,
            account,
            pat,
            opened,
            expires,
            bound,
            token,
        })
    }
}

/// A point in time as tickets hold it: milliseconds of the Unix epoch.
pub fn millis(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis()).unwrap_or(u64::MAX)
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = u16::from_be_bytes(self.take()?);
        std::str::from_utf8(self.slice(usize::from(length))?).ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::session) fn ticket() -> Ticket {
        Ticket {
            good_for: Use::Session,
            session: SessionId([7; 16]),
            client: ClientName::parse("power-bi").unwrap(),
            key: [1, 2, 3, 4, 5, 6, 7, 8],
            target: [9; 8],
            credential: "powerbi".into(),
            account: "prod".into(),
            pat: "0123456789ab".into(),
            opened: 1_000,
            expires: 2_000,
            bound: Bound { network: "10.1.0.0/16".parse().ok(), certificate: Some([9; 32]) },
            token: Secret::new("ver:3-hint:1-canary".into()),
        }
    }

    #[test]
    fn every_field_comes_back() {
        for bound in
            [Bound::default(), ticket().bound, Bound { network: "2001:db8::/32".parse().ok(), certificate: None }]
        {
            let ticket = Ticket { bound, ..ticket() };
            let bytes = ticket.write().unwrap();
            let back = Ticket::read(&bytes).unwrap();
            assert_eq!(format!("{ticket:?}"), format!("{back:?}"));
            assert!(back.token.same_as(&ticket.token));
            for cut in 0..bytes.len() {
                assert!(Ticket::read(&bytes[..cut]).is_none(), "{cut}");
            }
            assert!(Ticket::read(&[&bytes[..], b"x"].concat()).is_none());
        }
    }

    #[test]
    fn its_end_allows_for_clocks_that_differ() {
        let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        assert!(!ticket().is_over(at(62_000)));
        assert!(ticket().is_over(at(62_001)));
    }

    #[test]
    fn session_ids_are_read_as_they_are_written() {
        let id = SessionId([0xab; 16]);
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        for bad in ["", "+f", &"g".repeat(32), &"a".repeat(31), "+aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
            assert_eq!(SessionId::parse(bad), None);
        }
    }
}
