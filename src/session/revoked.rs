//! [`Revoked`]: the sessions that the operator has ended early.
//!
//! An entry names a client, a PAT version or one session, and covers all sessions opened until its time. It stays as
//! long as a ticket of such a session can live: a covered session gets no new ticket.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::base::epoch::EpochMillis;
use crate::base::ids::{PatId, SessionId};
use crate::base::names::ClientName;
use crate::state::StateDir;
use crate::ticket::Ticket;

const FILE: &str = "revoked";

/// The sessions to end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Revocation {
    /// All sessions of a client.
    Client(ClientName),
    /// All sessions that a PAT version opened, by its fingerprint.
    Pat(PatId),
    /// One.
    Session(SessionId),
}

impl Revocation {
    /// Reads `client:NAME`, `pat:FINGERPRINT` or `session:ID`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        match kind {
            "client" => ClientName::parse(name).map(Self::Client),
            "pat" => PatId::parse(name).map(Self::Pat),
            "session" => SessionId::parse(name).map(Self::Session),
            _ => None,
        }
    }
}

impl Revocation {
    /// Whether it covers this session.
    pub(super) fn covers(&self, session: SessionId, client: &ClientName, pat: &PatId) -> bool {
        match self {
            Self::Client(name) => client == name,
            Self::Pat(id) => pat == id,
            Self::Session(id) => session == *id,
        }
    }
}

impl std::fmt::Display for Revocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(name) => write!(f, "client:{name}"),
            Self::Pat(id) => write!(f, "pat:{id}"),
            Self::Session(id) => write!(f, "session:{id}"),
        }
    }
}

/// The ended sessions, each with a time. Readers get the whole table without a lock.
pub struct Revoked {
    all: ArcSwap<HashMap<Revocation, EpochMillis>>,
    directory: Option<StateDir>,
    /// Held during a change; reading needs no lock.
    turn: Mutex<()>,
}

impl Revoked {
    /// Reads the entries in `directory`, if there is one.
    ///
    /// # Errors
    /// If it cannot read them.
    pub fn open(directory: Option<StateDir>) -> io::Result<Self> {
        let all = directory.as_ref().map(written).transpose()?.unwrap_or_default();
        Ok(Self { all: ArcSwap::from_pointee(all), directory, turn: Mutex::default() })
    }

    /// Whether a ticket's session has been ended.
    pub fn covers(&self, ticket: &Ticket) -> bool {
        let all = self.all.load();
        if all.is_empty() {
            return false;
        }
        let until = |revocation: Revocation| all.get(&revocation).is_some_and(|until| ticket.opened <= *until);
        // An entry for one session covers it, whatever the clock of the gate that opened it says.
        all.contains_key(&Revocation::Session(ticket.session))
            || until(Revocation::Client(ticket.client.clone()))
            || until(Revocation::Pat(ticket.pat.clone()))
    }

    /// Everything, each with the time until which it holds.
    pub fn all(&self) -> Vec<(Revocation, EpochMillis)> {
        self.all.load().iter().map(|(revocation, until)| (revocation.clone(), *until)).collect()
    }

    /// Ends the sessions opened until `at`; returns whether the entry is new.
    ///
    /// # Errors
    /// If it cannot write the entry to disk; the entry then holds until this process ends.
    pub fn add(&self, revocation: Revocation, at: SystemTime) -> io::Result<bool> {
        self.merge([(revocation, EpochMillis::of(at))])
    }

    /// Takes over the entries of another replica; returns whether any is new.
    ///
    /// # Errors
    /// Like [`Revoked::add`].
    pub fn merge(&self, entries: impl IntoIterator<Item = (Revocation, EpochMillis)>) -> io::Result<bool> {
        let mut news = false;
        self.change(|all| news = join(all, entries))?;
        Ok(news)
    }

    /// Changes the entries in memory, then those on disk. It keeps what another process has written meanwhile.
    fn change(&self, change: impl FnOnce(&mut HashMap<Revocation, EpochMillis>)) -> io::Result<()> {
        let _one_at_a_time = self.turn.lock();
        let before = self.all.load();
        let mut all = HashMap::clone(&before);
        change(&mut all);
        if all == **before {
            return Ok(());
        }
        let gone: Vec<Revocation> = before.keys().filter(|revocation| !all.contains_key(revocation)).cloned().collect();
        self.all.store(Arc::new(all.clone()));
        let Some(directory) = &self.directory else { return Ok(()) };
        let file = directory.lock(FILE)?;
        join(&mut all, written(directory)?.into_iter().filter(|(revocation, _)| !gone.contains(revocation)));
        file.replace(Self::write(&all).as_bytes())?;
        self.all.store(Arc::new(all));
        Ok(())
    }

    /// Forgets entries that no living ticket can match; `longest` is the longest lifetime of a ticket.
    ///
    /// # Errors
    /// Like [`Revoked::add`].
    pub fn tidy(&self, now: SystemTime, longest: Duration) -> io::Result<()> {
        let lives = |until: EpochMillis| EpochMillis::of(now).since(until) <= longest;
        self.change(|all| all.retain(|_, until| lives(*until)))
    }

    /// Reads the entries that another process has written to the same directory.
    ///
    /// # Errors
    /// If it cannot read them.
    pub fn catch_up(&self) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let _one_at_a_time = self.turn.lock();
        let mut all = HashMap::clone(&self.all.load());
        join(&mut all, written(directory)?);
        self.all.store(all.into());
        Ok(())
    }

    fn write(all: &HashMap<Revocation, EpochMillis>) -> String {
        let mut lines: Vec<String> =
            all.iter().map(|(revocation, until)| format!("{} {revocation}\n", until.0)).collect();
        lines.sort_unstable();
        lines.concat()
    }
}

/// Adds entries, each with the later of its times; returns whether any is new.
fn join(
    all: &mut HashMap<Revocation, EpochMillis>,
    entries: impl IntoIterator<Item = (Revocation, EpochMillis)>,
) -> bool {
    let mut news = false;
    for (revocation, at) in entries {
        let until = all.entry(revocation).or_default();
        news |= *until < at;
        *until = at.max(*until);
    }
    news
}

/// The entries in a directory.
fn written(directory: &StateDir) -> io::Result<HashMap<Revocation, EpochMillis>> {
    Ok(directory.read(FILE)?.map(|content| parse(&content)).unwrap_or_default())
}

/// Skips a line that it cannot read, so that the other lines still hold.
fn parse(content: &[u8]) -> HashMap<Revocation, EpochMillis> {
    let text = String::from_utf8_lossy(content);
    let entry = |line: &str| {
        let (until, revocation) = line.split_once(' ')?;
        Some((Revocation::parse(revocation)?, EpochMillis(until.parse().ok()?)))
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::tests::ticket;

    fn at(millis: u64) -> SystemTime {
        EpochMillis(millis).to_system_time()
    }

    #[test]
    fn what_was_opened_until_then_is_over_also_for_the_next_process() {
        let home = tempfile::tempdir().unwrap();
        let open = || Revoked::open(Some(StateDir::open(home.path()).unwrap())).unwrap();
        let targets = ["client:power-bi", "pat:0123456789ab", &format!("session:{}", ticket().session)];
        for revocation in targets {
            let revoked = open();
            assert!(!revoked.covers(&ticket()));
            assert!(revoked.add(Revocation::parse(revocation).unwrap(), at(1_000)).unwrap());
            assert!(!revoked.add(Revocation::parse(revocation).unwrap(), at(999)).unwrap(), "no news");
            assert!(revoked.covers(&ticket()) && open().covers(&ticket()), "{revocation}");
            let later = Ticket { opened: EpochMillis(1_001), ..ticket() };
            let session = revocation.starts_with("session");
            assert_eq!(revoked.covers(&later), session, "a login after it is a new session");
            revoked.tidy(at(1_100), Duration::from_millis(100)).unwrap();
            assert!(revoked.covers(&ticket()));
            revoked.tidy(at(1_101), Duration::from_millis(100)).unwrap();
            assert!(!open().covers(&ticket()));
        }
    }

    #[test]
    fn processes_of_one_directory_lose_nothing_of_each_other_s() {
        let home = tempfile::tempdir().unwrap();
        let open = || Revoked::open(Some(StateDir::open(home.path()).unwrap())).unwrap();
        let (one, other) = (open(), open());
        one.add(Revocation::parse("client:power-bi").unwrap(), at(1_000)).unwrap();
        other.add(Revocation::parse("client:another").unwrap(), at(1_000)).unwrap();
        assert!(other.covers(&ticket()), "what is written is read first");
        one.catch_up().unwrap();
        assert_eq!((one.all.load().len(), open().all.load().len()), (2, 2));
    }

    #[test]
    fn others_do_not_count() {
        let revoked = Revoked::open(None).unwrap();
        revoked.merge([(Revocation::parse("client:another").unwrap(), EpochMillis(5_000))]).unwrap();
        assert!(!revoked.covers(&ticket()));
        for bad in ["", "client:", "client:A", "session:1", "pat:x", "user:a"] {
            assert_eq!(Revocation::parse(bad), None, "{bad}");
        }
    }
}
