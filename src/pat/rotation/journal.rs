//! [`Journal`]: what the gate knows of a token's rotations, on disk. It holds fingerprints and names, and no secret.
//!
//! Each step of a rotation is written before and after it is taken, and is on the disk before the next one begins. The
//! process may therefore die anywhere: [`super::recovery`] holds what is written here against what Snowflake and the
//! store say.
//!
//! Several processes may share the directory. Each change reads the file, changes it and replaces it under a lock.

use std::io::{self, ErrorKind};

use serde::{Deserialize, Serialize};

use super::plan::{How, Why};
use crate::base::epoch::EpochMillis;
use crate::base::fault::Owner;
use crate::base::ids::PatId;
use crate::state::{Locked, StateDir};

/// How many versions are remembered: as many tokens as a user may have.
const VERSIONS: usize = 16;

/// How often a lock is tried that another process has; each try takes a tenth of a second.
const TRIES: u32 = 30;

/// The journal of one token.
pub(super) struct Journal {
    state: StateDir,
    file: String,
}

/// What the journal of a token says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The token's name, for people who read the file.
    #[serde(default)]
    pub token: String,
    /// The version that the store has, and when the gate first saw it there.
    #[serde(default)]
    pub seen: Option<Seen>,
    /// When the last rotation of a gate with this directory was done.
    #[serde(default)]
    pub last: Option<EpochMillis>,
    /// The versions that such rotations made, the youngest last.
    #[serde(default)]
    pub versions: Vec<KnownVersion>,
    /// The rotation under way.
    #[serde(default)]
    pub open: Option<Open>,
    /// What has to be removed at Snowflake, and when.
    #[serde(default)]
    pub removals: Vec<Removal>,
    /// Why the last try failed; `None` after one that did not.
    #[serde(default)]
    pub failure: Option<Failure>,
}

/// A version in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its fingerprint.
    pub version: PatId,
    /// Since when the gate has seen it.
    pub at: EpochMillis,
    /// Whether it was there at the gate's first look: that says nothing of its age.
    #[serde(default)]
    pub was_there: bool,
}

/// A version that the gate made or replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownVersion {
    /// Its fingerprint.
    pub version: PatId,
    /// Its name at Snowflake since it was rotated; `None` for the one that has the token's own name.
    pub name: Option<String>,
    /// When a login with it succeeded; `None` for one that the gate has only replaced.
    pub proven: Option<EpochMillis>,
}

/// A rotation under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Why it was begun.
    pub why: Why,
    /// When.
    pub begun: EpochMillis,
    /// How far it is.
    pub step: Step,
    /// The statement that makes the token.
    pub how: How,
    /// Whether the old token is removed as soon as the new one is in use.
    pub remove_old: bool,
    /// The version in the store before.
    pub old: PatId,
    /// Whether a token of the name was there before.
    pub had_token: bool,
    /// The names of rotated tokens that were there before.
    pub before: Vec<String>,
    /// The name that the old token has now, where it is known.
    pub old_name: Option<String>,
    /// Tokens that this rotation made and whose secret is lost.
    pub lost: Vec<String>,
    /// The version that it made.
    pub new: Option<PatId>,
}

/// How far a rotation is. Each step stands there before it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A token is being made: its secret may be lost.
    Making,
    /// It is made, and its secret is in memory.
    Made,
    /// A login with it is under way.
    Proving,
    /// That login has succeeded.
    Proven,
    /// It is being written to the store.
    Writing,
    /// The store has given it back.
    Written,
    /// Clients log in with it from now on. Then the rotation is done: what is left is in `removals`.
    Using,
}

/// A token that has to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Its name.
    pub name: String,
    /// When.
    pub at: EpochMillis,
}

/// A try that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub at: EpochMillis,
    /// How many in a row.
    pub times: u32,
    /// Who has to act.
    pub owner: Owner,
    /// What failed.
    pub cause: String,
    /// What to do.
    pub next_step: String,
}

impl Entry {
    /// Records the version that the store has now; `true` if another one was there before, and this one is not known.
    pub fn saw(&mut self, version: &PatId, now: EpochMillis) -> bool {
        if self.seen.as_ref().is_some_and(|seen| seen.version == *version) {
            return false;
        }
        let known = self.versions.iter().any(|known| known.version == *version)
            || self.open.as_ref().is_some_and(|open| open.new.as_ref() == Some(version));
        let is_foreign = self.seen.is_some() && !known;
        let was_there = self.seen.is_none() && !known;
        self.seen = Some(Seen { version: version.clone(), at: now, was_there });
        is_foreign
    }

    /// Records that a rotation is done.
    pub fn done(&mut self, open: &Open, new: &PatId, proven: EpochMillis, now: EpochMillis) {
        let was_proven = |known: &KnownVersion| (known.version == open.old).then_some(known.proven).flatten();
        let old_proven = self.versions.iter().find_map(was_proven);
        self.versions.retain(|known| known.version != open.old && known.version != *new);
        let name = open.old_name.clone();
        self.versions.push(KnownVersion { version: open.old.clone(), name, proven: old_proven });
        self.versions.push(KnownVersion { version: new.clone(), name: None, proven: Some(proven) });
        let surplus = self.versions.len().saturating_sub(VERSIONS);
        self.versions.drain(..surplus);
        self.saw(new, now);
        (self.last, self.open, self.failure) = (Some(now), None, None);
    }

    /// The version that a name at Snowflake stands for, where it is known.
    pub fn version_of(&self, name: &str) -> Option<&PatId> {
        let is_it = |known: &&KnownVersion| known.name.as_deref() == Some(name);
        self.versions.iter().find(is_it).map(|known| &known.version)
    }
}

impl Journal {
    pub(super) fn new(state: StateDir, file: String) -> Self {
        Self { state, file }
    }

    /// What it says; nothing if there is none yet.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged: a gate that forgets what it has under way could make tokens for ever.
    pub(super) fn read(&self) -> io::Result<Entry> {
        let Some(content) = self.state.read(&self.file)? else { return Ok(Entry::default()) };
        let damaged = |error| {
            let path = self.state.path().join(&self.file).display().to_string();
            io::Error::other(format!("{path} cannot be read: {error}. Move it away; the next rotation makes a new one"))
        };
        serde_json::from_slice(&content).map_err(damaged)
    }

    /// The lock, whose holder may wait for a busy disk.
    fn locked(&self) -> io::Result<Locked<'_>> {
        let mut tries = 1;
        loop {
            match self.state.lock(&self.file) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && tries < TRIES => tries += 1,
                locked => return locked,
            }
        }
    }

    /// Changes it, and returns what it says then, when that is on the disk.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub(super) fn change(&self, change: impl FnOnce(&mut Entry)) -> io::Result<Entry> {
        let locked = self.locked()?;
        let mut entry = self.read()?;
        let before = entry.clone();
        change(&mut entry);
        if entry != before {
            locked.replace_durably(&serde_json::to_vec(&entry).map_err(io::Error::other)?)?;
        }
        Ok(entry)
    }
}
