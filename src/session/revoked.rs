//! [`Revoked`]: sessions that somebody has ended, before their time.
//!
//! An entry names a client, a PAT version or one session, and covers what was opened until then. It stays for as long as a
//! ticket of such a session could live: a session that is covered gets no new ticket.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use super::ticket::{SessionId, Ticket, millis};
use crate::base::names::ClientName;
use crate::state::StateDir;

const FILE: &str = "revoked";

/// What is ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// All sessions of a client.
    Client(ClientName),
    /// All sessions that a PAT version opened, by its fingerprint.
    Pat(String),
    /// One.
    Session(SessionId),
}

impl Target {
    /// Reads `client:NAME`, `pat:FINGERPRINT` or `session:ID`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        match kind {
            "client" => ClientName::parse(name).map(Self::Client),
            "pat" => {
                let whole = name.len() == 12 && name.bytes().all(|digit| digit.is_ascii_hexdigit());
                whole.then(|| Self::Pat(name.to_ascii_lowercase()))
            }
            "session" => SessionId::parse(name).map(Self::Session),
            _ => None,
        }
    }
}

impl std::fmt::Display for Target {
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
    all: ArcSwap<HashMap<Target, u64>>,
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
        let until = |target: Target| all.get(&target).is_some_and(|until| ticket.opened <= *until);
        // A session is ended whatever the clock of the gate says that has opened it.
        all.contains_key(&Target::Session(ticket.session))
            || until(Target::Client(ticket.client.clone()))
            || until(Target::Pat(ticket.pat.to_string()))
    }

    /// Everything, each with the time until which it holds.
    pub fn all(&self) -> Vec<(Target, u64)> {
        self.all.load().iter().map(|(target, until)| (target.clone(), *until)).collect()
    }

    /// Ends what was opened until `at`; whether that was news.
    ///
    /// # Errors
    /// When it cannot be remembered; it holds all the same, until this process ends.
    pub fn add(&self, target: Target, at: SystemTime) -> io::Result<bool> {
        self.merge([(target, millis(at))])
    }

    /// Takes over what another replica knows; whether there was news.
    ///
    /// # Errors
    /// Like [`Revoked::add`].
    pub fn merge(&self, entries: impl IntoIterator<Item = (Target, u64)>) -> io::Result<bool> {
        let mut news = false;
        self.change(|all| news = join(all, entries))?;
        Ok(news)
    }

    /// Changes what is known here, and then what is written down: what another process has written meanwhile stays.
    fn change(&self, change: impl FnOnce(&mut HashMap<Target, u64>)) -> io::Result<()> {
        let _one_at_a_time = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.all.load();
        let mut all = HashMap::clone(&before);
        change(&mut all);
        if all == **before {
            return Ok(());
        }
        let gone: Vec<Target> = before.keys().filter(|target| !all.contains_key(target)).cloned().collect();
        self.all.store(Arc::new(all.clone()));
        let Some(directory) = &self.directory else { return Ok(()) };
        let file = directory.lock(FILE)?;
        join(&mut all, written(directory)?.into_iter().filter(|(target, _)| !gone.contains(target)));
        file.replace(Self::write(&all).as_bytes())?;
        self.all.store(Arc::new(all));
        Ok(())
    }

    /// Forgets what can concern nothing that lives: `longest` is how long a ticket may.
    ///
    /// # Errors
    /// Like [`Revoked::add`].
    pub fn tidy(&self, now: SystemTime, longest: Duration) -> io::Result<()> {
        let lives = |until: u64| u128::from(millis(now).saturating_sub(until)) <= longest.as_millis();
        self.change(|all| all.retain(|_, until| lives(*until)))
    }

    /// Takes up what another process of the same directory has written down.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn catch_up(&self) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let _one_at_a_time = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = HashMap::clone(&self.all.load());
        join(&mut all, written(directory)?);
        self.all.store(all.into());
        Ok(())
    }

    fn write(all: &HashMap<Target, u64>) -> String {
        let mut lines: Vec<String> = all.iter().map(|(target, until)| format!("{until} {target}\n")).collect();
        lines.sort_unstable();
        lines.concat()
    }
}

/// Adds entries, each with the later of its times; whether there was news.
fn join(all: &mut HashMap<Target, u64>, entries: impl IntoIterator<Item = (Target, u64)>) -> bool {
    let mut news = false;
    for (target, at) in entries {
        let until = all.entry(target).or_default();
        news |= *until < at;
        *until = at.max(*until);
    }
    news
}

/// What a directory remembers.
fn written(directory: &StateDir) -> io::Result<HashMap<Target, u64>> {
    Ok(directory.read(FILE)?.map(|content| parse(&content)).unwrap_or_default())
}

/// A line that cannot be read is passed over: the rest must hold.
fn parse(content: &[u8]) -> HashMap<Target, u64> {
    let text = String::from_utf8_lossy(content);
    let entry = |line: &str| {
        let (until, target) = line.split_once(' ')?;
        Some((Target::parse(target)?, until.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::ticket::tests::ticket;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn what_was_opened_until_then_is_over_also_for_the_next_process() {
        let home = tempfile::tempdir().unwrap();
        let open = || Revoked::open(Some(StateDir::open(home.path()).unwrap())).unwrap();
        let targets = ["client:power-bi", "pat:0123456789ab", &format!("session:{}", ticket().session)];
        for target in targets {
            let revoked = open();
            assert!(!revoked.covers(&ticket()));
            assert!(revoked.add(Target::parse(target).unwrap(), at(1_000)).unwrap());
            assert!(!revoked.add(Target::parse(target).unwrap(), at(999)).unwrap(), "no news");
            assert!(revoked.covers(&ticket()) && open().covers(&ticket()), "{target}");
            let later = Ticket { opened: 1_001, ..ticket() };
            let session = target.starts_with("session");
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
        one.add(Target::parse("client:power-bi").unwrap(), at(1_000)).unwrap();
        other.add(Target::parse("client:another").unwrap(), at(1_000)).unwrap();
        assert!(other.covers(&ticket()), "what is written is read first");
        one.catch_up().unwrap();
        assert_eq!((one.all.load().len(), open().all.load().len()), (2, 2));
    }

    #[test]
    fn others_do_not_count() {
        let revoked = Revoked::open(None).unwrap();
        revoked.merge([(Target::parse("client:another").unwrap(), 5_000)]).unwrap();
        assert!(!revoked.covers(&ticket()));
        for bad in ["", "client:", "client:A", "session:1", "pat:x", "user:a"] {
            assert_eq!(Target::parse(bad), None, "{bad}");
        }
    }
}
