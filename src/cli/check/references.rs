//! Every reference of the configuration, read once as a gate does, with the outcome.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::app::resolver;
use crate::base::clock::Env;
use crate::base::names::SecretRef;
use crate::base::rfc3339;
use crate::cli::shell::span;
use crate::config::Config;
use crate::pat::Shape;
use crate::stores::{FetchedPat, SetupError, StoreError};
use crate::telemetry::metrics::Metrics;

/// One reference and its outcome.
pub(super) struct Probe {
    credential: Arc<str>,
    reference: SecretRef,
    kind: &'static str,
    read: Result<FetchedPat, StoreError>,
    now: SystemTime,
}

/// Reads each reference on its own: a fallback must work too, even if a running gate seldom reads it.
///
/// # Errors
/// If it cannot set up a store.
pub(super) async fn probe(config: &Config) -> Result<Vec<Probe>, SetupError> {
    let clock = Env::default().clock;
    let resolver = Arc::new(resolver(config, &clock, &Arc::<Metrics>::default())?);
    let mut reads = Vec::new();
    for (table, login) in config.logins() {
        // A credential goes by its name alone.
        let credential: Arc<str> = table.strip_prefix("credentials.").unwrap_or(&table).into();
        for reference in login.secret().iter() {
            let (resolver, login) = (resolver.clone(), login.clone());
            let (reference, clock) = (reference.clone(), clock.clone());
            let (credential, kind) = (credential.clone(), kind(config, &reference));
            reads.push(tokio::spawn(async move {
                let read = resolver.read(&login, &reference).await;
                Probe { credential, reference, kind, read, now: clock.wall() }
            }));
        }
    }
    let mut probes = Vec::new();
    for read in reads {
        probes.extend(read.await);
    }
    Ok(probes)
}

fn kind(config: &Config, reference: &SecretRef) -> &'static str {
    config.stores.get(&reference.store).map_or("unknown", |store| store.kind())
}

impl Probe {
    /// Whether the reference gives a PAT, or a key pair.
    pub(super) fn is_ok(&self) -> bool {
        self.read.is_ok()
    }

    /// The line for programs.
    pub(super) fn json(&self) -> Value {
        let mut told = json!({
            "credential": &*self.credential, "reference": self.reference.to_string(), "store": &*self.reference.store,
            "kind": self.kind, "ok": self.is_ok(),
        });
        match &self.read {
            Ok(found) => {
                told["version"] = found.version.clone().into();
                told["id"] = found.id.as_str().into();
                told["created"] = found.created.map(rfc3339::show).into();
                told["age_s"] = self.age(found).map(|age| age.as_secs()).into();
                told["expires"] = end(found).map(rfc3339::show).into();
            }
            Err(error) => told["error"] = json!({ "kind": error.kind(), "cause": error.to_string() }),
        }
        told
    }

    /// The line for people.
    pub(super) fn line(&self) -> String {
        let head = format!("{}: {} ({})", self.credential, self.reference, self.kind);
        match &self.read {
            Ok(found) => {
                let what = if found.secret.pat().is_some() { "PAT" } else { "key pair" };
                let age = self.age(found).map_or_else(|| "not given by the store".to_owned(), span);
                let expires = end(found).map_or_else(|| "not given".to_owned(), rfc3339::show);
                format!("{head}: ok, version {}, {what} {}, age {age}, expiry {expires}", found.version, found.id)
            }
            Err(error) => format!("{head}: {}: {error}", error.kind()),
        }
    }

    fn age(&self, found: &FetchedPat) -> Option<Duration> {
        self.now.duration_since(found.created?).ok()
    }
}

/// When a PAT ends: as it says itself, else as the store says.
fn end(found: &FetchedPat) -> Option<SystemTime> {
    match Shape::of(found.secret.pat()?) {
        Shape::Jwt { ends: Some(ends) } => Some(ends),
        Shape::Jwt { ends: None } | Shape::Opaque | Shape::ClientKey => found.expires,
    }
}
