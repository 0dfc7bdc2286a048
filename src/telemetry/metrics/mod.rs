//! [`Metrics`]: the operator's metrics, in the text form of Prometheus.
//!
//! The registry is a value, not a global. Names follow the conventions of OpenMetrics: a unit at the end, and `_total`
//! for counters. What is counted as it happens is here; what a scrape asks the gate for is in [`Gauges`].

mod gauges;
mod tunnels;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

pub use gauges::{Gauges, PatGauges};
pub use tunnels::{TunnelBytes, TunnelMetrics};

use super::facts::{Facts, Step};
use super::log_sink::DroppedLines;
use crate::base::fault::Kind;
use crate::base::names::ClientName;
use crate::base::trace::TraceId;
use crate::snowflake::route::Route;

/// The media type of [`Metrics::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counters and gauges of one gate.
#[derive(Default)]
pub struct Metrics {
    reads: Family<ReadLabels, Counter>,
    stale: Family<CredentialLabel, Counter>,
    refused: Family<CredentialLabel, Counter>,
    rotations: Family<RotationLabels, Counter>,
    failed: Family<FaultLabels, Counter>,
    /// How often each kind failed, when last, and the last trace with a record, for the operator's screen.
    failures: Mutex<HashMap<Kind, Failures>>,
    logins: Family<LoginLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    seconds: Timings,
    reloads: Family<OutcomeLabel, Counter>,
    refused_connections: Family<ReasonLabel, Counter>,
    handshakes: Family<ReasonLabel, Counter>,
    connections: Gauge,
    tunnels: OnceLock<TunnelMetrics>,
    log_dropped: DroppedLines,
    history_lost: Counter,
    spans: Family<OutcomeLabel, Counter>,
}

/// How a kind has failed since the start.
#[derive(Debug, Clone, Copy)]
pub struct Failures {
    /// How often.
    pub count: u64,
    /// When last.
    pub at: Instant,
    /// The last trace that has a record.
    pub trace: Option<TraceId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReadLabels {
    store: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CredentialLabel {
    credential: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RotationLabels {
    credential: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    kind: &'static str,
    owner: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabels {
    client: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    client: Arc<str>,
    route: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SideLabels {
    route: &'static str,
    side: &'static str,
}

/// A histogram with trace ids.
type Seconds = HistogramWithExemplars<Vec<(&'static str, String)>>;

/// The times of requests.
struct Timings(Family<SideLabels, Seconds, fn() -> Seconds>);

/// From a millisecond to a minute.
const BUCKETS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

impl Default for Timings {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Seconds::new(BUCKETS.into_iter())))
    }
}

/// A request that takes longer has an exemplar.
const TELLING: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// Something that is open; dropping it counts it no more.
pub struct Open(Gauge);

impl Open {
    fn one_of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Counts a read of a store by outcome: `ok`, or the kind of error.
    pub fn store_read(&self, store: &str, outcome: &'static str) {
        self.reads.get_or_create(&ReadLabels { store: store.to_owned(), outcome }).inc();
    }

    /// Counts a login with a PAT whose refresh is overdue.
    pub fn stale_served(&self, credential: &str) {
        self.stale.get_or_create(&of(credential)).inc();
    }

    /// Makes the series of what is configured: a rate, and an alert on it, need a zero before the first one.
    pub fn expects<'a>(&self, clients: impl Iterator<Item = &'a ClientName>, rotated: impl Iterator<Item = &'a str>) {
        for client in clients {
            for outcome in ["success", "failed"] {
                drop(self.logins.get_or_create(&LoginLabels { client: client.shared(), outcome }));
            }
        }
        for credential in rotated {
            for outcome in ["ok", "failed"] {
                let labels = RotationLabels { credential: credential.to_owned(), outcome };
                drop(self.rotations.get_or_create(&labels));
            }
        }
        for outcome in ["ok", "refused"] {
            drop(self.reloads.get_or_create(&OutcomeLabel { outcome }));
        }
    }

    /// Counts a refusal of a PAT by Snowflake.
    pub fn pat_refused(&self, credential: &str) {
        self.refused.get_or_create(&of(credential)).inc();
    }

    /// Counts a rotation of a PAT by outcome: `ok` or `failed`.
    pub fn pat_rotated(&self, credential: &str, outcome: &'static str) {
        self.rotations.get_or_create(&RotationLabels { credential: credential.to_owned(), outcome }).inc();
    }

    /// Notes a failure, of which there is a record or not, for the operator's screen.
    pub fn note_failure(&self, kind: Kind, at: Instant, trace: Option<TraceId>) {
        let mut failures = self.failures.lock();
        let of_kind = failures.entry(kind).or_insert(Failures { count: 0, at, trace });
        *of_kind = Failures { count: of_kind.count + 1, at, trace: trace.or(of_kind.trace) };
        drop(failures);
    }

    /// How often each kind has failed since the start, when last, and the last trace with a record; the latest first.
    pub fn failures(&self) -> Vec<(Kind, Failures)> {
        let failures = self.failures.lock();
        let mut all: Vec<_> = failures.iter().map(|(kind, failures)| (*kind, *failures)).collect();
        all.sort_unstable_by_key(|(_, failures)| std::cmp::Reverse(failures.at));
        all
    }

    /// Counts a finished request, of which there is a record or not.
    pub fn request(&self, facts: &Facts, recorded: bool) {
        let (outcome, route) = (facts.ending.as_str(), facts.route.as_str());
        let client = facts.client.as_ref().map(ClientName::shared).unwrap_or_default();
        if let (Route::Login, Some(_)) = (facts.route, &facts.client) {
            self.logins.get_or_create(&LoginLabels { client: client.clone(), outcome }).inc();
        }
        self.requests.get_or_create(&RequestLabels { client, route, outcome }).inc();
        if let Some(kind) = facts.ending.kind() {
            let rule = kind.rule();
            self.failed.get_or_create(&FaultLabels { kind: rule.name, owner: rule.owner.as_str() }).inc();
            self.note_failure(kind, facts.ended.unwrap_or(facts.started), recorded.then_some(facts.trace));
        }
        let (took, sent) = (facts.took(), facts.steps.after(Step::Sent));
        // Only what somebody may want to look up has an exemplar: to write one costs more than all the rest.
        let exemplar = (recorded && (facts.login.is_some() || facts.ending.kind().is_some() || took > TELLING))
            .then(|| vec![("trace_id", facts.trace.to_string())]);
        let seconds = |side, time: Duration| {
            self.seconds.0.get_or_create(&SideLabels { route, side }).observe(
                time.as_secs_f64(),
                exemplar.clone(),
                None,
            );
        };
        seconds("gate", sent.unwrap_or(took));
        if let (Some(sent), Some(answered)) = (sent, facts.steps.after(Step::Answered)) {
            seconds("upstream", answered.saturating_sub(sent));
        }
    }

    /// Metrics of a process whose log counts its dropped lines here.
    pub fn with_dropped_lines(log_dropped: DroppedLines) -> Self {
        Self { log_dropped, ..Self::default() }
    }

    /// Counts a connection that was closed before its first request.
    pub fn connection_refused(&self, reason: &'static str) {
        self.refused_connections.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts records that the history lost.
    pub fn history_lost(&self, count: usize) {
        self.history_lost.inc_by(count as u64);
    }

    /// Counts spans by outcome: `exported`, `dropped` before they were sent, or `failed`.
    pub fn spans(&self, outcome: &'static str, count: usize) {
        self.spans.get_or_create(&OutcomeLabel { outcome }).inc_by(count as u64);
    }

    /// Counts a failed TLS handshake.
    pub fn handshake_failed(&self, kind: Kind) {
        self.handshakes.get_or_create(&ReasonLabel { reason: kind.rule().name }).inc();
    }

    /// Counts a reload of the configuration.
    pub fn reloaded(&self, ok: bool) {
        self.reloads.get_or_create(&OutcomeLabel { outcome: if ok { "ok" } else { "refused" } }).inc();
    }

    /// Counts a connection as open until the guard is dropped.
    pub fn connection(&self) -> Open {
        Open::one_of(&self.connections)
    }

    /// Those of tunnels: from the first call on a scrape has them, so a gate without a proxy way in has none.
    pub fn tunnels(&self) -> &TunnelMetrics {
        self.tunnels.get_or_init(TunnelMetrics::default)
    }

    /// All metrics, in the form for a scrape.
    ///
    /// # Errors
    /// Never in practice: writing text to memory does not fail.
    pub fn text(&self, gauges: &Gauges) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("patgate");
        gauges.register(&mut registry);
        registry.register("connections", "Open connections of clients", self.connections.clone());
        registry.register("store_reads", "Reads of a secrets manager, by outcome", self.reads.clone());
        registry.register("pat_stale_served", "Logins served with a PAT whose refresh is overdue", self.stale.clone());
        registry.register("pat_refusals", "Logins in which Snowflake refused the PAT", self.refused.clone());
        registry.register("pat_rotations", "Rotations of a PAT by the gate, by outcome", self.rotations.clone());
        registry.register("requests_failed", "Requests that did not end well, by kind and owner", self.failed.clone());
        registry.register("logins", "Logins of admitted clients, by outcome", self.logins.clone());
        registry.register("requests", "Finished requests, by outcome", self.requests.clone());
        let seconds =
            "Time of requests: in the gate until they go to Snowflake, and there until the head of the answer";
        registry.register("request_seconds", seconds, self.seconds.0.clone());
        registry.register("config_reloads", "Reloads of the configuration, by outcome", self.reloads.clone());
        let refused = "Connections that were closed before their first request, by reason";
        registry.register("connections_refused", refused, self.refused_connections.clone());
        if let Some(tunnels) = self.tunnels.get() {
            tunnels.register(&mut registry);
        }
        let handshakes = "TLS handshakes that failed, by reason";
        registry.register("tls_handshakes_failed", handshakes, self.handshakes.clone());
        let dropped = "Lines of the log that were dropped because stderr was not read";
        registry.register("history_lost", "Records that the history could not take", self.history_lost.clone());
        registry.register("trace_spans", "Spans for the collector, by outcome", self.spans.clone());
        registry.register("log_dropped", dropped, self.log_dropped.clone());
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

fn of(credential: &str) -> CredentialLabel {
    CredentialLabel { credential: credential.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_has_every_series_with_its_unit() {
        let metrics = Metrics::default();
        metrics.store_read("vault", "ok");
        metrics.stale_served("bi");
        let pat =
            PatGauges { credential: "bi".into(), ready: true, refused: true, age: Some(1.5), ..PatGauges::default() };
        let gauges = Gauges {
            pats: vec![pat],
            accounts: vec![("prod".into(), false)],
            sessions: Some(vec![("excel".into(), 3)]),
            ..Gauges::default()
        };
        let _open = Arc::new(Metrics::default()).connection();
        let text = metrics.text(&gauges).unwrap();
        for line in [
            "patgate_store_reads_total{store=\"vault\",outcome=\"ok\"} 1",
            "patgate_pat_stale_served_total{credential=\"bi\"} 1",
            "patgate_log_dropped_total 0",
            "patgate_pat_ready{credential=\"bi\"} 1",
            "patgate_pat_age_seconds{credential=\"bi\"} 1.5",
            "patgate_pat_refused{credential=\"bi\"} 1",
            "patgate_upstream_up{account=\"prod\"} 0",
            "patgate_sessions{client=\"excel\"} 3",
            "patgate_connections 0",
            concat!("patgate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.contains(line), "{text}");
        }
        for absent in ["pat_expires_timestamp_seconds{", "replicas_up", "certificate_expires_timestamp_seconds{"] {
            assert!(!text.contains(absent), "{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
        assert!(!text.contains("pat_expires_timestamp_seconds{"), "{text}");
    }
}
