//! [`Shutdown`]: one stop signal for all tasks, and a count of the running ones.

use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The sender's end: gives the signal, then waits until the last [`ShutdownWatch`] is dropped. Dropping it gives the
/// signal too.
#[derive(Default)]
pub struct Shutdown {
    signal: CancellationToken,
    working: TaskTracker,
}

/// The end of a task that must finish before the process stops. Dropping it means "done".
#[derive(Clone)]
pub struct ShutdownWatch {
    signal: CancellationToken,
    _working: TaskTrackerToken,
}

impl Shutdown {
    /// A watch for a task that must finish.
    pub fn watch(&self) -> ShutdownWatch {
        ShutdownWatch { signal: self.signal.clone(), _working: self.working.token() }
    }

    /// Gives the signal and waits for all tasks, at most `deadline`; `true` if all have ended in time.
    pub async fn stop(self, deadline: Duration) -> bool {
        self.signal.cancel();
        self.working.close();
        tokio::time::timeout(deadline, self.working.wait()).await.is_ok()
    }
}

impl Drop for Shutdown {
    fn drop(&mut self) {
        self.signal.cancel();
    }
}

impl ShutdownWatch {
    /// Returns when the signal is given.
    pub fn stopped(&self) -> WaitForCancellationFutureOwned {
        self.signal.clone().cancelled_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_the_last_watch_and_no_longer_than_the_deadline() {
        let shutdown = Shutdown::default();
        let watch = shutdown.watch();
        let worker = tokio::spawn(async move { watch.stopped().await });
        assert!(shutdown.stop(Duration::from_secs(5)).await);
        worker.await.unwrap();

        let shutdown = Shutdown::default();
        let watch = shutdown.watch();
        assert!(!shutdown.stop(Duration::from_secs(5)).await);
        drop(watch);
    }
}
