//! What a restart, a kill, a second process and a bad disk do to the guard.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;

use super::super::guard::Guard;
use super::super::simulated::{Snowflake, clock, user, widths};
use super::*;

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
async fn two_processes_with_one_directory_have_one_budget_for_a_dead_version() {
    let (home, clock) = (tempfile::tempdir().unwrap(), clock());
    let (one, two) = (remembered(home.path(), &clock), remembered(home.path(), &clock));
    // Each learns of the other's file.
    one.guard.tidy();
    for snowflake in [&one, &two] {
        snowflake.kill("v1");
    }
    let mut all = JoinSet::new();
    for snowflake in [&one, &two].into_iter().cycle().take(40) {
        let snowflake = snowflake.clone();
        all.spawn(async move { snowflake.login("c", "R").await });
    }
    assert!(all.join_all().await.iter().all(Result::is_err));
    let bad = one.bad("v1") + two.bad("v1");
    assert!(bad <= 2, "{bad}");
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
