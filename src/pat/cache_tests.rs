use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;

use super::super::health::FAILURE_HOLDS;
use super::*;
use crate::admit::{Admission, Peer, Shown, key};
use crate::base::clock::{Clock, ManualClock, SystemRandom};
use crate::base::names::ClientName;
use crate::base::secret::Secret;
use crate::config::file;
use crate::stores::{ReadFuture, SecretStore, StoredSecret, Stores};
use crate::stores::{Write, WriteFuture};

const HOUR: Duration = Duration::from_secs(3_600);

/// A store with scripted answers, which it gives when the test allows it.
struct Scripted {
    answer: Mutex<Result<&'static str, StoreError>>,
    successor: Mutex<Option<&'static str>>,
    reads: AtomicUsize,
    open: watch::Sender<bool>,
}

impl Scripted {
    fn new(pat: &'static str) -> Arc<Self> {
        let (answer, open) = (Mutex::new(Ok(pat)), watch::Sender::new(true));
        Arc::new(Self { answer, successor: Mutex::default(), reads: AtomicUsize::default(), open })
    }

    fn says(&self, answer: Result<&'static str, StoreError>) {
        *self.answer.lock() = answer;
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

fn fetched(pat: &str) -> StoredSecret {
    StoredSecret { value: Secret::new(pat.into()), version: format!("version of {pat}"), created: None, expires: None }
}

impl SecretStore for Scripted {
    fn read<'a>(&'a self, _path: &'a str) -> ReadFuture<'a> {
        Box::pin(async {
            self.reads.fetch_add(1, Ordering::SeqCst);
            let _open = self.open.subscribe().wait_for(|open| *open).await.map(|_| ());
            let answer = self.answer.lock().clone();
            answer.map(fetched)
        })
    }

    fn read_successor<'a>(&'a self, _path: &'a str) -> Option<ReadFuture<'a>> {
        let successor = *self.successor.lock();
        successor.map(|pat| Box::pin(std::future::ready(Ok(fetched(pat)))) as ReadFuture<'a>)
    }

    fn write<'a>(&'a self, _write: Write<'a>) -> WriteFuture<'a> {
        unreachable!("the cache writes nothing")
    }
}

/// A cache over scripted stores `one` and `two`, and a grant for a credential that names the references given.
fn cache(stores: &[&Arc<Scripted>], references: &str) -> (Cache, Grant, Arc<ManualClock>) {
    let issued = key::issue(&ClientName::parse("bi").unwrap(), &SystemRandom).unwrap();
    let text = format!(
        "[listen]\naddress='127.0.0.1:0'\ndanger_plaintext=true\n[accounts.prod]\nhost='x.test'\n[stores.one.env]\n\
         [stores.two.env]\n\
         [credentials.bi]\naccount='prod'\nuser='U'\npat={references}\n[clients.bi]\ncredential='bi'\nkeys=['{}']\n",
        key::stored(&issued)
    );
    let (config, _) = file::parse(std::path::Path::new("x.toml"), &text).unwrap_or_else(|report| panic!("{report}"));
    let clock = ManualClock::start();
    let admission = Admission::new(&config, None, None, &(clock.clone() as Arc<dyn Clock>));
    let peer = Peer::at(&crate::config::Listen::MAIN.into(), IpAddr::from([127, 0, 0, 1]));
    let shown = Shown { secret: Some(&issued), login_name: None };
    // The login does not wait.
    let admitted = std::pin::pin!(admission.login(&peer, &shown));
    let Poll::Ready(Ok(grant)) = admitted.poll(&mut Context::from_waker(Waker::noop())) else { panic!("not admitted") };
    let metrics = Arc::<Metrics>::default();
    let named: Stores = ["one", "two"]
        .into_iter()
        .zip(stores)
        .map(|(name, store)| (name.into(), (*store).clone() as Arc<dyn SecretStore>))
        .collect();
    let pats = Cache::new(CacheOptions {
        settings: config.pat.clone(),
        credentials: config.credentials.iter().map(|(name, one)| (name.clone(), one.login.clone())).collect(),
        resolver: Arc::new(Resolver::new(named, config.pat.read, clock.clone(), metrics.clone())),
        guard: Guard::open(crate::base::verdict::Widths { budget: 2, in_flight: 32 }, clock.clone(), None).unwrap(),
        disk_cache: None,
        metrics,
        env: Env { clock: clock.clone(), random: Arc::new(SystemRandom) },
        control: Handle::current(),
    });
    (pats, grant, clock)
}

fn away() -> Result<&'static str, StoreError> {
    Err(StoreError::Unavailable("away".into()))
}

async fn pat(pats: &Cache, grant: &Grant) -> Result<String, StoreError> {
    pats.current(grant).await.map(|cached| cached.fetched.secret.stored().0.expose().to_owned())
}

/// The call of a request after Snowflake has refused its version.
async fn newer(pats: &Cache, grant: &Grant, refused: &CachedPat) -> Result<Option<Arc<CachedPat>>, StoreError> {
    pats.inner.options.guard.condemned_elsewhere(grant.service_user(), &refused.fetched.id);
    pats.newer_than(grant, &refused.fetched.id).await
}

#[tokio::test]
async fn a_cold_herd_of_a_thousand_makes_one_read() {
    let store = Scripted::new("a");
    let (pats, grant, _) = cache(&[&store], "'one:x'");
    store.open.send_replace(false);
    let (pats, grant) = (Arc::new(pats), Arc::new(grant));
    let herd: Vec<_> = (0..1000)
        .map(|_| {
            let (pats, grant) = (pats.clone(), grant.clone());
            tokio::spawn(async move { pat(&pats, &grant).await.unwrap() })
        })
        .collect();
    tokio::task::yield_now().await;
    store.open.send_replace(true);
    for one in herd {
        assert_eq!(one.await.unwrap(), "a");
    }
    assert_eq!(store.reads(), 1);
}

#[tokio::test]
async fn what_is_held_outlives_its_store_until_the_bound_and_not_a_moment_longer() {
    let store = Scripted::new("a");
    let (pats, grant, clock) = cache(&[&store], "'one:x'");
    assert_eq!(pat(&pats, &grant).await.unwrap(), "a");
    store.says(away());
    clock.advance(24 * HOUR - Duration::from_secs(1));
    assert!(pats.refresh(None).await[0].1.is_err());
    assert_eq!(pat(&pats, &grant).await.unwrap(), "a");
    let status = &pats.status().await[0];
    assert!(status.ready && status.failure.is_some() && status.cached.as_ref().unwrap().age > 23 * HOUR);
    clock.advance(Duration::from_secs(1));
    assert!(matches!(pat(&pats, &grant).await, Err(StoreError::Unavailable(_))));
    assert!(!pats.status().await[0].ready);
    store.says(Ok("b"));
    clock.advance(FAILURE_HOLDS);
    assert_eq!(pat(&pats, &grant).await.unwrap(), "b");
}

#[tokio::test]
async fn a_sleep_counts_although_monotonic_time_stood_still() {
    let store = Scripted::new("a");
    let (pats, grant, clock) = cache(&[&store], "'one:x'");
    pat(&pats, &grant).await.unwrap();
    store.says(Ok("b"));
    clock.jump(25 * HOUR);
    assert_eq!(pat(&pats, &grant).await.unwrap(), "b");
    assert_eq!(store.reads(), 2);
}

#[tokio::test]
async fn a_failure_answers_for_those_who_ask_right_after_it_and_a_pause_is_kept() {
    let store = Scripted::new("a");
    let (pats, grant, clock) = cache(&[&store], "'one:x'");
    store.says(away());
    for _ in 0..100 {
        assert!(pat(&pats, &grant).await.is_err());
    }
    assert_eq!(store.reads(), 1);
    clock.advance(FAILURE_HOLDS);
    store.says(Err(StoreError::Throttled("slower".into(), Duration::from_secs(60))));
    assert!(pat(&pats, &grant).await.is_err());
    clock.advance(Duration::from_secs(59));
    assert!(pat(&pats, &grant).await.is_err());
    assert_eq!(store.reads(), 2);
    clock.advance(Duration::from_secs(1));
    store.says(Ok("a"));
    assert_eq!(pat(&pats, &grant).await.unwrap(), "a");
}

#[tokio::test]
async fn a_refused_version_gives_way_to_the_successor_and_never_comes_back() {
    let store = Scripted::new("old");
    let (pats, grant, clock) = cache(&[&store], "'one:x'");
    let old = pats.current(&grant).await.unwrap();
    clock.advance(HOUR);
    assert!(newer(&pats, &grant, &old).await.unwrap().is_none());
    *store.successor.lock() = Some("new");
    clock.advance(HOUR);
    assert_eq!(newer(&pats, &grant, &old).await.unwrap().unwrap().fetched.secret.stored().0.expose(), "new");
    // The store still calls the old version current, and then loses the new one.
    clock.advance(HOUR);
    assert!(pats.refresh(None).await[0].1.is_ok());
    *store.successor.lock() = None;
    clock.advance(HOUR);
    assert!(pats.refresh(None).await[0].1.is_err());
    assert_eq!(pat(&pats, &grant).await.unwrap(), "new");
    store.says(Ok("newest"));
    clock.advance(HOUR);
    pats.refresh(None).await;
    assert_eq!(pat(&pats, &grant).await.unwrap(), "newest");
}

#[tokio::test]
async fn the_first_reference_that_answers_wins_and_a_fallback_counts_only_when_needed() {
    let (one, two) = (Scripted::new("a"), Scripted::new("b"));
    let (pats, grant, clock) = cache(&[&one, &two], "['one:x', 'two:y']");
    one.says(away());
    assert_eq!(pat(&pats, &grant).await.unwrap(), "b");
    assert_eq!(pats.status().await[0].failed[0].reference.to_string(), "one:x");
    one.says(Ok("a"));
    clock.advance(HOUR);
    pats.refresh(None).await;
    assert_eq!(pat(&pats, &grant).await.unwrap(), "a");
    // The first becomes unreachable again: its last value takes precedence over that of the second.
    one.says(away());
    clock.advance(HOUR);
    assert!(pats.refresh(None).await[0].1.is_err());
    assert_eq!(pat(&pats, &grant).await.unwrap(), "a");
    // A fallback with the same value confirms it.
    two.says(Ok("a"));
    clock.advance(HOUR);
    assert!(pats.refresh(None).await[0].1.is_ok());
    assert!(pats.status().await[0].cached.as_ref().unwrap().age < HOUR);
    // After a refusal the second is as good as the first.
    two.says(Ok("c"));
    let cached = pats.current(&grant).await.unwrap();
    clock.advance(HOUR);
    assert_eq!(newer(&pats, &grant, &cached).await.unwrap().unwrap().fetched.secret.stored().0.expose(), "c");
}

#[tokio::test(start_paused = true)]
async fn at_rest_a_store_is_read_once_a_minute_and_in_an_outage_twice() {
    let store = Scripted::new("a");
    let (pats, _, clock) = cache(&[&store], "'one:x'");
    pats.keep_fresh();
    let hour = async || {
        for _ in 0..3_600 {
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    hour().await;
    let at_rest = store.reads();
    assert!((60..=67).contains(&at_rest), "{at_rest} reads an hour");
    store.says(away());
    hour().await;
    let in_outage = store.reads() - at_rest;
    assert!((115..=121).contains(&in_outage), "{in_outage} reads an hour");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_ends_and_another_follows() {
    let store = Scripted::new("a");
    let (pats, grant, clock) = cache(&[&store], "'one:x'");
    store.open.send_replace(false);
    let error = pat(&pats, &grant).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text == "no answer in time"), "{error}");
    store.open.send_replace(true);
    clock.advance(FAILURE_HOLDS);
    assert_eq!(pat(&pats, &grant).await.unwrap(), "a");
}
