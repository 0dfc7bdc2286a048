//! [`Observer`]: the thread that writes finished records down: history, audit log, traces.
//!
//! It looks at the queues every [`LOOK`]. Whatever it waits for, a disk or another process, no request waits for it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::act::Act;
use super::audit::{Audit, Entry};
use super::history::{Batch, History};
use super::log_throttle::LogThrottle;
use super::observations::{Observation, Observations};
use super::sinks::Sinks;
use super::story::Story;
use super::traces::SpanQueue;
use crate::base::clock::Clock;
use crate::base::epoch::EpochMillis;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(100);
/// How often it removes what is old.
const TIDY: Duration = Duration::from_secs(20);
/// How long that may take each time.
const TIDYING: Duration = Duration::from_secs(2);
/// How many entries of the audit log wait for a disk that cannot be written.
const HELD: usize = 10_000;
/// How many logins and failures of one client are kept long in a minute; more are kept as the many are, so that a
/// client that loops pushes nobody else's out of the history.
const SHARE: u32 = 600;
const MINUTE: Duration = Duration::from_secs(60);
/// How long it waits after a failure before it tries the audit log again.
const BACK_OFF: Duration = Duration::from_secs(1);

/// What it writes to.
pub struct Writers {
    /// The history.
    pub history: Option<History>,
    /// The audit log.
    pub audit: Option<Audit>,
    /// The way to the collector.
    pub spans: Option<SpanQueue>,
}

impl Writers {
    /// Whether there is nothing to write to.
    pub fn is_empty(&self) -> bool {
        self.history.is_none() && self.audit.is_none() && self.spans.is_none()
    }
}

/// The thread; dropping it writes what is left.
pub struct Observer {
    stopping: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Observer {
    /// Starts it; `None` if there is nothing to write to.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(sinks: Arc<Sinks>, writers: Writers, clock: Arc<dyn Clock>) -> io::Result<Option<Self>> {
        let stopping = Arc::new(AtomicBool::new(false));
        let Sinks { observations: Some(_), .. } = &*sinks else { return Ok(None) };
        let theirs = stopping.clone();
        let work = move || {
            let Sinks { observations: Some(observations), .. } = &*sinks else { return };
            let mut desk = Desk::new(writers, clock.clone());
            loop {
                // Asked before the queues are taken: what came before the end is then in them.
                let last = theirs.load(Ordering::Acquire);
                sinks.looked(&*clock);
                desk.write(observations, &sinks, last);
                if last {
                    return;
                }
                std::thread::park_timeout(LOOK);
            }
        };
        let thread = std::thread::Builder::new().name("observer".to_owned()).spawn(work)?;
        Ok(Some(Self { stopping, thread: Some(thread) }))
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _panicked = thread.join();
        }
    }
}

/// The thread's own state.
struct Desk {
    writers: Writers,
    clock: Arc<dyn Clock>,
    tidied: Instant,
    /// Entries that could not be written yet, and how many were lost beyond them.
    unwritten: (Vec<Entry>, u64),
    /// How many each client has had in the minute, and when that began.
    shares: (HashMap<Option<String>, u32>, Instant),
    /// When the audit log could not be written.
    failed: Option<Instant>,
    complaints: [LogThrottle; 2],
}

impl Desk {
    fn new(writers: Writers, clock: Arc<dyn Clock>) -> Self {
        let tidied = clock.now();
        Self {
            writers,
            clock,
            tidied,
            unwritten: (Vec::new(), 0),
            shares: (HashMap::new(), tidied),
            failed: None,
            complaints: Default::default(),
        }
    }

    fn write(&mut self, observations: &Observations, sinks: &Sinks, last: bool) {
        let (now, wall) = (self.clock.now(), EpochMillis::of(self.clock.wall()));
        let (mut stories, mut acts) = (Vec::new(), Vec::new());
        let (taken, dropped) = observations.take();
        sinks.metrics.history_lost(usize::try_from(dropped.important + dropped.routine).unwrap_or(usize::MAX));
        self.unwritten.1 += dropped.important;
        for observation in taken {
            match observation {
                Observation::Request(facts) => {
                    let began = EpochMillis::of_instant(facts.started.into_std(), &*self.clock);
                    stories.push(Story::of(&facts, began));
                }
                Observation::Connection(story) => stories.push(*story),
                Observation::Act(at, act) => acts.push((at, act)),
            }
        }
        self.share(&mut stories, now);
        self.audit(&stories, &acts, wall, (sinks, last));
        self.history(&stories, &acts, sinks);
        if let Some(spans) = &self.writers.spans {
            spans.add(&stories, &acts);
        }
        if now.saturating_duration_since(self.tidied) >= TIDY {
            self.tidied = now;
            self.tidy(wall);
        }
    }

    /// Marks what is beyond its client's share.
    fn share(&mut self, stories: &mut [Story], now: Instant) {
        let (counts, began) = &mut self.shares;
        if now.saturating_duration_since(*began) >= MINUTE {
            counts.clear();
            *began = now;
        }
        for story in stories.iter_mut().filter(|story| story.matters()) {
            let count = counts.entry(story.client.clone()).or_default();
            *count += 1;
            story.is_beyond_share = *count > SHARE;
        }
    }

    fn history(&mut self, stories: &[Story], acts: &[(EpochMillis, Act)], sinks: &Sinks) {
        let Some(history) = self.writers.history.as_mut().filter(|_| !(stories.is_empty() && acts.is_empty())) else {
            return;
        };
        let written = history.write(&Batch { stories, acts });
        sinks.history_fails.store(written.is_err(), Ordering::Relaxed);
        let Err(error) = written else { return };
        sinks.metrics.history_lost(stories.len() + acts.len());
        if self.complaints[0].now() {
            let next_step = "free space in the state directory, or mend its rights; requests are served all the same";
            tracing::error!(owner = "gate", cause = %error, next_step, "the history cannot be written");
        }
    }

    /// Writes what waits; at the end of the process it tries even if it failed a moment ago, and says what is lost.
    fn audit(
        &mut self,
        stories: &[Story],
        acts: &[(EpochMillis, Act)],
        wall: EpochMillis,
        (sinks, last): (&Sinks, bool),
    ) {
        let Some(audit) = &mut self.writers.audit else { return };
        let (held, lost) = &mut self.unwritten;
        let acts = acts.iter().map(|(at, act)| Entry::of_act(*at, act));
        for entry in stories.iter().filter_map(Entry::of_story).chain(acts) {
            if held.len() < HELD {
                held.push(entry);
            } else {
                *lost += 1;
            }
        }
        if *lost > 0 && held.len() < HELD {
            held.push(Entry::gap(wall, std::mem::take(lost)));
        }
        let now = self.clock.now();
        // To make the same lines again and again would cost a core.
        if !last && self.failed.is_some_and(|failed| now.saturating_duration_since(failed) < BACK_OFF) {
            return;
        }
        match audit.append(held, wall) {
            Ok(()) => {
                held.clear();
                self.failed = None;
                if sinks.audit_fails.swap(false, Ordering::Relaxed) {
                    tracing::info!("the audit log is written again");
                }
            }
            Err(error) => {
                self.failed = Some(now);
                sinks.audit_fails.store(true, Ordering::Relaxed);
                if last {
                    let lost = held.len() as u64 + *lost;
                    tracing::error!(owner = "gate", cause = %error, lost, "the end of the audit log was not written");
                } else if self.complaints[1].now() {
                    let next_step = "free space in the state directory, or mend its rights";
                    let waiting = held.len();
                    tracing::error!(
                        owner = "gate", cause = %error, waiting, lost = *lost, next_step,
                        "the audit log cannot be written"
                    );
                }
            }
        }
    }

    fn tidy(&mut self, wall: EpochMillis) {
        let (clock, begun) = (self.clock.clone(), self.clock.now());
        let patience = || clock.now().saturating_duration_since(begun) < TIDYING;
        let history = self.writers.history.as_mut().map_or(Ok(()), |history| history.tidy(wall, patience));
        let audit = self.writers.audit.as_ref().map_or(Ok(()), |audit| audit.tidy(wall));
        for error in [history, audit].into_iter().filter_map(Result::err) {
            tracing::warn!(owner = "gate", cause = %error, "cannot remove old records");
        }
    }
}
