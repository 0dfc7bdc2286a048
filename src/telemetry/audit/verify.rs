//! Proves the chain of an audit log, offline: by its files alone.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::entry::Link;
use super::files;
use crate::state::StateDir;

/// What the files prove.
#[derive(Debug, Default)]
pub struct Proof {
    /// How many lines were read.
    pub lines: u64,
    /// The number of the first line. Where it is not 1, older files were removed.
    pub first: Option<u64>,
    /// The number and the hash of the last line, to hold against a checkpoint in the gate's log.
    pub last: Option<(u64, String)>,
    /// The first line that breaks the chain.
    pub broken: Option<Broken>,
}

/// A line that breaks the chain.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its file.
    pub file: PathBuf,
    /// Its number in the file, from 1.
    pub line: u64,
    /// What is wrong.
    pub why: String,
}

/// Reads all files of a directory, the oldest first, up to the first line that breaks the chain.
///
/// # Errors
/// If the directory or a file cannot be read.
pub fn verify(directory: &Path) -> io::Result<Proof> {
    verify_up_to(directory, None)
}

/// The same, and whether the chain has this line of a checkpoint.
///
/// # Errors
/// Like [`verify`].
pub fn verify_with(directory: &Path, checkpoint: (u64, &str)) -> io::Result<Proof> {
    verify_up_to(directory, Some(checkpoint))
}

fn verify_up_to(directory: &Path, checkpoint: Option<(u64, &str)>) -> io::Result<Proof> {
    let (mut proof, mut before) = (Proof::default(), None::<Link>);
    let mut seen = checkpoint.is_none();
    for file in files(&StateDir::existing(directory)?)? {
        for (number, line) in (1..).zip(BufReader::new(File::open(&file)?).split(b'\n')) {
            let line = line?;
            proof.lines += 1;
            let mut fails = |why: String| proof.broken = Some(Broken { file: file.clone(), line: number, why });
            let link = match Link::read(&String::from_utf8_lossy(&line)) {
                Ok((link, previous)) => match before {
                    Some(before) if before.number + 1 != link.number => {
                        fails(format!("number {} follows number {}", link.number, before.number));
                        return Ok(proof);
                    }
                    Some(before) if before.hash != previous => {
                        fails("it does not follow the line before it".to_owned());
                        return Ok(proof);
                    }
                    Some(_) | None => link,
                },
                Err(why) => {
                    fails(why.to_owned());
                    return Ok(proof);
                }
            };
            if let Some((wanted, hash)) = checkpoint.filter(|(wanted, _)| *wanted == link.number) {
                seen = hex::encode(link.hash) == hash;
                if !seen {
                    fails(format!(
                        "number {wanted} is another line than the checkpoint says: the log was written anew, or the \
                         checkpoint is mistyped"
                    ));
                    return Ok(proof);
                }
            }
            proof.first.get_or_insert(link.number);
            proof.last = Some((link.number, hex::encode(link.hash)));
            before = Some(link);
        }
    }
    if let (false, Some((wanted, _))) = (seen, checkpoint) {
        let (file, line) = (directory.to_owned(), proof.lines);
        let why = format!("line {wanted} of the checkpoint is not there: the end was cut off, or that day was removed");
        proof.broken = Some(Broken { file, line, why });
    }
    Ok(proof)
}
