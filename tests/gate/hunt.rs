//! [`Hunt`]: searches for secrets at the end of a world, in every place where no secret may be.
//!
//! The secrets of a world are unique. Every secret that a test makes contains the world's random canary; every token of
//! its stand-in contains the stand-in's mark. So parallel tests do not find each other's secrets.
//!
//! | | log | admin address | state directory | answers to clients |
//! |---|---|---|---|---|
//! | PATs and passwords | no | no | no | no |
//! | client keys | no | no | no | no |
//! | Snowflake's tokens | no | no | no | only where nothing is sealed |
//! | keys of the ring | no | no | `sealing-keys` | no |
//! | sealed tokens | no | no | no | yes |

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use patgate::internal::base::clock::{Random, SystemRandom};
use patgate::internal::base::secret::Secret;
use patgate::internal::standin::State;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The prefixes of texts that are secrets by their form.
const FORMS: [&str; 3] = ["canary-", patgate::internal::admit::key::PREFIX, SEALED];
/// The prefix of a sealed token.
const SEALED: &str = "pgs1_";
/// A word of this length may be a key or a token of any form.
const LONG: usize = 40;
/// How much of one connection's data the hunt reads.
const HEARD: usize = 256 << 10;
/// More than the longest token.
const OVERLAP: usize = 2 << 10;

/// The log lines of this process's gates that may contain a secret, and the places of their panics.
static PROCESS: LazyLock<Process> = LazyLock::new(Process::watch);

/// What all worlds share: a process has one log.
#[derive(Default)]
struct Process {
    lines: Mutex<Vec<String>>,
    panics: Mutex<Vec<String>>,
}

impl Process {
    /// Writes all lines of the gate to memory, at every level, and records every panic in the product.
    fn watch() -> Self {
        let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(Lines);
        let ours = Targets::new().with_target("patgate", LevelFilter::TRACE);
        tracing_subscriber::registry().with(ours).with(layer).init();
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Tests panic when they fail, and a stand-in reports its own panics.
            if let Some(place) = panic.location()
                && place.file().starts_with("src/")
                && !place.file().starts_with("src/standin/")
            {
                lock(&PROCESS.panics).push(format!("a gate panicked at {}:{}", place.file(), place.line()));
            }
            usual(panic);
        }));
        Self::default()
    }
}

/// Writes the log to memory, but only the lines that the hunt has to check.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        if suspects(&line).next().is_some() {
            lock(&PROCESS.lines).push(line.into_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// A unique secret.
pub fn canary() -> String {
    let mut bytes = [0; 8];
    SystemRandom.fill(&mut bytes).unwrap();
    format!("canary-{}", hex::encode(bytes))
}

/// The secrets of one world and the places to search. If it is dropped before the whole search, it searches the places
/// that need no gate, and fails the test.
pub struct Hunt {
    canary: String,
    /// Whether clients may hold Snowflake's tokens.
    sealed: bool,
    state: PathBuf,
    since: (usize, usize),
    standins: Mutex<Vec<Arc<State>>>,
    secrets: Mutex<Vec<String>>,
    heard: Arc<Mutex<Heard>>,
    operator: Mutex<Vec<(String, String)>>,
    done: AtomicBool,
}

/// Words from answers to clients.
#[derive(Default)]
struct Heard {
    suspects: HashSet<String>,
    sealed: HashSet<String>,
}

impl Hunt {
    /// For a world with this state directory.
    pub fn new(state: &Path) -> Self {
        Self {
            canary: canary(),
            sealed: true,
            state: state.to_owned(),
            since: (lock(&PROCESS.lines).len(), lock(&PROCESS.panics).len()),
            standins: Mutex::default(),
            secrets: Mutex::default(),
            heard: Arc::default(),
            operator: Mutex::default(),
            done: AtomicBool::new(false),
        }
    }

    /// Clients of this world get Snowflake's own tokens.
    pub fn nothing_is_sealed(&mut self) {
        self.sealed = false;
    }

    /// A secret that only this world has.
    pub fn canary(&self, name: &str) -> String {
        format!("{}-{name}", self.canary)
    }

    /// A secret that the hunt did not make, such as a client key.
    pub fn secret(&self, secret: &Secret) {
        lock(&self.secrets).push(secret.expose().to_owned());
    }

    /// The tokens of this stand-in, and its PATs.
    pub fn standin(&self, state: &Arc<State>) {
        lock(&self.standins).push(state.clone());
    }

    /// The answers to the operator.
    pub fn operator(&self, asked: &str, told: String) {
        lock(&self.operator).push((format!("the operator's {asked}"), told));
    }

    /// Records the answers to a client of this world.
    pub fn hear<S>(&self, stream: S) -> Listening<S> {
        Listening { stream, heard: self.heard.clone(), last: Vec::new(), left: HEARD }
    }

    /// All findings, without the secrets.
    pub fn found(&self) -> Vec<String> {
        self.done.store(true, Ordering::Relaxed);
        let standins = lock(&self.standins).clone();
        let mut found: Vec<String> = lock(&PROCESS.panics)[self.since.1..].to_vec();
        for standin in &standins {
            found.extend(standin.panics().iter().map(|said| format!("a stand-in panicked: {said}")));
            if standin.leaks() > 0 {
                found.push("a client key reached Snowflake".to_owned());
            }
        }
        let ring = std::fs::read_to_string(self.state.join("sealing-keys")).unwrap_or_default();
        let ring: Vec<_> =
            ring.split_whitespace().filter(|word| word.len() > LONG).map(|key| ("a key of the ring", key)).collect();
        let tokens: Vec<_> = standins.iter().map(|standin| ("a token of Snowflake's", standin.mark())).collect();
        let pats: Vec<String> = standins.iter().flat_map(|standin| standin.pats()).collect();
        let (basic, secrets) = (self.basic(), lock(&self.secrets).clone());
        let mut ours = vec![("a PAT or a password", self.canary.as_str())];
        ours.extend(basic.iter().map(|secret| ("a PAT or a password in base 64", secret.as_str())));
        // Most PATs contain the canary: one search finds a thousand of them.
        let other = pats.iter().filter(|pat| !pat.contains(&self.canary));
        ours.extend(other.map(|pat| ("a PAT", pat.as_str())));
        ours.extend(secrets.iter().map(|secret| ("a client key or another secret", secret.as_str())));
        let heard = lock(&self.heard);
        let everything = [&ours[..], &tokens, &ring].concat();
        let mut look = |place: &str, text: &str, secrets: &[(&str, &str)], may_be_sealed: bool| {
            let plain = secrets.iter().filter(|(_, secret)| text.contains(secret)).map(|(what, _)| *what);
            let sealed = !may_be_sealed && sealed_in(text).any(|token| heard.sealed.contains(token));
            found.extend(plain.chain(sealed.then_some("a sealed token")).map(|what| format!("{what} in {place}")));
        };
        for line in &lock(&PROCESS.lines)[self.since.0..] {
            look("the log", line, &everything, false);
        }
        for (place, text) in lock(&self.operator).iter() {
            look(place, text, &everything, false);
        }
        for (name, text) in files(&self.state) {
            let known = if name == "sealing-keys" { [&ours[..], &tokens].concat() } else { everything.clone() };
            look(&format!("the file {name} of the state directory"), &text, &known, false);
        }
        let known = if self.sealed { everything } else { [&ours[..], &ring].concat() };
        for word in &heard.suspects {
            look("an answer to a client", word, &known, true);
        }
        found.sort();
        found.dedup();
        found
    }

    /// The canary in base 64, at each of the three possible offsets, without the digits at both ends that depend on the
    /// text around it.
    fn basic(&self) -> Vec<String> {
        (0..3)
            .map(|before| {
                let whole = BASE64_STANDARD.encode(["x".repeat(before), self.canary.clone()].concat());
                let whole = whole.trim_end_matches('=');
                whole[if before == 0 { 0 } else { 4 }..whole.len() - 2].to_owned()
            })
            .collect()
    }
}

impl Drop for Hunt {
    fn drop(&mut self) {
        if !self.done.load(Ordering::Relaxed) && !std::thread::panicking() {
            assert_eq!(self.found(), [""; 0]);
        }
    }
}

/// All files below a directory, by name; also files that are not text.
fn files(directory: &Path) -> Vec<(String, String)> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            all.push((path.file_name().unwrap().to_string_lossy().into_owned(), text));
        }
    }
    all
}

/// The words of a text that may contain a secret.
fn suspects(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
    words.filter(|word| word.len() >= LONG || FORMS.iter().any(|form| word.contains(form)))
}

/// The sealed tokens in a text.
fn sealed_in(text: &str) -> impl Iterator<Item = &str> {
    suspects(text).filter_map(|word| word.find(SEALED).map(|start| &word[start..]))
}

/// A client's end of a connection; it records the answers.
pub struct Listening<S> {
    stream: S,
    heard: Arc<Mutex<Heard>>,
    /// The end of the last read: a word may continue in the next read.
    last: Vec<u8>,
    left: usize,
}

impl<S> Listening<S> {
    fn hear(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.left)];
        self.left -= bytes.len();
        if bytes.is_empty() {
            return;
        }
        self.last.extend_from_slice(bytes);
        let text = String::from_utf8_lossy(&self.last);
        let mut heard = lock(&self.heard);
        for word in suspects(&text) {
            match word.strip_prefix(SEALED) {
                Some(_) => heard.sealed.insert(word.to_owned()),
                None => heard.suspects.insert(word.to_owned()),
            };
        }
        self.last.drain(..self.last.len().saturating_sub(OVERLAP));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Listening<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.hear(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Listening<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
