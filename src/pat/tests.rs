use super::ledger::{DOUBT, LOCK_REST, ROW_REST, SHORT_REST, SPREAD};
use super::*;
use crate::base::clock::ManualClock;

fn budget(each: usize) -> (Arc<Budget>, Arc<ManualClock>) {
    let clock = ManualClock::start();
    (Budget::open(each, clock.clone(), None).unwrap(), clock)
}

fn user() -> ServiceUser {
    ServiceUser::new(&"prod".into(), "bi")
}

fn go(budget: &Arc<Budget>, id: &str) -> Permit {
    match budget.ask(&user(), id, true) {
        Verdict::Go(mut permit) => {
            permit.sending();
            permit
        }
        _ => panic!("not let through"),
    }
}

/// Two logins under way: the second is let go when the first is late.
fn both(budget: &Arc<Budget>, clock: &ManualClock, id: &str) -> (Permit, Permit) {
    let one = go(budget, id);
    clock.advance(SPREAD);
    (one, go(budget, id))
}

fn is_busy(budget: &Arc<Budget>, id: &str) -> bool {
    matches!(budget.ask(&user(), id, true), Verdict::Busy(..))
}

#[tokio::test]
async fn what_is_under_way_counts_as_spent_and_a_new_version_starts_anew() {
    let (budget, clock) = budget(2);
    let (one, two) = both(&budget, &clock, "a");
    assert!(is_busy(&budget, "a"));
    assert_eq!(one.refused(Kind::PatRefused), 1);
    assert!(is_busy(&budget, "a"));
    assert!(matches!(budget.ask(&user(), "a", false), Verdict::Suspect));
    two.succeeded();
    let three = go(&budget, "a");
    assert!(is_busy(&budget, "a"));
    assert_eq!(three.refused(Kind::PatRefused), 2);
    assert!(matches!(budget.ask(&user(), "a", true), Verdict::Spent));
    assert!(budget.refused_for(&user(), "a").is_some());
    go(&budget, "b").succeeded();
    assert!(budget.refused_for(&user(), "b").is_none());
    // A login that still holds the old one changes nothing, nor does another spelling of the user.
    assert!(matches!(budget.ask(&user(), "a", true), Verdict::Spent));
    assert!(matches!(budget.ask(&ServiceUser::new(&"prod".into(), "BI"), "a", true), Verdict::Spent));
}

#[test]
fn a_second_login_goes_only_when_the_first_is_late() {
    let (budget, clock) = budget(2);
    let one = go(&budget, "a");
    let Verdict::Busy(_, time) = budget.ask(&user(), "a", true) else { panic!("two at once") };
    clock.advance(time);
    let _two = go(&budget, "a");
    one.succeeded();
    // And each one right after the other when they are answered.
    go(&budget, "b").succeeded();
    go(&budget, "b").succeeded();
}

#[tokio::test]
async fn a_lost_answer_counts_until_its_time_is_over_or_a_success_clears_it() {
    let (budget, clock) = budget(2);
    drop(both(&budget, &clock, "a"));
    assert!(is_busy(&budget, "a"));
    clock.advance(DOUBT);
    // The second one counts longer, while nobody has seen this version work.
    go(&budget, "a").succeeded();
    drop(both(&budget, &clock, "a"));
    assert!(is_busy(&budget, "a"));
    clock.advance(DOUBT);
    let _both = both(&budget, &clock, "a");
}

#[tokio::test]
async fn a_row_of_refusals_pauses_before_it_locks_the_user() {
    let (budget, clock) = budget(2);
    for id in ["a", "a", "b"] {
        go(&budget, id).refused(Kind::PatRefused);
    }
    // One more is risked, and not one beside it: two refusals would make five.
    let last = go(&budget, "c");
    clock.advance(SPREAD);
    assert!(is_busy(&budget, "c") && is_busy(&budget, "d"));
    last.refused(Kind::PatRefused);
    assert!(matches!(budget.ask(&user(), "d", true), Verdict::Resting(Kind::PatRefused)));
    clock.advance(ROW_REST);
    let one = go(&budget, "d");
    clock.advance(SPREAD);
    assert!(is_busy(&budget, "d"));
    one.succeeded();
    let _two = both(&budget, &clock, "d");
}

#[tokio::test]
async fn a_refusal_by_policy_rests_that_version_and_costs_nothing() {
    let (budget, clock) = budget(2);
    assert_eq!(go(&budget, "a").refused(Kind::PatPolicy), 0);
    assert!(matches!(budget.ask(&user(), "a", true), Verdict::Resting(Kind::PatPolicy)));
    go(&budget, "b").succeeded();
    clock.advance(SHORT_REST);
    go(&budget, "a").unsent();
    assert_eq!(go(&budget, "a").refused(Kind::UserLocked), 0);
    assert!(matches!(budget.ask(&user(), "b", true), Verdict::Resting(Kind::UserLocked)));
    clock.advance(LOCK_REST);
    go(&budget, "b").succeeded();
}

#[tokio::test]
async fn whoever_waits_is_told() {
    let (budget, _) = budget(1);
    let one = go(&budget, "a");
    let waiting = budget.clone();
    let waiter = tokio::spawn(async move {
        loop {
            match waiting.ask(&user(), "a", true) {
                Verdict::Busy(freed, _) => freed.await,
                Verdict::Go(permit) => {
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

fn remembered(home: &std::path::Path, clock: &Arc<ManualClock>) -> Arc<Budget> {
    Budget::open(2, clock.clone(), Some(StateDir::open(home).unwrap())).unwrap()
}

#[test]
fn a_restart_forgets_no_refusal_and_forgives_only_when_told() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::start());
    let first = remembered(home.path(), &clock);
    assert_eq!(go(&first, "a").refused(Kind::PatRefused), 1);
    drop(first);
    let second = remembered(home.path(), &clock);
    assert!(second.refused_for(&user(), "a").is_some());
    assert_eq!(go(&second, "a").refused(Kind::PatRefused), 2);
    drop(second);
    let third = remembered(home.path(), &clock);
    assert!(matches!(third.ask(&user(), "a", true), Verdict::Spent));
    go(&third, "b").succeeded();
    third.forgive(&user());
    drop(third);
    go(&remembered(home.path(), &clock), "a").succeeded();
}

#[test]
fn two_gates_with_one_directory_have_one_budget() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::start());
    let (one, two) = (remembered(home.path(), &clock), remembered(home.path(), &clock));
    go(&one, "a").refused(Kind::PatRefused);
    assert_eq!(go(&two, "a").refused(Kind::PatRefused), 2);
    // Also what they have under way at the same time.
    one.tidy();
    let (_first, _second) = (go(&one, "b"), go(&two, "b"));
    clock.advance(SPREAD);
    assert!(is_busy(&one, "b") && is_busy(&two, "b"));
    assert!(matches!(one.ask(&user(), "a", true), Verdict::Spent));
}

#[test]
fn what_a_killed_process_had_under_way_counts_and_a_restart_loop_spends_nothing_twice() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::start());
    let mut sent = 0;
    for restart in 0..1000 {
        let place = home.path().join(restart.to_string());
        let budget = remembered(&place, &clock);
        let mut permits = Vec::new();
        while let Verdict::Go(permit) = budget.ask(&user(), "a", true) {
            permits.push(permit);
            clock.advance(SPREAD);
        }
        sent += permits.len();
        // What a kill leaves: the files as they are now.
        let next = home.path().join((restart + 1).to_string());
        std::fs::create_dir(&next).unwrap();
        for file in std::fs::read_dir(&place).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), next.join(file.file_name())).unwrap();
        }
        clock.advance(Duration::from_secs(1));
    }
    // A version that has never worked: what may be risked, and no more until somebody says so.
    assert_eq!(sent, 2);
}

#[test]
fn a_file_that_is_no_file_of_ours_is_said_and_put_right() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::start());
    std::fs::write(home.path().join("budget"), "junk").unwrap();
    let budget = remembered(home.path(), &clock);
    go(&budget, "a").refused(Kind::PatRefused);
    drop(budget);
    assert_eq!(go(&remembered(home.path(), &clock), "a").refused(Kind::PatRefused), 2);
}

#[test]
fn a_disk_that_is_full_forgets_nothing_that_this_process_knows() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::start());
    let budget = remembered(home.path(), &clock);
    go(&budget, "a").refused(Kind::PatRefused);
    // The new content has no place to be written to.
    std::fs::create_dir(home.path().join("budget.new")).unwrap();
    assert_eq!(go(&budget, "a").refused(Kind::PatRefused), 2);
    assert!(matches!(budget.ask(&user(), "a", true), Verdict::Spent));
    for id in ["b", "c"] {
        go(&budget, id).refused(Kind::PatRefused);
    }
    assert!(matches!(budget.ask(&user(), "d", true), Verdict::Resting(_)));
    std::fs::remove_dir(home.path().join("budget.new")).unwrap();
    budget.forgive(&user());
    go(&budget, "d").refused(Kind::PatRefused);
    drop(budget);
    assert_eq!(go(&remembered(home.path(), &clock), "d").refused(Kind::PatRefused), 2);
}

#[test]
fn a_version_that_works_again_is_no_longer_suspect_and_keeps_its_count() {
    let (budget, _) = budget(2);
    go(&budget, "a").refused(Kind::PatRefused);
    assert!(matches!(budget.ask(&user(), "a", false), Verdict::Suspect));
    go(&budget, "a").succeeded();
    let Verdict::Go(permit) = budget.ask(&user(), "a", false) else { panic!("still suspect") };
    assert_eq!(permit.refused(Kind::PatRefused), 2);
}

#[test]
fn a_request_that_is_settled_frees_its_place_and_a_late_refusal_counts_all_the_same() {
    let (budget, clock) = budget(2);
    let (mut one, mut two) = both(&budget, &clock, "a");
    one.settle();
    one.settle();
    two.settle();
    let (three, four) = both(&budget, &clock, "a");
    assert!(is_busy(&budget, "a"));
    clock.advance(Duration::from_secs(2));
    assert!(is_busy(&budget, "a"));
    drop(two);
    assert!(is_busy(&budget, "a"), "one that was settled takes nobody's place along");
    three.succeeded();
    assert_eq!(one.refused(Kind::PatRefused), 1);
    assert!(is_busy(&budget, "a"), "one refused and one under way");
    four.succeeded();
    go(&budget, "a").succeeded();
}
