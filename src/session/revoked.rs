//! [`Revoked`]: sessions that somebody has ended, before their time.
//!
//! An entry names a client, a PAT version or one session, and covers what was opened until then. It stays for as long
//! as a ticket of such a session could live: a session that is covered gets no new ticket.

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

/// What is ended.
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
    /// Whether it is about that session.
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

/// What has been ended, and until when. It is published whole and read without a lock.
pub struct Revoked {
    all: ArcSwap<HashMap<Revocation, EpochMillis>>,
    directory: Option<StateDir>,
    /// Who changes what is known has the turn; who reads it needs none.
    turn: Mutex<()>,
}

impl Revoked {
    /// What was remembered in `directory`, where there is one.
    ///
    /// # Errors
    /// When it cannot be read.
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
        // A session is ended whatever the clock of the gate says that has opened it.
        all.contains_key(&Revocation::Session(ticket.session))
            || until(Revocation::Client(ticket.client.clone()))
            || until(Revocation::Pat(ticket.pat.clone()))
    }

    /// Everything, each with the time until which it holds.
    pub fn all(&self) -> Vec<(Revocation, EpochMillis)> {
        self.all.load().iter().map(|(revocation, until)| (revocation.clone(), *until)).collect()
    }

    /// Ends what was opened until `at`; whether that was news.
    ///
    /// # Errors
    /// When it cannot be remembered; it holds all the same, until this process ends.
    pub fn add(&self, revocation: Revocation, at: SystemTime) -> io::Result<bool> {
        self.merge([(revocation, EpochMillis::of(at))])
    }

    /// Takes over what another replica knows; whether there was news.
    ///
    /// # Errors
    /// Like [`Revoked::add`].
    pub fn merge(&self, entries: impl IntoIterator<Item = (Revocation, EpochMillis)>) -> io::Result<bool> {
        let mut news = false;
        self.change(|all| news = join(all, entries))?;
        Ok(news)
    }

    /// Changes what is known here, and then what is written down: what another process has written meanwhile stays.
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

    /// Forgets what can concern nothing that lives: `longest` is how long a ticket may.
    ///
    /// # Errors
    /// Like [`Revoked::add`].
    pub fn tidy(&self, now: SystemTime, longest: Duration) -> io::Result<()> {
        let lives = |until: EpochMillis| EpochMillis::of(now).since(until) <= longest;
        self.change(|all| all.retain(|_, until| lives(*until)))
    }

    /// Takes up what another process of the same directory has written down.
    ///
    /// # Errors
    /// When it cannot be read.
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

/// Adds entries, each with the later of its times; whether there was news.
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

/// What a directory remembers.
fn written(directory: &StateDir) -> io::Result<HashMap<Revocation, EpochMillis>> {
    Ok(directory.read(FILE)?.map(|content| parse(&content)).unwrap_or_default())
}

/// A line that cannot be read is passed over: the rest must hold.
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
