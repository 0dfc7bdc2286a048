//! [`Ticket`]: the content of a sealed token.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;
use secrecy::zeroize::Zeroizing;

use crate::base::epoch::EpochMillis;
use crate::base::ids::{KeyTag, PatId, SessionId, UserTag};
use crate::base::names::ClientName;
use crate::base::pins::OpenedContext;
use crate::base::secret::Secret;

/// How far the clocks of two replicas may differ.
const SLACK: EpochMillis = EpochMillis(60_000);

/// The use of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Queries and everything else in a session.
    Session,
    /// Renewal.
    Master,
}

/// What a ticket is bound to, by the client's `bind`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bound {
    /// Requests must come from this network.
    pub network: Option<IpNet>,
    /// Requests must come over a connection with this client certificate: the SHA-256 of its DER form.
    pub certificate: Option<[u8; 32]>,
}

/// A token of Snowflake, its owner and its lifetime.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// The use of the token.
    pub kind: TokenKind,
    /// The session.
    pub session: SessionId,
    /// The client that logged in.
    pub client: ClientName,
    /// The client key that it logged in with; [`KeyTag::NONE`] if it needs none.
    pub key: KeyTag,
    /// The account and the service user of the session. Names in a configuration can later mean something else.
    pub user_tag: UserTag,
    /// The credential that it logged in with.
    pub credential: Arc<str>,
    /// The account of the session.
    pub account: Arc<str>,
    /// The fingerprint of the PAT version that opened the session.
    pub pat: PatId,
    /// When the session was opened; a renewal does not change it.
    pub opened: EpochMillis,
    /// Which ended sessions the gate knew of when it opened the session (`session::revoked`).
    pub number: u64,
    /// When the ticket expires.
    pub expires: EpochMillis,
    /// What it is bound to beside the client.
    pub bound: Bound,
    /// The context that the session was opened with; `None` in tickets of 0.1.
    pub context: Option<OpenedContext>,
    /// Snowflake's token.
    pub token: Secret,
}

impl Ticket {
    /// Whether it has expired.
    pub fn is_over(&self, now: SystemTime) -> bool {
        EpochMillis::of(now).0 > self.expires.0.saturating_add(SLACK.0)
    }

    /// The other token of the same session, or the same one renewed.
    #[must_use]
    pub fn follow_up(&self, kind: TokenKind, token: Secret, expires: EpochMillis) -> Self {
        Self { kind, token, expires, ..self.clone() }
    }

    /// The bytes to seal; `None` if a text is too long for its length field.
    pub(super) fn write(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(Vec::with_capacity(192 + self.token.expose().len()));
        out.push(match self.kind {
            TokenKind::Session => 3,
            TokenKind::Master => 4,
        });
        out.extend_from_slice(&self.session.0);
        out.extend_from_slice(&self.key.0);
        out.extend_from_slice(&self.user_tag.0);
        out.extend_from_slice(&self.opened.0.to_be_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.expires.0.to_be_bytes());
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
        let (flag, places) = match &self.context {
            None => (0, &[][..]),
            Some(context) => (1 + u8::from(context.role_alone), &context.places[..]),
        };
        out.push(flag);
        for text in places {
            out.extend_from_slice(&u16::try_from(text.len()).ok()?.to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        for text in [self.client.as_str(), &self.credential, &self.account, self.pat.as_str(), self.token.expose()] {
            out.extend_from_slice(&u16::try_from(text.len()).ok()?.to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        Some(out)
    }

    /// Reads what [`Ticket::write`] wrote; `None` if any byte is wrong or left over.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut unread = Reader(bytes);
        // 1 and 2 are the tickets of 0.1, which had no number: the time did its work.
        let (kind, numbered) = match unread.byte()? {
            1 => (TokenKind::Session, false),
            2 => (TokenKind::Master, false),
            3 => (TokenKind::Session, true),
            4 => (TokenKind::Master, true),
            _ => return None,
        };
        let session = SessionId(unread.take()?);
        let (key, user_tag) = (KeyTag(unread.take()?), UserTag(unread.take()?));
        let opened = EpochMillis(u64::from_be_bytes(unread.take()?));
        let number = if numbered { u64::from_be_bytes(unread.take()?) } else { opened.0.saturating_sub(1) };
        let expires = EpochMillis(u64::from_be_bytes(unread.take()?));
        let network = match unread.byte()? {
            0 => None,
            4 => {
                let prefix = unread.byte()?;
                Some(IpNet::new(IpAddr::V4(Ipv4Addr::from(unread.take::<4>()?)), prefix).ok()?)
            }
            6 => {
                let prefix = unread.byte()?;
                Some(IpNet::new(IpAddr::V6(Ipv6Addr::from(unread.take::<16>()?)), prefix).ok()?)
            }
            _ => return None,
        };
        let certificate = match unread.byte()? {
            0 => None,
            1 => Some(unread.take()?),
            _ => return None,
        };
        let context = match numbered.then(|| unread.byte()) {
            None | Some(Some(0)) => None,
            Some(Some(flag @ (1 | 2))) => {
                let mut place = || Some(Box::from(unread.text()?));
                let places = [place()?, place()?, place()?, place()?];
                Some(OpenedContext { places, role_alone: flag == 2 })
            }
            Some(_) => return None,
        };
        let client = ClientName::parse(unread.text()?)?;
        let (credential, account, pat) = (unread.text()?.into(), unread.text()?.into(), PatId::trusted(unread.text()?));
        let token = Secret::new(unread.text()?.to_owned());
        let bound = Bound { network, certificate };
        unread.0.is_empty().then_some(Self {
            kind,
            session,
            client,
            key,
            user_tag,
            credential,
            account,
            pat,
            opened,
            number,
            expires,
            bound,
            context,
            token,
        })
    }
}

/// The unread rest.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
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
pub(crate) mod tests {
    use super::*;

    pub(crate) fn ticket() -> Ticket {
        Ticket {
            kind: TokenKind::Session,
            session: SessionId([7; 16]),
            client: ClientName::parse("power-bi").unwrap(),
            key: KeyTag([1, 2, 3, 4, 5, 6, 7, 8]),
            user_tag: UserTag([9; 8]),
            credential: "powerbi".into(),
            account: "prod".into(),
            pat: PatId::trusted("0123456789ab"),
            opened: EpochMillis(1_000),
            number: 900,
            expires: EpochMillis(2_000),
            bound: Bound { network: "10.1.0.0/16".parse().ok(), certificate: Some([9; 32]) },
            context: None,
            token: Secret::new("ver:3-hint:1-canary".into()),
        }
    }

    #[test]
    fn every_field_comes_back() {
        for bound in
            [Bound::default(), ticket().bound, Bound { network: "2001:db8::/32".parse().ok(), certificate: None }]
        {
            let places = ["R".into(), "".into(), "D\"é".into(), "S".into()];
            let role_alone = bound.network.is_none();
            let ticket = Ticket { bound, context: Some(OpenedContext { places, role_alone }), ..ticket() };
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
    fn a_ticket_of_0_1_opens_with_its_time_as_its_number() {
        let mut bytes = ticket().write().unwrap().to_vec();
        let number = 1 + 16 + 8 + 8 + 8;
        bytes.drain(number..number + 8);
        let context = bytes.len() - (2 + 8 + 2 + 7 + 2 + 4 + 2 + 12 + 2 + 19) - 1;
        assert_eq!(bytes.remove(context), 0);
        bytes[0] = 1;
        assert_eq!(Ticket::read(&bytes).unwrap().number, 999);
        assert!(Ticket::read(&bytes[..bytes.len() - 1]).is_none());
    }

    #[test]
    fn its_end_allows_for_clocks_that_differ() {
        let at = |millis| EpochMillis(millis).to_system_time();
        assert!(!ticket().is_over(at(62_000)));
        assert!(ticket().is_over(at(62_001)));
    }
}
