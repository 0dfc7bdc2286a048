//! The state directory: small files that outlive the process. Only the gate's user can read them.
//!
//! The gate writes a new file and renames it over the old one, so that a reader, or the next process after a crash,
//! finds the old content or the new one. It calls fsync only where it is asked to ([`Locked::replace_durably`]): of bad
//! logins the content matters less after a power failure than the time that logins would wait for the disk.
//!
//! Several gates may share a directory: two on one host, or one and its successor. A [`Scratch`] belongs to one
//! process; when that process has died, the next one finds it.

#[cfg(windows)]
#[path = "access_list_windows.rs"]
pub mod access_list;
#[cfg(windows)]
#[path = "account_windows.rs"]
pub mod account;
#[cfg(windows)]
#[path = "gate_accounts_windows.rs"]
pub mod gate_accounts;
pub mod place;
#[cfg_attr(unix, path = "private_unix.rs")]
#[cfg_attr(windows, path = "private_windows.rs")]
pub mod private;

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Far more than any file here needs.
const LARGEST: u64 = 16 << 20;
/// How often to try a lock, a millisecond apart. Its holder writes only a small file.
const PATIENCE: u32 = 100;
/// How many processes may share a directory.
const PROCESSES: usize = 64;

/// The gate's state directory.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// The lock to replace a file; dropping it releases the lock.
pub struct Locked<'a> {
    state: &'a StateDir,
    name: &'a str,
    _lock: File,
}

/// Work that one process does at a time; dropping it, or the end of the process, lets another one do it.
pub struct Claim {
    _lock: File,
}

/// A file that one process overwrites again and again while it runs.
pub struct Scratch {
    file: File,
    name: String,
    length: usize,
    _lock: File,
}

impl StateDir {
    /// Opens the directory; if it is missing, makes it for the gate's user only.
    ///
    /// # Errors
    /// If it cannot make the directory, or cannot write there.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            private::directory(path)?;
        }
        // Commands in other directories ask the gate for it.
        let state = Self { path: std::path::absolute(path)? };
        drop(state.lock("probe")?);
        Ok(state)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file's content; `None` if there is no such file.
    ///
    /// # Errors
    /// If the file exists but is unreadable.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let mut content = Vec::new();
        match File::open(self.path.join(name)) {
            Ok(file) => file.take(LARGEST).read_to_end(&mut content).map(|_| Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A directory that exists; nothing is made or probed.
    ///
    /// # Errors
    /// If it is not there.
    pub fn existing(path: &Path) -> io::Result<Self> {
        let text = match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => return Ok(Self { path: path.to_owned() }),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                format!("{}: {error}. Run this as root, or as the gate's user", path.display())
            }
            Ok(_) | Err(_) => format!("there is no directory {}", path.display()),
        };
        Err(io::Error::other(text))
    }

    /// A file to append to and to read; made if it is missing.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn append(&self, name: &str) -> io::Result<File> {
        let mut file = private::scratch(&self.path.join(name))?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    }

    /// Makes a file that only the gate's user can read, for a library that writes it.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn private_file(&self, name: &str) -> io::Result<()> {
        private::scratch(&self.path.join(name)).map(drop)
    }

    /// When a file was last replaced; `None` if there is none.
    pub fn changed(&self, name: &str) -> Option<SystemTime> {
        std::fs::metadata(self.path.join(name)).and_then(|metadata| metadata.modified()).ok()
    }

    /// Takes the lock to replace a file; one process has it at a time.
    ///
    /// # Errors
    /// If the lock is not free within [`PATIENCE`].
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

    /// The right to do some work, if no other process has it.
    ///
    /// # Errors
    /// The system's.
    pub fn claim(&self, name: &str) -> io::Result<Option<Claim>> {
        let lock = private::scratch(&self.path.join(format!("{name}.claim")))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Claim { _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// A scratch file for this process, and the content of those of dead processes. It empties the other files. The
    /// process's own file keeps its old content until the first write, so the caller must first write that content
    /// elsewhere.
    ///
    /// # Errors
    /// If it cannot make one.
    pub fn scratch(&self, name: &str) -> io::Result<(Scratch, Vec<Vec<u8>>)> {
        let (mut own, mut left) = (None, Vec::new());
        for number in 0..PROCESSES {
            let file = format!("{name}.{number}");
            let path = self.path.join(&file);
            if own.is_some() && !path.exists() {
                continue;
            }
            // A separate lock file: the other processes read the scratch file, and not every system allows reads of a
            // locked file.
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

    /// The scratch files of the other living processes.
    pub fn others(&self, name: &str, own: &Scratch) -> Vec<String> {
        let lives = |file: &String| {
            let lock = private::scratch(&self.path.join(format!("{file}.lock")));
            lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
        };
        let all = (0..PROCESSES).map(|number| format!("{name}.{number}"));
        // Processes take the files in order, so that there is no gap before one.
        all.take_while(|file| self.path.join(file).exists()).filter(|file| *file != own.name && lives(file)).collect()
    }
}

impl Locked<'_> {
    /// Replaces the file's content.
    ///
    /// # Errors
    /// If it cannot write; the old content stays.
    pub fn replace(&self, content: &[u8]) -> io::Result<()> {
        let new = self.state.path.join(format!("{}.new", self.name));
        private::file(&new)?.write_all(content)?;
        private::rename(&new, &self.state.path.join(self.name))
    }

    /// The same, and returns when it is on the disk, so that a power failure does not bring the old content back.
    ///
    /// # Errors
    /// If it cannot write; which content a power failure leaves is then open.
    pub fn replace_durably(&self, content: &[u8]) -> io::Result<()> {
        let new = self.state.path.join(format!("{}.new", self.name));
        let mut file = private::file(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        private::rename(&new, &self.state.path.join(self.name))?;
        private::sync_directory(&self.state.path)
    }
}

impl Scratch {
    /// Replaces the text in one write; spaces cover the rest of a longer old text.
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
    fn work_is_claimed_by_one_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::open(home.path()).unwrap();
        let first = state.claim("w").unwrap();
        assert!(first.is_some() && state.claim("w").unwrap().is_none() && state.claim("other").unwrap().is_some());
        drop(first);
        assert!(state.claim("w").unwrap().is_some());
        state.lock("a").unwrap().replace_durably(b"one").unwrap();
        assert_eq!(state.read("a").unwrap().unwrap(), b"one");
    }

    #[test]
    fn updates_do_not_lose_each_other() {
        let home = tempfile::tempdir().unwrap();
        let count = |state: &StateDir| {
            // Four threads that do nothing else may wait for each other for longer than gates would.
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
