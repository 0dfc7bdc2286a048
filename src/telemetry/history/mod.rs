//! [`History`]: the records of the last days, in a SQLite database in the state directory.
//!
//! Several gates may write to one database, and commands read it while they do: the journal is a write-ahead log. What
//! matters (logins, failures, acts) and the many requests that went well stand in tables of their own: where the
//! database reaches its size, the oldest of the many go first, and no more of them are written until there is room.
//!
//! `patgate explain` and `patgate status` read it ([`Reader`]), also while no gate runs.

mod read;

use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Transaction, params};

use super::act::Act;
use super::story::Story;
use crate::base::epoch::EpochMillis;
use crate::config;
use crate::state::StateDir;

pub use read::{PastAct, Reader};

/// The database's file in the state directory.
pub const FILE: &str = "history.db";
/// How long a writer waits for another process.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many rows one step of the clean-up removes.
const STEP: u32 = 5_000;

const SCHEMA: &str = "
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA journal_size_limit = 16777216;
    CREATE TABLE IF NOT EXISTS important (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, trace TEXT NOT NULL, session TEXT, client TEXT, credential TEXT,
        code TEXT, story TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS routine (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, trace TEXT NOT NULL, session TEXT, story TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS acts (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, event TEXT NOT NULL, act TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS important_trace ON important (trace);
    CREATE INDEX IF NOT EXISTS important_session ON important (session) WHERE session IS NOT NULL;
    CREATE INDEX IF NOT EXISTS important_client ON important (client, at) WHERE client IS NOT NULL;
    CREATE INDEX IF NOT EXISTS important_at ON important (at);
    CREATE INDEX IF NOT EXISTS routine_trace ON routine (trace);
    CREATE INDEX IF NOT EXISTS routine_session ON routine (session) WHERE session IS NOT NULL;
    CREATE INDEX IF NOT EXISTS acts_at ON acts (at);
    CREATE INDEX IF NOT EXISTS acts_event ON acts (event, at);
";

/// The history, to write to.
pub struct History {
    connection: Connection,
    keep: Duration,
    size: u64,
    /// Whether it is full: then the many are not written, until there is room.
    full: bool,
}

/// What is written down at once.
pub struct Batch<'a> {
    /// Records.
    pub stories: &'a [Story],
    /// Acts, with their time.
    pub acts: &'a [(EpochMillis, Act)],
}

impl History {
    /// Opens the history; `None` if the configuration wants none.
    ///
    /// # Errors
    /// If the database cannot be made or opened.
    pub fn open(settings: &config::History, state: &StateDir) -> io::Result<Option<Self>> {
        if settings.keep.is_zero() {
            return Ok(None);
        }
        let path = state.path().join(FILE);
        // SQLite makes its files with the rights of the first one.
        state.private_file(FILE)?;
        let opened = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(PATIENCE)?;
            connection.execute_batch(SCHEMA)?;
            Ok(connection)
        };
        let connection = opened().map_err(|error| failed(&path, &error))?;
        Ok(Some(Self { connection, keep: settings.keep, size: settings.size as u64, full: false }))
    }

    /// Writes a batch, all or nothing.
    ///
    /// # Errors
    /// If the database cannot be written, such as on a full disk.
    pub fn write(&mut self, batch: &Batch<'_>) -> io::Result<()> {
        let full = self.full;
        let mut wrote = || -> rusqlite::Result<()> {
            let all = self.connection.transaction()?;
            for story in batch.stories.iter().filter(|story| !full || story.matters()) {
                insert(&all, story)?;
            }
            for (at, act) in batch.acts {
                let text = serde_json::to_string(act).unwrap_or_default();
                let mut insert = all.prepare_cached("INSERT INTO acts (at, event, act) VALUES (?1, ?2, ?3)")?;
                insert.execute(params![number(at.0), act.event, text])?;
            }
            all.commit()
        };
        wrote().map_err(io::Error::other)
    }

    /// Removes what is too old, and of what is too much the oldest, for as long as `patience` lets it.
    ///
    /// # Errors
    /// Like [`History::write`].
    pub fn tidy(&mut self, now: EpochMillis, patience: impl Fn() -> bool) -> io::Result<()> {
        let oldest = now.0.saturating_sub(u64::try_from(self.keep.as_millis()).unwrap_or(u64::MAX));
        let tidied = || -> rusqlite::Result<()> {
            for table in ["routine", "important", "acts"] {
                let old =
                    format!("DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE at < ?1 LIMIT {STEP})");
                while self.connection.execute(&old, [number(oldest)])? > 0 && patience() {}
            }
            while self.is_full()? && patience() {
                let tables: &[_] = if self.rows("routine")? > 0 { &["routine"] } else { &["important", "acts"] };
                for table in tables {
                    let first =
                        format!("DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT {STEP})");
                    self.connection.execute(&first, [])?;
                }
            }
            self.connection.execute_batch("PRAGMA incremental_vacuum(20000)")
        };
        tidied().map_err(io::Error::other)?;
        self.full = self.is_full().map_err(io::Error::other)?;
        Ok(())
    }

    /// Whether the database has reached its size.
    fn is_full(&self) -> rusqlite::Result<bool> {
        Ok(self.used()? > self.size)
    }

    /// Whether a table has rows: 0 or 1.
    fn rows(&self, table: &str) -> rusqlite::Result<i64> {
        self.connection
            .query_row(&format!("SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 1)"), [], |row| row.get(0))
    }

    /// The bytes in use.
    fn used(&self) -> rusqlite::Result<u64> {
        let pragma = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
        Ok(u64::try_from(pages.saturating_mul(pragma("page_size")?)).unwrap_or_default())
    }
}

fn insert(all: &Transaction<'_>, story: &Story) -> rusqlite::Result<()> {
    let text = serde_json::to_string(story).unwrap_or_default();
    let at = number(story.at.0);
    if story.matters() {
        let code = story.fault.as_ref().map(|fault| &fault.code);
        let row = params![at, story.trace, story.session, story.client, story.credential, code, text];
        let sql = "INSERT INTO important (at, trace, session, client, credential, code, story)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        all.prepare_cached(sql)?.execute(row)?;
    } else {
        let sql = "INSERT INTO routine (at, trace, session, story) VALUES (?1, ?2, ?3, ?4)";
        all.prepare_cached(sql)?.execute(params![at, story.trace, story.session, text])?;
    }
    Ok(())
}

/// SQLite's numbers have a sign.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn failed(path: &Path, error: &rusqlite::Error) -> io::Error {
    io::Error::other(format!("the history {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::story::FaultStory;

    fn story(number: u64, trace: &str, failed: bool) -> Story {
        Story {
            trace: trace.to_owned(),
            at: EpochMillis(1_000_000 + number),
            route: "query".to_owned(),
            client: Some("excel".to_owned()),
            session: Some("s1".to_owned()),
            fault: failed.then(|| FaultStory { code: "PG-605".to_owned(), ..FaultStory::default() }),
            ..Story::default()
        }
    }

    fn open(home: &Path, size: usize) -> (History, Reader) {
        let state = StateDir::open(home).unwrap();
        let settings = config::History { keep: Duration::from_secs(1_000), size };
        (History::open(&settings, &state).unwrap().unwrap(), Reader::open(home).unwrap())
    }

    #[test]
    fn what_was_written_is_found_by_trace_and_by_session_also_by_another_process() {
        let home = tempfile::tempdir().unwrap();
        let (mut history, reader) = open(home.path(), 64 << 20);
        let all = [story(1, "aa", false), story(2, "bb", true), story(3, "aa", true)];
        let one = |at: u64, event: &str| (EpochMillis(1_000_000 + at), Act::of(event, at.to_string()));
        let acts = [one(1, "started"), one(2, "configuration"), one(3, "session_ended"), one(5, "configuration")];
        history.write(&Batch { stories: &all, acts: &acts }).unwrap();
        let found = reader.by_trace("aa").unwrap();
        assert_eq!(found.iter().map(|story| story.at.0).collect::<Vec<_>>(), [1_000_001, 1_000_003]);
        assert_eq!(found[1], all[2]);
        assert_eq!(reader.by_session("s1").unwrap().len(), 3);
        let causes = |until, count| {
            let acts = reader.acts(&["started", "configuration"], EpochMillis(1_000_001), EpochMillis(until), count);
            acts.unwrap().into_iter().map(|past| past.act.detail).collect::<Vec<_>>()
        };
        assert_eq!(
            (causes(1_000_004, 9), causes(1_000_009, 2)),
            (["2", "1"].map(str::to_owned).into(), ["5", "2"].map(str::to_owned).into())
        );
        let told = reader.failures(EpochMillis(0), EpochMillis(2_000_000)).unwrap();
        assert_eq!(told, [("PG-605".to_owned(), 2)]);
    }

    #[test]
    fn the_oldest_of_the_many_go_first_and_the_old_go_in_any_case() {
        let home = tempfile::tempdir().unwrap();
        let (mut history, reader) = open(home.path(), 1 << 20);
        let mut all: Vec<_> = (0..12_000).map(|number| story(number, "aa", false)).collect();
        all.push(story(1, "bb", true));
        history.write(&Batch { stories: &all, acts: &[] }).unwrap();
        let before = history.used().unwrap();
        assert!(before > 1 << 20);
        history.tidy(EpochMillis(1_000_000), || false).unwrap();
        history.write(&Batch { stories: &[story(20_000, "cc", false), story(20_001, "dd", true)], acts: &[] }).unwrap();
        assert!(reader.by_trace("cc").unwrap().is_empty(), "a full history takes what matters alone");
        assert_eq!(reader.by_trace("dd").unwrap().len(), 1);
        history.tidy(EpochMillis(1_000_000), || true).unwrap();
        assert!(history.used().unwrap() <= 1 << 20);
        assert_eq!(reader.by_trace("bb").unwrap().len(), 1, "what matters stays");
        let left = reader.by_trace("aa").unwrap();
        assert!(!left.is_empty() && left[0].at.0 > 1_004_000, "{}", left.len());
        history.tidy(EpochMillis(3_000_000), || true).unwrap();
        assert!(reader.by_trace("aa").unwrap().is_empty() && reader.by_trace("bb").unwrap().is_empty());
    }
}
