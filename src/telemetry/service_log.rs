//! [`ServiceLog`]: the log of a Windows service, which has no stderr that anybody reads.
//!
//! Every line goes to a file of its day; what the operator has to know, warnings and errors, also to the Event Log,
//! with the number of the fault's code as the event's id. The Event Log is small and shared: of one id it gets a few
//! events a minute, and then how many were left out. The log's own thread does all of it (`log_sink`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

/// How many events of one id the Event Log gets in a minute.
const MOST: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// The id of what has no fault's code; codes begin at 101.
pub const OTHER: u16 = 1;
/// Longer texts are cut; the Event Log takes 31 839 characters (Win32, ReportEvent).
const TEXT: usize = 8_000;

/// How grave an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The operator has to act.
    Error,
    /// The operator may have to act.
    Warning,
    /// A start, or a stop.
    Information,
}

/// An event for the Event Log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The number of the fault's code, else [`OTHER`].
    pub id: u16,
    /// How grave it is.
    pub severity: Severity,
    /// What happened, and then a field a line.
    pub text: String,
}

/// A writer of whole lines of JSON.
pub struct ServiceLog<F, R> {
    file: F,
    report: R,
    counts: Counts,
}

impl<F: Write, R: FnMut(&Event)> ServiceLog<F, R> {
    /// One that writes to this file, and reports events to this log.
    pub fn new(file: F, report: R) -> Self {
        Self { file, report, counts: Counts::default() }
    }
}

impl<F: Write, R: FnMut(&Event)> Write for ServiceLog<F, R> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        // A full disk must not keep events from the Event Log.
        let written = self.file.write_all(lines);
        let now = Instant::now();
        for line in lines.split(|byte| *byte == b'\n') {
            let Some(event) = event(line) else { continue };
            let (may, left_out) = self.counts.next(event.id, now);
            if let Some(left_out) = left_out {
                (self.report)(&left_out);
            }
            if may {
                (self.report)(&event);
            }
        }
        written.map(|()| lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// How many events of each id there were in the minute that runs.
#[derive(Default)]
struct Counts(BTreeMap<u16, (Instant, u32)>);

impl Counts {
    /// Whether one more may be reported, and what to say of those before that were not.
    fn next(&mut self, id: u16, now: Instant) -> (bool, Option<Event>) {
        let (since, count) = self.0.entry(id).or_insert((now, 0));
        let mut left_out = None;
        if now.duration_since(*since) >= MINUTE {
            left_out = count.checked_sub(MOST).filter(|more| *more > 0).map(|more| Event {
                id,
                severity: Severity::Warning,
                text: format!("{more} more events with this id were left out; the log file has them"),
            });
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        (*count <= MOST, left_out)
    }
}

/// What the Event Log should have of a line.
fn event(line: &[u8]) -> Option<Event> {
    let line: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let message = line.get("message").and_then(Value::as_str).unwrap_or_default();
    let severity = match line.get("level").and_then(Value::as_str)? {
        "ERROR" => Severity::Error,
        "WARN" => Severity::Warning,
        "INFO" if ["listening", "stopped"].contains(&message) => Severity::Information,
        _ => return None,
    };
    let number = |code: &str| code.strip_prefix("PG-")?.parse().ok();
    let id = line.get("code").and_then(Value::as_str).and_then(number).unwrap_or(OTHER);
    let mut text = message.to_owned();
    for (key, value) in line.iter().filter(|(key, _)| !["timestamp", "level", "message", "target"].contains(&&***key)) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        // Writing to a string does not fail.
        let _written = write!(text, "\n{key}: {value}");
    }
    Some(Event { id, severity, text: crate::base::text::capped(&text, TEXT).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_and_errors_become_events_with_the_number_of_their_code() {
        let line =
            br#"{"timestamp":"t","level":"WARN","message":"login","code":"PG-104","client":"bi","ms":3,"target":"x"}"#;
        let wanted = "login\ncode: PG-104\nclient: bi\nms: 3";
        assert_eq!(event(line), Some(Event { id: 104, severity: Severity::Warning, text: wanted.to_owned() }));
        let other = event(br#"{"level":"ERROR","message":"a bug","code":7}"#).unwrap();
        assert_eq!((other.id, other.severity), (OTHER, Severity::Error));
        assert_eq!(event(br#"{"level":"INFO","message":"login"}"#), None);
        assert_eq!(event(br#"{"level":"INFO","message":"listening"}"#).unwrap().severity, Severity::Information);
        assert_eq!(event(b"half a li"), None);
    }

    #[test]
    fn one_id_does_not_fill_the_event_log_and_costs_no_other_one_its_place() {
        let (mut counts, start) = (Counts::default(), Instant::now());
        let reported = (0..MOST + 5).filter(|_| counts.next(104, start).0).count();
        assert_eq!(reported, MOST as usize);
        assert_eq!(counts.next(105, start), (true, None));
        let (may, left_out) = counts.next(104, start + MINUTE);
        assert!(may && left_out.unwrap().text.starts_with("5 more events"));
        assert_eq!(counts.next(104, start + MINUTE * 2), (true, None), "none was left out meanwhile");
    }

    #[test]
    fn the_file_gets_every_line_and_a_full_disk_keeps_no_event_back() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = b"{\"level\":\"ERROR\",\"message\":\"one\"}\n{\"level\":\"DEBUG\",\"message\":\"two\"}\n";
        let (mut file, mut events) = (Vec::new(), Vec::new());
        ServiceLog::new(&mut file, |event: &Event| events.push(event.clone())).write_all(lines).unwrap();
        assert_eq!((file.as_slice(), events.len()), (lines.as_slice(), 1));
        let mut events = 0;
        assert!(ServiceLog::new(Full, |_: &Event| events += 1).write_all(lines).is_err());
        assert_eq!(events, 1);
    }
}
