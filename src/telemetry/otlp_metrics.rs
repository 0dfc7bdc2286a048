//! [`MetricsExport`]: the metrics of a scrape, to a collector by OTLP over HTTP (protobuf).
//!
//! There is one source: the text that Prometheus would get is what is sent, so that both show the same names, labels
//! and values. `[metrics]` goes before the standard variables `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`,
//! `OTEL_EXPORTER_OTLP_ENDPOINT`, `…_HEADERS`, `OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_SDK_DISABLED` and
//! `OTEL_METRICS_EXPORTER`.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, exemplar, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::traces;
use crate::config;

/// How long the collector has for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way of metrics to a collector.
pub struct MetricsExport {
    client: reqwest::Client,
    url: String,
    headers: HeaderMap,
    /// How often they are sent.
    pub every: Duration,
    resource: Vec<KeyValue>,
}

impl MetricsExport {
    /// The way; `None` if neither the file nor a variable names a collector.
    ///
    /// # Errors
    /// If the roots cannot be used.
    pub fn open(settings: &config::Metrics) -> io::Result<Option<Self>> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || variable("OTEL_METRICS_EXPORTER").is_some_and(|value| value == "none");
        let below = |address: String| format!("{}/v1/metrics", address.trim_end_matches('/'));
        let by_variable = || {
            let all = || variable("OTEL_EXPORTER_OTLP_ENDPOINT").map(below);
            variable("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT").or_else(all).filter(|_| !disabled)
        };
        let Some(url) = settings.otlp.clone().map(below).or_else(by_variable) else { return Ok(None) };
        if settings.otlp.is_none() && !traces::is_address(&url) {
            traces::not_an_address("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT");
            return Ok(None);
        }
        let client = traces::client(settings.ca.as_deref(), PATIENCE)
            .map_err(|cause| io::Error::other(format!("metrics: {cause}")))?;
        let named = ["OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
        let headers = named.iter().find_map(|name| variable(name)).map(|text| headers(&text)).unwrap_or_default();
        let interval = variable("OTEL_METRIC_EXPORT_INTERVAL").and_then(|value| value.parse().ok());
        let every = settings.every.or(interval.map(Duration::from_millis)).unwrap_or(Duration::from_secs(60));
        let resource = traces::resource();
        let resource = resource.iter().map(|(key, value)| attribute(key.as_str(), value.as_str().as_ref())).collect();
        Ok(Some(Self { client, url, headers, every: every.max(Duration::from_secs(1)), resource }))
    }

    /// Sends the text of a scrape; `times` are the start of the process and now.
    ///
    /// # Errors
    /// Why the collector did not take it.
    pub async fn send(&self, text: &str, times: (SystemTime, SystemTime)) -> Result<(), String> {
        let body = request(text, times, self.resource.clone()).encode_to_vec();
        let request = self.client.post(&self.url).headers(self.headers.clone());
        let sent = request.header(header::CONTENT_TYPE, "application/x-protobuf").body(body).send().await;
        // The address may hold a password.
        let answer = sent.map_err(|error| error.without_url().to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("the collector answers {}", answer.status())) }
    }
}

/// `name=value,name=value`, the values percent-encoded.
fn headers(text: &str) -> HeaderMap {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let read = |(name, value): (&str, &str)| {
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some((name.trim().parse::<HeaderName>().ok()?, value))
    };
    pairs.filter_map(read).collect()
}

/// The request with all metrics of a text in the form of OpenMetrics.
fn request(text: &str, times: (SystemTime, SystemTime), attributes: Vec<KeyValue>) -> ExportMetricsServiceRequest {
    let resource = Resource { attributes, ..Resource::default() };
    let scope = InstrumentationScope { name: "patgate".to_owned(), ..InstrumentationScope::default() };
    let metrics = families(text).into_iter().map(|family| family.metric(times)).collect();
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

/// One metric of the text.
#[derive(Default)]
struct Family<'a> {
    name: &'a str,
    kind: &'a str,
    help: &'a str,
    samples: Vec<Sample<'a>>,
}

struct Sample<'a> {
    /// What follows the family's name: `_total`, `_bucket`, `_sum` and the like.
    ending: &'a str,
    labels: Vec<(String, String)>,
    value: f64,
    exemplar: Option<Exemplar>,
}

impl Sample<'_> {
    /// Its exemplar; Prometheus' text has no time for it, so it has that of the sample.
    fn exemplar_at(&self, now: u64) -> Vec<Exemplar> {
        self.exemplar.iter().map(|one| Exemplar { time_unix_nano: now, ..one.clone() }).collect()
    }
}

fn families(text: &str) -> Vec<Family<'_>> {
    let mut all: Vec<Family<'_>> = Vec::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            all.push(Family { name, help: help.trim_end_matches('.'), ..Family::default() });
        } else if let Some((_, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            all.last_mut().into_iter().for_each(|family| family.kind = kind);
        } else if !line.starts_with('#')
            && let Some(family) = all.last_mut()
            && let Some(sample) = sample(line, family.name)
        {
            family.samples.push(sample);
        }
    }
    all
}

/// `name{label="value"} 1 # {trace_id="…"} 0.5`.
fn sample<'a>(line: &'a str, family: &str) -> Option<Sample<'a>> {
    let rest = line.strip_prefix(family)?;
    let end = rest.find(['{', ' '])?;
    let (ending, rest) = rest.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let (value, after) = rest.trim_start().split_once(' ').unwrap_or((rest.trim(), ""));
    Some(Sample { ending, labels, value: value.parse().ok()?, exemplar: exemplar(after) })
}

/// `# {trace_id="…"} 0.5`: the trace of one request that the sample counts.
fn exemplar(text: &str) -> Option<Exemplar> {
    let (labels, rest) = labels(text.trim_start().strip_prefix("# {")?)?;
    let value = rest.split_whitespace().next()?.parse().ok()?;
    let id = |wanted: &str| labels.iter().find(|(name, _)| name == wanted).and_then(|(_, id)| hex::decode(id).ok());
    Some(Exemplar {
        trace_id: id("trace_id")?,
        span_id: id("span_id").unwrap_or_default(),
        value: Some(exemplar::Value::AsDouble(value)),
        ..Exemplar::default()
    })
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut all = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((all, after));
        }
        let (name, value) = rest.trim_start_matches(',').split_once("=\"")?;
        let (mut text, mut escaped, mut end) = (String::new(), false, None);
        for (at, c) in value.char_indices() {
            match (escaped, c) {
                (false, '\\') => escaped = true,
                (false, '"') => {
                    end = Some(at);
                    break;
                }
                (true, 'n') => (text.push('\n'), escaped = false).1,
                (_, c) => (text.push(c), escaped = false).1,
            }
        }
        all.push((name.to_owned(), text));
        rest = &value[end? + 1..];
    }
}

impl Family<'_> {
    fn metric(&self, (start, now): (SystemTime, SystemTime)) -> Metric {
        let nanos = |at: SystemTime| {
            let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        };
        let (start, now) = (nanos(start), nanos(now));
        let point = |sample: &Sample<'_>| NumberDataPoint {
            attributes: attributes(&sample.labels),
            start_time_unix_nano: start,
            time_unix_nano: now,
            value: Some(number_data_point::Value::AsDouble(sample.value)),
            exemplars: sample.exemplar_at(now),
            ..NumberDataPoint::default()
        };
        let points = |ending: &str| self.samples.iter().filter(|one| one.ending == ending).map(point).collect();
        let cumulative = AggregationTemporality::Cumulative.into();
        let data = match self.kind {
            "counter" => metric::Data::Sum(Sum {
                data_points: points("_total"),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            }),
            "histogram" => metric::Data::Histogram(Histogram {
                data_points: self.histogram(start, now),
                aggregation_temporality: cumulative,
            }),
            "info" => metric::Data::Gauge(Gauge { data_points: points("_info") }),
            _ => metric::Data::Gauge(Gauge { data_points: points("") }),
        };
        Metric { name: self.name.to_owned(), description: self.help.to_owned(), data: Some(data), ..Metric::default() }
    }

    fn histogram(&self, start: u64, now: u64) -> Vec<HistogramDataPoint> {
        let mut all: BTreeMap<Vec<(String, String)>, HistogramDataPoint> = BTreeMap::new();
        for sample in &self.samples {
            let Sample { ending, labels, value, exemplar: _ } = sample;
            let mut labels = labels.clone();
            let bound = labels.iter().position(|(name, _)| name == "le").map(|at| labels.remove(at).1);
            let point = all.entry(labels.clone()).or_insert_with(|| HistogramDataPoint {
                attributes: attributes(&labels),
                start_time_unix_nano: start,
                time_unix_nano: now,
                ..HistogramDataPoint::default()
            });
            match (*ending, bound) {
                ("_sum", _) => point.sum = Some(*value),
                ("_count", _) => point.count = *value as u64,
                ("_bucket", Some(bound)) => {
                    point.exemplars.extend(sample.exemplar_at(now));
                    let before: u64 = point.bucket_counts.iter().sum();
                    // A bucket of Prometheus counts all before it too.
                    point.bucket_counts.push((*value as u64).saturating_sub(before));
                    point.explicit_bounds.extend(bound.parse::<f64>().ok().filter(|bound| bound.is_finite()));
                }
                _ => {}
            }
        }
        all.into_values().collect()
    }
}

fn attributes(labels: &[(String, String)]) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| attribute(name, value)).collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prometheus_would_read_is_what_the_collector_gets() {
        let text = concat!(
            "# HELP patgate_logins Logins.\n# TYPE patgate_logins counter\n",
            "patgate_logins_total{client=\"a\\\"b,}\",outcome=\"success\"} 3\n",
            "# HELP patgate_up Up.\n# TYPE patgate_up gauge\npatgate_up 1\n",
            "# HELP patgate_s Time.\n# TYPE patgate_s histogram\n",
            "patgate_s_sum{side=\"gate\"} 1.5\npatgate_s_count{side=\"gate\"} 4\n",
            "patgate_s_bucket{le=\"0.1\",side=\"gate\"} 1 # {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} 0.05\n",
            "patgate_s_bucket{le=\"1.0\",side=\"gate\"} 3\npatgate_s_bucket{le=\"+Inf\",side=\"gate\"} 4\n# EOF\n",
        );
        let sent = request(text, (UNIX_EPOCH, UNIX_EPOCH + PATIENCE), vec![attribute("service.name", "patgate")]);
        let metrics = &sent.resource_metrics[0].scope_metrics[0].metrics;
        let [logins, up, seconds] = &metrics[..] else { panic!("{metrics:?}") };
        let Some(metric::Data::Sum(sum)) = &logins.data else { panic!() };
        assert_eq!(sum.data_points[0].attributes[0], attribute("client", "a\"b,}"));
        assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsDouble(3.0)));
        assert!(matches!(&up.data, Some(metric::Data::Gauge(gauge)) if gauge.data_points.len() == 1));
        let Some(metric::Data::Histogram(histogram)) = &seconds.data else { panic!() };
        let [point] = &histogram.data_points[..] else { panic!() };
        assert_eq!((point.count, point.sum), (4, Some(1.5)));
        let [exemplar] = &point.exemplars[..] else { panic!("{point:?}") };
        assert_eq!(hex::encode(&exemplar.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(exemplar.value, Some(exemplar::Value::AsDouble(0.05)));
        assert_eq!((&point.bucket_counts[..], &point.explicit_bounds[..]), (&[1, 2, 1][..], &[0.1, 1.0][..]));
    }

    #[test]
    fn headers_of_the_variable_are_read_and_not_shown() {
        let read = headers("api-key=a%20b, x=1,broken");
        assert_eq!((read["api-key"].to_str().unwrap(), read.len()), ("a b", 2));
        assert!(read["api-key"].is_sensitive());
    }
}
