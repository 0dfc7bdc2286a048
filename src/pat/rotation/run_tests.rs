//! Whole rotations, against the stand-in and a store of files.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use tokio::runtime::Handle;

use super::journal::Step;
use super::*;
use crate::base::clock::{Clock, Env, ManualClock, SystemRandom};
use crate::base::secret::Secret;
use crate::config::file;
use crate::pat::{Guard, PatParts, Pats};
use crate::snowflake::key_pair::KeyPair;
use crate::snowflake::token_statement::TokenStatement;
use crate::standin::{self, Certificates, PatState, Saying, StandIn, TokenState, TokenStatus, UserSettings};
use crate::tls;
use crate::upstream::AccountState;

const PEM: &str = include_str!("../../../tests/keys/ec.pem");
const DAY: Duration = Duration::from_secs(86_400);

/// A service user with a token in a store of files, and a rotator for it.
struct World {
    standin: StandIn,
    clock: Arc<ManualClock>,
    terms: String,
    home: tempfile::TempDir,
}

/// A gate's PATs, as long as its process lives.
struct Life {
    pats: Pats,
    token: Arc<RotatedToken>,
}

impl World {
    async fn with(terms: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let certificates = Certificates::make(home.path(), &["localhost"]).unwrap();
        let server = tls::server(&certificates.pair(), None).unwrap();
        let clock = ManualClock::start();
        let env = Env { clock: clock.clone(), random: Arc::new(SystemRandom) };
        let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let standin = standin::start_in(local, server, env).await.unwrap();
        let world = Self { standin, clock, terms: terms.to_owned(), home };
        let state = &world.standin.state;
        state.set_account("myorg-acct");
        state.set_user("svc", UserSettings::default());
        world.trust_rotator();
        state.allow_changes("rotator", "svc", true);
        std::fs::write(world.path("rotator.pem"), PEM).unwrap();
        let secret = state.add_token("svc", "BI", Some("R"), Some(90)).unwrap();
        std::fs::write(world.path("pat"), secret).unwrap();
        world
    }

    /// Snowflake knows the public half of the rotator's key.
    fn trust_rotator(&self) {
        let pair = KeyPair::parse(&Secret::new(PEM.into()), None).unwrap_or_else(|error| panic!("{error}"));
        let spki = base64::prelude::BASE64_STANDARD.decode(pair.public_pem_body()).unwrap();
        self.standin.state.add_public_key("rotator", spki);
    }

    async fn start() -> Self {
        Self::with("every='30d', overlap='24h'").await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A gate with the state directory of the one before.
    fn gate(&self) -> Life {
        self.gate_in("state")
    }

    fn gate_in(&self, state: &str) -> Life {
        self.gate_with(state, &|text| text)
    }

    /// One whose configuration is changed.
    fn gate_with(&self, state: &str, change: &dyn Fn(String) -> String) -> Life {
        let text = format!(
            "[listen]\naddress='127.0.0.1:0'\ndanger_plaintext=true\n[accounts.a]\nhost='localhost'\n\
             name='myorg-acct'\naddress='{}'\nca='ca.pem'\n[stores.f.file]\npath='.'\n[rotators.r]\naccount='a'\n\
             user='rotator'\nkey_pair='f:rotator.pem'\n[credentials.c]\naccount='a'\nuser='SVC'\npat='f:pat'\n\
             rotation={{ rotator='r', token='BI', {} }}\n[clients.x]\ncredential='c'\nkeys=['sha256:{}']\n",
            self.standin.address,
            self.terms,
            "0".repeat(64)
        );
        let (config, _) = file::parse(&self.path("t.toml"), &change(text)).unwrap_or_else(|report| panic!("{report}"));
        let env = Env { clock: self.clock.clone(), random: Arc::new(SystemRandom) };
        let state = StateDir::open(&self.path(state)).unwrap();
        let guard = Guard::open(config.pat.widths, env.clock.clone(), Some(state.clone())).unwrap();
        let account = AccountState::new(&config.accounts["a"], &config.upstream, None).unwrap();
        let accounts = Accounts::from([("a".into(), account)]);
        let metrics = Arc::default();
        let stores = crate::stores::stores(&config, &env.clock).unwrap();
        let resolver = Arc::new(Resolver::new(stores, config.pat.read, env.clock.clone(), Arc::clone(&metrics)));
        let (state, sinks, control) = (Some(state), Arc::default(), Handle::current());
        let (replicas, disk_cache) = (None, None);
        let parts = PatParts { resolver, guard, replicas, disk_cache, state, sinks, metrics, env, control };
        let pats = Pats::new(&config, &accounts, parts);
        let token = pats.inner.rotations.tokens["c"].clone();
        Life { pats, token }
    }

    fn tokens(&self) -> Vec<TokenState> {
        self.standin.state.tokens("svc")
    }

    fn living(&self) -> Vec<String> {
        let now = self.clock.wall();
        self.tokens().into_iter().filter(|token| token.expires_at > now).map(|token| token.name).collect()
    }

    fn stored(&self) -> String {
        Secret::new(std::fs::read_to_string(self.path("pat")).unwrap()).fingerprint()
    }

    /// The token in the store is one that Snowflake accepts; returns its name.
    fn works(&self) -> String {
        let (stored, now) = (self.stored(), self.clock.wall());
        let found = self.tokens().into_iter().find(|token| token.fingerprint == stored);
        let found = found.unwrap_or_else(|| panic!("Snowflake does not know the token in the store"));
        assert!(found.status == TokenStatus::Active && found.expires_at > now, "{found:?}");
        found.name
    }
}

impl Life {
    async fn rotate(&self, asked: Option<Ask>) -> Result<Rotated, RotationFailure> {
        self.pats.inner.rotate(&self.token, asked, None).await
    }

    async fn done(&self, asked: Option<Ask>) -> Rotation {
        match self.rotate(asked).await {
            Ok(Rotated::Done(done)) => done,
            other => panic!("{other:?}"),
        }
    }

    fn entry(&self) -> journal::Entry {
        self.pats.inner.rotations.journal(&self.token).unwrap().1.read().unwrap()
    }

    /// Rotates until the journal has that step, and dies there.
    async fn dies_at(self, asked: Option<Ask>, step: Step) -> bool {
        self.dies_when(asked, |entry| entry.open.as_ref().is_some_and(|open| open.step >= step)).await
    }

    async fn dies_when(self, asked: Option<Ask>, there: impl Fn(&journal::Entry) -> bool) -> bool {
        let reached = async {
            while !there(&self.entry()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            rotated = self.rotate(asked) => {
                rotated.unwrap_or_else(|failure| panic!("{failure:?}"));
                false
            }
            () = reached => true,
        }
    }
}

fn is_a_version(old: &str, done: &Rotation) {
    assert_eq!(done.old.as_str(), old);
    assert_ne!(done.old, done.new);
}

const STEPS: [Step; 7] =
    [Step::Making, Step::Made, Step::Proving, Step::Proven, Step::Writing, Step::Written, Step::Using];

#[tokio::test]
async fn a_token_is_rotated_when_it_is_due_and_not_before() {
    let world = World::start().await;
    let (gate, old) = (world.gate(), world.stored());
    let Ok(Rotated::Waits(until)) = gate.rotate(None).await else { panic!() };
    let left = until.duration_since(world.clock.wall()).unwrap();
    assert!(left <= DAY * 30 && left > DAY * 30 - Duration::from_secs(60), "{left:?}");
    world.clock.advance(DAY * 31);
    let done = gate.done(None).await;
    is_a_version(&old, &done);
    assert_eq!((world.works(), world.living().len()), ("BI".to_owned(), 2));
    let parts: Vec<_> = done.took.iter().map(|(part, _)| *part).collect();
    assert_eq!(parts, ["look", "make", "prove", "write", "use", "tidy"]);
    assert!(matches!(gate.rotate(None).await, Ok(Rotated::Waits(_))), "never twice");
    assert!(matches!(world.gate().rotate(None).await, Ok(Rotated::Waits(_))), "nor after a restart");
    world.clock.advance(DAY * 2);
    assert_eq!(world.living(), ["BI"], "the old one has ended");
}

#[tokio::test]
async fn a_rotation_that_is_broken_off_after_any_step_is_taken_up_and_leaves_no_orphan() {
    for terms in ["every='30d', overlap='24h'", "every='30d', overlap='0h'", "every='30d', lifetime='180d', role='Q'"] {
        for step in STEPS {
            let world = World::with(terms).await;
            let old = world.stored();
            assert!(world.gate().dies_at(Some(Ask::Rotate), step).await, "{terms} {step:?}: it did not die");
            world.works();
            let gate = world.gate();
            is_a_version(&old, &gate.done(None).await);
            assert_eq!(world.works(), "BI", "{terms} {step:?}");
            let living = if terms.contains("0h") { 1 } else { 2 };
            assert_eq!(world.living().len(), living, "{terms} {step:?}: {:?}", world.tokens());
            world.clock.advance(DAY * 2);
            assert!(matches!(gate.rotate(None).await, Ok(Rotated::Waits(_))));
            assert_eq!(world.living(), ["BI"], "{terms} {step:?}: {:?}", world.tokens());
        }
    }
}

#[tokio::test]
async fn what_was_left_to_remove_is_removed_by_the_next_gate() {
    let world = World::with("every='30d', overlap='0h'").await;
    let died = world.gate().dies_when(Some(Ask::Rotate), |entry| !entry.removals.is_empty()).await;
    assert!(died && world.works() == "BI" && world.living().len() == 2);
    assert!(matches!(world.gate().rotate(None).await, Ok(Rotated::Waits(_))));
    assert_eq!(world.living(), ["BI"]);
}

#[tokio::test]
async fn a_token_that_cannot_be_removed_stops_no_rotation() {
    let world = World::with("every='30d', overlap='0h'").await;
    let refusal = Saying { code: "003001".into(), text: "Insufficient privileges.".into() };
    world.standin.state.refuse_statements("remove", 2, refusal, "42501");
    let gate = world.gate();
    gate.done(Some(Ask::Rotate)).await;
    assert_eq!((world.works().as_str(), gate.entry().removals.len()), ("BI", 1));
    world.clock.advance(Duration::from_secs(1));
    gate.done(Some(Ask::Rotate)).await;
    assert_eq!((world.living(), gate.entry().removals), (vec!["BI".to_owned()], vec![]));
}

#[tokio::test]
async fn a_rotation_that_dies_again_and_again_ends_well() {
    let world = World::start().await;
    let old = world.stored();
    for step in STEPS.into_iter().take(5).cycle().take(20) {
        // Taken up, it begins later each time, when the statements that were under way are no doubts any more.
        let gate = world.gate();
        world.clock.advance(Duration::from_secs(300));
        gate.dies_at(Some(Ask::Rotate), step).await;
        world.works();
        assert!(world.living().len() <= 15);
    }
    let gate = world.gate();
    world.clock.advance(Duration::from_secs(300));
    is_a_version(&old, &gate.done(None).await);
    assert_eq!((world.works().as_str(), world.living().len()), ("BI", 2), "{:?}", world.tokens());
}

#[tokio::test]
async fn a_rotator_s_key_that_snowflake_refuses_is_sent_once_until_there_is_another_or_the_operator_retries() {
    let world = World::start().await;
    let (gate, state) = (world.gate(), &world.standin.state);
    // Other keys take the place of the rotator's.
    [1, 2].into_iter().for_each(|byte| state.add_public_key("rotator", vec![byte]));
    let failure = gate.rotate(Some(Ask::Rotate)).await.unwrap_err();
    assert!(failure.cause.contains("refuses the rotator r") && state.bad_logins_in_all() == 1, "{failure:?}");
    // A restart forgets nothing.
    for gate in [&gate, &gate, &gate, &world.gate()] {
        let failure = gate.rotate(Some(Ask::Rotate)).await.unwrap_err();
        assert!(failure.cause.contains("the rotator r: ") && failure.next_step.contains("pat retry c"), "{failure:?}");
    }
    world.trust_rotator();
    gate.pats.retry("c").await.unwrap();
    gate.done(Some(Ask::Rotate)).await;
    assert_eq!(state.bad_logins_in_all(), 1, "nothing was sent meanwhile");
}

#[tokio::test]
async fn a_lost_answer_is_followed_by_a_look_and_the_token_is_made_once_more() {
    for (terms, words) in
        [("every='30d'", "rotate"), ("every='30d', role='Q'", "rename"), ("every='30d', role='Q'", "add")]
    {
        let world = World::with(terms).await;
        world.standin.state.lose_answers(words, 1);
        let old = world.stored();
        is_a_version(&old, &world.gate().done(Some(Ask::Rotate)).await);
        assert_eq!((world.works().as_str(), world.living().len()), ("BI", 2), "{words}: {:?}", world.tokens());
        let role = world.tokens().into_iter().find(|token| token.name == "BI").and_then(|token| token.role);
        assert_eq!(role.as_deref(), Some(if terms.contains("role") { "Q" } else { "R" }));
    }
}

#[tokio::test]
async fn a_token_that_is_dead_on_arrival_is_not_written_and_the_next_try_mends_it() {
    let world = World::start().await;
    let (gate, old) = (world.gate(), world.stored());
    let text = "Incoming request with IP/Token 1.2.3.4 is not allowed to access Snowflake.";
    world.standin.state.next_token_is_dead("svc", Some(Saying { code: "390422".into(), text: text.into() }));
    let failure = gate.rotate(Some(Ask::Rotate)).await.unwrap_err();
    assert!(failure.cause.contains("390422") && failure.next_step.contains("network policy"), "{failure:?}");
    assert_eq!(world.stored(), old);
    assert!(world.works().starts_with("BI_ROTATED_"), "the old one goes on");
    assert_eq!(gate.entry().failure.unwrap().times, 1);
    world.clock.advance(Duration::from_secs(60));
    is_a_version(&old, &gate.done(None).await);
    assert_eq!((world.works().as_str(), world.living().len(), gate.entry().failure), ("BI", 2, None));
}

#[tokio::test]
async fn tokens_that_are_dead_again_and_again_neither_lock_nor_pause_the_user() {
    let world = World::start().await;
    let (gate, old) = (world.gate(), world.stored());
    for minutes in [1, 2, 4, 8, 16, 32] {
        let dead = Saying { code: "394400".into(), text: "Programmatic access token is invalid.".into() };
        world.standin.state.next_token_is_dead("svc", Some(dead));
        let failure = gate.rotate(Some(Ask::Rotate)).await.unwrap_err();
        assert!(failure.cause.contains("394400"), "{failure:?}");
        let proof = gate.pats.prove("c").await.unwrap();
        assert_eq!((proof.login.ok, world.stored()), (Some(true), old.clone()), "{:?}", proof.login);
        world.clock.advance(Duration::from_secs(minutes * 60));
    }
    is_a_version(&old, &gate.done(None).await);
    assert_eq!((world.works().as_str(), world.living().len()), ("BI", 2), "{:?}", world.tokens());
}

#[tokio::test]
async fn no_token_is_made_while_no_login_may_be_sent() {
    let world = World::start().await;
    let gate = world.gate();
    let text = "Incoming request with IP/Token 1.2.3.4 is not allowed to access Snowflake.";
    world.standin.state.refuse_user("SVC", Some(Saying { code: "390422".into(), text: text.into() }));
    assert_eq!(gate.pats.prove("c").await.unwrap().login.ok, Some(false));
    let failure = gate.rotate(Some(Ask::Rotate)).await.unwrap_err();
    assert!(failure.cause.contains("sends no login") && failure.next_step.contains("PG-310"), "{failure:?}");
    assert_eq!(world.tokens().len(), 1);
    world.standin.state.refuse_user("SVC", None);
    world.clock.advance(Duration::from_secs(120));
    gate.done(Some(Ask::Rotate)).await;
}

#[tokio::test]
async fn a_store_that_another_one_writes_meanwhile_counts() {
    let world = World::start().await;
    assert!(world.gate().dies_at(Some(Ask::Rotate), Step::Proven).await);
    let foreign = world.standin.state.add_token("svc", "OTHER", Some("R"), Some(90)).unwrap();
    std::fs::write(world.path("pat"), &foreign).unwrap();
    let gate = world.gate();
    let Ok(Rotated::Waits(_)) = gate.rotate(None).await else { panic!() };
    assert_eq!((world.works().as_str(), gate.entry().open), ("OTHER", None));
    assert_eq!(gate.entry().seen.unwrap().version.as_str(), Secret::new(foreign).fingerprint());
}

#[tokio::test]
async fn a_store_that_somebody_left_behind_is_mended_after_a_while() {
    let world = World::start().await;
    let gate = world.gate();
    assert!(matches!(gate.rotate(None).await, Ok(Rotated::Waits(_))));
    world.clock.advance(DAY);
    let rotate = TokenStatement::Rotate { token: "BI", hours: 0 }.sql("svc");
    world.standin.state.run_as("rotator", &rotate).unwrap_or_else(|refused| panic!("{}", refused.text));
    let proof = gate.pats.prove("c").await.unwrap();
    assert!(proof.sent && proof.login.ok == Some(false), "{:?}", proof.login);
    assert!(matches!(gate.rotate(None).await, Ok(Rotated::Waits(_))), "its new secret may be on the way");
    world.clock.advance(Duration::from_secs(16 * 60));
    gate.done(None).await;
    assert_eq!(world.works(), "BI");
}

#[tokio::test]
async fn many_tokens_are_tidied_and_a_full_user_is_said() {
    let world = World::start().await;
    let gate = world.gate();
    for number in 0..30 {
        // Two rotations of one millisecond would have one name.
        world.clock.advance(Duration::from_secs(1));
        gate.done(Some(Ask::Rotate)).await;
        assert_eq!(world.works(), "BI");
        assert!(world.living().len() <= 13, "{number}: {:?}", world.living());
    }
    let world = World::start().await;
    for number in 0..14 {
        world.standin.state.add_token("svc", &format!("X{number}"), Some("R"), Some(90)).unwrap();
    }
    let failure = world.gate().rotate(Some(Ask::Rotate)).await.unwrap_err();
    assert!(failure.cause.contains("15 living tokens"), "{failure:?}");
    assert_eq!((world.works().as_str(), world.tokens().len()), ("BI", 15));
}

#[tokio::test]
async fn one_gate_at_a_time_rotates() {
    let world = World::start().await;
    assert!(matches!(world.gate().rotate(None).await, Ok(Rotated::Waits(_))));
    world.clock.advance(DAY * 31);
    let (one, two) = (world.gate(), world.gate());
    let (first, second) = tokio::join!(one.rotate(None), two.rotate(None));
    let done = [&first, &second].into_iter().filter(|it| matches!(it, Ok(Rotated::Done(_)))).count();
    let busy = [&first, &second].into_iter().filter(|it| it.as_ref().is_err_and(|failure| failure.busy)).count();
    assert_eq!((done, busy, world.living().len()), (1, 1, 2), "{first:?} {second:?}");
    // One that has a directory of its own sees at Snowflake that it was done.
    assert!(matches!(world.gate_in("other").rotate(None).await, Ok(Rotated::Waits(_))));
}

#[tokio::test]
async fn a_rotator_may_log_in_with_a_pat_of_its_own() {
    let world = World::start().await;
    world.standin.state.set_pat("rotator", "canary-rotator", PatState::Active);
    std::fs::write(world.path("rotator.pat"), "canary-rotator").unwrap();
    let own = |text: String| text.replace("key_pair='f:rotator.pem'", "pat='f:rotator.pat'");
    world.gate_with("state", &own).done(Some(Ask::Rotate)).await;
    assert_eq!((world.works(), world.living().len()), ("BI".to_owned(), 2));
}

#[tokio::test]
async fn every_reference_that_has_the_old_token_gets_the_new_one() {
    let world = World::start().await;
    std::fs::copy(world.path("pat"), world.path("copy")).unwrap();
    std::fs::write(world.path("other"), "another-token").unwrap();
    let three = |text: String| text.replace("pat='f:pat'", "pat=['f:pat', 'f:copy', 'f:other', 'f:missing']");
    world.gate_with("state", &three).done(Some(Ask::Rotate)).await;
    let read = |name| std::fs::read_to_string(world.path(name)).unwrap();
    assert_eq!((read("copy"), read("other").as_str()), (read("pat"), "another-token"));
    assert_eq!(world.works(), "BI");
}

#[tokio::test]
async fn two_credentials_of_one_token_rotate_it_once() {
    let world = World::start().await;
    let two = |text: String| {
        let first = text.split("[credentials.c]").nth(1).unwrap().split("rotation=").next().unwrap().to_owned();
        format!("{text}[credentials.d]{first}")
    };
    let gate = world.gate_with("state", &two);
    let tokens = &gate.pats.inner.rotations.tokens;
    assert!(Arc::ptr_eq(&tokens["c"], &tokens["d"]) && gate.pats.inner.rotations.each().count() == 1);
    gate.done(Some(Ask::Rotate)).await;
    assert_eq!((world.works(), world.living().len()), ("BI".to_owned(), 2));
}

#[tokio::test]
async fn what_the_rotator_may_not_do_is_said_with_the_next_step() {
    let world = World::start().await;
    world.standin.state.allow_changes("rotator", "svc", false);
    let gate = world.gate();
    let failure = gate.rotate(None).await.unwrap_err();
    assert!(failure.next_step.contains("MODIFY PROGRAMMATIC AUTHENTICATION METHODS"), "{failure:?}");
    std::fs::remove_file(world.path("rotator.pem")).unwrap();
    let failure = gate.rotate(None).await.unwrap_err();
    assert!(failure.cause.contains("key of the rotator r"), "{failure:?}");
    assert_eq!(gate.entry().failure.unwrap().times, 2);
}
