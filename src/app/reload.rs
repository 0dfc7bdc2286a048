//! Changes of the file while the gate runs: when the gate reads it again, and what it logs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::generations::{Generations, Reloaded};
use crate::base::rfc3339;
use crate::config::{Config, file};
use crate::proxy::Services;
use crate::telemetry::act::{self, Act};
use crate::tls;

/// Reads a configuration again and again.
pub struct Reloads {
    file: PathBuf,
    generations: Arc<Generations>,
    /// The content at the time when the gate read the configuration in use.
    used: Mutex<Seen>,
    /// The files that the last attempt named: after a failure, the gate tries again when they change.
    files: parking_lot::Mutex<Vec<PathBuf>>,
    /// The outcome of the last attempt.
    last: parking_lot::Mutex<Option<LastReload>>,
}

/// The last reload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LastReload {
    /// When it was.
    #[serde(with = "rfc3339::option")]
    pub at: Option<SystemTime>,
    /// What asked for it.
    pub why: String,
    /// The error; then the old configuration is in use.
    pub cause: Option<String>,
}

/// The content of the configuration and of the files that it names.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen(Vec<u8>);

impl Seen {
    /// The content now.
    pub fn now(file: &Path, config: &Config) -> Self {
        look(file, &config.files())
    }
}

impl Reloads {
    /// `used` is the content at the time when the gate read the configuration in use.
    pub(super) fn new(file: PathBuf, generations: Arc<Generations>, used: Seen) -> Self {
        let files = parking_lot::Mutex::new(generations.current.load().config.files());
        Self { file, generations, used: Mutex::new(used), files, last: parking_lot::Mutex::default() }
    }

    /// The outcome of the last attempt; `None`: there was none.
    pub(super) fn last(&self) -> Option<LastReload> {
        self.last.lock().clone()
    }

    /// Reads the file now. If it has an error, the gate logs it and keeps the old configuration.
    pub(super) async fn now(&self, why: &str) -> Result<Reloaded, String> {
        let mut used = self.used.lock().await;
        self.read(why, &mut used).await
    }

    async fn read(&self, why: &str, used: &mut Seen) -> Result<Reloaded, String> {
        let path = self.file.clone();
        let known = self.files.lock().clone();
        // A directory on a network may hang; nothing else must wait for it.
        let loaded = tokio::task::spawn_blocking(move || {
            let files = file::load(&path).map_or(known, |(config, _)| config.files());
            // Take the content before reading the configuration, so that the gate misses no change between the two.
            let seen = look(&path, &files);
            let loaded = file::load(&path).map_err(|error| error.to_string());
            (loaded, files, seen)
        });
        let (loaded, files, seen) = loaded.await.map_err(|error| error.to_string())?;
        *self.files.lock() = files;
        *used = seen;
        let outcome = match loaded {
            Ok((config, _)) => self.generations.reload(config).await.map_err(|error| error.to_string()),
            Err(cause) => Err(cause),
        };
        self.generations.services.metrics.reloaded(outcome.is_ok());
        let at = Some(self.generations.services.env.clock.wall());
        *self.last.lock() = Some(LastReload { at, why: why.to_owned(), cause: outcome.as_ref().err().cloned() });
        match &outcome {
            Ok(reloaded) => told(why, reloaded, &self.generations.services),
            Err(cause) => tracing::error!(
                owner = "gate",
                why,
                cause,
                next_step =
                    "correct the configuration file, or a file that it names; the old configuration stays in use",
                "the configuration was not reloaded"
            ),
        }
        outcome
    }

    /// Looks for changes as long as the process runs. It reloads only when it has seen the same content twice, because
    /// some programs write a file piece by piece.
    pub(super) async fn watch(&self) {
        let mut last = None;
        loop {
            let watch = self.generations.current.load().config.reload.watch;
            let pause = if watch.is_zero() { Duration::from_secs(60) } else { watch };
            tokio::time::sleep(pause).await;
            if watch.is_zero() {
                continue;
            }
            let mut used = self.used.lock().await;
            let seen = self.seen().await;
            if seen != *used && Some(&seen) == last.as_ref() {
                // The gate logs a broken file once, and tries it again after the next change.
                let _told = self.read("a file has changed", &mut used).await;
            }
            last = Some(seen);
        }
    }

    async fn seen(&self) -> Seen {
        let files = self.files.lock().clone();
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || look(&file, &files)).await.unwrap_or(Seen(Vec::new()))
    }
}

fn look(file: &Path, files: &[PathBuf]) -> Seen {
    let mut all = Context::new(&SHA256);
    for path in std::iter::once(file).chain(files.iter().map(PathBuf::as_path)) {
        match tls::content(path) {
            Ok(content) => all.update(&content),
            Err(error) => all.update(error.kind().to_string().as_bytes()),
        }
        all.update(b"\0");
    }
    Seen(all.finish().as_ref().to_vec())
}

fn told(why: &str, reloaded: &Reloaded, services: &Services) {
    for change in &reloaded.changes {
        tracing::info!(change, why, "configuration");
        services.act(Act::of(act::CONFIGURATION, change).by(why));
    }
    for key in &reloaded.at_restart {
        tracing::warn!(key, "this change takes effect when the gate restarts");
    }
    tracing::info!(why, changes = reloaded.changes.len(), "the configuration was reloaded");
}
