//! The rules of the guard, on a clock that moves with tokio's paused time: every latency costs the test nothing.

use std::sync::atomic::Ordering;

use tokio::task::JoinSet;

use super::super::ledger::{LOCK, POLICY, UNLISTED};
use super::super::simulated::{Snowflake, clock, pat_refused, seconds, user, widths};
use super::*;
use crate::snowflake::refusal::Refusal;
use crate::state::StateDir;

#[tokio::test(start_paused = true)]
async fn a_storm_is_served_in_the_time_that_the_width_allows() {
    for (logins, latency, most) in [(50, 0.3, 4.0), (200, 0.5, 8.0), (60, 1.0, 8.0), (1000, 0.5, 30.0)] {
        let snowflake = Snowflake::start(widths(2, 32));
        snowflake.takes(seconds(latency));
        snowflake.login("warm", "").await.unwrap();
        let (took, failed) = snowflake.storm(logins).await;
        assert!(failed == 0 && took <= seconds(most), "{logins} x {latency} s: {took:?}, {failed} failed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pat_that_died_overnight_costs_no_more_than_the_budget() {
    for budget in 1..=4 {
        let snowflake = Snowflake::start(widths(budget, 32));
        snowflake.kill("v1");
        let (_, failed) = snowflake.storm(200).await;
        assert_eq!(failed, 200);
        assert!(snowflake.bad("v1") <= budget, "{budget}: {}", snowflake.bad("v1"));
        // Never again with this version.
        assert_eq!(snowflake.login("late", "").await, Err(Kind::PatRefused));
        assert!(snowflake.bad("v1") <= budget);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pat_that_is_killed_in_a_storm_costs_no_more_than_in_flight() {
    for in_flight in [4, 32] {
        let snowflake = Snowflake::start(widths(2, in_flight));
        let mut all = JoinSet::new();
        for number in 0..100 {
            let snowflake = snowflake.clone();
            all.spawn(async move { while snowflake.login(&format!("c{}", number % 8), "ROLE").await.is_ok() {} });
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        snowflake.kill("v1");
        all.join_all().await;
        assert!(snowflake.bad("v1") <= in_flight, "{in_flight}: {}", snowflake.bad("v1"));
        assert!(snowflake.own.load(Ordering::Relaxed) >= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn rotations_without_overlap_fail_no_login_also_where_the_store_is_behind() {
    for behind in [0.0, 1.0] {
        let snowflake = Snowflake::start(widths(2, 32));
        let (mut all, end) = (JoinSet::new(), tokio::time::Instant::now() + Duration::from_secs(60));
        for number in 0..24 {
            let snowflake = snowflake.clone();
            all.spawn(async move {
                while tokio::time::Instant::now() < end {
                    snowflake.login(&format!("c{}", number % 8), "").await.unwrap();
                }
            });
        }
        for version in 2..16 {
            tokio::time::sleep(Duration::from_secs(4)).await;
            let version = format!("v{version}");
            snowflake.rotate(&version);
            tokio::time::sleep(seconds(behind)).await;
            *snowflake.store.lock() = version;
        }
        all.join_all().await;
        let bad = snowflake.bad.lock().clone();
        assert!(bad.values().all(|bad| *bad <= 32), "{bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_waits_for_one_request_of_each_client_at_every_latency() {
    for latency in [0.005, 0.1, 0.3, 1.0, 5.0] {
        let snowflake = Snowflake::start(widths(2, 4));
        snowflake.takes(seconds(latency));
        let mut crowds = JoinSet::new();
        for (client, kind) in [("greedy", RequestKind::Rest), ("crowd", RequestKind::Login)] {
            for _ in 0..40 {
                let snowflake = snowflake.clone();
                crowds.spawn(async move { while snowflake.request(client, "", kind).await.is_ok() {} });
            }
        }
        tokio::time::sleep(seconds(latency) * 10).await;
        let (before, start) = (snowflake.sent.lock().len(), tokio::time::Instant::now());
        snowflake.login("new", "").await.unwrap();
        let sent = snowflake.sent.lock();
        let at = sent[before..].iter().position(|client| client == "new").unwrap();
        assert!(at <= 4 && start.elapsed() <= seconds(latency) * 3, "{latency} s: after {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_client_composes_is_its_own_and_costs_nobody_else() {
    let snowflake = Snowflake::start(widths(2, 32));
    snowflake.refuses.lock().insert("ODD".into(), pat_refused());
    snowflake.login("good", "").await.unwrap();
    for _ in 0..20 {
        assert_eq!(snowflake.login("odd", "ODD").await, Err(Kind::ContextRefused));
        snowflake.login("good", "").await.unwrap();
        snowflake.login("odd", "").await.unwrap();
    }
    assert!(snowflake.bad("v1") <= 2, "{}", snowflake.bad("v1"));
    // Another context each time: after three, those that have not worked are answered from memory.
    for role in 0..20 {
        snowflake.refuses.lock().insert(format!("ODD{role}"), pat_refused());
        let _told = snowflake.login("odd", &format!("ODD{role}")).await;
    }
    assert!(snowflake.bad("v1") <= 4, "{}", snowflake.bad("v1"));
    snowflake.login("odd", "").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_a_login_that_was_sent_after_the_refusal_acquits() {
    let snowflake = Snowflake::start(widths(4, 32));
    let ask = |context: &str| Question {
        user: user(),
        client: ClientName::parse("c").unwrap(),
        kind: RequestKind::Login,
        version: PatId::trusted("v1"),
        context: Context { places: vec![context.to_owned()], is_client_s: true },
        hold: Duration::from_secs(6),
        again: false,
        helper: snowflake.clone(),
    };
    let granted = async |context| match snowflake.guard.ask(ask(context)).await.unwrap() {
        Answer::Granted(permit) => permit,
        Answer::Refused(..) => panic!(),
    };
    let (first, second, third) = (granted("1").await, granted("2").await, granted("3").await);
    second.refused(pat_refused());
    let waits = snowflake.guard.ask(ask("4"));
    first.accepted();
    third.accepted();
    assert_eq!(snowflake.own.load(Ordering::Relaxed), 0, "these may have been looked at before the PAT died");
    assert!(matches!(waits.await.unwrap(), Answer::Granted(_)));
    assert_eq!(snowflake.own.load(Ordering::Relaxed), 1);
    assert!(matches!(snowflake.guard.ask(ask("2")).await.unwrap(), Answer::Refused(Kind::ContextRefused, _)));
}

#[tokio::test(start_paused = true)]
async fn one_client_s_lost_answers_make_others_wait_for_seconds_at_most() {
    let snowflake = Snowflake::start(widths(2, 32));
    snowflake.loses.lock().push("breaks".into());
    let (mut all, end) = (JoinSet::new(), tokio::time::Instant::now() + Duration::from_secs(60));
    for number in 0..10 {
        let snowflake = snowflake.clone();
        all.spawn(async move {
            let client = if number < 4 { "breaks".to_owned() } else { format!("c{number}") };
            let mut longest = Duration::ZERO;
            while tokio::time::Instant::now() < end {
                let begun = tokio::time::Instant::now();
                let ended = snowflake.login(&client, "").await;
                if client != "breaks" {
                    ended.unwrap();
                    longest = longest.max(begun.elapsed());
                }
            }
            longest
        });
    }
    let longest = all.join_all().await.into_iter().max().unwrap();
    assert!(longest <= Duration::from_secs(3), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_policy_an_unknown_code_and_a_lock_pause_and_the_own_login_goes_first() {
    for (code, text, kind, (pause, _)) in [
        ("390422", "", Kind::PatPolicy, POLICY),
        ("390202", "Authentication attempt rejected", Kind::LoginRefused, UNLISTED),
        ("390102", "Your user account has been temporarily locked", Kind::UserLocked, LOCK),
    ] {
        let snowflake = Snowflake::start(widths(2, 32));
        snowflake.refuses.lock().insert(String::new(), Refusal::read(code, text));
        for _ in 0..5 {
            assert_eq!(snowflake.login("c", "").await, Err(kind), "{code}");
        }
        assert!(snowflake.sent.lock().len() <= 2, "{code}");
        snowflake.refuses.lock().clear();
        tokio::time::sleep(pause).await;
        let (_, failed) = snowflake.storm(20).await;
        assert_eq!(failed, 0, "{code}");
        let sent = snowflake.sent.lock().clone();
        let begun = sent.len() - 21;
        assert_eq!(sent[begun], "own", "{code}: {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_condemned_version_pauses_the_user_until_the_operator_says_otherwise() {
    let snowflake = Snowflake::start(widths(2, 32));
    snowflake.kill("v1");
    snowflake.storm(4).await;
    *snowflake.store.lock() = "v2".into();
    snowflake.storm(4).await;
    snowflake.rotate("v3");
    *snowflake.store.lock() = "v3".into();
    assert_eq!(snowflake.login("c", "").await, Err(Kind::PatRefused));
    let bad: usize = snowflake.bad.lock().values().sum();
    assert!(bad <= 4, "{bad}");
    snowflake.guard.forget_refusals(&user());
    snowflake.login("c", "").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_newer_version_needs_no_verdict_about_the_old_one() {
    let snowflake = Snowflake::start(widths(2, 32));
    snowflake.login("c", "R").await.unwrap();
    snowflake.rotate("v2");
    let old = PatId::trusted("v1");
    let asked = tokio::spawn({
        let snowflake = snowflake.clone();
        async move {
            let first = snowflake.login("c", "R");
            first.await
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    *snowflake.store.lock() = "v2".into();
    asked.await.unwrap().unwrap();
    assert_eq!((snowflake.own.load(Ordering::Relaxed), snowflake.bad("v1")), (0, 1));
    assert!(!snowflake.guard.is_condemned(&user(), &old));
}

#[tokio::test(start_paused = true)]
async fn who_left_gives_the_place_back_and_who_waits_too_long_is_told() {
    let snowflake = Snowflake::start(widths(2, 4));
    snowflake.takes(Duration::from_secs(40));
    let mut all = JoinSet::new();
    for _ in 0..3 {
        let snowflake = snowflake.clone();
        all.spawn(async move { snowflake.login("c", "").await });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let impatient = tokio::time::timeout(Duration::from_secs(1), snowflake.login("d", "")).await;
    assert!(impatient.is_err());
    let told = all.join_all().await;
    assert_eq!(told.iter().filter(|told| **told == Err(Kind::GateBusy)).count(), 2, "{told:?}");
    assert!(snowflake.guard.users.lock().user(&user()).queue.iter().all(|waiter| !waiter.is_there()));
}

fn remembered(home: &std::path::Path, clock: &Arc<dyn Clock>) -> Arc<Snowflake> {
    let state = StateDir::open(home).unwrap();
    Snowflake::with(Guard::open(widths(2, 32), clock.clone(), Some(state)).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_restart_forgets_no_verdict_and_forgives_only_when_told() {
    let (home, clock) = (tempfile::tempdir().unwrap(), clock());
    let first = remembered(home.path(), &clock);
    first.kill("v1");
    assert_eq!(first.login("c", "").await, Err(Kind::PatRefused));
    drop(first);
    let second = remembered(home.path(), &clock);
    assert_eq!(second.login("c", "").await, Err(Kind::PatRefused));
    assert_eq!(second.sent.lock().len(), 0);
    second.guard.forget_refusals(&user());
    drop(second);
    remembered(home.path(), &clock).login("c", "").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_killed_process_costs_one_own_login_and_no_wait() {
    let (home, clock) = (tempfile::tempdir().unwrap(), clock());
    let killed = remembered(home.path(), &clock);
    let under_way = tokio::spawn({
        let killed = killed.clone();
        async move { killed.login("c", "").await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    // A kill leaves the files as they are now.
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(home.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let next = remembered(copy.path(), &clock);
    let (took, failed) = next.storm(8).await;
    assert_eq!((failed, next.own.load(Ordering::Relaxed)), (0, 1));
    assert!(took < Duration::from_secs(4), "{took:?}");
    // What is not known of one version is not charged to another.
    let other = remembered(copy.path(), &clock);
    *other.store.lock() = "v2".into();
    other.rotate("v2");
    other.login("c", "").await.unwrap();
    assert_eq!(other.own.load(Ordering::Relaxed), 0);
    under_way.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_processes_with_one_directory_share_their_verdicts_and_their_places() {
    let (home, clock) = (tempfile::tempdir().unwrap(), clock());
    let (one, two) = (remembered(home.path(), &clock), remembered(home.path(), &clock));
    one.kill("v1");
    assert_eq!(one.login("c", "").await, Err(Kind::PatRefused));
    assert_eq!(two.login("c", "").await, Err(Kind::PatRefused));
    assert_eq!(two.sent.lock().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn two_processes_with_one_directory_both_serve_a_storm() {
    let (home, clock) = (tempfile::tempdir().unwrap(), clock());
    let (one, two) = (remembered(home.path(), &clock), remembered(home.path(), &clock));
    let tidy = |snowflake: &Arc<Snowflake>| {
        let guard = snowflake.guard.clone();
        tokio::spawn(async move {
            loop {
                guard.tidy();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
    };
    let (_one, _two) = (tidy(&one), tidy(&two));
    // The first is busy all the time; the second is new.
    let (mut crowd, end) = (JoinSet::new(), tokio::time::Instant::now() + Duration::from_secs(40));
    for number in 0..100 {
        let one = one.clone();
        crowd.spawn(async move {
            while tokio::time::Instant::now() < end {
                one.login(&format!("c{}", number % 8), "").await.unwrap();
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (took, failed) = two.storm(50).await;
    assert!(failed == 0 && took < Duration::from_secs(8), "{took:?}, {failed}");
    crowd.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_no_file_of_ours_is_said_and_put_right() {
    let (home, clock) = (tempfile::tempdir().unwrap(), clock());
    std::fs::write(home.path().join("guard"), "junk").unwrap();
    let first = remembered(home.path(), &clock);
    first.kill("v1");
    assert_eq!(first.login("c", "").await, Err(Kind::PatRefused));
    drop(first);
    assert_eq!(remembered(home.path(), &clock).login("c", "").await, Err(Kind::PatRefused));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_forgets_nothing_that_this_process_knows() {
    let (home, clock) = (tempfile::tempdir().unwrap(), clock());
    let snowflake = remembered(home.path(), &clock);
    snowflake.login("c", "").await.unwrap();
    // The new content cannot be written.
    std::fs::create_dir(home.path().join("guard.new")).unwrap();
    snowflake.kill("v1");
    assert_eq!(snowflake.login("c", "").await, Err(Kind::PatRefused));
    assert_eq!(snowflake.login("c", "").await, Err(Kind::PatRefused));
    assert!(snowflake.bad("v1") <= 2);
    std::fs::remove_dir(home.path().join("guard.new")).unwrap();
    snowflake.guard.forget_refusals(&user());
    assert_eq!(snowflake.login("c", "").await, Err(Kind::PatRefused));
    drop(snowflake);
    assert_eq!(remembered(home.path(), &clock).login("c", "").await, Err(Kind::PatRefused));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_gave_its_place_back_frees_it_and_a_late_refusal_counts_all_the_same() {
    let snowflake = Snowflake::start(widths(2, 32));
    let ask = || Question {
        user: user(),
        client: ClientName::parse("c").unwrap(),
        kind: RequestKind::Rest,
        version: PatId::trusted("v1"),
        context: Context { places: vec![], is_client_s: true },
        hold: Duration::from_secs(6),
        again: false,
        helper: snowflake.clone(),
    };
    let Ok(Answer::Granted(mut first)) = snowflake.guard.ask(ask()).await else { panic!() };
    let second = snowflake.guard.ask(ask());
    first.sending();
    first.settle();
    first.settle();
    let Ok(Answer::Granted(second)) = second.await else { panic!() };
    first.refused(pat_refused());
    second.accepted();
    snowflake.login("d", "").await.unwrap();
}
