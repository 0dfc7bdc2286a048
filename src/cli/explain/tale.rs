//! [`Tale`]: records, with what stood around them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::page::whose;
use crate::base::epoch::EpochMillis;
use crate::base::rfc3339;
use crate::cli::shell::CommandError;
use crate::telemetry::act;
use crate::telemetry::history::{PastAct, Reader};
use crate::telemetry::story::{EarlierAttempt, FaultStory, StepTimes, Story};

/// How far around a failure others are counted.
const AROUND: u64 = 5 * 60_000;
/// How far back changes are listed where the client has never worked.
const BACK: u64 = 24 * 3_600_000;
/// How many changes are told, the newest.
const CHANGES: u32 = 5;
/// The acts that can have broken what worked: sessions that ended, and looks at the gate, cannot.
const CAUSES: [&str; 8] = [
    act::STARTED,
    act::CONFIGURATION,
    act::CERTIFICATE,
    act::PAT_RETRY,
    act::PAT_ROTATED,
    act::PAT_TAKEN_OVER,
    act::PAT_REVOKED,
    act::RING_ROTATED,
];
/// How many requests are told one by one.
const MOST: usize = 20;

/// Records, and what belongs to them.
pub(super) struct Tale {
    /// The records, the oldest first.
    pub stories: Vec<Story>,
    /// The last login of the client that went well before.
    worked: Option<Story>,
    /// What happened to the gate since then.
    changes: Vec<PastAct>,
    /// What else failed at the time, by code.
    others: Vec<(String, u64)>,
}

impl Tale {
    /// What the history knows of these records; `None` if there are none.
    pub(super) fn read(history: &Reader, stories: Vec<Story>) -> Result<Option<Self>, CommandError> {
        let Some(subject) = main_one(&stories) else { return Ok(None) };
        let at = subject.at;
        let worked = match &subject.client {
            Some(client) => history.last_success(client, at).map_err(CommandError::gate)?,
            None => None,
        };
        let since = worked.as_ref().map_or(EpochMillis(at.0.saturating_sub(BACK)), |worked| worked.at);
        let (changes, others) = match subject.fault {
            Some(_) => (
                history.acts(&CAUSES, since, at, CHANGES).map_err(CommandError::gate)?,
                history
                    .failures(EpochMillis(at.0.saturating_sub(AROUND)), EpochMillis(at.0 + AROUND))
                    .map_err(CommandError::gate)?,
            ),
            None => Default::default(),
        };
        Ok(Some(Self { stories, worked, changes, others }))
    }

    /// The failure that it is about, else the first record.
    fn subject(&self) -> Option<&Story> {
        main_one(&self.stories)
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let Some(subject) = self.subject() else { return Value::Null };
        let fault = subject.fault.as_ref().map(|fault| {
            let mut told = json!(fault);
            if let Some(kind) = subject.kind() {
                told["next_step"] = kind.page().next_step.into();
                told["client_step"] = kind.rule().client_step.into();
                told["causes"] = kind.page().causes.into();
            }
            told
        });
        let changes: Vec<_> = self.changes.iter().map(|past| json!({ "at": time(past.at), "act": past.act })).collect();
        let others: Vec<_> = self.others.iter().map(|(code, count)| json!({ "code": code, "count": count })).collect();
        json!({
            "trace": subject.trace, "fault": fault, "requests": self.stories, "last_success": self.worked,
            "changes": changes,
            "others": others,
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let Some(subject) = self.subject() else { return text };
        for story in most(&self.stories) {
            request(&mut text, story);
            text.push('\n');
        }
        if self.stories.len() > MOST {
            line(&mut text, "", &format!("… and {} more under this id", self.stories.len() - MOST));
        }
        if subject.fault.is_none() {
            return text;
        }
        match &self.worked {
            Some(worked) => {
                line(
                    &mut text,
                    "before",
                    &format!("this client last logged in at {} (trace {})", time(worked.at), worked.trace),
                );
                let told = |what: &str, before: &Option<String>, now: &Option<String>| {
                    let differs = before != now && before.is_some() && now.is_some();
                    let shown = |value: &Option<String>| value.clone().unwrap_or_default();
                    differs.then(|| format!("{what} was {}, and is {}", shown(before), shown(now)))
                };
                let peer = (Some(worked.peer.clone()), Some(subject.peer.clone()));
                for change in [
                    told("the PAT's version", &worked.pat, &subject.pat),
                    told("the client's address", &peer.0, &peer.1),
                    told("the credential", &worked.credential, &subject.credential),
                    told("the gate's own address", &worked.gate_address, &subject.gate_address),
                ] {
                    change.iter().for_each(|change| line(&mut text, "since", change));
                }
            }
            None if subject.client.is_some() => {
                line(&mut text, "before", "the history knows no login of this client that went well")
            }
            None => {}
        }
        for PastAct { at, act } in &self.changes {
            line(&mut text, "since", &format!("{}  {}: {}", time(*at), act.event, act.detail));
        }
        let others: Vec<_> = self.others.iter().map(|(code, count)| format!("{code} × {count}")).collect();
        line(
            &mut text,
            "others",
            &format!("failures within five minutes around it, this one included: {}", others.join(", ")),
        );
        text
    }
}

/// The records that are told: failures before what went well, the newest before the oldest; in the order of time.
fn most(stories: &[Story]) -> Vec<&Story> {
    let mut all: Vec<_> = stories.iter().collect();
    all.sort_by_key(|story| std::cmp::Reverse((story.fault.is_some(), story.at)));
    all.truncate(MOST);
    all.sort_by_key(|story| story.at);
    all
}

/// The last failure, else the first record.
fn main_one(stories: &[Story]) -> Option<&Story> {
    stories.iter().rev().find(|story| story.fault.is_some()).or_else(|| stories.first())
}

fn request(text: &mut String, story: &Story) {
    let Story { at, us, route, outcome, trace, .. } = story;
    // Writing to memory does not fail.
    let _written = writeln!(text, "{}  {route} · {outcome} · {} · trace {trace}", time(*at), ms(*us));
    let client = story.client.as_ref().map_or("nobody that the gate knows".to_owned(), |name| format!("client {name}"));
    let mut who = format!("{client} from {}", story.peer);
    let mut add = |what: &str, value: &Option<String>| {
        value.iter().for_each(|value| who.push_str(&format!(", {what}{value}")));
    };
    if let Some(login) = &story.login {
        add("driver ", &login.driver);
        add("version ", &login.driver_version);
        add("application ", &login.application);
        add("typed user ", &login.typed_user);
    }
    line(text, "who", &who);
    let with = [
        ("CONNECT to ", &story.target),
        ("account ", &story.account),
        ("the gate's own address ", &story.gate_address),
        ("credential ", &story.credential),
        ("PAT ", &story.pat),
        ("session ", &story.session),
        ("Snowflake's session ", &story.login.as_ref().and_then(|login| login.session.clone())),
        ("role ", &story.login.as_ref().and_then(|login| login.role.clone())),
        ("warehouse ", &story.login.as_ref().and_then(|login| login.warehouse.clone())),
        ("query ", &story.query_id),
    ];
    let with: Vec<_> =
        with.into_iter().filter_map(|(what, value)| Some(format!("{what}{}", value.as_ref()?))).collect();
    if !with.is_empty() {
        line(text, "with", &with.join(", "));
    }
    story.statement.iter().for_each(|statement| line(text, "statement", statement));
    if let [first, .., last] = &story.earlier[..] {
        let kinds: std::collections::BTreeSet<_> = story.earlier.iter().map(|attempt| attempt.kind.as_str()).collect();
        let kinds = kinds.into_iter().collect::<Vec<_>>().join(", ");
        let sent = |attempt: &EarlierAttempt| attempt.steps.sent.unwrap_or(attempt.ended);
        let count = story.earlier.len() + story.earlier_left_out;
        line(text, "attempts", &format!("{count} from {} to {}: {kinds}", ms(sent(first)), ms(sent(last))));
    } else if let [only] = &story.earlier[..] {
        line(text, "attempt", &format!("{}; {} at {}", steps(&only.steps), only.kind, ms(only.ended)));
    }
    line(text, "steps", &format!("{}; all {}", steps(&story.steps), ms(*us)));
    for read in &story.store {
        let failed = read.failed.as_ref().map(|kind| format!(", which ended with {kind}")).unwrap_or_default();
        let (time, from) = (ms(read.us), ms(read.from));
        line(text, "store", &format!("waited {time} for {} from {from} on{failed}", read.references));
    }
    if story.store_left_out > 0 {
        line(text, "store", &format!("… and {} more reads", story.store_left_out));
    }
    for unset in story.login.iter().flat_map(|login| &login.unset) {
        line(text, "not got", unset);
    }
    if let Some(fault) = &story.fault {
        told(text, story, fault);
    }
}

fn told(text: &mut String, story: &Story, fault: &FaultStory) {
    let owner = story.kind().map_or(fault.owner.as_str(), |kind| whose(kind.rule().owner));
    line(text, "fault", &format!("{} {} · {owner}", fault.code, fault.kind));
    if !fault.cause.is_empty() {
        line(text, "cause", &fault.cause);
    }
    fault.likely.iter().for_each(|likely| line(text, "which", likely));
    if let (Some(code), Some(said)) = (&fault.snowflake_code, &fault.snowflake_text) {
        line(text, "said", &format!("Snowflake: {code} \"{said}\""));
    }
    if let Some(uuid) = &fault.uuid {
        line(
            text,
            "more",
            &format!("SELECT SYSTEM$GET_LOGIN_FAILURE_DETAILS('{uuid}');  -- needs MONITOR on the account"),
        );
    }
    if let Some(kind) = story.kind() {
        line(text, "operator", kind.page().next_step);
        line(text, "client", kind.rule().client_step);
        kind.page().causes.iter().for_each(|cause| line(text, "may be", cause));
    }
}

fn steps(steps: &StepTimes) -> String {
    let all = [
        ("read at", steps.received),
        ("admitted at", steps.admitted),
        ("had its PAT and its turn at", steps.leased),
        ("sent to Snowflake at", steps.sent),
        ("answered at", steps.answered),
    ];
    let told: Vec<_> = all.into_iter().filter_map(|(what, at)| Some(format!("{what} {}", ms(at?)))).collect();
    if told.is_empty() { "none was reached".to_owned() } else { told.join(" · ") }
}

fn line(text: &mut String, what: &str, value: &str) {
    let _written = writeln!(text, "  {what:<9} {value}");
}

fn time(at: EpochMillis) -> String {
    rfc3339::show(at.to_system_time())
}

fn ms(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{} ms", micros / 1_000),
    }
}
