//! What a login's log line costs its worker: `cargo bench --bench logs 2>/dev/null` (the lines go to stderr).
//!
//! The time from the last fact to the end of the record's life: formatting, and handing over. Logins come one after the
//! other, with a pause, so that the caches are as cold as in a gate that does something else in between.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use patgate::internal::base::names::ClientName;
use patgate::internal::base::trace::{SpanId, TraceId};
use patgate::internal::telemetry::{Level, Log, LogFormat, Opening, Record, Route, Sinks, Step, logs};

const LOGINS: usize = 20_000;

fn main() {
    // `cargo test --benches` only checks that it compiles.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let (sinks, listener) = (Arc::new(Sinks::default()), Arc::from("listen"));
    let client = ClientName::parse("powerbi-gateway").unwrap();
    let login = || {
        let opening = Opening {
            ids: (TraceId::from_bytes([7; 16]), SpanId::from_bytes([7; 8])),
            parent: None,
            peer: [10, 20, 30, 40].into(),
            listener: &listener,
            connection: None,
            route: Route::Login,
        };
        let mut record = Record::open(opening, &sinks);
        record.note(|facts| {
            facts.client = Some(client.clone());
            facts.account = Some("prod".into());
            facts.credential = Some("powerbi".into());
            let login = facts.login();
            login.driver = Some("ODBC".to_owned());
            login.driver_version = Some("3.4.1".to_owned());
            login.application = Some("Power BI".to_owned());
            login.session = Some("123456789012".to_owned());
            login.role = Some("BI_READER".to_owned());
        });
        for step in [Step::Received, Step::Admitted, Step::Leased, Step::Sent, Step::Answered] {
            record.step(step);
        }
        record.answered(200);
        record
    };
    let measure = |what: &str, pause: Duration| {
        let mut times: Vec<_> = (0..LOGINS)
            .map(|_| {
                let mut record = login();
                let start = Instant::now();
                record.complete();
                let time = start.elapsed();
                let until = Instant::now() + pause;
                while Instant::now() < until {
                    black_box(());
                }
                time
            })
            .collect();
        times.sort_unstable();
        let at = |percent: usize| times[LOGINS * percent / 100].as_nanos();
        println!("{what}: p50 {} ns, p90 {} ns, p99 {} ns", at(50), at(90), at(99));
    };
    measure("without a log", Duration::ZERO);
    let (_flush, log) =
        logs::start(&Log { level: Level::Info, format: LogFormat::Json }, logs::Output::Stderr).unwrap();
    for pause in [0, 20, 200] {
        measure(&format!("a login each {pause} µs"), Duration::from_micros(pause));
    }
    println!("dropped lines: {}", log.dropped.get());
}
