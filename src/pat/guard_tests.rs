//! The rules of the guard, on a clock that moves with tokio's paused time: every latency costs the test nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;

use super::super::contexts::Context;
use super::super::ledger::{LOCK, POLICY, UNLISTED};
use super::super::queue::RequestKind;
use super::super::simulated::{Snowflake, pat_refused, seconds, user, widths};
use super::*;
use crate::base::names::ClientName;
use crate::snowflake::refusal::Refusal;

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
async fn forty_slow_statements_are_served_in_the_time_that_the_width_allows() {
    let snowflake = Snowflake::start(widths(2, 32));
    snowflake.takes(Duration::from_secs(2));
    snowflake.request("sql", "", RequestKind::Rest).await.unwrap();
    let (begun, mut all) = (tokio::time::Instant::now(), JoinSet::new());
    for _ in 0..40 {
        let snowflake = snowflake.clone();
        all.spawn(async move { snowflake.request("sql", "", RequestKind::Rest).await });
    }
    assert!(all.join_all().await.iter().all(Result::is_ok));
    assert!(begun.elapsed() <= Duration::from_secs(12), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn two_loops_of_one_client_keep_no_other_from_logging_in() {
    for latency in [0.005, 0.1, 0.5, 1.0] {
        let snowflake = Snowflake::start(widths(2, 4));
        snowflake.takes(seconds(latency));
        let mut loops = JoinSet::new();
        for kind in [RequestKind::Rest, RequestKind::Login] {
            for _ in 0..2 {
                let snowflake = snowflake.clone();
                loops.spawn(async move { while snowflake.request("loops", "", kind).await.is_ok() {} });
            }
        }
        for _ in 0..20 {
            let begun = tokio::time::Instant::now();
            snowflake.login("other", "").await.unwrap();
            assert!(begun.elapsed() <= Duration::from_secs(2), "{latency} s: {:?}", begun.elapsed());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
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
        since: snowflake.guard.clock.now(),
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
        ("390202", "Authentication attempt rejected", Kind::AuthenticationPolicy, UNLISTED),
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
    assert!(snowflake.guard.state.lock().line(&user()).queue.iter().all(|waiter| !waiter.is_there()));
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
        since: snowflake.guard.clock.now(),
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

/// A question of a login in a context, and its permit.
fn question(snowflake: &Arc<Snowflake>, client: &str, role: &str) -> Question {
    Question {
        user: user(),
        client: ClientName::parse(client).unwrap(),
        kind: RequestKind::Login,
        version: PatId::trusted("v1"),
        context: Context { places: vec![role.to_owned()], is_client_s: !role.is_empty() },
        hold: Duration::from_secs(6),
        again: false,
        since: snowflake.guard.clock.now(),
        helper: snowflake.clone(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_success_ends_no_pause() {
    let snowflake = Snowflake::start(widths(4, 32));
    snowflake.login("c", "").await.unwrap();
    let mut settled = Vec::new();
    for _ in 0..3 {
        let Ok(Answer::Granted(mut permit)) = snowflake.guard.ask(question(&snowflake, "slow", "R")).await else {
            panic!()
        };
        permit.sending();
        permit.settle();
        settled.push(permit);
    }
    snowflake.refuses.lock().insert(String::new(), Refusal::read("390202", "no"));
    for permit in settled {
        assert_eq!(snowflake.login("c", "").await, Err(Kind::AuthenticationPolicy));
        permit.accepted();
    }
    assert_eq!(snowflake.bad("v1"), 2, "the client's and the gate's own");
}

#[tokio::test(start_paused = true)]
async fn several_refusals_at_once_are_one_and_spare_what_has_worked() {
    let snowflake = Snowflake::start(widths(2, 32));
    snowflake.refuses.lock().insert("ODD".into(), pat_refused());
    for _ in 0..10 {
        snowflake.login("c", "GOOD").await.unwrap();
    }
    let mut all = JoinSet::new();
    for _ in 0..5 {
        let snowflake = snowflake.clone();
        all.spawn(async move { snowflake.login("c", "ODD").await });
    }
    assert!(all.join_all().await.iter().all(|told| *told == Err(Kind::ContextRefused)));
    snowflake.login("c", "GOOD").await.unwrap();
    let bad = snowflake.bad("v1");
    tokio::time::sleep(Duration::from_secs(61)).await;
    snowflake.refuses.lock().clear();
    snowflake.login("c", "ODD").await.unwrap();
    assert!(bad <= 5, "{bad}");
}

#[tokio::test(start_paused = true)]
async fn a_moment_of_snowflake_s_trouble_is_nobody_s_fault() {
    let snowflake = Snowflake::start(widths(2, 32));
    snowflake.storm(60).await;
    snowflake.refuses.lock().insert(String::new(), Refusal::read("000604", "Something failed."));
    let healed = tokio::spawn({
        let snowflake = snowflake.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(400)).await;
            snowflake.refuses.lock().clear();
        }
    });
    let (took, failed) = snowflake.storm(40).await;
    healed.await.unwrap();
    assert!(failed == 0 && took < Duration::from_secs(8), "{took:?}, {failed} failed");
}

#[tokio::test(start_paused = true)]
async fn a_role_of_the_credential_that_is_refused_pauses_nobody() {
    let snowflake = Snowflake::start(widths(2, 32));
    snowflake.refuses.lock().insert(String::new(), Refusal::read("390189", "Role does not exist"));
    snowflake.refuses.lock().insert("ODD".into(), pat_refused());
    for _ in 0..10 {
        assert_eq!(snowflake.login("odd", "ODD").await, Err(Kind::ContextRefused));
        snowflake.login("good", "GOOD").await.unwrap();
    }
    // Also where the gate's own login goes first.
    let snowflake = Snowflake::start(widths(1, 32));
    snowflake.refuses.lock().insert(String::new(), Refusal::read("390189", "Role does not exist"));
    snowflake.login("good", "GOOD").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn own_logins_that_are_lost_stay_within_the_budget() {
    let snowflake = Snowflake::start(widths(2, 32));
    snowflake.kill("v1");
    snowflake.loses.lock().push("own".into());
    for _ in 0..10 {
        assert!(snowflake.login("c", "R").await.is_err());
    }
    let sent = snowflake.sent.lock().len();
    assert!(sent <= 4, "{sent} in two minutes");
}
