//! [`Revoked`]: the sessions that the operator has ended early.
//!
//! An entry names a client, a PAT version, one session, or all, and has a number. Every new session gets the highest
//! number that its gate knows, and an entry covers the sessions with lower ones: those that were opened before it. So
//! a clock that was wrong refuses no new session. A number is at least the milliseconds of the clock that made it, so
//! that gates that do not know of each other's entries agree; it is never used as a time.
//!
//! An entry stays as long as a ticket of a covered session can live: a covered session gets no new ticket. That time
//! counts from when this gate learned of the entry. The highest number stays for ever.
//!
//! What cannot be read ends all sessions that are open: it may have named any of them.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::base::epoch::EpochMillis;
use crate::base::ids::{PatId, SessionId};
use crate::base::names::ClientName;
use crate::state::StateDir;
use crate::ticket::Ticket;

const FILE: &str = "revoked";
/// The name of the highest number in the file.
const NEWEST: &str = "newest";
/// Above every number that a clock can make, and exact where a number is a fraction, as in Redis.
const MOST: u64 = 1 << 53;

/// The sessions to end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Revocation {
    /// All sessions of a client.
    Client(ClientName),
    /// All sessions that a PAT version opened, by its fingerprint.
    Pat(PatId),
    /// One.
    Session(SessionId),
    /// All.
    All,
}

impl Revocation {
    /// Reads `client:NAME`, `pat:FINGERPRINT`, `session:ID` or `all`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "all" {
            return Some(Self::All);
        }
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
            Self::All => true,
        }
    }
}

impl std::fmt::Display for Revocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(name) => write!(f, "client:{name}"),
            Self::Pat(id) => write!(f, "pat:{id}"),
            Self::Session(id) => write!(f, "session:{id}"),
            Self::All => f.write_str("all"),
        }
    }
}

/// The ended sessions. Readers get the whole table without a lock.
pub struct Revoked {
    all: ArcSwap<Entries>,
    /// The highest number: of an entry, or of a session that another gate opened.
    newest: AtomicU64,
    directory: Option<StateDir>,
    /// Held during a change; reading needs no lock. It has what was last read and could not be understood.
    turn: Mutex<Vec<u8>>,
}

type Entries = HashMap<Revocation, Entry>;

/// What is known of an ended client, PAT version or session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// It covers sessions with lower numbers.
    number: u64,
    /// When this gate learned of it; never in the future.
    learned: EpochMillis,
}

/// The content of the file.
#[derive(Default)]
struct Written {
    entries: Entries,
    newest: u64,
    /// Whether there is a line that cannot be read.
    damaged: bool,
}

impl Revoked {
    /// Reads the entries in `directory`, if there is one.
    ///
    /// # Errors
    /// If it cannot read them.
    pub fn open(directory: Option<StateDir>, now: SystemTime) -> io::Result<Self> {
        let revoked =
            Self { all: ArcSwap::default(), newest: AtomicU64::new(0), directory, turn: Mutex::new(Vec::new()) };
        revoked.catch_up(now)?;
        Ok(revoked)
    }

    /// The number of a session that is opened now.
    pub fn number(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// Whether a ticket's session has been ended.
    pub fn covers(&self, ticket: &Ticket) -> bool {
        if ticket.number > self.newest.load(Ordering::Relaxed) {
            // Another gate knows of an entry that this one does not know yet. The next one made here must be higher.
            self.newest.fetch_max(ticket.number, Ordering::AcqRel);
        }
        let all = self.all.load();
        if all.is_empty() {
            return false;
        }
        let before = |revocation: Revocation| all.get(&revocation).is_some_and(|entry| ticket.number < entry.number);
        all.contains_key(&Revocation::Session(ticket.session))
            || before(Revocation::Client(ticket.client.clone()))
            || before(Revocation::Pat(ticket.pat.clone()))
            || before(Revocation::All)
    }

    /// Everything, each with its number.
    pub fn all(&self) -> Vec<(Revocation, u64)> {
        self.all.load().iter().map(|(revocation, entry)| (revocation.clone(), entry.number)).collect()
    }

    /// Ends the sessions opened until now; returns the number of the entry.
    ///
    /// # Errors
    /// The number, and the error, if it cannot write the entry to disk; the entry then holds until this process ends.
    pub fn add(&self, revocation: Revocation, now: SystemTime) -> (u64, io::Result<()>) {
        let number = self.next(now);
        (number, self.merge([(revocation, number)], now).map(|_news| ()))
    }

    /// A number above all that are known, also to gates whose entries are not known here.
    fn next(&self, now: SystemTime) -> u64 {
        self.number().saturating_add(1).max(EpochMillis::of(now).0).min(MOST - 1)
    }

    /// Takes over the entries of another replica; returns whether any is new.
    ///
    /// # Errors
    /// If it cannot write them to disk; they then hold until this process ends.
    pub fn merge(&self, entries: impl IntoIterator<Item = (Revocation, u64)>, now: SystemTime) -> io::Result<bool> {
        let learned = EpochMillis::of(now);
        let mut news = false;
        // A number that no gate can have made would end every session for ever.
        let entries = entries
            .into_iter()
            .filter(|(_, number)| *number < MOST)
            .map(|(revocation, number)| (revocation, Entry { number, learned }));
        self.change(now, |all| news = join(all, entries))?;
        Ok(news)
    }

    /// Changes the entries in memory, then those on disk. It keeps what another process has written meanwhile.
    fn change(&self, now: SystemTime, change: impl FnOnce(&mut Entries)) -> io::Result<()> {
        let mut seen = self.turn.lock();
        let before = self.all.load();
        let mut all = Entries::clone(&before);
        change(&mut all);
        if all == **before {
            return Ok(());
        }
        let gone: Vec<Revocation> = before.keys().filter(|revocation| !all.contains_key(revocation)).cloned().collect();
        self.publish(all.clone());
        let Some(directory) = &self.directory else { return Ok(()) };
        let file = directory.lock(FILE)?;
        let (written, _damaged) = self.understood(&mut seen, directory, now)?;
        join(&mut all, written.into_iter().filter(|(revocation, _)| !gone.contains(revocation)));
        self.publish(all.clone());
        file.replace(self.write(&all).as_bytes())
    }

    /// Forgets entries that no living ticket can match; `longest` is the longest lifetime of a ticket.
    ///
    /// # Errors
    /// Like [`Revoked::merge`].
    pub fn tidy(&self, now: SystemTime, longest: Duration) -> io::Result<()> {
        let at = EpochMillis::of(now);
        self.change(now, |all| {
            all.retain(|_, entry| at.since(entry.learned) <= longest);
            // A clock that was set back must not keep them longer.
            all.values_mut().for_each(|entry| entry.learned = entry.learned.min(at));
        })
    }

    /// Reads the entries that another process has written to the same directory.
    ///
    /// # Errors
    /// If it cannot read them.
    pub fn catch_up(&self, now: SystemTime) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let mut seen = self.turn.lock();
        let mut all = Entries::clone(&self.all.load());
        let (written, damaged) = self.understood(&mut seen, directory, now)?;
        join(&mut all, written);
        self.publish(all.clone());
        // Written at once, so that a restart does not end the sessions again that are opened from now on.
        if damaged { directory.lock(FILE)?.replace(self.write(&all).as_bytes()) } else { Ok(()) }
    }

    /// The entries in a directory. What cannot be read there ends all sessions, once for the same content; returns also
    /// whether it does that now.
    fn understood(&self, seen: &mut Vec<u8>, directory: &StateDir, now: SystemTime) -> io::Result<(Entries, bool)> {
        let content = directory.read(FILE)?.unwrap_or_default();
        let Written { mut entries, newest, damaged } = parse(&content, EpochMillis::of(now));
        self.newest.fetch_max(newest, Ordering::AcqRel);
        let damaged = damaged && *seen != content;
        if damaged {
            let number = self.next(now).max(newest.saturating_add(1));
            entries.insert(Revocation::All, Entry { number, learned: EpochMillis::of(now) });
            tracing::error!(
                owner = "gate", file = FILE, directory = %directory.path().display(),
                "a line of the ended sessions cannot be read: all open sessions are ended, and have to log in again"
            );
            *seen = content;
        }
        Ok((entries, damaged))
    }

    fn publish(&self, all: Entries) {
        let newest = all.values().map(|entry| entry.number).max().unwrap_or_default();
        // First the entries: a session that is opened in between is then covered, and not the reverse.
        self.all.store(all.into());
        self.newest.fetch_max(newest, Ordering::AcqRel);
    }

    fn write(&self, all: &Entries) -> String {
        let line =
            |(revocation, entry): (&Revocation, &Entry)| format!("{} {} {revocation}\n", entry.number, entry.learned.0);
        let mut lines: Vec<String> = all.iter().map(line).collect();
        lines.sort_unstable();
        format!("{NEWEST} {}\n{}", self.number(), lines.concat())
    }
}

/// Adds entries, each with the higher of its numbers; returns whether any is new.
fn join(all: &mut Entries, entries: impl IntoIterator<Item = (Revocation, Entry)>) -> bool {
    let mut news = false;
    for (revocation, entry) in entries {
        match all.get_mut(&revocation) {
            Some(known) if known.number >= entry.number => {}
            Some(known) => (*known, news) = (entry, true),
            None => {
                all.insert(revocation, entry);
                news = true;
            }
        }
    }
    news
}

/// Reads the file: lines of a number, a time and what is ended. Before 0.2 the number was the time.
fn parse(content: &[u8], now: EpochMillis) -> Written {
    let mut written = Written::default();
    for line in content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match std::str::from_utf8(line).ok().and_then(read_line) {
            Some((None, newest)) => written.newest = written.newest.max(newest),
            Some((Some((revocation, learned)), number)) => {
                let entry = Entry { number, learned: learned.min(now) };
                written.newest = written.newest.max(number);
                join(&mut written.entries, [(revocation, entry)]);
            }
            None => written.damaged = true,
        }
    }
    written
}

fn read_line(line: &str) -> Option<(Option<(Revocation, EpochMillis)>, u64)> {
    let read = |number: &str| number.parse().ok().filter(|number| *number < MOST);
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        [NEWEST, number] => Some((None, read(number)?)),
        [number, learned, name] => {
            let learned = EpochMillis(learned.parse().ok()?);
            Some((Some((Revocation::parse(name)?, learned)), read(number)?))
        }
        [number, name] => {
            let number = read(number)?;
            Some((Some((Revocation::parse(name)?, EpochMillis(number))), number))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::tests::ticket;

    fn at(millis: u64) -> SystemTime {
        EpochMillis(millis).to_system_time()
    }

    fn named(text: &str) -> Revocation {
        Revocation::parse(text).unwrap()
    }

    /// A session that is opened now.
    fn opened(revoked: &Revoked) -> Ticket {
        Ticket { number: revoked.number(), session: crate::base::ids::SessionId([8; 16]), ..ticket() }
    }

    #[test]
    fn what_was_opened_before_is_over_also_for_the_next_process() {
        let home = tempfile::tempdir().unwrap();
        let open = || Revoked::open(Some(StateDir::open(home.path()).unwrap()), at(1_000)).unwrap();
        let targets = ["client:power-bi", "pat:0123456789ab", &format!("session:{}", ticket().session), "all"];
        for revocation in targets {
            let revoked = open();
            let before = Ticket { number: revoked.number(), ..ticket() };
            assert!(!revoked.covers(&before));
            revoked.add(named(revocation), at(1_000)).1.unwrap();
            assert!(revoked.covers(&before) && open().covers(&before), "{revocation}");
            assert!(!revoked.covers(&opened(&revoked)), "a login after it is a new session");
            assert!(!open().covers(&opened(&revoked)));
            revoked.tidy(at(1_100), Duration::from_millis(100)).unwrap();
            assert!(revoked.covers(&before));
            revoked.tidy(at(1_101), Duration::from_millis(100)).unwrap();
            assert!(!open().covers(&before));
            assert_eq!(open().number(), revoked.number(), "the highest number stays");
        }
    }

    #[test]
    fn a_clock_that_was_wrong_refuses_no_new_session_and_ends_the_old_ones() {
        let home = tempfile::tempdir().unwrap();
        let open = |now| Revoked::open(Some(StateDir::open(home.path()).unwrap()), at(now)).unwrap();
        // Written by an earlier version while the clock was a year ahead.
        std::fs::write(home.path().join(FILE), "31536000000 client:power-bi\n").unwrap();
        let revoked = open(5_000);
        assert!(revoked.covers(&Ticket { number: 4_000, ..ticket() }));
        assert!(!revoked.covers(&opened(&revoked)));
        // The clock is set back after sessions were opened: the operator's next word covers them.
        let late = opened(&revoked);
        assert_eq!(revoked.add(named("client:power-bi"), at(4_000)).0, 31_536_000_001);
        assert!(revoked.covers(&late) && !revoked.covers(&opened(&revoked)));
        // It is kept as long as any other, from when this gate learned of it.
        revoked.tidy(at(4_900), Duration::from_millis(1_000)).unwrap();
        assert!(revoked.covers(&late));
        revoked.tidy(at(5_100), Duration::from_millis(1_000)).unwrap();
        assert_eq!(revoked.all(), []);
    }

    #[test]
    fn gates_that_do_not_know_each_other_s_entries_agree() {
        let (one, other) = (Revoked::open(None, at(0)).unwrap(), Revoked::open(None, at(0)).unwrap());
        let (number, _) = one.add(named("client:power-bi"), at(9_000));
        // Opened at the gate that has not heard of it: too early, and ended when it hears.
        let early = opened(&other);
        assert!(!other.covers(&early));
        let after = opened(&one);
        assert!(!other.covers(&after));
        // What was opened after an entry that is not known here is covered by the next one made here.
        let (next, _) = other.add(named("client:power-bi"), at(2_000));
        assert!(next > number && other.covers(&after));
        assert!(other.merge([(named("all"), number)], at(2_000)).unwrap());
        assert!(!other.merge([(named("all"), number)], at(2_000)).unwrap(), "no news");
        assert!(other.covers(&early));
    }

    #[test]
    fn what_cannot_be_read_ends_all_sessions_once() {
        for damage in [
            &b"1000 client:power-bi\n99 session:\xff\n"[..],
            b"junk",
            b"5 user:a\n",
            b"1 2 3 4\n",
            b"\0\n",
            b"newest 18446744073709551615\n",
        ] {
            let home = tempfile::tempdir().unwrap();
            let open = || Revoked::open(Some(StateDir::open(home.path()).unwrap()), at(2_000)).unwrap();
            std::fs::write(home.path().join(FILE), damage).unwrap();
            let revoked = open();
            let other = Ticket { client: ClientName::parse("another").unwrap(), number: 1_500, ..ticket() };
            assert!(revoked.covers(&other) && !revoked.covers(&opened(&revoked)), "{damage:?}");
            let later = opened(&revoked);
            revoked.catch_up(at(3_000)).unwrap();
            assert!(!revoked.covers(&later), "once");
            // Also for the next process.
            let next = open();
            assert_eq!(next.number(), revoked.number());
            assert!(next.covers(&other) && !next.covers(&later));
        }
    }

    #[test]
    fn processes_of_one_directory_lose_nothing_of_each_other_s() {
        let home = tempfile::tempdir().unwrap();
        let open = || Revoked::open(Some(StateDir::open(home.path()).unwrap()), at(1_000)).unwrap();
        let (one, other) = (open(), open());
        one.add(named("client:power-bi"), at(1_000)).1.unwrap();
        other.add(named("client:another"), at(1_000)).1.unwrap();
        assert!(other.covers(&ticket()), "what is written is read first");
        one.catch_up(at(1_000)).unwrap();
        assert_eq!((one.all.load().len(), open().all.load().len()), (2, 2));
    }

    #[test]
    fn others_do_not_count() {
        let revoked = Revoked::open(None, at(0)).unwrap();
        revoked.merge([(named("client:another"), 5_000)], at(0)).unwrap();
        assert!(!revoked.covers(&ticket()));
        for bad in ["", "client:", "client:A", "session:1", "pat:x", "user:a", "all:", "All"] {
            assert_eq!(Revocation::parse(bad), None, "{bad}");
        }
    }
}
