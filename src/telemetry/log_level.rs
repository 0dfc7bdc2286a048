//! [`LogLevel`]: which lines are written, changeable while the process runs.

use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::Level;

/// The gate's modules whose level can be set by themselves: the rooms of `src/`.
const MODULES: [&str; 16] = [
    "base",
    "config",
    "snowflake",
    "state",
    "replicas",
    "ticket",
    "tls",
    "telemetry",
    "stores",
    "admit",
    "upstream",
    "pat",
    "session",
    "proxy",
    "listen",
    "app",
];
/// Libraries that write nothing: their lines contain tokens and whole answers. A name covers every target that begins
/// with it.
const SILENT: [&str; 11] = [
    "aws",
    "azure",
    "google_cloud",
    "hyper",
    "opentelemetry",
    "reqwest",
    "rusqlite",
    "rustify",
    "rustls",
    "typespec",
    "vaultrs",
];

/// What a gate within another program says, such as that of the demo.
const NO_LOG: &str = "off: this process writes no log; the demo shows each login in its window";

/// The levels in use, and the way to change them.
#[derive(Clone, Default)]
pub struct LogLevel {
    handle: Option<reload::Handle<EnvFilter, Registry>>,
    current: Arc<Mutex<String>>,
}

impl LogLevel {
    /// The filter of these levels, and its control.
    pub(super) fn new(level: Level) -> (reload::Layer<EnvFilter, Registry>, Self) {
        let (layer, handle) = reload::Layer::new(filter(level));
        (layer, Self { handle: Some(handle), current: Arc::new(Mutex::new(word(level).to_owned())) })
    }

    /// The levels, as [`LogLevel::set`] takes them.
    pub fn get(&self) -> String {
        match self.handle {
            Some(_) => self.current.lock().clone(),
            None => NO_LOG.to_owned(),
        }
    }

    /// Sets a level for all modules (`debug`), or one for some beside it (`info,pat=debug,upstream=trace`).
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn set(&self, text: &str) -> Result<(), String> {
        let directives = directives(text)?;
        let handle = self.handle.as_ref().ok_or(NO_LOG)?;
        handle.reload(EnvFilter::new(directives)).map_err(|error| error.to_string())?;
        text.clone_into(&mut self.current.lock());
        Ok(())
    }
}

/// The filter of one level for all modules.
pub(super) fn filter(level: Level) -> EnvFilter {
    EnvFilter::new(directives(word(level)).unwrap_or_default())
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// The directives for the filter. Libraries write only warnings.
fn directives(text: &str) -> Result<String, String> {
    let mut all = String::from("warn");
    for part in text.split(',').map(str::trim) {
        let (module, level) = part.split_once('=').map_or((None, part), |(module, level)| (Some(module), level));
        if !["error", "warn", "info", "debug", "trace"].contains(&level) {
            return Err(format!("{level:?} is no level: write error, warn, info, debug or trace"));
        }
        let target = match module {
            None => "patgate".to_owned(),
            Some(module) if MODULES.contains(&module) => format!("patgate::{module}"),
            Some(module) => return Err(format!("{module:?} is no module: write one of {}", MODULES.join(", "))),
        };
        all.push_str(&format!(",{target}={level}"));
    }
    // What the audit log is held against must be in the log, whatever its level.
    all.push_str(",patgate::telemetry::audit=info");
    SILENT.iter().for_each(|name| all.push_str(&format!(",{name}=off")));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_for_all_modules_or_for_one() {
        assert!(directives("info").unwrap().starts_with("warn,patgate=info,patgate::telemetry::audit=info,aws=off"));
        assert!(
            directives("warn, pat=debug")
                .unwrap()
                .starts_with("warn,patgate=warn,patgate::pat=debug,patgate::telemetry::audit=info,")
        );
        for wrong in ["", "loud", "pat=loud", "hyper=trace", "nothing=info", "info,"] {
            assert!(directives(wrong).is_err(), "{wrong}");
        }
    }
}
