//! Traces: finished records as spans of OpenTelemetry, to a collector by OTLP over HTTP (protobuf).
//!
//! The spans are made from the written records, off the request's path. They wait in a bounded queue, and a collector
//! that is away or hangs costs spans, which are counted, and nothing else.
//!
//! `[traces]` goes before the standard variables: `OTEL_EXPORTER_OTLP_ENDPOINT`, `…_TRACES_ENDPOINT`, `…_HEADERS`,
//! `…_TIMEOUT`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` (in none the driver's flag
//! decides), `…_SAMPLER_ARG`, `OTEL_SDK_DISABLED` and `OTEL_TRACES_EXPORTER`
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>). Without an address in either
//! of them there are no traces.

mod spans;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::act::Act;
use super::log_throttle::LogThrottle;
use super::metrics::Metrics;
use super::story::Story;
use crate::base::epoch::EpochMillis;
use crate::config;
use crate::tls;

/// How many batches wait for the collector; one comes every tenth of a second at most.
const HELD: usize = 64;
/// How many spans go to the collector at once.
const BATCH: usize = 512;
/// How long the collector has for a batch.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the collector.
const LAST: Duration = Duration::from_secs(2);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(10);

/// The way of spans to the collector.
pub struct SpanQueue {
    to: mpsc::Sender<Vec<SpanData>>,
    sample: f64,
    metrics: Arc<Metrics>,
    ended: Option<oneshot::Receiver<()>>,
}

impl SpanQueue {
    /// Starts the way to the collector; `None` if neither the file nor a variable names one.
    ///
    /// # Errors
    /// If the address or the roots cannot be used.
    pub fn start(settings: &config::Traces, metrics: &Arc<Metrics>, control: &Handle) -> io::Result<Option<Self>> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let named = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let by_variable = !disabled && named.iter().any(|name| variable(name).is_some());
        if settings.otlp.is_none() && !by_variable {
            return Ok(None);
        }
        let in_use = named.iter().find(|name| variable(name).is_some()).filter(|_| settings.otlp.is_none());
        if let Some(name) = in_use.filter(|name| !variable(name).is_some_and(|value| is_address(&value))) {
            not_an_address(name);
            return Ok(None);
        }
        let exporter = exporter(settings).map_err(|cause| io::Error::other(format!("traces: {cause}")))?;
        let sampler = || match variable("OTEL_TRACES_SAMPLER")?.trim_start_matches("parentbased_") {
            "always_off" => Some(0.0),
            "traceidratio" => variable("OTEL_TRACES_SAMPLER_ARG").and_then(|value| value.parse().ok()),
            _ => None,
        };
        let sample = settings.sample.or_else(sampler).unwrap_or(1.0);
        let (to, waiting) = mpsc::channel(HELD);
        let (tell, ended) = oneshot::channel();
        let counts = metrics.clone();
        control.spawn(async move {
            export(exporter, waiting, &counts).await;
            let _nobody_waits = tell.send(());
        });
        Ok(Some(Self { to, sample, metrics: metrics.clone(), ended: Some(ended) }))
    }

    /// The part of what went well that is exported.
    pub fn sample(&self) -> f64 {
        self.sample
    }

    /// Adds the spans of records and of ended sessions.
    pub fn add(&self, stories: &[Story], acts: &[(EpochMillis, Act)]) {
        let mut all = Vec::new();
        for story in stories.iter().filter(|story| spans::is_sampled(story, self.sample)) {
            spans::of_story(story, &mut all);
        }
        all.extend(acts.iter().filter_map(|(at, act)| spans::of_session(*at, act)));
        let count = all.len();
        if count > 0 && self.to.try_send(all).is_err() {
            self.metrics.spans("dropped", count);
        }
    }
}

impl Drop for SpanQueue {
    /// Gives the collector a moment for what is left. It is dropped on a thread of its own.
    fn drop(&mut self) {
        let (none, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.to, none));
        let Some(mut ended) = self.ended.take() else { return };
        for _ in 0..LAST.as_millis() / LOOK.as_millis() {
            if !matches!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
                return;
            }
            std::thread::park_timeout(LOOK);
        }
    }
}

/// A client for a collector, with the gate's own TLS and without a proxy of the environment.
///
/// # Errors
/// If the roots cannot be used.
pub(super) fn client(
    ca: Option<&Path>,
    timeout: Duration,
) -> Result<reqwest::Client, Box<dyn std::error::Error + Send + Sync>> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::client_as(ca, None)?)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(timeout)
        .build()?;
    Ok(client)
}

/// The exporter.
fn exporter(settings: &config::Traces) -> Result<SpanExporter, Box<dyn std::error::Error + Send + Sync>> {
    let client = client(settings.ca.as_deref(), PATIENCE)?;
    let mut builder = SpanExporter::builder().with_http().with_http_client(client);
    if let Some(address) = &settings.otlp {
        // As the standard has it: the path belongs to the address in a variable for traces alone.
        builder = builder.with_endpoint(format!("{}/v1/traces", address.trim_end_matches('/')));
    }
    let mut exporter = builder.build()?;
    exporter.set_resource(&resource());
    Ok(exporter)
}

/// What the gate is to a collector: the variables go before (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES).
pub(super) fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let in_attributes =
        || variable("OTEL_RESOURCE_ATTRIBUTES").split(',').any(|pair| pair.trim().starts_with("service.name="));
    let named = !variable("OTEL_SERVICE_NAME").is_empty() || in_attributes();
    let resource = Resource::builder().with_attribute(version);
    if named { resource } else { resource.with_service_name("patgate") }.build()
}

/// Whether a variable's value is the address of a collector.
pub(super) fn is_address(value: &str) -> bool {
    let uri = value.parse::<http::Uri>();
    uri.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}

/// A variable that somebody else set must not keep the gate from its work. Its value may hold a password.
pub(super) fn not_an_address(variable: &str) {
    tracing::error!(
        owner = "gate",
        variable,
        next_step = "write it as http://HOST:4318 or https://HOST:4318, or name the collector in the file",
        "this variable is not the address of a collector, so nothing is sent there"
    );
}

/// Sends what waits, batch after batch, until there is no more to come.
async fn export(exporter: SpanExporter, mut waiting: mpsc::Receiver<Vec<SpanData>>, metrics: &Metrics) {
    let complaint = LogThrottle::default();
    while let Some(mut batch) = waiting.recv().await {
        while batch.len() < BATCH
            && let Ok(more) = waiting.try_recv()
        {
            batch.extend(more);
        }
        let count = batch.len();
        let cause = match timeout(PATIENCE, exporter.export(batch)).await {
            Ok(Ok(())) => {
                metrics.spans("exported", count);
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_late) => "no answer in time".to_owned(),
        };
        metrics.spans("failed", count);
        if complaint.now() {
            let next_step = "look at the collector and at traces.otlp; requests are served all the same";
            tracing::warn!(owner = "gate", cause, spans = count, next_step, "the collector did not take spans");
        }
    }
}
