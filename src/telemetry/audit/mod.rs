//! [`Audit`]: who did what, in an append-only log of JSON lines that proves its own order.
//!
//! Each line has its number, the hash of the line before it, and its own hash: SHA-256 over its text up to there. A
//! line that is changed, removed or put in breaks the chain at that place ([`verify`]). Two things no chain can prove:
//! that its tail was not cut off, and that not all of it was written anew. A checkpoint shows both: each hour, and each
//! thousand lines, the number and the hash of a line go to the gate's log too, which is kept elsewhere.
//!
//! There is a file for each day, in the state directory. Gates that share the directory take turns.

mod entry;
pub mod verify;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

pub use entry::Entry;
use entry::{Link, tail};

use crate::base::epoch::EpochMillis;
use crate::base::rfc3339;
use crate::config;
use crate::state::StateDir;

/// The directory below the state directory.
pub const DIRECTORY: &str = "audit";
/// The end of a file's name, which begins with the day.
const ENDING: &str = ".jsonl";
/// How many lines, and how much time, lie between two checkpoints at most.
const LINES: u64 = 1_000;
const PAUSE: Duration = Duration::from_secs(3_600);
/// A line is shorter.
const LONGEST: u64 = 64 << 10;

/// The audit log, to write to.
pub struct Audit {
    directory: StateDir,
    keep: Duration,
    /// The last checkpoint.
    checkpoint: (u64, EpochMillis),
}

impl Audit {
    /// Opens the audit log; `None` if the configuration wants none.
    ///
    /// # Errors
    /// If its directory cannot be made.
    pub fn open(settings: &config::Audit, state: &StateDir) -> io::Result<Option<Self>> {
        if settings.keep.is_zero() {
            return Ok(None);
        }
        let directory = StateDir::open(&state.path().join(DIRECTORY))?;
        Ok(Some(Self { directory, keep: settings.keep, checkpoint: (0, EpochMillis(0)) }))
    }

    /// Appends entries, and a checkpoint where one is due.
    ///
    /// # Errors
    /// If the log cannot be written whole; what was written stays.
    pub fn append(&mut self, entries: &[Entry], now: EpochMillis) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let _turn = self.directory.lock("audit")?;
        let (mut link, newest) = self.last()?;
        let mut text = String::new();
        for entry in entries {
            link = link.then(entry, &mut text);
        }
        let due = link.number >= self.checkpoint.0 + LINES || now.since(self.checkpoint.1) >= PAUSE;
        if due {
            link = link.then(&Entry::checkpoint(now), &mut text);
        }
        // Where the clock was set back, or another gate is past midnight already, the chain goes on in the newest file.
        let name = format!("{}{ENDING}", newest.map_or_else(|| day(now), |newest| newest.max(day(now))));
        write_whole(&mut self.directory.append(&name)?, &text)?;
        if due {
            self.checkpoint = (link.number, now);
            let (number, hash) = (link.number, hex::encode(link.hash));
            tracing::info!(audit = true, number, hash, "audit checkpoint");
        }
        Ok(())
    }

    /// Removes the files of days that are too long ago.
    ///
    /// # Errors
    /// If the directory cannot be read, or a file cannot be removed.
    pub fn tidy(&self, now: EpochMillis) -> io::Result<()> {
        let keep = u64::try_from(self.keep.as_millis()).unwrap_or(u64::MAX);
        let oldest = day(EpochMillis(now.0.saturating_sub(keep)));
        for file in files(&self.directory)? {
            if file.file_stem().and_then(|name| name.to_str()).is_some_and(|name| name < oldest.as_str()) {
                std::fs::remove_file(file)?;
            }
        }
        Ok(())
    }

    /// The last link of the chain, and the day of the newest file.
    fn last(&self) -> io::Result<(Link, Option<String>)> {
        let files = files(&self.directory)?;
        let newest = files.last().and_then(|file| file.file_stem()?.to_str()).map(str::to_owned);
        for file in files.iter().rev() {
            if let Some(link) = tail(&end_of(file)?) {
                return Ok((link, newest));
            }
        }
        Ok((Link::default(), newest))
    }
}

/// The files, the oldest first.
pub(super) fn files(directory: &StateDir) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory.path())? {
        let path = entry?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(ENDING)) {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

fn day(at: EpochMillis) -> String {
    rfc3339::show(at.to_system_time()).chars().take(10).collect()
}

/// The end of a file, which holds its last line.
fn end_of(path: &std::path::Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Appends a text whole, or not at all: what a full disk takes of it goes again, so that the chain has no torn line.
fn write_whole(file: &mut File, text: &str) -> io::Result<()> {
    let length = file.seek(SeekFrom::End(0))?;
    let written = end_line(file).and_then(|()| file.write_all(text.as_bytes())).and_then(|()| file.sync_data());
    if written.is_err() {
        // Where this fails too, the line is torn, and the next one stands alone.
        let _torn = file.set_len(length);
    }
    written
}

/// A line that a crash cut off gets its end, so that the next one stands alone.
fn end_line(file: &mut File) -> io::Result<()> {
    let length = file.seek(SeekFrom::End(0))?;
    if length == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    if last != *b"\n" { file.write_all(b"\n") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::verify::{Proof, verify};
    use super::*;
    use crate::telemetry::act::Act;

    const NOON: EpochMillis = EpochMillis(1_795_000_000_000);

    fn log(home: &std::path::Path) -> Audit {
        let settings = config::Audit { keep: Duration::from_secs(2 * 86_400), required: false };
        Audit::open(&settings, &StateDir::open(home).unwrap()).unwrap().unwrap()
    }

    fn entry(number: u64) -> Entry {
        Entry::of_act(NOON, &Act::of("configuration", format!("change \"{number}\"")))
    }

    fn path(home: &std::path::Path) -> PathBuf {
        home.join(format!("audit/{}.jsonl", day(NOON)))
    }

    #[test]
    fn what_is_written_in_turn_by_two_gates_is_one_chain() {
        let home = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (log(home.path()), log(home.path()));
        for number in 0..5 {
            one.append(&[entry(number)], NOON).unwrap();
            other.append(&[entry(number), entry(number)], NOON).unwrap();
        }
        let Proof { lines, first, last, broken, .. } = verify(&home.path().join("audit")).unwrap();
        // One checkpoint of each gate.
        assert_eq!((lines, first, last.unwrap().0, broken), (17, Some(1), 17, None));
    }

    #[test]
    fn a_clock_that_is_set_back_over_midnight_forks_nothing() {
        let home = tempfile::tempdir().unwrap();
        let mut log = log(home.path());
        let tomorrow = EpochMillis(NOON.0 + 86_400_000);
        for now in [NOON, tomorrow, NOON, tomorrow, NOON] {
            log.append(&[entry(1)], now).unwrap();
        }
        let Proof { lines, broken, .. } = verify(&home.path().join("audit")).unwrap();
        // A checkpoint each time that an hour has passed.
        assert_eq!((lines, broken), (7, None));
    }

    #[test]
    fn every_change_is_found_at_its_line() {
        let home = tempfile::tempdir().unwrap();
        let mut log = log(home.path());
        let entries: Vec<_> = (0..6).map(entry).collect();
        log.append(&entries, NOON).unwrap();
        let path = path(home.path());
        let whole = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = whole.lines().collect();
        let broken_at = |text: String| {
            std::fs::write(&path, text).unwrap();
            verify(&home.path().join("audit")).unwrap().broken.map(|broken| broken.line)
        };
        assert_eq!(broken_at(whole.clone()), None);
        assert_eq!(broken_at(whole.replace("change \\\"2", "change \\\"9")), Some(3), "a changed line");
        assert_eq!(broken_at(whole.replace(&format!("{}\n", lines[3]), "")), Some(4), "a removed line");
        let swapped = [lines[0], lines[2], lines[1], lines[3], lines[4], lines[5], lines[6]].join("\n");
        assert_eq!(broken_at(swapped), Some(2), "two lines in the other order");
        assert_eq!(broken_at(whole.replace(lines[4], &format!("{}\n{}", lines[4], lines[4]))), Some(6), "a line twice");
        assert_eq!(broken_at(format!("{whole}{{\"forged\":true}}\n")), Some(8), "a line without a hash");
        assert_eq!(broken_at(lines[..4].join("\n")), None, "a cut tail cannot be seen without a checkpoint");
    }

    #[test]
    fn a_torn_line_ends_and_the_chain_goes_on_and_old_days_go() {
        let home = tempfile::tempdir().unwrap();
        let mut log = log(home.path());
        log.append(&[entry(1)], NOON).unwrap();
        let mut file = std::fs::OpenOptions::new().append(true).open(path(home.path())).unwrap();
        file.write_all(b"{\"number\":3,\"torn").unwrap();
        // Windows removes no file that is open.
        drop(file);
        log.append(&[entry(2)], NOON).unwrap();
        let proof = verify(&home.path().join("audit")).unwrap();
        assert_eq!(proof.broken.map(|broken| broken.line), Some(3), "the torn line is told");
        let later = EpochMillis(NOON.0 + 3 * 86_400_000);
        log.append(&[entry(3)], later).unwrap();
        log.tidy(later).unwrap();
        let proof = verify(&home.path().join("audit")).unwrap();
        assert!(proof.broken.is_none() && proof.first > Some(1), "{proof:?}");
    }
}
