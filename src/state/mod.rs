//! What outlives the process: a directory of small files, each replaced whole, readable by the gate's own user alone.
//!
//! A file is written beside its place and renamed over it, so that a reader, or a process that dies in the middle,
//! finds the old content or the new one. Nothing is flushed to the disk's platter: what is kept here is worth less
//! after a power cut than a login that waits for it.
//!
//! Several gates may share a directory: two on one host, or one and its successor. A [`Scratch`] belongs to one process
//! and is found by the next one when that has died.

#[cfg_attr(unix, path = "private_unix.rs")]
#[cfg_attr(windows, path = "private_windows.rs")]
mod private;

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Far more than any file here needs.
const LARGEST: u64 = 16 << 20;
/// How often a lock is tried, a millisecond apart. Whoever has it writes a small file.
const PATIENCE: u32 = 100;
/// How many processes may share a directory.
const PROCESSES: usize = 64;

/// A directory of the gate's own.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// The right to replace a file; it ends when this is dropped.
pub struct Locked<'a> {
    state: &'a StateDir,
    name: &'a str,
    _lock: File,
}

/// A file that one process writes over and over while it lives.
pub struct Scratch {
    file: File,
    name: String,
    length: usize,
    _lock: File,
}

impl StateDir {
    /// Opens the directory, made for the gate's user alone when it is missing.
    ///
    /// # Errors
    /// When it cannot be made, or nothing can be written there.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            private::directory(path)?;
        }
        let state = Self { path: path.to_owned() };
        drop(state.lock("probe")?);
        Ok(state)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file's content; `None` when there is no such file.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let mut content = Vec::new();
        match File::open(self.path.join(name)) {
            Ok(file) => file.take(LARGEST).read_to_end(&mut content).map(|_| Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// When a file was last replaced; `None` when there is none.
    pub fn changed(&self, name: &str) -> Option<SystemTime> {
        std::fs::metadata(self.path.join(name)).and_then(|metadata| metadata.modified()).ok()
    }

    /// Takes the right to replace a file, which one process has at a time.
    ///
    /// # Errors
    /// When it cannot be had within [`PATIENCE`].
    pub fn lock<'a>(&'a self, name: &'a str) -> io::Result<Locked<'a>> {
        let lock = private::scratch(&self.path.join(format!("{name}.lock")))?;
        let mut tries = 0;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Locked { state: self, name, _lock: lock }),
                Err(TryLockError::WouldBlock) if tries < PATIENCE => {
                    tries += 1;
                    std::thread::park_timeout(std::time::Duration::from_millis(1));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A scratch file of this process's own, and what those of dead processes hold. Theirs are emptied; our own still
    /// holds what was there until it is written: who takes that up writes it down elsewhere first.
    ///
    /// # Errors
    /// When none can be made.
    pub fn scratch(&self, name: &str) -> io::Result<(Scratch, Vec<Vec<u8>>)> {
        let (mut own, mut left) = (None, Vec::new());
        for number in 0..PROCESSES {
            let file = format!("{name}.{number}");
            let path = self.path.join(&file);
            if own.is_some() && !path.exists() {
                continue;
            }
            // A lock of its own: the others read the file, which a locked one does not allow everywhere.
            let lock = private::scratch(&self.path.join(format!("{file}.lock")))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
            }
            let content = self.read(&file)?.unwrap_or_default();
            let length = content.len();
            if content.iter().any(|byte| !byte.is_ascii_whitespace()) {
                left.push(content);
            }
            match own {
                None => own = Some(Scratch { file: private::scratch(&path)?, name: file, length, _lock: lock }),
                Some(_) => drop(private::file(&path)?),
            }
        }
        let own = own.ok_or_else(|| io::Error::other(format!("{PROCESSES} processes already share this directory")))?;
        Ok((own, left))
    }

    /// The scratch files of the other processes that live.
    pub fn others(&self, name: &str, own: &Scratch) -> Vec<String> {
        let lives = |file: &String| {
            let lock = private::scratch(&self.path.join(format!("{file}.lock")));
            lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
        };
        let all = (0..PROCESSES).map(|number| format!("{name}.{number}"));
        // They are taken in order, so that none follows a gap.
        all.take_while(|file| self.path.join(file).exists()).filter(|file| *file != own.name && lives(file)).collect()
    }
}

impl Locked<'_> {
    /// Puts new content in the file's place.
    ///
    /// # Errors
    /// When it cannot be written; the old content stands.
    pub fn replace(&self, content: &[u8]) -> io::Result<()> {
        let new = self.state.path.join(format!("{}.new", self.name));
        private::file(&new)?.write_all(content)?;
        std::fs::rename(&new, self.state.path.join(self.name))
    }
}

impl Scratch {
    /// Puts new text in place of the old, in one write: what was longer is covered with spaces.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        let mut content = text.as_bytes().to_vec();
        content.resize(self.length.max(content.len()), b' ');
        self.length = content.len();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_replaced_whole_and_private() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::open(&home.path().join("new")).unwrap();
        assert_eq!(state.read("a").unwrap(), None);
        state.lock("a").unwrap().replace(b"a longer one").unwrap();
        state.lock("a").unwrap().replace(b"short").unwrap();
        assert_eq!(state.read("a").unwrap().unwrap(), b"short");
        let _scratch = state.scratch("s").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |name: &str| home.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!((mode("new"), mode("new/a"), mode("new/s.0")), (0o700, 0o600, 0o600));
        }
    }

    #[test]
    fn updates_do_not_lose_each_other() {
        let home = tempfile::tempdir().unwrap();
        let count = |state: &StateDir| {
            // Four that do nothing else may keep each other waiting for longer than a gate would.
            let locked = std::iter::repeat_with(|| state.lock("n")).find_map(Result::ok).unwrap();
            let old = state.read("n").unwrap().map_or(0, |old| String::from_utf8(old).unwrap().parse().unwrap());
            locked.replace((old + 1_u32).to_string().as_bytes()).unwrap();
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let state = StateDir::open(home.path()).unwrap();
                scope.spawn(move || (0..50).for_each(|_| count(&state)));
            }
        });
        assert_eq!(StateDir::open(home.path()).unwrap().read("n").unwrap().unwrap(), b"200");
    }

    #[test]
    fn what_the_dead_left_is_found_once() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::open(home.path()).unwrap();
        let (mut first, left) = state.scratch("s").unwrap();
        let (mut second, _) = state.scratch("s").unwrap();
        assert!(left.is_empty());
        first.write("a longer öne").unwrap();
        first.write("one").unwrap();
        second.write("two").unwrap();
        assert_eq!(state.others("s", &first), ["s.1"]);
        let length = |name: &str| home.path().join(name).metadata().unwrap().len();
        let before = length("s.0");
        (0..10).for_each(|_| first.write("öne").unwrap());
        first.write("one").unwrap();
        assert_eq!(length("s.0"), before, "what is written over and over does not grow");
        drop(second);
        assert!(state.others("s", &first).is_empty(), "the dead do not count");
        drop(first);
        let (_own, left) = state.scratch("s").unwrap();
        let left: Vec<_> = left.iter().map(|left| std::str::from_utf8(left).unwrap().trim_end()).collect();
        assert_eq!(left, ["one", "two"]);
        let (_another, left) = state.scratch("s").unwrap();
        assert!(left.is_empty(), "the living keep theirs");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_said_at_once() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("file"), "").unwrap();
        assert!(StateDir::open(&home.path().join("file/below")).is_err());
    }
}
