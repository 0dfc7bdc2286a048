//! A thousand rotations under load, and many logins at once: no login fails, and Snowflake gets few bad ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use patgate::internal::standin::PatState;
use tokio::task::JoinSet;

use crate::world::{USER, World};

/// The kind of a rotation.
#[derive(Clone, Copy, PartialEq)]
enum Rotation {
    /// The old PAT is valid until the next rotation.
    Overlap,
    /// The old PAT is dead at once.
    None,
    /// The old PAT is dead at once, and the store gets the new one only after Snowflake has refused a login.
    StoreBehind,
}

const ROTATIONS: usize = 1000;
/// Logins between two rotations.
const BETWEEN: usize = 10;

/// Logs in again and again, until told to stop.
fn crowd(world: &Arc<World>, clients: usize) -> (Arc<AtomicBool>, Arc<AtomicUsize>, JoinSet<()>) {
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut crowd = JoinSet::new();
    for _ in 0..clients {
        let (world, stop, done) = (world.clone(), stop.clone(), done.clone());
        crowd.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let got = world.login(world.key.expose()).await;
                let ok = got.json()["success"] == true;
                // A failure ends the test instead of blocking it.
                done.fetch_add(if ok { 1 } else { 1 << 40 }, Ordering::Relaxed);
                assert!(ok, "{:?}", got.body);
            }
        });
    }
    (stop, done, crowd)
}

async fn a_thousand_rotations(how: Rotation) {
    let world = Arc::new(World::start().await);
    let state = &world.standin.state;
    // A PAT that dies in a storm may cost as many bad logins as are under way.
    state.lock_users(false);
    let (stop, done, mut crowd) = crowd(&world, 16);
    let refused = |seen: &patgate::internal::standin::State| seen.bad_logins().values().sum::<u64>();
    let (mut before_last, mut last) = (world.pat(), world.pat());
    for rotation in 0..ROTATIONS {
        let pat = world.canary(&format!("rotated-{rotation}"));
        let (count, bad) = (done.load(Ordering::Relaxed), refused(state));
        match how {
            Rotation::Overlap => {
                state.set_pat(USER, &pat, PatState::Active);
                world.write("pat", &pat);
                if before_last != last {
                    state.set_pat(USER, &before_last, PatState::Expired);
                }
            }
            Rotation::None => {
                state.rotate(USER, &pat);
                world.write("pat", &pat);
            }
            Rotation::StoreBehind => {
                state.rotate(USER, &pat);
                state.wait_until(|state| refused(state) > bad).await;
                world.write("pat", &pat);
            }
        }
        (before_last, last) = (last, pat);
        state.wait_until(|_| done.load(Ordering::Relaxed) >= count + BETWEEN).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(client) = crowd.join_next().await {
        client.unwrap();
    }
    let (logins, bad) = (done.load(Ordering::Relaxed), state.bad_logins());
    assert!(logins >= ROTATIONS * BETWEEN);
    assert!(bad.values().all(|times| *times <= 17), "{bad:?}");
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_rotations_with_overlap_fail_no_login() {
    a_thousand_rotations(Rotation::Overlap).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_rotations_without_overlap_fail_no_login() {
    a_thousand_rotations(Rotation::None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_rotations_with_a_store_behind_fail_no_login() {
    a_thousand_rotations(Rotation::StoreBehind).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_with_a_pat_that_died_overnight_cost_two_bad_logins() {
    let world = Arc::new(World::with(|config| config.login.hold = Duration::from_millis(300)).await);
    world.standin.state.set_pat(USER, &world.pat(), PatState::Disabled);
    let mut crowd = JoinSet::new();
    for _ in 0..1000 {
        let world = world.clone();
        crowd.spawn(async move { world.login(world.key.expose()).await.refusal("390999") });
    }
    while let Some(said) = crowd.join_next().await {
        assert!(said.unwrap().contains("refuses the token"));
    }
    assert_eq!(world.standin.state.bad_logins().values().copied().collect::<Vec<_>>(), [2]);
    Arc::into_inner(world).unwrap().finish().await;
}
