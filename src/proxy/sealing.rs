//! [`Sealing`]: Snowflake's tokens leave the gate as tickets, and come back as tokens.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use crate::admit::Grant;
use crate::base::clock::{Clock, Random};
use crate::base::fault::{Fault, Kind};
use crate::base::secret::Secret;
use crate::session::{Keys, NotOpened, Revoked, SessionId, Sessions, Ticket, Use, millis};
use crate::snowflake::granted::Granted;

/// How long a master token is good for where Snowflake's answer does not tell: its usual time.
const USUAL: Duration = Duration::from_secs(4 * 3_600);

/// What sealing needs. All gates of a process share one.
pub struct Sealing {
    /// The ring.
    pub keys: Arc<Keys>,
    /// The sessions in use, to be counted and shown.
    pub sessions: Sessions,
    /// Those that somebody has ended.
    pub revoked: Revoked,
    /// How long a sealed token may live at most.
    pub longest: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance, for the names of sessions.
    pub random: Arc<dyn Random>,
}

impl Sealing {
    /// Seals what a login was given.
    pub(super) fn login(&self, granted: Granted<'_>, grant: &Grant, pat: &str) -> Result<(String, Ticket), Fault> {
        let session = SessionId::new(&*self.random).map_err(|error| broken(&error))?;
        let (opened, expires) = self.lasts(&granted);
        let ticket = Ticket {
            good_for: Use::Session,
            session,
            client: grant.client().clone(),
            key: grant.key(),
            target: grant.target(),
            credential: grant.credential().clone(),
            account: grant.account().clone(),
            pat: pat.into(),
            opened,
            expires,
            bound: grant.bound().clone(),
            token: granted.token(),
        };
        Ok((self.put(granted, &ticket)?, ticket))
    }

    /// Seals what the renewal of a session was given.
    pub(super) fn renewal(&self, granted: Granted<'_>, old: &Ticket) -> Result<String, Fault> {
        let (_, expires) = self.lasts(&granted);
        let ticket = old.follow_up(Use::Session, granted.token(), expires);
        self.put(granted, &ticket)
    }

    /// The ticket in the header of a request, opened; what it may be used for has yet to be asked.
    pub(super) async fn header(&self, headers: &HeaderMap, good_for: Use) -> Result<Ticket, Fault> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(unknown("it has not exactly one Authorization header"));
        };
        let text = value.to_str().ok().and_then(|text| text.strip_prefix("Snowflake Token=\"")?.strip_suffix('"'));
        self.open(text.ok_or_else(|| unknown("its Authorization header holds no session's token"))?, good_for).await
    }

    /// A ticket, opened.
    pub(super) async fn open(&self, text: &str, good_for: Use) -> Result<Ticket, Fault> {
        let ticket = self.keys.open(text).await.map_err(|why| match why {
            NotOpened::Later => Fault::new(Kind::RingAway).because(why),
            _ => unknown(why),
        })?;
        if ticket.good_for != good_for {
            return Err(unknown("a session token stands where a master token belongs, or the other way round"));
        }
        if ticket.is_over(self.clock.wall()) {
            return Err(unknown("its time is over"));
        }
        if self.revoked.covers(&ticket) {
            self.sessions.ended(ticket.session);
            let cause = format_args!("session {} of client {} has been ended", ticket.session, ticket.client);
            return Err(Fault::new(Kind::SessionEnded).because(cause));
        }
        Ok(ticket)
    }

    /// Now, and the end of what was granted, as tickets hold them.
    fn lasts(&self, granted: &Granted<'_>) -> (u64, u64) {
        let now = self.clock.wall();
        (millis(now), millis(now + granted.lasts().unwrap_or(USUAL).min(self.longest)))
    }

    fn put(&self, mut granted: Granted<'_>, ticket: &Ticket) -> Result<String, Fault> {
        let seal = |ticket: &Ticket| self.keys.seal(ticket).map_err(|error| broken(&error));
        let master = granted.master();
        let sealed_master =
            master.clone().map(|token| seal(&ticket.follow_up(Use::Master, token, ticket.expires))).transpose()?;
        granted.put(&seal(ticket)?, sealed_master.as_deref());
        let written = granted.written().unwrap_or_default();
        let stands = |token: &Secret| written.contains(token.expose());
        if stands(&ticket.token) || master.as_ref().is_some_and(stands) {
            let cause = "Snowflake's answer holds a token in a place that is not known; it is not passed on";
            return Err(Fault::new(Kind::SnowflakeGarbled).because(cause));
        }
        Ok(written)
    }
}

/// The header that carries a token to Snowflake.
pub(super) fn token_header(token: &Secret) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(&format!("Snowflake Token=\"{}\"", token.expose()))
        .map_err(|_| Fault::new(Kind::GateBroken).because("a token that fits no header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn unknown(cause: impl std::fmt::Display) -> Fault {
    Fault::new(Kind::SessionUnknown).because(cause)
}

fn broken(error: &dyn std::error::Error) -> Fault {
    Fault::new(Kind::GateBroken).source(error)
}
