//! [`Gauges`]: what a scrape asks the gate for, taken at that moment. What cannot be known has no line.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

/// The state of the gate at the time of a scrape.
#[derive(Debug, Default)]
pub struct Gauges {
    /// The PATs.
    pub pats: Vec<PatGauges>,
    /// Open sessions by client; `None` where the gate seals no tokens and knows none.
    pub sessions: Option<Vec<(String, u64)>>,
    /// Whether records and the audit log are written; `None` where none are.
    pub audit: Option<bool>,
    /// Whether each account can be reached, as far as the last requests show.
    pub accounts: Vec<(String, bool)>,
    /// When the certificate of each listener ends, in seconds since 1970.
    pub certificates: Vec<(String, f64)>,
    /// Whether Redis answers, and how often it has not; `None` without Redis.
    pub replicas: Option<(bool, u64)>,
}

/// One credential's PAT.
#[derive(Debug, Default)]
pub struct PatGauges {
    /// The credential's name.
    pub credential: String,
    /// Whether the PAT is usable.
    pub ready: bool,
    /// Whether Snowflake has refused the version in use.
    pub refused: bool,
    /// Seconds since the last good read.
    pub age: Option<f64>,
    /// When the PAT expires, in seconds since 1970.
    pub expires: Option<f64>,
    /// Whether a successor stands ready before that.
    pub successor: bool,
}

type Floats = Gauge<f64, AtomicU64>;

/// One label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Label(&'static str, String);

impl EncodeLabelSet for Label {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut label = encoder.encode_label();
        let mut key = label.encode_label_key()?;
        prometheus_client::encoding::EncodeLabelKey::encode(&self.0, &mut key)?;
        let mut value = key.encode_label_value()?;
        EncodeLabelValue::encode(&self.1, &mut value)?;
        value.finish()
    }
}

impl Gauges {
    /// Registers what is known.
    pub(super) fn register(&self, registry: &mut Registry) {
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The version of the gate", Info::new(version));
        let pat = |of: fn(&PatGauges) -> Option<f64>| {
            self.pats.iter().filter_map(move |pat| Some((pat.credential.clone(), of(pat)?))).collect::<Vec<_>>()
        };
        let flag = |set: bool| Some(f64::from(u8::from(set)));
        let flags =
            |all: Vec<(String, bool)>| all.into_iter().map(|(name, up)| (name, f64::from(u8::from(up)))).collect();
        for (name, help, label, values) in [
            (
                "pat_ready",
                "Whether the credential has a usable PAT",
                "credential",
                pat(|pat| Some(f64::from(u8::from(pat.ready)))),
            ),
            (
                "pat_refused",
                "Whether Snowflake has refused the version in use",
                "credential",
                pat(|pat| Some(f64::from(u8::from(pat.refused)))),
            ),
            ("pat_age_seconds", "Time since the PAT was last read", "credential", pat(|pat| pat.age)),
            ("pat_expires_timestamp_seconds", "When the PAT expires", "credential", pat(|pat| pat.expires)),
            (
                "pat_successor_ready",
                "Whether a successor of the PAT stands ready before it expires",
                "credential",
                pat(|pat| pat.expires.map(|_| f64::from(u8::from(pat.successor)))),
            ),
            (
                "certificate_expires_timestamp_seconds",
                "When the certificate of the listener ends, or the first of its chain",
                "listener",
                self.certificates.clone(),
            ),
            (
                "upstream_up",
                "Whether Snowflake can be reached, as the last requests show",
                "account",
                flags(self.accounts.clone()),
            ),
        ] {
            add(registry, (name, help), family(label, values));
        }
        if let Some(sessions) = &self.sessions {
            let values = sessions.iter().map(|(client, count)| (client.clone(), *count as f64)).collect();
            add(
                registry,
                ("sessions", "Open sessions that this gate has served in the last hour"),
                family("client", values),
            );
        }
        if let Some(up) = self.audit {
            let one = Floats::default();
            one.set(f64::from(u8::from(up)));
            add(registry, ("audit_up", "Whether the audit log is written"), one);
        }
        if let Some((up, errors)) = self.replicas {
            let one = Floats::default();
            one.set(flag(up).unwrap_or_default());
            add(
                registry,
                ("replicas_up", "Whether Redis answers; while it does not, each replica counts for itself"),
                one,
            );
            let count = Counter::<u64>::default();
            count.inc_by(errors);
            add(registry, ("replicas_errors", "Commands that Redis did not answer"), count);
        }
    }
}

fn add(registry: &mut Registry, (name, help): (&str, &str), metric: impl Metric) {
    registry.register(name, help, metric);
}

fn family(label: &'static str, values: Vec<(String, f64)>) -> Family<Label, Floats> {
    let all = Family::<Label, Floats>::default();
    for (name, value) in values {
        all.get_or_create(&Label(label, name)).set(value);
    }
    all
}
