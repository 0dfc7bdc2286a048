//! The steps of the stores: reach, login and read, each told by the reads of all references; and the PATs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::step::{Link, Step};
use crate::app::resolver;
use crate::base::clock::Env;
use crate::base::fault::{Fault, Kind};
use crate::base::names::SecretRef;
use crate::base::rfc3339;
use crate::config::{Config, Store};
use crate::pat::Shape;
use crate::stores::{FetchedPat, StoreError};

/// How long a read may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// A PAT that ends within this time is worth a remark.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// A reference that was read.
struct Read {
    credential: Arc<str>,
    reference: SecretRef,
    read: Result<FetchedPat, StoreError>,
    took: Duration,
}

/// Reads each reference once, and tells the steps.
pub(super) async fn steps(config: &Config, env: &Env) -> Vec<Step> {
    let Ok(resolver) = resolver(config, &env.clock, &Arc::default()) else {
        return vec![Step::unknown(Link::StoreReach, "", "not tried: a store cannot be set up; see the step files")];
    };
    let mut tasks = Vec::new();
    for (credential, one) in &config.credentials {
        for reference in one.login.secret().iter() {
            let (resolver, reference, clock) = (resolver.clone(), reference.clone(), env.clock.clone());
            let (credential, login) = (credential.clone(), one.login.clone());
            tasks.push(tokio::spawn(async move {
                let begun = clock.now();
                let late = |_| Err(StoreError::Unavailable("no answer in time".to_owned()));
                let read = timeout(PATIENCE, resolver.read(&login, &reference)).await.unwrap_or_else(late);
                Read { credential, reference, read, took: clock.now().saturating_duration_since(begun) }
            }));
        }
    }
    let mut reads = Vec::new();
    for task in tasks {
        reads.extend(task.await);
    }
    let mut by_store = BTreeMap::<&str, Vec<&Read>>::new();
    reads.iter().for_each(|read| by_store.entry(&read.reference.store).or_default().push(read));
    let mut steps: Vec<_> = by_store.iter().flat_map(|(store, reads)| of_store(store, reads)).collect();
    steps.extend(reads.iter().map(|read| of_read(config, read)));
    let now = env.clock.wall();
    steps.extend(reads.iter().filter_map(|one| Some(pat(&one.credential, one.read.as_ref().ok()?, now))));
    steps
}

/// Whether the store was reached, and accepts the gate.
fn of_store(store: &str, reads: &[&Read]) -> [Step; 2] {
    let quickest = reads.iter().map(|read| read.took).min().unwrap_or_default();
    let away = |read: &&&Read| matches!(read.read, Err(StoreError::Unavailable(_)));
    let failed = |link, error: &StoreError| {
        let fault = Fault::from(error.clone());
        Step::failed(link, store, fault.kind(), fault.cause()).took(quickest)
    };
    if let Some(Err(error)) =
        reads.iter().find(away).filter(|_| reads.iter().all(|read| away(&read))).map(|one| &one.read)
    {
        return [
            failed(Link::StoreReach, error),
            Step::unknown(Link::StoreLogin, store, "not tried: the store is not reached"),
        ];
    }
    let of_login = |error: &&StoreError| matches!(error, StoreError::Login(_) | StoreError::OwnSecret(_));
    let refused = reads.iter().find_map(|one| one.read.as_ref().err().filter(of_login));
    let reach = match refused {
        Some(StoreError::OwnSecret(_)) => {
            Step::unknown(Link::StoreReach, store, "not tried: the gate has no login for it")
        }
        _ => Step::good(Link::StoreReach, store, "it answers").took(quickest),
    };
    let login = match refused {
        Some(error) => failed(Link::StoreLogin, error),
        None => Step::good(Link::StoreLogin, store, "it accepts the gate").took(quickest),
    };
    [reach, login]
}

fn of_read(config: &Config, one: &Read) -> Step {
    let (link, credential) = (Link::StoreRead, &*one.credential);
    let step = match &one.read {
        Ok(found) => {
            let what = if found.secret.pat().is_some() { "PAT" } else { "key pair" };
            let what = format!("{} gives {what} {}, version {}", one.reference, found.id, found.version);
            Step::good(link, credential, what)
        }
        Err(StoreError::Unavailable(_) | StoreError::Login(_) | StoreError::OwnSecret(_)) => {
            Step::unknown(link, credential, format!("{} was not read: a step before failed", one.reference))
        }
        // The variables of the gate's process are not those of this one.
        Err(error @ StoreError::Missing(_)) if matches!(config.stores.get(&one.reference.store), Some(Store::Env)) => {
            let what = format!("{}: {error}, in this process; the gate has an environment of its own", one.reference);
            Step::unknown(link, credential, what)
        }
        Err(error) => {
            let fault = Fault::from(error.clone());
            Step::failed(link, credential, fault.kind(), format!("{}: {}", one.reference, fault.cause()))
        }
    };
    step.took(one.took)
}

/// What the PAT says of itself.
fn pat(credential: &str, found: &FetchedPat, now: SystemTime) -> Step {
    let link = Link::Pat;
    let Some(pat) = found.secret.pat() else { return Step::good(link, credential, "a key pair, which has no end") };
    let (form, ends) = match Shape::of(pat) {
        Shape::ClientKey => {
            let what = "the store has a client key of a gate in place of the PAT";
            return Step::failed(link, credential, Kind::SecretUnusable, what);
        }
        Shape::Jwt { ends } => ("a JWT, as PATs are", ends.or(found.expires)),
        Shape::Opaque => ("no JWT, which it need not be", found.expires),
    };
    let Some(ends) = ends else {
        return Step::good(link, credential, format!("{form}; neither it nor the store says when it ends"));
    };
    let what = |ended| format!("{form}; it {ended} {}", rfc3339::show(ends));
    match ends.duration_since(now) {
        Err(_past) => Step::failed(link, credential, Kind::PatExpired, what("ended")),
        Ok(left) if left < SOON => {
            Step::good(link, credential, what("ends")).next("Make a new PAT, and put it into the store.")
        }
        Ok(_) => Step::good(link, credential, what("ends")),
    }
}
