//! [`KeyFile`]: a key ring that the gate makes in a file of its state directory.
//!
//! The file has one key per line, the youngest first: its time in seconds of the Unix epoch, and 64 hex digits.
//! Replicas that share the directory share the ring; the file's lock ensures that only one of them adds a key.

use std::io;
use std::time::{Duration, SystemTime};

use secrecy::zeroize::Zeroizing;

use crate::base::clock::Random;
use crate::base::epoch::EpochMillis;
use crate::base::secret::Secret;
use crate::state::StateDir;
use crate::ticket::{Keyring, MOST};

const FILE: &str = "sealing-keys";

/// The file, and when to change its keys.
pub(super) struct KeyFile {
    directory: StateDir,
    /// How long one key seals.
    rotate: Duration,
    /// How long a key opens after its last seal.
    keep: Duration,
}

/// The file's lines.
type Lines = Vec<(u64, Zeroizing<String>)>;

impl KeyFile {
    /// The ring of this directory.
    pub(super) fn new(directory: StateDir, rotate: Duration, keep: Duration) -> Self {
        Self { directory, rotate, keep }
    }

    /// Reads the ring. It adds a key if the youngest is older than `rotate`, or if there is none. It removes the keys
    /// of tickets that have all expired.
    ///
    /// # Errors
    /// Those of the file, or of the machine's randomness.
    pub(super) fn ring(&self, now: SystemTime, random: &dyn Random) -> io::Result<Keyring> {
        let now = EpochMillis::of(now).as_secs();
        let due =
            |lines: &Lines| lines.first().is_none_or(|(made, _)| now.saturating_sub(*made) >= self.rotate.as_secs());
        let lines = self.read()?;
        if !due(&lines) {
            return ring(&lines);
        }
        let lock = self.directory.lock(FILE)?;
        // Another replica may have added a key.
        let mut lines = self.read()?;
        if due(&lines) {
            self.add(&mut lines, now, random)?;
            lock.replace(write(&lines).as_bytes())?;
        }
        ring(&lines)
    }

    /// Adds a key now, regardless of the age of the others.
    ///
    /// # Errors
    /// Like [`KeyFile::ring`].
    pub(super) fn rotate(&self, now: SystemTime, random: &dyn Random) -> io::Result<Keyring> {
        let lock = self.directory.lock(FILE)?;
        let mut lines = self.read()?;
        self.add(&mut lines, EpochMillis::of(now).as_secs(), random)?;
        lock.replace(write(&lines).as_bytes())?;
        ring(&lines)
    }

    fn add(&self, lines: &mut Lines, now: u64, random: &dyn Random) -> io::Result<()> {
        let mut bytes = Zeroizing::new([0; 32]);
        random.fill(&mut *bytes).map_err(io::Error::other)?;
        lines.insert(0, (now, Zeroizing::new(hex::encode(bytes.as_slice()))));
        // A key seals until the gate makes the next one.
        lines.truncate(MOST);
        let mut retired = None;
        lines.retain(|(made, _)| {
            let before = retired.replace(*made);
            before.is_none_or(|retired| now.saturating_sub(retired) <= self.keep.as_secs())
        });
        Ok(())
    }

    fn read(&self) -> io::Result<Lines> {
        let Some(content) = self.directory.read(FILE)?.map(Zeroizing::new) else { return Ok(Vec::new()) };
        let damaged = || {
            let file = self.directory.path().join(FILE);
            let remedy = "move it away, and the gate makes a new one; open sessions then have to log in again";
            io::Error::other(format!("{} has no keys of this gate: {remedy}", file.display()))
        };
        let text = std::str::from_utf8(&content).map_err(|_| damaged())?;
        text.lines()
            .map(|line| {
                let (made, key) = line.split_once(' ')?;
                let whole = key.len() == 64 && key.bytes().all(|digit| digit.is_ascii_hexdigit());
                whole.then_some((made.parse().ok()?, Zeroizing::new(key.to_owned())))
            })
            .collect::<Option<_>>()
            .ok_or_else(damaged)
    }
}

fn write(lines: &Lines) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(lines.len() * 80));
    for (made, key) in lines {
        text.push_str(&made.to_string());
        text.push(' ');
        text.push_str(key);
        text.push('\n');
    }
    text
}

fn ring(lines: &Lines) -> io::Result<Keyring> {
    let mut keys = String::with_capacity(lines.len() * 65);
    for (_, key) in lines {
        keys.push_str(key);
        keys.push('\n');
    }
    Keyring::parse(&Secret::new(keys)).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, ManualClock, SystemRandom};

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_key_is_added_when_it_is_time_and_goes_when_nothing_of_it_can_be_alive() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::open(home.path()).unwrap();
        let (ours, theirs) = (KeyFile::new(state.clone(), DAY, 2 * DAY), KeyFile::new(state, DAY, 2 * DAY));
        let clock = ManualClock::start();
        let sealed = ours.ring(clock.wall(), &SystemRandom).unwrap().seal(b"x").unwrap();
        assert!(theirs.ring(clock.wall(), &SystemRandom).unwrap().open(&sealed).is_some(), "one ring for both");
        for (day, keys, opens) in [(1, 2, true), (2, 3, true), (3, 4, true), (4, 4, false), (5, 4, false)] {
            clock.advance(DAY);
            let ring = theirs.ring(clock.wall(), &SystemRandom).unwrap();
            assert_eq!((ring.len(), ring.open(&sealed).is_some()), (keys, opens), "day {day}");
            assert_eq!(ours.ring(clock.wall(), &SystemRandom).unwrap().len(), keys);
        }
        assert_eq!(ours.rotate(clock.wall(), &SystemRandom).unwrap().len(), 5);
    }

    #[test]
    fn a_damaged_file_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let made = KeyFile::new(StateDir::open(home.path()).unwrap(), DAY, DAY);
        for content in ["junk", "1 canary", "x 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"] {
            std::fs::write(home.path().join(FILE), content).unwrap();
            let error = made.ring(SystemTime::UNIX_EPOCH + DAY, &SystemRandom).unwrap_err().to_string();
            assert!(error.contains("move it away") && !error.contains("canary"), "{error}");
            assert_eq!(std::fs::read_to_string(home.path().join(FILE)).unwrap(), content);
        }
    }
}
