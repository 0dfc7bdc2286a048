//! [`Reader`]: questions to the history.

use std::io;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row, params};

use super::{FILE, PATIENCE, failed, number};
use crate::base::epoch::EpochMillis;
use crate::telemetry::act::Act;
use crate::telemetry::story::Story;

/// How many records an answer has at most.
const MOST: u32 = 1_000;

/// The history, to read from.
pub struct Reader {
    connection: Connection,
}

/// An act of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastAct {
    /// When.
    pub at: EpochMillis,
    /// What.
    pub act: Act,
}

impl Reader {
    /// Opens the history in a state directory, whether or not a gate writes to it.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE);
        if let Err(error) = std::fs::metadata(&path) {
            let text = match error.kind() {
                io::ErrorKind::NotFound => format!("there is no history at {}", path.display()),
                _ => format!("{}: {error}. Run this as root, or as the gate's user", path.display()),
            };
            return Err(io::Error::new(error.kind(), text));
        }
        let opened = || -> rusqlite::Result<Connection> {
            let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            connection.busy_timeout(PATIENCE)?;
            Ok(connection)
        };
        Ok(Self { connection: opened().map_err(|error| failed(&path, &error))? })
    }

    /// All requests under a trace id, the oldest first. A driver may choose one id for many.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn by_trace(&self, trace: &str) -> io::Result<Vec<Story>> {
        self.stories("trace = ?1", trace)
    }

    /// All requests of a session, the oldest first.
    ///
    /// # Errors
    /// Like [`Reader::by_trace`].
    pub fn by_session(&self, session: &str) -> io::Result<Vec<Story>> {
        self.stories("session = ?1", session)
    }

    fn stories(&self, which: &str, value: &str) -> io::Result<Vec<Story>> {
        // Of very many the failures first, then the newest.
        let sql = format!(
            "SELECT at, story FROM (SELECT at, story, failed FROM (SELECT at, story, code IS NOT NULL AS failed FROM \
             important WHERE {which} UNION ALL SELECT at, story, 0 AS failed FROM routine WHERE {which}) ORDER BY \
             failed DESC, at DESC LIMIT {MOST}) ORDER BY at"
        );
        self.rows(&sql, params![value], |row| row.get::<_, String>(1)).map(|texts| read(&texts))
    }

    /// The last login of a client that went well before a time.
    ///
    /// # Errors
    /// Like [`Reader::by_trace`].
    pub fn last_success(&self, client: &str, before: EpochMillis) -> io::Result<Option<Story>> {
        let sql = "SELECT story FROM important WHERE client = ?1 AND at < ?2 AND code IS NULL ORDER BY at DESC LIMIT 1";
        let texts = self.rows(sql, params![client, number(before.0)], |row| row.get::<_, String>(0))?;
        Ok(read(&texts).pop())
    }

    /// The last acts of these kinds between two times, the newest first, and at most `count`.
    ///
    /// # Errors
    /// Like [`Reader::by_trace`].
    pub fn acts(&self, events: &[&str], from: EpochMillis, to: EpochMillis, count: u32) -> io::Result<Vec<PastAct>> {
        let sql = "SELECT at, act FROM acts WHERE event = ?1 AND at BETWEEN ?2 AND ?3 ORDER BY at DESC LIMIT ?4";
        let mut all = Vec::new();
        for event in events {
            let values = params![event, number(from.0), number(to.0), count];
            all.extend(self.rows(sql, values, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?);
        }
        let mut acts: Vec<_> = all.into_iter().filter_map(past_act).collect();
        acts.sort_by_key(|past| std::cmp::Reverse(past.at));
        acts.truncate(count as usize);
        Ok(acts)
    }

    /// How often each code failed between two times, the most frequent first.
    ///
    /// # Errors
    /// Like [`Reader::by_trace`].
    pub fn failures(&self, from: EpochMillis, to: EpochMillis) -> io::Result<Vec<(String, u64)>> {
        let sql = "SELECT code, count(*) AS times FROM important WHERE at BETWEEN ?1 AND ?2 AND code IS NOT NULL \
                   GROUP BY code ORDER BY times DESC, code";
        self.rows(sql, params![number(from.0), number(to.0)], |row| {
            Ok((row.get(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default()))
        })
    }

    /// The last failures before a time, the newest first.
    ///
    /// # Errors
    /// Like [`Reader::by_trace`].
    pub fn last_failures(&self, before: EpochMillis, count: u32) -> io::Result<Vec<Story>> {
        let sql = "SELECT story FROM important WHERE at <= ?1 AND code IS NOT NULL ORDER BY at DESC LIMIT ?2";
        let texts = self.rows(sql, params![number(before.0), count], |row| row.get::<_, String>(0))?;
        Ok(read(&texts))
    }

    fn rows<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        take: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> io::Result<Vec<T>> {
        let rows = || -> rusqlite::Result<Vec<T>> {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_map(values, take)?.collect()
        };
        rows().map_err(|error| {
            let text = error.to_string();
            let hint = match text.contains("no such table") {
                true => ". A copy needs the file history.db-wal beside it",
                false => "",
            };
            io::Error::other(format!("the history cannot be read: {text}{hint}"))
        })
    }
}

fn past_act((at, text): (i64, String)) -> Option<PastAct> {
    let act = serde_json::from_str(&text).ok()?;
    Some(PastAct { at: EpochMillis(u64::try_from(at).ok()?), act })
}

/// Stories from their texts; a text of another version that cannot be read is left out.
fn read(texts: &[String]) -> Vec<Story> {
    texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
}
