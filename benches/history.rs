//! What `patgate explain` waits for: 30 days of a busy gate, asked as the command asks, beside a search of the same
//! records as lines of a log. `cargo bench --bench history`
//!
//! The history is filled to its default size (1 GiB); it lies in the system's directory for temporary files.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::time::{Duration, Instant};

use patgate::internal::base::epoch::EpochMillis;
use patgate::internal::config;
use patgate::internal::state::StateDir;
use patgate::internal::telemetry::act::{self, Act};
use patgate::internal::telemetry::history::{Batch, History, Reader};
use patgate::internal::telemetry::story::{FaultStory, LoginStory, Story};

const DAYS: u64 = 30;
/// A login a second, over the days and nights, is a busy gate; each has some requests.
const LOGINS: u64 = 150_000;
const REQUESTS: u64 = 9;
const BATCH: usize = 10_000;
const CLIENTS: u64 = 40;

fn main() {
    // `cargo test --benches` only checks that it compiles.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let state = StateDir::open(home.path()).unwrap();
    let settings = config::History { keep: Duration::from_secs((DAYS + 1) * 86_400), size: 1 << 30 };
    let mut history = History::open(&settings, &state).unwrap().unwrap();
    let log = home.path().join("log.jsonl");
    let mut lines = BufWriter::new(std::fs::File::create(&log).unwrap());
    let mut waiting = Vec::with_capacity(BATCH);
    for number in 0..LOGINS * (REQUESTS + 1) {
        let story = story(number);
        serde_json::to_writer(&mut lines, &story).unwrap();
        lines.write_all(b"\n").unwrap();
        waiting.push(story);
        if waiting.len() == BATCH {
            let acts = [
                (waiting[0].at, Act::of(act::SESSION_ENDED, "logout")),
                (waiting[0].at, Act::of(act::CONFIGURATION, "x")),
            ];
            history.write(&Batch { stories: &waiting, acts: &acts }).unwrap();
            waiting.clear();
        }
    }
    lines.flush().unwrap();
    let last = story(LOGINS * (REQUESTS + 1) - (REQUESTS + 1));
    let reader = Reader::open(home.path()).unwrap();
    let own = median(|| {
        let found = reader.by_trace(&last.trace).unwrap();
        let (at, client) = (found[0].at, found[0].client.clone().unwrap());
        let around = (EpochMillis(at.0 - 300_000), EpochMillis(at.0 + 300_000));
        let worked = reader.last_success(&client, at).unwrap().unwrap();
        let acts = reader.acts(&[act::STARTED, act::CONFIGURATION], worked.at, at, 5).unwrap();
        found.len() + acts.len() + reader.failures(around.0, around.1).unwrap().len()
    });
    let peer = median(|| {
        let file = BufReader::new(std::fs::File::open(&log).unwrap());
        file.lines().filter(|line| line.as_ref().unwrap().contains(&last.trace)).count()
    });
    let size = std::fs::metadata(home.path().join("history.db")).unwrap().len() >> 20;
    println!("{} records, {size} MiB: the history {own:?}, a search of the log {peer:?}", LOGINS * (REQUESTS + 1));
    println!("ratio {:.5}", own.as_secs_f64() / peer.as_secs_f64());
}

fn story(number: u64) -> Story {
    let (login, request) = (number / (REQUESTS + 1), number % (REQUESTS + 1));
    let is_login = request == 0;
    let failed = is_login && login % 50 == 0;
    Story {
        trace: format!("{:016x}{number:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        span: format!("{number:016x}"),
        at: EpochMillis(1_795_000_000_000 + number * DAYS * 86_400_000 / (LOGINS * (REQUESTS + 1))),
        us: 300_000,
        route: if is_login { "login" } else { "query" }.to_owned(),
        outcome: "success".to_owned(),
        peer: "10.20.30.40".to_owned(),
        listener: "main".to_owned(),
        client: Some(format!("client-{}", login % CLIENTS)),
        account: Some("prod".to_owned()),
        credential: Some("powerbi".to_owned()),
        pat: Some("3259373ad93c".to_owned()),
        session: Some(format!("0af76519-16cd-43dd-8448-{login:012x}")),
        login: is_login.then(LoginStory::default),
        fault: failed.then(|| FaultStory { code: "PG-605".to_owned(), ..FaultStory::default() }),
        ..Story::default()
    }
}

fn median(mut measured: impl FnMut() -> usize) -> Duration {
    let mut times: Vec<_> = (0..5)
        .map(|_| {
            let start = Instant::now();
            assert!(std::hint::black_box(measured()) > 0);
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[2]
}
