use super::*;
use crate::base::clock::ManualClock;
use crate::base::verdict::UNKNOWN_COUNTS;
use crate::pat::ledger::{CONSECUTIVE_COOLDOWN, LOCK_COOLDOWN, POLICY_COOLDOWN};

fn guard(max_refusals: usize) -> (Arc<Guard>, Arc<ManualClock>) {
    let clock = ManualClock::start();
    (Guard::open(max_refusals, clock.clone(), None).unwrap(), clock)
}

fn user() -> ServiceUser {
    ServiceUser::new("prod", "bi")
}

fn ask(guard: &Arc<Guard>, id: &str, insists: bool) -> Verdict<RiskPermit> {
    guard.ask(&user(), &PatId::trusted(id), insists).0
}

fn go(guard: &Arc<Guard>, id: &str) -> RiskPermit {
    match ask(guard, id, true) {
        Verdict::Granted(mut permit) => {
            permit.sending();
            permit
        }
        _ => panic!("not let through"),
    }
}

/// Two logins under way: the guard grants the second when the first is late.
fn both(guard: &Arc<Guard>, clock: &ManualClock, id: &str) -> (RiskPermit, RiskPermit) {
    let one = go(guard, id);
    clock.advance(SPREAD);
    (one, go(guard, id))
}

fn is_busy(guard: &Arc<Guard>, id: &str) -> bool {
    matches!(ask(guard, id, true), Verdict::Retry(_))
}

#[tokio::test]
async fn what_is_under_way_counts_as_spent_and_a_new_version_starts_anew() {
    let (guard, clock) = guard(2);
    let (one, two) = both(&guard, &clock, "a");
    assert!(is_busy(&guard, "a"));
    assert_eq!(one.refused(Kind::PatRefused), 1);
    assert!(is_busy(&guard, "a"));
    assert!(matches!(ask(&guard, "a", false), Verdict::NeedNewer));
    two.accepted();
    let three = go(&guard, "a");
    assert!(is_busy(&guard, "a"));
    assert_eq!(three.refused(Kind::PatRefused), 2);
    assert!(matches!(ask(&guard, "a", true), Verdict::Exhausted));
    assert!(guard.refused_for(&user(), &PatId::trusted("a")).is_some());
    go(&guard, "b").accepted();
    assert!(guard.refused_for(&user(), &PatId::trusted("b")).is_none());
    // A login with the old version changes nothing, nor does another spelling of the user.
    assert!(matches!(ask(&guard, "a", true), Verdict::Exhausted));
    assert!(matches!(guard.ask(&ServiceUser::new("prod", "BI"), &PatId::trusted("a"), true).0, Verdict::Exhausted));
}

#[test]
fn a_second_login_goes_only_when_the_first_is_late() {
    let (guard, clock) = guard(2);
    let one = go(&guard, "a");
    let Verdict::Retry(time) = ask(&guard, "a", true) else { panic!("two at once") };
    clock.advance(time);
    let _two = go(&guard, "a");
    one.accepted();
    // With answers, one directly after the other.
    go(&guard, "b").accepted();
    go(&guard, "b").accepted();
}

#[tokio::test]
async fn a_lost_answer_counts_until_its_time_is_over_or_a_success_clears_it() {
    let (guard, clock) = guard(2);
    drop(both(&guard, &clock, "a"));
    assert!(is_busy(&guard, "a"));
    clock.advance(UNKNOWN_COUNTS);
    // The second one counts longer, until this version has worked.
    go(&guard, "a").accepted();
    drop(both(&guard, &clock, "a"));
    assert!(is_busy(&guard, "a"));
    clock.advance(UNKNOWN_COUNTS);
    let _both = both(&guard, &clock, "a");
}

#[tokio::test]
async fn a_row_of_refusals_pauses_before_it_locks_the_user() {
    let (guard, clock) = guard(2);
    for id in ["a", "a", "b"] {
        go(&guard, id).refused(Kind::PatRefused);
    }
    // The guard grants one more, and no second one beside it: two refusals would make five.
    let last = go(&guard, "c");
    clock.advance(SPREAD);
    assert!(is_busy(&guard, "c") && is_busy(&guard, "d"));
    last.refused(Kind::PatRefused);
    assert!(matches!(ask(&guard, "d", true), Verdict::Cooldown(Kind::PatRefused)));
    clock.advance(CONSECUTIVE_COOLDOWN);
    let one = go(&guard, "d");
    clock.advance(SPREAD);
    assert!(is_busy(&guard, "d"));
    one.accepted();
    let _two = both(&guard, &clock, "d");
}

#[tokio::test]
async fn a_refusal_by_policy_rests_that_version_and_costs_nothing() {
    let (guard, clock) = guard(2);
    assert_eq!(go(&guard, "a").refused(Kind::PatPolicy), 0);
    assert!(matches!(ask(&guard, "a", true), Verdict::Cooldown(Kind::PatPolicy)));
    go(&guard, "b").accepted();
    clock.advance(POLICY_COOLDOWN);
    go(&guard, "a").unsent();
    assert_eq!(go(&guard, "a").refused(Kind::UserLocked), 0);
    assert!(matches!(ask(&guard, "b", true), Verdict::Cooldown(Kind::UserLocked)));
    clock.advance(LOCK_COOLDOWN);
    go(&guard, "b").accepted();
}

#[tokio::test]
async fn whoever_waits_is_told() {
    let (guard, _) = guard(1);
    let one = go(&guard, "a");
    let waiting = guard.clone();
    let waiter = tokio::spawn(async move {
        loop {
            let (verdict, freed) = waiting.ask(&user(), &PatId::trusted("a"), true);
            match verdict {
                Verdict::Retry(_) => freed.await,
                Verdict::Granted(permit) => {
                    permit.unsent();
                    return true;
                }
                _ => return false,
            }
        }
    });
    tokio::task::yield_now().await;
    one.unsent();
    assert!(waiter.await.unwrap());
}

fn remembered(home: &std::path::Path, clock: &Arc<ManualClock>) -> Arc<Guard> {
    Guard::open(2, clock.clone(), Some(StateDir::open(home).unwrap())).unwrap()
}

#[test]
fn a_restart_forgets_no_refusal_and_forgives_only_when_told() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::start());
    let first = remembered(home.path(), &clock);
    assert_eq!(go(&first, "a").refused(Kind::PatRefused), 1);
    drop(first);
    let second = remembered(home.path(), &clock);
    assert!(second.refused_for(&user(), &PatId::trusted("a")).is_some());
    assert_eq!(go(&second, "a").refused(Kind::PatRefused), 2);
    drop(second);
    let third = remembered(home.path(), &clock);
    assert!(matches!(ask(&third, "a", true), Verdict::Exhausted));
    go(&third, "b").accepted();
    third.forget_refusals(&user());
    drop(third);
    go(&remembered(home.path(), &clock), "a").accepted();
}

#[test]
fn two_gates_with_one_directory_have_one_budget() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::start());
    let (one, two) = (remembered(home.path(), &clock), remembered(home.path(), &clock));
    go(&one, "a").refused(Kind::PatRefused);
    assert_eq!(go(&two, "a").refused(Kind::PatRefused), 2);
    // The requests under way at the same time count too.
    one.tidy();
    let (_first, _second) = (go(&one, "b"), go(&two, "b"));
    clock.advance(SPREAD);
    assert!(is_busy(&one, "b") && is_busy(&two, "b"));
    assert!(matches!(ask(&one, "a", true), Verdict::Exhausted));
}

#[test]
fn what_a_killed_process_had_under_way_counts_and_a_restart_loop_spends_nothing_twice() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::start());
    let mut sent = 0;
    for restart in 0..1000 {
        let place = home.path().join(restart.to_string());
        let guard = remembered(&place, &clock);
        let mut permits = Vec::new();
        while let Verdict::Granted(permit) = ask(&guard, "a", true) {
            permits.push(permit);
            clock.advance(SPREAD);
        }
        sent += permits.len();
        // A kill leaves the files as they are now.
        let next = home.path().join((restart + 1).to_string());
        std::fs::create_dir(&next).unwrap();
        for file in std::fs::read_dir(&place).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), next.join(file.file_name())).unwrap();
        }
        clock.advance(Duration::from_secs(1));
    }
    // A version that has never worked: the budget, and no more until the operator allows it.
    assert_eq!(sent, 2);
}

#[test]
fn a_file_that_is_no_file_of_ours_is_said_and_put_right() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::start());
    std::fs::write(home.path().join("budget"), "junk").unwrap();
    let guard = remembered(home.path(), &clock);
    go(&guard, "a").refused(Kind::PatRefused);
    drop(guard);
    assert_eq!(go(&remembered(home.path(), &clock), "a").refused(Kind::PatRefused), 2);
}

#[test]
fn a_disk_that_is_full_forgets_nothing_that_this_process_knows() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::start());
    let guard = remembered(home.path(), &clock);
    go(&guard, "a").refused(Kind::PatRefused);
    // The new content cannot be written.
    std::fs::create_dir(home.path().join("budget.new")).unwrap();
    assert_eq!(go(&guard, "a").refused(Kind::PatRefused), 2);
    assert!(matches!(ask(&guard, "a", true), Verdict::Exhausted));
    for id in ["b", "c"] {
        go(&guard, id).refused(Kind::PatRefused);
    }
    assert!(matches!(ask(&guard, "d", true), Verdict::Cooldown(_)));
    std::fs::remove_dir(home.path().join("budget.new")).unwrap();
    guard.forget_refusals(&user());
    go(&guard, "d").refused(Kind::PatRefused);
    drop(guard);
    assert_eq!(go(&remembered(home.path(), &clock), "d").refused(Kind::PatRefused), 2);
}

#[test]
fn a_version_that_works_again_is_no_longer_suspect_and_keeps_its_count() {
    let (guard, _) = guard(2);
    go(&guard, "a").refused(Kind::PatRefused);
    assert!(matches!(ask(&guard, "a", false), Verdict::NeedNewer));
    go(&guard, "a").accepted();
    let Verdict::Granted(permit) = ask(&guard, "a", false) else { panic!("still suspect") };
    assert_eq!(permit.refused(Kind::PatRefused), 2);
}

#[test]
fn a_request_that_is_settled_frees_its_place_and_a_late_refusal_counts_all_the_same() {
    let (guard, clock) = guard(2);
    let (mut one, mut two) = both(&guard, &clock, "a");
    one.settle();
    one.settle();
    two.settle();
    let (three, four) = both(&guard, &clock, "a");
    assert!(is_busy(&guard, "a"));
    clock.advance(Duration::from_secs(2));
    assert!(is_busy(&guard, "a"));
    drop(two);
    assert!(is_busy(&guard, "a"), "one that was settled takes nobody's place along");
    three.accepted();
    assert_eq!(one.refused(Kind::PatRefused), 1);
    assert!(is_busy(&guard, "a"), "one refused and one under way");
    four.accepted();
    go(&guard, "a").accepted();
}
