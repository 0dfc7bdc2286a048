//! Spans from records.
//!
//! | span | kind | parent |
//! |---|---|---|
//! | `connection` | server | none: a trace of its own, to which its requests link |
//! | the request: `login`, `query`, … | server | the client's span, if it sent one |
//! | `admit`, `lease` | internal | the request |
//! | `store`: each wait for a secrets manager | client | the `lease` that waits |
//! | `snowflake`: each attempt | client | the request |
//! | `session`, when it ends | internal | none: a trace of its own, whose ids follow from the session's id |
//!
//! A request of a session links to the session's span. Attributes are those of OpenTelemetry's semantic conventions
//! where they have one (`client.address`, `server.address`, `http.response.status_code`, `error.type`, `session.id`,
//! `db.system.name`, `user_agent.name`), else they begin with `patgate.` or `snowflake.`.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanLinks};

use crate::base::epoch::EpochMillis;
use crate::base::fault::Kind;
use crate::base::trace;
use crate::telemetry::act::{Act, SESSION_ENDED};
use crate::telemetry::story::{StepTimes, Story};

/// Whether a record is exported: always what matters, and of the rest a part, the same part of each trace.
pub(super) fn is_sampled(story: &Story, part: f64) -> bool {
    story.matters() || trace::TraceId::parse(&story.trace).is_some_and(|trace| trace.falls_within(part))
}

/// Adds the spans of a record.
pub(super) fn of_story(story: &Story, to: &mut Vec<SpanData>) {
    let (Ok(trace), Ok(own)) = (TraceId::from_hex(&story.trace), SpanId::from_hex(&story.span)) else { return };
    let begin = story.at.to_system_time();
    let at = |micros: u64| begin + Duration::from_micros(micros);
    let parent = story.parent.as_deref().and_then(|parent| SpanId::from_hex(parent).ok());
    let mut request = span(trace, own, story.route.clone(), SpanKind::Server, (begin, at(story.us)));
    request.parent_span_id = parent.unwrap_or(SpanId::INVALID);
    request.parent_span_is_remote = parent.is_some();
    request.attributes = attributes(story);
    if let Some((trace, span)) = story.session.as_deref().and_then(of_session_id) {
        let of_session = SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE);
        request.links.links.push(Link::new(of_session, Vec::new(), 0));
    }
    if let Some((trace, span)) = &story.connection
        && let (Ok(trace), Ok(span)) = (TraceId::from_hex(trace), SpanId::from_hex(span))
    {
        let of_connection = SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE);
        request.links.links.push(Link::new(of_connection, Vec::new(), 0));
    }
    if let Some(fault) = &story.fault {
        request.status = Status::error(fault.cause.clone());
    }
    to.push(request);
    let mut child = |name: &'static str, kind: SpanKind, parent: SpanId, from: u64, until: u64| {
        let id = SpanId::from_bytes(derived(&own.to_bytes(), to.len()));
        let mut one = span(trace, id, name.into(), kind, (at(from), at(until.max(from))));
        one.parent_span_id = parent;
        to.push(one);
        (to.len() - 1, id)
    };
    let (mut leases, mut attempts) = (Vec::new(), Vec::new());
    if let Some(admitted) = story.steps.admitted.or(story.steps.received) {
        let name = if story.route == "connection" { "tls" } else { "admit" };
        child(name, SpanKind::Internal, own, 0, admitted);
    }
    let earlier = story.earlier.iter().map(|attempt| (&attempt.steps, attempt.ended, Some(attempt.kind.as_str())));
    for (steps, ended, failed) in earlier.chain([(&story.steps, story.us, None)]) {
        let StepTimes { asked, leased, sent, answered, .. } = steps;
        if let Some(asked) = asked {
            let until = leased.unwrap_or(ended);
            leases.push((child("lease", SpanKind::Internal, own, *asked, until).1, *asked..=until));
        }
        if let Some(sent) = sent {
            attempts.push((child("snowflake", SpanKind::Client, own, *sent, answered.unwrap_or(ended)).0, failed));
        }
    }
    let mut reads = Vec::new();
    for read in &story.store {
        let lease = leases.iter().find(|(_, time)| time.contains(&read.from)).map_or(own, |(lease, _)| *lease);
        reads.push((child("store", SpanKind::Client, lease, read.from, read.from + read.us).0, read));
    }
    for (index, failed) in attempts {
        let Some(one) = to.get_mut(index) else { continue };
        one.attributes.push(KeyValue::new("db.system.name", "snowflake"));
        one.attributes.extend(story.account.clone().map(|account| KeyValue::new("patgate.account", account)));
        fail(one, failed);
    }
    for (index, read) in reads {
        let Some(one) = to.get_mut(index) else { continue };
        one.attributes.push(KeyValue::new("patgate.references", read.references.clone()));
        fail(one, read.failed.as_deref());
    }
}

/// Marks a span as that of a failure of this kind.
fn fail(span: &mut SpanData, kind: Option<&str>) {
    if let Some(kind) = kind {
        span.attributes.push(KeyValue::new("error.type", kind.to_owned()));
        span.status = Status::error(kind.to_owned());
    }
}

/// The span of a session that has ended.
pub(super) fn of_session(at: EpochMillis, act: &Act) -> Option<SpanData> {
    let (trace, own) = of_session_id(act.session.as_deref().filter(|_| act.event == SESSION_ENDED)?)?;
    let times = (act.opened?.to_system_time(), at.to_system_time());
    let mut session = span(trace, own, "session".into(), SpanKind::Internal, times);
    session.attributes.extend(act.session.clone().map(|id| KeyValue::new("session.id", id)));
    session.attributes.extend(act.client.clone().map(|client| KeyValue::new("patgate.client", client)));
    session.attributes.push(KeyValue::new("patgate.session.end", act.detail.clone()));
    Some(session)
}

fn attributes(story: &Story) -> Vec<KeyValue> {
    let mut all = vec![
        KeyValue::new("client.address", story.peer.clone()),
        KeyValue::new("patgate.listener", story.listener.clone()),
        KeyValue::new("patgate.outcome", story.outcome.clone()),
        KeyValue::new("patgate.response.bytes", i64::try_from(story.bytes).unwrap_or(i64::MAX)),
    ];
    if story.status != 0 {
        all.push(KeyValue::new("http.response.status_code", i64::from(story.status)));
    }
    let mut add = |name: &'static str, value: &Option<String>| {
        all.extend(value.clone().map(|value| KeyValue::new(name, value)));
    };
    add("patgate.connect.target", &story.target);
    add("patgate.client", &story.client);
    add("patgate.account", &story.account);
    add("patgate.credential", &story.credential);
    add("patgate.pat.version", &story.pat);
    add("session.id", &story.session);
    add("patgate.request.id", &story.request_id);
    add("snowflake.query_id", &story.query_id);
    add("db.query.text", &story.statement);
    if let Some(login) = &story.login {
        add("user_agent.name", &login.driver);
        add("user_agent.version", &login.driver_version);
        add("patgate.application", &login.application);
        add("patgate.typed_user", &login.typed_user);
        add("snowflake.session.id", &login.session);
        add("snowflake.role", &login.role);
        add("snowflake.warehouse", &login.warehouse);
        let unset = (!login.unset.is_empty()).then(|| login.unset.join(", "));
        add("patgate.login.unset", &unset);
    }
    if let Some(fault) = &story.fault {
        add("error.type", &Some(fault.kind.clone()));
        add("patgate.fault.code", &Some(fault.code.clone()));
        add("patgate.fault.owner", &Some(fault.owner.clone()));
        let next_step = Kind::named(&fault.kind).map(|kind| kind.page().next_step.to_owned());
        add("patgate.fault.next_step", &next_step);
        add("patgate.fault.likely", &fault.likely);
        add("snowflake.error.code", &fault.snowflake_code);
        add("snowflake.error.text", &fault.snowflake_text);
    }
    all
}

fn span(
    trace: TraceId,
    own: SpanId,
    name: String,
    span_kind: SpanKind,
    (start_time, end_time): (SystemTime, SystemTime),
) -> SpanData {
    SpanData {
        span_context: SpanContext::new(trace, own, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind,
        name: name.into(),
        start_time,
        end_time,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: Default::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("patgate").build(),
    }
}

/// The trace and the span of a session: whoever has its id finds both.
fn of_session_id(session: &str) -> Option<(TraceId, SpanId)> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(session.replace('-', ""), &mut bytes).ok()?;
    Some((TraceId::from_bytes(bytes), SpanId::from_bytes(derived(&bytes, 0))))
}

/// An id that follows from another one.
fn derived(from: &[u8], number: usize) -> [u8; 8] {
    let text = [from, &number.to_be_bytes()].concat();
    let mut id = [0; 8];
    id.copy_from_slice(&digest(&SHA256, &text).as_ref()[..8]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::story::{EarlierAttempt, FaultStory, StoreRead};

    fn story() -> Story {
        Story {
            trace: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
            span: "00f067aa0ba902b7".to_owned(),
            parent: Some("b7ad6b7169203331".to_owned()),
            at: EpochMillis(1_795_000_000_000),
            us: 900,
            route: "login".to_owned(),
            session: Some("0af76519-16cd-43dd-8448-eb211c80319c".to_owned()),
            steps: StepTimes {
                received: Some(10),
                admitted: Some(20),
                asked: Some(300),
                leased: Some(500),
                sent: Some(510),
                answered: Some(800),
            },
            earlier: vec![EarlierAttempt {
                steps: StepTimes { asked: Some(20), leased: Some(30), sent: Some(40), ..StepTimes::default() },
                ended: 300,
                kind: "pat_refused".to_owned(),
            }],
            store: vec![StoreRead {
                references: "vault:kv/bi".to_owned(),
                from: 310,
                us: 150,
                failed: Some("store_unavailable".to_owned()),
            }],
            ..Story::default()
        }
    }

    #[test]
    fn a_login_is_a_tree_with_a_span_for_each_attempt_and_for_each_wait() {
        let mut all = Vec::new();
        of_story(&story(), &mut all);
        let told: Vec<_> = all
            .iter()
            .map(|span| (&*span.name, span.end_time.duration_since(span.start_time).unwrap().as_micros()))
            .collect();
        assert_eq!(
            told,
            [
                ("login", 900),
                ("admit", 20),
                ("lease", 10),
                ("snowflake", 260),
                ("lease", 200),
                ("snowflake", 290),
                ("store", 150)
            ]
        );
        assert_eq!(all[0].parent_span_id.to_string(), "b7ad6b7169203331");
        assert!(all[1..6].iter().all(|span| span.parent_span_id == all[0].span_context.span_id()));
        assert_eq!(all[6].parent_span_id, all[4].span_context.span_id());
        assert!(matches!(&all[6].status, Status::Error { description } if description == "store_unavailable"));
        let ids: std::collections::HashSet<_> = all.iter().map(|span| span.span_context.span_id()).collect();
        assert_eq!(ids.len(), all.len());
        assert!(matches!(all[3].status, Status::Error { .. }) && all[5].status == Status::Unset);
        let act = Act { opened: Some(EpochMillis(1_795_000_000_000)), ..Act::of(SESSION_ENDED, "logout") };
        let act = act.on_session("0af76519-16cd-43dd-8448-eb211c80319c", "excel");
        let session = of_session(EpochMillis(1_795_000_009_000), &act).unwrap();
        assert_eq!(all[0].links.links[0].span_context.span_id(), session.span_context.span_id());
    }

    #[test]
    fn what_matters_is_always_sampled_and_the_rest_by_its_trace() {
        let routine = Story { route: "query".to_owned(), ..story() };
        assert!(is_sampled(&routine, 1.0) && !is_sampled(&routine, 0.0) && is_sampled(&story(), 0.0));
        let failed = Story { fault: Some(FaultStory::default()), ..routine };
        assert!(is_sampled(&failed, 0.0));
    }
}
