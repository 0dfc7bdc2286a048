use super::*;

fn user() -> ServiceUser {
    ServiceUser::new(&"prod".into(), "bi")
}

fn go(budget: &Arc<Budget>, id: &str) -> Permit {
    match budget.ask(&user(), id) {
        Verdict::Go(permit) => permit,
        _ => panic!("not let through"),
    }
}

fn is_busy(budget: &Arc<Budget>, id: &str) -> bool {
    matches!(budget.ask(&user(), id), Verdict::Busy(_))
}

#[tokio::test]
async fn what_is_under_way_counts_as_spent_and_a_new_version_starts_anew() {
    let budget = Budget::new(2);
    let (one, two) = (go(&budget, "a"), go(&budget, "a"));
    assert!(is_busy(&budget, "a"));
    assert_eq!(one.refused(Kind::PatRefused), 1);
    assert!(is_busy(&budget, "a"));
    two.succeeded();
    let three = go(&budget, "a");
    assert!(is_busy(&budget, "a"));
    assert_eq!(three.refused(Kind::PatRefused), 2);
    assert!(matches!(budget.ask(&user(), "a"), Verdict::Spent));
    assert!(budget.refused_since(&user(), "a").is_some());
    go(&budget, "b").succeeded();
    assert!(budget.refused_since(&user(), "b").is_none());
    // A login that still holds the old one changes nothing, nor does another spelling of the user.
    assert!(matches!(budget.ask(&user(), "a"), Verdict::Spent));
    assert!(matches!(budget.ask(&ServiceUser::new(&"prod".into(), "BI"), "a"), Verdict::Spent));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_counts_until_its_time_is_over_or_a_success_clears_it() {
    let budget = Budget::new(2);
    drop((go(&budget, "a"), go(&budget, "a")));
    assert!(is_busy(&budget, "a"));
    tokio::time::advance(DOUBT).await;
    drop(go(&budget, "a"));
    go(&budget, "a").succeeded();
    let _both = (go(&budget, "a"), go(&budget, "a"));
}

#[tokio::test(start_paused = true)]
async fn a_row_of_refusals_pauses_before_it_locks_the_user() {
    let budget = Budget::new(2);
    for id in ["a", "a", "b", "b"] {
        go(&budget, id).refused(Kind::PatRefused);
    }
    assert!(matches!(budget.ask(&user(), "c"), Verdict::Resting(Kind::PatRefused)));
    tokio::time::advance(LONG_REST).await;
    go(&budget, "c").succeeded();
    go(&budget, "c").succeeded();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_policy_rests_that_version_and_costs_nothing() {
    let budget = Budget::new(2);
    assert_eq!(go(&budget, "a").refused(Kind::PatPolicy), 0);
    assert!(matches!(budget.ask(&user(), "a"), Verdict::Resting(Kind::PatPolicy)));
    go(&budget, "b").succeeded();
    tokio::time::advance(SHORT_REST).await;
    go(&budget, "a").unsent();
    assert_eq!(go(&budget, "a").refused(Kind::UserLocked), 0);
    assert!(matches!(budget.ask(&user(), "b"), Verdict::Resting(Kind::UserLocked)));
}

#[tokio::test]
async fn whoever_waits_is_told() {
    let budget = Budget::new(1);
    let one = go(&budget, "a");
    let waiting = budget.clone();
    let waiter = tokio::spawn(async move {
        loop {
            match waiting.ask(&user(), "a") {
                Verdict::Busy(freed) => freed.await,
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
