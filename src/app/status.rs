//! [`Status`]: the whole gate on one screen, as values that the gate makes and its commands read.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::generations::Generations;
use super::reload::LastReload;
use crate::base::fault::Kind;
use crate::base::rfc3339;
use crate::pat::{PatState, PatStatus};
use crate::proxy::Generation;
use crate::telemetry::metrics::Failures;

const DAY: u64 = 86_400;
/// A certificate that ends within so many days is worth a warning, or within the last third of its life.
const SOON: u64 = 30;

/// What the process has from its start to its end.
#[derive(Debug, Clone)]
pub struct Running {
    /// When it started.
    pub since: SystemTime,
    /// The admin address.
    pub admin: SocketAddr,
    /// Cancelled when an operator drains the gate.
    pub drain: CancellationToken,
    /// The address of each listener, with the port that the system chose.
    pub listeners: Vec<(Arc<str>, SocketAddr)>,
}

/// The whole gate. Nothing in it is secret.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// The version of patgate.
    pub version: String,
    /// Its state directory, which has the history and the audit log; `None`: there is none.
    #[serde(default)]
    pub state: Option<PathBuf>,
    /// When the gate started.
    #[serde(with = "rfc3339::option")]
    pub started: Option<SystemTime>,
    /// Whether logins are served.
    pub ready: bool,
    /// What somebody should look at, with the next step; empty if all is well.
    pub attention: Vec<String>,
    /// The listeners, that of `[listen]` first.
    pub listeners: Vec<ListenerStatus>,
    /// How many clients the configuration has.
    pub clients: usize,
    /// The clients with sessions.
    pub sessions: Vec<ClientSessions>,
    /// The credentials, by name.
    pub credentials: Vec<CredentialStatus>,
    /// The stores, by name.
    pub stores: Vec<PartStatus>,
    /// The accounts, by name.
    pub accounts: Vec<PartStatus>,
    /// Redis; `None`: the gate counts for itself.
    pub replicas: Option<ReplicasStatus>,
    /// The last reload; `None`: none since the start.
    pub reload: Option<LastReload>,
    /// What failed since the start, the latest first.
    pub failures: Vec<FailureCount>,
}

/// A listener.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Its name.
    pub listener: String,
    /// Its address.
    pub address: SocketAddr,
    /// Its certificate; `None` with `danger_plaintext`.
    pub certificate: Option<CertificateStatus>,
}

/// A listener's certificate.
#[derive(Debug, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Its file.
    pub file: String,
    /// Whom it is for.
    pub names: Vec<String>,
    /// When it ends, or the first of its chain.
    #[serde(with = "rfc3339::option")]
    pub ends: Option<SystemTime>,
    /// The whole days until then.
    pub days_left: u64,
    /// Whether tools accept its times now.
    pub valid: bool,
}

/// The sessions of a client.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClientSessions {
    /// The client.
    pub client: String,
    /// How many this gate has served within the last hour.
    pub sessions: usize,
}

/// A credential and its PAT.
#[derive(Debug, Serialize, Deserialize)]
pub struct CredentialStatus {
    /// Its name.
    pub credential: String,
    /// Its account.
    pub account: String,
    /// The service user.
    pub user: String,
    /// How its PAT is.
    pub state: PatState,
    /// The store's version of the PAT.
    pub version: Option<String>,
    /// How old the last good read is, in seconds.
    pub age_s: Option<u64>,
    /// When the PAT ends, if known.
    #[serde(with = "rfc3339::option")]
    pub expires: Option<SystemTime>,
}

/// A store or an account: what the gate needs on its way.
#[derive(Debug, Serialize, Deserialize)]
pub struct PartStatus {
    /// Its name.
    pub name: String,
    /// The kind of a store, the host of an account.
    pub what: String,
    /// Whether it answers; `None`: nobody knows.
    pub up: Option<bool>,
    /// Since when it fails.
    #[serde(with = "rfc3339::option")]
    pub since: Option<SystemTime>,
    /// Why it fails.
    pub cause: Option<String>,
}

/// Redis.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReplicasStatus {
    /// Whether it answers.
    pub up: bool,
    /// How many commands it did not answer.
    pub errors: u64,
}

/// A kind of failure.
#[derive(Debug, Serialize, Deserialize)]
pub struct FailureCount {
    /// Its code, such as `PG-605`; `patgate explain` tells what it means.
    pub code: String,
    /// Its name.
    pub kind: String,
    /// Who has to act.
    pub owner: String,
    /// How often since the start.
    pub count: u64,
    /// When last.
    #[serde(with = "rfc3339::option")]
    pub last: Option<SystemTime>,
    /// The trace id of the last one that has a record, for `patgate explain`.
    #[serde(default)]
    pub trace: Option<String>,
}

/// Looks at everything.
pub(super) async fn look(
    generations: &Generations,
    running: &Running,
    reload: Option<LastReload>,
    not_ready: Option<String>,
) -> Status {
    let generation = generations.current.load_full();
    let services = &generations.services;
    let now = services.env.clock.wall();
    let pats = generation.pats.status().await;
    let replicas = services.replicas.as_ref().map(|redis| ReplicasStatus { up: redis.is_up(), errors: redis.errors() });
    let mut status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: services.state.as_ref().map(|state| state.path().to_owned()),
        started: Some(running.since),
        ready: not_ready.is_none(),
        attention: not_ready.into_iter().map(|why| format!("not ready: {why}")).collect(),
        listeners: listeners(generations, running, now),
        clients: generation.config.clients.len(),
        sessions: sessions(generations),
        credentials: pats.iter().filter_map(|pat| credential(&generation, pat, now)).collect(),
        stores: stores(&generation, &pats),
        accounts: accounts(&generation, now),
        replicas,
        reload,
        failures: failures(generations, now),
    };
    let more = attention(&status, generations, &pats, now);
    status.attention.extend(more);
    status
}

/// What somebody should look at.
fn attention(status: &Status, generations: &Generations, pats: &[PatStatus], now: SystemTime) -> Vec<String> {
    let mut all = Vec::new();
    for (listener, certificate) in generations.certificates() {
        let left = certificate.left(now).as_secs() / DAY;
        if let Err(error) = certificate.check_time(now) {
            all.push(format!("listener {listener}: {error}"));
        } else if left < SOON.min(certificate.life().as_secs() / DAY / 3) {
            let file = certificate.path.display();
            all.push(format!("listener {listener}: its certificate ends in {left} days; renew it, in {file}"));
        }
        all.extend(
            certificate.flaws.iter().map(|flaw| format!("listener {listener}: {}; {}", flaw.what(), flaw.remedy())),
        );
    }
    if status.state.is_none() {
        let what = "no state directory can be written: history and audit log are off, and a restart forgets bad logins \
                    and sessions; look at state.directory";
        all.push(what.to_owned());
    }
    let space = "free space in the state directory, or mend its rights";
    let sinks = &generations.services.sinks;
    if !generations.services.audit_works() {
        all.push(format!("the audit log cannot be written: {space}"));
    }
    if sinks.history_fails.load(Ordering::Relaxed) {
        all.push(format!("the history cannot be written, and `patgate explain` will miss requests: {space}"));
    }
    let wrong = |pat: &PatStatus| Some(format!("credential {}: {}", pat.credential, pat.attention(now)?));
    all.extend(pats.iter().filter_map(wrong));
    for (what, parts) in [("store", &status.stores), ("account", &status.accounts)] {
        let down = parts.iter().filter(|part| part.up == Some(false));
        all.extend(down.map(|part| format!("{what} {}: {}", part.name, part.cause.clone().unwrap_or_default())));
    }
    if status.replicas.as_ref().is_some_and(|redis| !redis.up) {
        all.push("Redis does not answer; each gate counts limits and bad logins for itself until it does".to_owned());
    }
    if let Some(LastReload { cause: Some(cause), .. }) = &status.reload {
        all.push(format!("the last reload failed, and the old configuration is in use: {cause}"));
    }
    all
}

fn listeners(generations: &Generations, running: &Running, now: SystemTime) -> Vec<ListenerStatus> {
    let of = |(name, address): &(Arc<str>, SocketAddr)| {
        let certificate = generations.certificates().find(|(listener, _)| listener == name);
        let certificate = certificate.map(|(_, certificate)| CertificateStatus {
            file: certificate.path.display().to_string(),
            names: certificate.names.clone(),
            ends: Some(certificate.ends),
            days_left: certificate.left(now).as_secs() / DAY,
            valid: certificate.check_time(now).is_ok(),
        });
        ListenerStatus { listener: name.to_string(), address: *address, certificate }
    };
    running.listeners.iter().map(of).collect()
}

fn sessions(generations: &Generations) -> Vec<ClientSessions> {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for (_, live, _) in generations.services.sessions.iter().flat_map(|sessions| sessions.list()) {
        *counts.entry(live.client.to_string()).or_default() += 1;
    }
    counts.into_iter().map(|(client, sessions)| ClientSessions { client, sessions }).collect()
}

fn credential(generation: &Generation, pat: &PatStatus, now: SystemTime) -> Option<CredentialStatus> {
    let configured = generation.config.credentials.get(&*pat.credential)?;
    let cached = pat.cached.as_ref();
    Some(CredentialStatus {
        credential: pat.credential.clone(),
        account: configured.account.to_string(),
        user: configured.user.clone(),
        state: pat.state(now),
        version: cached.map(|cached| cached.version.clone()),
        age_s: cached.map(|cached| cached.age.as_secs()),
        expires: cached.and_then(|cached| cached.expires),
    })
}

/// Whether the store has answered.
fn is_answer(kind: &str) -> bool {
    ["missing", "unusable"].contains(&kind)
}

/// A store fails if it does not answer, or refuses the gate; that a secret is missing is an answer. Of one that no
/// credential's PAT was read from, nothing is known.
fn stores(generation: &Generation, pats: &[PatStatus]) -> Vec<PartStatus> {
    let part = |(name, store): (&Arc<str>, &crate::config::Store)| {
        let of_store = |reference: &str| reference.split_once(':').is_some_and(|(store, _)| store == &**name);
        let whole = pats.iter().find_map(|pat| {
            let failure = pat.failure.as_ref().filter(|failure| !is_answer(&failure.kind))?;
            pat.references.iter().find(|one| of_store(one))?;
            Some((failure.since, failure.cause.clone()))
        });
        let one = || {
            let mut failed = pats.iter().flat_map(|pat| &pat.failed).filter(|failed| !is_answer(&failed.kind));
            let failed = failed.find(|failed| of_store(&failed.reference))?;
            Some((None, format!("{}: {}", failed.reference, failed.cause)))
        };
        let failure = whole.or_else(one);
        let has_answered = || {
            pats.iter().any(|pat| {
                let read = pat.cached.as_ref().is_some_and(|cached| !cached.from_disk && of_store(&cached.from));
                let told = pat.failure.as_ref().is_some_and(|failure| is_answer(&failure.kind));
                read || (told && pat.references.iter().any(|one| of_store(one)))
                    || pat.failed.iter().any(|failed| is_answer(&failed.kind) && of_store(&failed.reference))
            })
        };
        PartStatus {
            name: name.to_string(),
            what: store.kind().to_owned(),
            up: match &failure {
                Some(_) => Some(false),
                None => has_answered().then_some(true),
            },
            since: failure.as_ref().and_then(|(since, _)| *since),
            cause: failure.map(|(_, cause)| cause),
        }
    };
    generation.config.stores.iter().map(part).collect()
}

fn accounts(generation: &Generation, now: SystemTime) -> Vec<PartStatus> {
    let part = |(name, account): (&Arc<str>, &crate::config::Account)| {
        let state = generation.accounts.get(name);
        let outage = state.and_then(|state| state.outage());
        PartStatus {
            name: name.to_string(),
            what: account.host.clone(),
            up: outage.as_ref().map(|_| false).or_else(|| state?.is_up()),
            since: outage.as_ref().and_then(|(time, _)| now.checked_sub(*time)),
            cause: outage.map(|(_, cause)| cause),
        }
    };
    generation.config.accounts.iter().map(part).collect()
}

fn failures(generations: &Generations, now: SystemTime) -> Vec<FailureCount> {
    let count = |(kind, Failures { count, at, trace }): (Kind, Failures)| {
        let (rule, ago) = (kind.rule(), at.elapsed());
        FailureCount {
            code: rule.code.to_string(),
            kind: rule.name.to_owned(),
            owner: rule.owner.as_str().to_owned(),
            count,
            last: now.checked_sub(ago),
            trace: trace.map(|trace| trace.to_string()),
        }
    };
    generations.services.metrics.failures().into_iter().map(count).collect()
}
